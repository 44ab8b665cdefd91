"""Signal handlers and cooperative waits for signals, with the API of gevent.signal.

Handlers run promptly: in the main greenlet if it is current, else in greenlets of their own, which
may wait and count as the main thread. A SIGCHLD handler does not conflict with treadle's child
watchers: they use pidfds instead of SIGCHLD where the system has them.
"""

from __future__ import annotations

import atexit as _atexit
import functools as _functools
import signal as _stdlib
import sys as _sys
import typing as _typing
from collections.abc import Callable as _Callable
from contextlib import suppress as _suppress
from os import close as _close
from typing import Any
from typing import TypeVar as _TypeVar

from treadle._core.builtins import caller as _caller
from treadle._core.clock import in_range as _in_range
from treadle._core.clock import seconds as _monotonic
from treadle._core.descriptor import wait_for as _wait_for
from treadle._core.handlers import finish_handlers as _finish_handlers
from treadle._core.handlers import run_handler as _run_handler
from treadle._core.hub import get_existing_hub as _get_existing_hub
from treadle.event import Event as _Event
from treadle.hub import get_hub as _get_hub
from treadle.thread import ThreadGreenlet as _ThreadGreenlet
from treadle.thread import current_thread_greenlet as _current_thread_greenlet
from treadle.thread import native_ident as _native_ident

if _typing.TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.signal import *  # noqa: F403

if _sys.platform == "linux":
    from treadle._core.signals import open_signalfd as _open_signalfd

__implements__: list[str] = ["getsignal", "set_wakeup_fd", "signal"]
__target__ = "signal"
#: Names of the standard module. Those not defined in this module are the standard ones.
__imports__: list[str] = [name for name in dir(_stdlib) if not name.startswith("__")]

globals().update({name: getattr(_stdlib, name) for name in __imports__})
__all__ = [name for name in (*__implements__, *__imports__) if not name.startswith("_")]

_F = _TypeVar("_F", bound=_Callable[..., Any])
_native_getsignal = _stdlib.getsignal
_native_set_wakeup_fd = _stdlib.set_wakeup_fd
_native_signal = _stdlib.signal


def _like(native: _Callable[..., Any]) -> _Callable[[_F], _F]:
    """Return a decorator that gives a function the name, docstring and module of *native*."""

    def decorate(function: _F) -> _F:
        _functools.update_wrapper(function, native).__module__ = _stdlib.__name__
        return function

    return decorate


#: Wakes the greenlets in :func:`pause` when a handler has been called.
_handled = _Event()


class _Handler:
    """Wraps a program's handler: it runs on behalf of the main greenlet, whatever it interrupts.

    The greenlet that happens to be current could suppress its exceptions, or end because of them.
    """

    __slots__ = ("handler",)

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: Any) -> None:
        _run_handler(self._handle, number, frame)

    def _handle(self, number: int, frame: Any) -> None:
        try:
            self.handler(number, frame)
        finally:
            _handled.set()
            _handled.clear()


def _finish_handlers_at_exit() -> None:
    # A handler belongs to the main thread, so its end comes before the end of that.
    with _suppress(SystemExit):
        _finish_handlers()


_atexit.register(_finish_handlers_at_exit)


def _handler_in(found: Any) -> Any:
    return found.handler if isinstance(found, _Handler) else found


def _check_main_thread(function: str) -> None:
    """Raise ValueError, as the native function does outside the main thread.

    Libraries find out by that whether they are in the main thread, and a handler or descriptor set
    elsewhere would replace that of the main thread.
    """
    if _current_thread_greenlet() is not None:
        raise ValueError(f"{function} only works in main thread of the main interpreter")


@_like(_native_signal)
def signal(signalnum: Any, handler: Any) -> Any:
    _check_main_thread("signal")
    return _handler_in(
        _native_signal(signalnum, _Handler(handler) if callable(handler) else handler)
    )


@_like(_native_getsignal)
def getsignal(signalnum: Any) -> Any:
    return _handler_in(_native_getsignal(signalnum))


@_like(_native_set_wakeup_fd)
def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
    _check_main_thread("set_wakeup_fd")
    before = _native_set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
    hub = _get_existing_hub()
    if hub is None or hub.poller.signal_fd == -1:
        return before
    if fd == -1:
        hub.poller.ask_for_signals()
    return -1 if before == hub.poller.signal_fd else before


def adopt_handlers() -> None:
    """Treat handlers that are already set like those that :func:`signal` sets.

    Do nothing outside the main thread.
    """
    with _suppress(ValueError):
        for number in _stdlib.valid_signals():
            handler = _native_getsignal(number)
            if callable(handler) and not isinstance(handler, _Handler):
                _native_signal(number, _Handler(handler))


if hasattr(_stdlib, "pthread_sigmask"):
    _native_sigmask = _stdlib.pthread_sigmask

    @_like(_native_sigmask)
    def pthread_sigmask(how: int, mask: Any, /) -> Any:
        # A thread's mask must not affect other greenlets of the native thread. multiprocessing's
        # helper threads block all signals.
        thread = _caller()
        if not isinstance(thread, _ThreadGreenlet):
            return _native_sigmask(how, mask)
        of_all = _native_sigmask(_stdlib.SIG_BLOCK, ())
        try:
            if thread.signal_mask is not None:
                _native_sigmask(_stdlib.SIG_SETMASK, thread.signal_mask)
            before = _native_sigmask(how, mask)
            thread.signal_mask = _native_sigmask(_stdlib.SIG_BLOCK, ())
        finally:
            _native_sigmask(_stdlib.SIG_SETMASK, of_all)
        return before

    __implements__.append("pthread_sigmask")


if hasattr(_stdlib, "pthread_kill"):
    _native_pthread_kill = _stdlib.pthread_kill

    @_like(_native_pthread_kill)
    def pthread_kill(thread_id: int, signalnum: int, /) -> None:
        _native_pthread_kill(_native_ident(thread_id), signalnum)

    __implements__.append("pthread_kill")


if hasattr(_stdlib, "pause"):

    @_like(_stdlib.pause)
    def pause() -> None:
        hub = _get_hub()
        hub.refs += 1  # a signal can end this wait: it is no deadlock
        try:
            _handled.wait()
        finally:
            hub.refs -= 1

    __implements__.append("pause")


if _sys.platform == "linux":
    _native_sigtimedwait = _stdlib.sigtimedwait

    def _take(sigset: Any, seconds: float | None) -> Any:
        """Wait for a signal of *sigset*, and return what sigwaitinfo() returns.

        Return None if none is pending within *seconds*; if *seconds* is None, there is no limit.
        """
        deadline = None if seconds is None else _monotonic() + seconds
        numbers = set(sigset)
        blocked_here = numbers - _native_sigmask(_stdlib.SIG_BLOCK, numbers)
        try:
            fd = _open_signalfd(numbers)
            try:
                while (found := _native_sigtimedwait(numbers, 0)) is None:
                    left = None if deadline is None else max(deadline - _monotonic(), 0)
                    if not _wait_for(fd, 1, left):
                        return None
                return found
            finally:
                _close(fd)
        finally:
            _native_sigmask(_stdlib.SIG_UNBLOCK, blocked_here)

    @_like(_stdlib.sigwait)
    def sigwait(sigset: Any, /) -> Any:
        number = _take(sigset, None).si_signo
        try:
            return _stdlib.Signals(number)
        except ValueError:
            return number

    @_like(_stdlib.sigwaitinfo)
    def sigwaitinfo(sigset: Any, /) -> Any:
        return _take(sigset, None)

    @_like(_stdlib.sigtimedwait)
    def sigtimedwait(sigset: Any, timeout: float, /) -> Any:
        seconds = _in_range(timeout)
        if seconds < 0:
            raise ValueError("timeout must be non-negative")
        return _take(sigset, seconds)

    __implements__.extend(["sigtimedwait", "sigwait", "sigwaitinfo"])
