"""The loop and what it is made of: what gevent.core offers."""

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

#: The class of what ``run_callback`` returns.
callback = Callback


class loop(Loop):
    """A hub's callbacks and watchers; ``get_hub().loop`` is the current thread's.

    ``loop(default=False)`` makes one that belongs to no hub and runs in :meth:`run`; *flags* may
    name its poller.
    """

    def __init__(
        self, flags: str | None = None, default: bool | None = None, hub: Any = None
    ) -> None:
        if hub is None:
            if default is not False:
                raise TypeError("a thread's loop is get_hub().loop; make others with default=False")
            hub = PrivateHub(flags)
        super().__init__(hub)

    #: About the shortest time that a timer waits, in seconds.
    approx_timer_resolution = 0.00001

    def signal(self, signum: int, ref: bool = True, priority: int | None = None) -> Signal:
        """A watcher of signal *signum*, for the main thread.

        Raises ValueError for what is no signal's number.
        """
        return Signal(self, signum, ref, priority)

    def child(self, pid: int, trace: int = 0, ref: bool = True) -> Child:
        """A watcher that reaps child process *pid*; 0 for any child.

        Raises TypeError unless this is the main thread's loop.
        """
        return Child(self, pid, trace, ref)

    def fork(self, ref: bool = True, priority: int | None = None) -> Fork:
        """A watcher that calls in forked children."""
        return Fork(self, ref, priority)

    def stat(
        self,
        path: str | bytes,
        interval: float = 0.0,
        ref: bool = True,
        priority: int | None = None,
    ) -> Stat:
        """A watcher that looks every *interval* seconds whether the file at *path* changed."""
        return Stat(self, path, interval, ref, priority)

    def install_sigchld(self) -> None:
        """Does nothing: child watchers set the handler while they need it."""

    def reset_sigchld(self) -> None:
        """Does nothing, as :meth:`install_sigchld`."""


# gevent's name from before Python had the keyword.
setattr(loop, "async", loop.async_)


def supported_backends() -> list[str]:
    """The pollers that work here, the best first."""
    return pollers.names()


def recommended_backends() -> list[str]:
    """The pollers that new hubs may get unless told otherwise: all that work here."""
    return supported_backends()


def embeddable_backends() -> list[str]:
    """The pollers whose loop another loop can watch, by :meth:`loop.fileno`."""
    return [name for name in supported_backends() if name != "select"]


def get_version() -> str:
    """The name and version of the engine."""
    return f"treadle-{__version__}"


def get_header_version() -> str:
    """The same: what was built against what runs is gevent's question about libev."""
    return get_version()


def time() -> float:
    """The loops' time in seconds, of no particular beginning."""
    return monotonic() / 1e9
