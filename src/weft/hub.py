"""The hub of a thread: what gevent.hub offers."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType
from typing import Any, TextIO

from weft._core import hub as core
from weft._core.hub import get_current_hub as get_hub
from weft._core.hub import get_existing_hub as get_hub_if_exists
from weft._core.hub import sleep
from weft.exceptions import LoopExit
from weft.greenlet import GreenletExit, getcurrent, spawn_raw

__all__ = [
    "GreenletExit",
    "Hub",
    "LoopExit",
    "get_hub",
    "get_hub_if_exists",
    "getcurrent",
    "sleep",
    "spawn_raw",
]


class Hub(core.Hub):
    """The greenlet that runs a thread's callbacks, with gevent's error handling."""

    #: Exceptions that are raised in the main greenlet instead of being printed.
    SYSTEM_ERROR: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit, SystemError)
    #: Exceptions that are not reported at all.
    NOT_ERROR: tuple[type[BaseException], ...] = (GreenletExit,)

    def handle_error(
        self,
        context: object,
        type: type[BaseException],
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Called with each exception that nobody catches; may be replaced, on an instance too.

        *context* is what raised it: a greenlet, a callback or a watcher. What ``SYSTEM_ERROR``
        lists is raised in the main greenlet, the rest printed to standard error.
        """
        if value is None:
            value = type()
        if not issubclass(type, self.NOT_ERROR):
            self.print_exception(context, type, value, tb)
        if context is None or issubclass(type, self.SYSTEM_ERROR):
            self.interrupt_main(value)

    def print_exception(
        self,
        context: object,
        type: type[BaseException],
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Print the traceback, and what raised it, to :attr:`exception_stream`."""
        stream = self.exception_stream
        if stream is None or issubclass(type, (KeyboardInterrupt, SystemExit)):
            return
        traceback.print_exception(type, value, tb, file=stream)
        if context is not None:
            stream.write(f"{self.format_context(context)} failed with {type.__name__}\n\n")

    @property
    def exception_stream(self) -> TextIO | None:
        """Where :meth:`print_exception` writes: standard error."""
        return sys.stderr

    def format_context(self, context: object) -> str:
        """Name *context* for the error report."""
        return repr(context)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.pending()} ready, {self.timer_count()} timers"
        name = type(self).__name__
        return f"<{name} at {id(self):#x} thread={self.thread_ident:#x} {state}>"


core.hub_class = Hub


def reinit(hub: Any = None) -> None:
    """Does nothing: a forked child's hub is made anew by itself; kept for gevent's callers."""
