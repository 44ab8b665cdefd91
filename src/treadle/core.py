"""The event loop and its watchers: the API of gevent.core."""

from __future__ import annotations

from typing import Any

from treadle._core import __version__, pollers
from treadle._core.clock import monotonic
from treadle._core.hub import Callback
from treadle._core.private_hub import PrivateHub
from treadle._core.system_watchers import Child, Fork, Signal, Stat
from treadle._core.watchers import EVENTS, READ, WRITE, Loop

__all__ = [
    "EVENTS",
    "READ",
    "WRITE",
    "embeddable_backends",
    "get_header_version",
    "get_version",
    "loop",
    "recommended_backends",
    "supported_backends",
    "time",
]

#: The class of the objects that ``run_callback`` returns.
callback = Callback


class loop(Loop):
    """An event loop with its callbacks and watchers; ``get_hub().loop`` is the current thread's.

    ``loop(default=False)`` makes a loop that belongs to no thread and runs only in :meth:`run`;
    *flags* may name its poller.
    """

    def __init__(
        self, flags: str | None = None, default: bool | None = None, hub: Any = None
    ) -> None:
        if hub is None:
            if default is not False:
                raise TypeError("a thread's loop is get_hub().loop; make others with default=False")
            hub = PrivateHub(flags)
        super().__init__(hub)

    #: The approximate resolution of timers, in seconds.
    approx_timer_resolution: float = 0.00001

    def signal(self, signum: int, ref: bool = True, priority: int | None = None) -> Signal:
        """Return a watcher of signal *signum*, for the main thread.

        Raises ValueError if *signum* is not the number of a signal.
        """
        return Signal(self, signum, ref, priority)

    def child(self, pid: int, trace: int = 0, ref: bool = True) -> Child:
        """Return a watcher that reaps the child process *pid*, or any child if *pid* is 0.

        Raises TypeError unless this is the main thread's loop.
        """
        return Child(self, pid, trace, ref)

    def fork(self, ref: bool = True, priority: int | None = None) -> Fork:
        """Return a watcher that calls its callback in forked child processes."""
        return Fork(self, ref, priority)

    def stat(
        self,
        path: str | bytes,
        interval: float = 0.0,
        ref: bool = True,
        priority: int | None = None,
    ) -> Stat:
        """Return a watcher that checks every *interval* seconds whether a file has changed."""
        return Stat(self, path, interval, ref, priority)

    def install_sigchld(self) -> None:
        """Do nothing: child watchers install the SIGCHLD handler while they need it."""

    def reset_sigchld(self) -> None:
        """Do nothing: child watchers remove the SIGCHLD handler themselves."""


# gevent's name from before ``async`` was a keyword.
setattr(loop, "async", loop.async_)


def supported_backends() -> list[str]:
    """Return the names of the pollers that work on this system, the best first."""
    return pollers.names()


def recommended_backends() -> list[str]:
    """Return the names of the pollers that new hubs use by default: all that work here."""
    return supported_backends()


def embeddable_backends() -> list[str]:
    """Return the names of the pollers whose :meth:`loop.fileno` another loop can watch."""
    return [name for name in supported_backends() if name != "select"]


def get_version() -> str:
    """Return the name and version of the engine."""
    return f"treadle-{__version__}"


def get_header_version() -> str:
    """Return the name and version of the engine; in gevent, the version of libev's header."""
    return get_version()


def time() -> float:
    """Return the time of the event loops' monotonic clock, in seconds."""
    return monotonic() / 1e9
