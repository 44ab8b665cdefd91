"""Greenlet versions of the standard library's thread primitives, with the API of gevent.thread.

Patching puts them into ``_thread``. The classes of :mod:`threading` stay and use them.
"""

from __future__ import annotations

import _thread
import errno
import math
import os
import sys
from _thread import (
    TIMEOUT_MAX,
    error,
    exit,
    exit_thread,
    get_native_id,
    interrupt_main,
    stack_size,
)
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from treadle._core import locks as core_locks
from treadle._core import native
from treadle._core.builtins import (
    builtin,
    caller,
    get_ident,
    report_shutdown,
    report_thread,
)
from treadle._core.clock import in_range
from treadle._core.greenlet import Greenlet as Greenlet  # gevent.thread has it too
from treadle._core.greenlet import ThreadStart, getcurrent
from treadle._core.hub import get_existing_hub
from treadle._core.thread_hub import native_thread_of
from treadle.event import Event

__target__ = "_thread"
__implements__: list[str] = [
    "LockType",
    "RLock",
    "_count",
    "allocate",
    "allocate_lock",
    "get_ident",
    "start_new",
    "start_new_thread",
]
__all__ = [
    "TIMEOUT_MAX",
    "LockType",
    "RLock",
    "allocate_lock",
    "error",
    "exit",
    "exit_thread",
    "get_ident",
    "get_native_id",
    "interrupt_main",
    "stack_size",
    "start_new_thread",
]

_native_count = _thread._count


class LockType(core_locks.Lock):
    """The lock of the thread module; any greenlet may release it, not only its holder."""

    __slots__ = ()


class EndLock(LockType):
    """The lock that joins wait for, up to CPython 3.12.

    Its thread holds it, and releases it once, at its end. From then on :meth:`locked` is False, as
    :mod:`threading` requires, although the first waiter may already have acquired it.
    """

    is_over: bool = False

    def locked(self) -> bool:
        """Return whether the thread is still running."""
        return not self.is_over and super().locked()

    def release(self) -> None:
        """Mark the thread as ended, and wake one waiter."""
        self.is_over: bool = True
        super().release()

    def _at_fork_reinit(self) -> None:
        self.is_over = False
        super()._at_fork_reinit()


class RLock(core_locks.RLock):
    """The re-entrant lock of the thread module."""

    __slots__ = ()


allocate = allocate_lock = lock = LockType


get_ident.__module__ = __name__


class ThreadGreenlet(ThreadStart):
    """A greenlet that runs a thread of the standard library."""

    sentinel: Any = None
    #: The handle that :class:`threading.Thread` holds, from CPython 3.13 on.
    handle: Any = None
    #: The signals it blocks; None before its first ``pthread_sigmask()``.
    signal_mask: Any = None


#: The thread that a fork has made the main thread of this process, if it is a greenlet.
_main_thread: Any = None


def current_thread_greenlet() -> ThreadGreenlet | None:
    """Return the calling thread's greenlet; None if it has none or is the main thread.

    The caller may be a greenlet of the greenlet library that the thread runs.
    """
    greenlet: Any = caller()
    while greenlet is not None and not isinstance(greenlet, ThreadGreenlet):
        greenlet = greenlet.parent
    return None if greenlet is _main_thread else greenlet


def native_ident(ident: Any) -> Any:
    """Return the number of the native thread in which the thread *ident*, a greenlet or not, runs.

    Raises ProcessLookupError if there is none: the system takes any number for the address of a
    thread, and crashes or hangs at a wrong one.
    """
    if not isinstance(ident, int):
        return ident
    if ident == get_ident():
        return native.get_ident()
    found = native_thread_of(ident)
    if found is None and ident in sys._current_frames():
        found = ident
    if found is None:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return found


def _spawn(*call: Any) -> ThreadGreenlet:
    thread: ThreadGreenlet = ThreadGreenlet.spawn(*call)
    thread.signal_mask = getattr(caller(), "signal_mask", None)  # a thread inherits its mask
    return thread


@builtin
def start_new_thread(
    function: Callable[..., object],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    /,
) -> int:
    """Run ``function(*args, **kwargs)`` in a new greenlet; return its identifier.

    SystemExit is ignored, and an :class:`Exception` goes to :func:`sys.unraisablehook`.
    """
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    return id(_spawn(_run, function, args, kwargs or {}))


start_new = start_new_thread

#: The greenlets that run :func:`_run`.
_running: set[Any] = set()
#: Handles of threads not started here, such as the main thread, from CPython 3.13 on.
_handles_by_ident: WeakSet[Any] = WeakSet()
#: Handles of the threads that the interpreter joins at its exit, from CPython 3.13 on.
_awaited_at_exit: set[Any] = set()


@builtin
def _count() -> int:
    """Return the number of running threads that this module or ``_thread`` started."""
    return _native_count() + len(_running)


def _run(function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    current = getcurrent()
    _running.add(current)
    try:
        function(*args, **kwargs)
    except SystemExit:
        pass
    except Exception as exc:
        report_thread(function, exc)
    finally:
        _running.discard(current)
        sentinel = getattr(current, "sentinel", None)
        if sentinel is not None and sentinel.locked():
            sentinel.release()


def _forget_threads_in_child() -> None:
    """Mark all other threads as ended in a forked child, unless it keeps their greenlets."""
    global _main_thread
    current, hub = caller(), get_existing_hub()
    _main_thread = current_thread_greenlet() or _main_thread
    if hub is not None and hub.keeping_fork is current:
        return
    for greenlet in _running - {current}:
        _running.discard(greenlet)
        if greenlet.handle is not None:
            _awaited_at_exit.discard(greenlet.handle)
            greenlet.handle._set_done()
    for handle in _handles_by_ident:
        if handle.ident != get_ident():
            handle._set_done()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads_in_child)


def other_threads() -> dict[Any, Any]:
    """Return the greenlets of all threads but the caller, with their :class:`threading.Thread`."""
    active = getattr(sys.modules.get("threading"), "_active", {})
    others = _running - {getcurrent()}
    return {greenlet: active[id(greenlet)] for greenlet in others if id(greenlet) in active}


def go_on_in_child(threads: dict[Any, Any]) -> None:
    """Make *threads* alive again for :mod:`threading` in a forked child that keeps its greenlets.

    By itself, :mod:`threading` regards all threads but the caller as ended by a fork.
    """
    threading: Any = sys.modules.get("threading")
    for greenlet, thread in threads.items():
        threading._active[id(greenlet)] = thread
        if sys.version_info < (3, 13):
            thread._is_stopped = False
            thread._tstate_lock = greenlet.sentinel
            if not thread.daemon:
                threading._shutdown_locks.add(greenlet.sentinel)


if sys.version_info < (3, 13):

    @builtin
    def _set_sentinel() -> LockType:
        """Return a lock that is released when the calling thread ends."""
        current = getcurrent()
        if not isinstance(current, ThreadGreenlet):
            return _native_set_sentinel()  # type: ignore[no-any-return]
        current.sentinel = EndLock()
        return current.sentinel  # type: ignore[no-any-return]

    _native_set_sentinel = getattr(_thread, "_set_sentinel")  # noqa: B009
    __implements__ += ["_set_sentinel"]

else:

    class _ThreadHandle:
        """The handle of a thread, which :class:`threading.Thread` holds."""

        def __init__(self) -> None:
            self.ident: int | None = None
            self._greenlet: Any = None
            self._done = Event()

        def is_done(self) -> bool:
            """Return whether the thread has ended."""
            return bool(self._done.is_set())

        def _set_done(self) -> None:
            self._check_started()
            self._done.set()

        def _check_started(self) -> None:
            if self.ident is None:
                raise RuntimeError("thread not started")

        def join(self, timeout: float | None = None) -> None:
            """Wait until the thread has ended, or for *timeout* seconds.

            If *timeout* is None or negative, there is no limit. Raise RuntimeError if the thread is
            not started or is the caller.
            """
            self._check_started()
            if timeout is not None:
                timeout = in_range(timeout)
                if math.isnan(timeout):
                    raise ValueError("Invalid value NaN (not a number)")
            if self.ident == get_ident() and not self.is_done():
                raise RuntimeError("Cannot join current thread")
            self._done.wait(None if timeout is None or timeout < 0 else timeout)

        def __repr__(self) -> str:
            return f"<_ThreadHandle object: ident={self.ident}>"

    @builtin
    def _make_thread_handle(ident: int) -> _ThreadHandle:
        handle = _ThreadHandle()
        handle.ident = ident
        _handles_by_ident.add(handle)
        return handle

    @builtin
    def start_joinable_thread(
        function: Callable[[], object], handle: _ThreadHandle | None = None, daemon: bool = True
    ) -> _ThreadHandle:
        """Run ``function()`` in a new greenlet; return the handle to join it."""
        if not callable(function):
            raise TypeError("thread function must be callable")
        if handle is None:
            handle = _ThreadHandle()
        if handle.ident is not None:
            raise RuntimeError("thread already started")
        if not daemon:
            _awaited_at_exit.add(handle)
        handle._greenlet = _spawn(_run_joinable, function, handle)
        handle._greenlet.handle = handle
        handle.ident = id(handle._greenlet)
        return handle

    _start_joinable_thread = start_joinable_thread

    def _run_joinable(function: Callable[[], object], handle: _ThreadHandle) -> None:
        try:
            _run(function, (), {})
        finally:
            _awaited_at_exit.discard(handle)
            handle._greenlet = None
            handle._set_done()

    @builtin
    def _shutdown() -> None:
        """Wait for all threads that are not daemons, then for the native ones.

        As in the native function, an exception such as KeyboardInterrupt ends the wait. It is
        reported here; since CPython 3.15 the interpreter does that.
        """
        try:
            while _awaited_at_exit:
                handle = next(iter(_awaited_at_exit))
                if handle.ident is None:  # a signal interrupted its start
                    _awaited_at_exit.discard(handle)
                else:
                    handle.join()
        except BaseException as exc:
            if sys.version_info >= (3, 15):
                raise
            report_shutdown(exc)
        else:
            _native_shutdown()

    _native_shutdown = _thread._shutdown  # type: ignore[attr-defined]
    __implements__ += [
        "_ThreadHandle",
        "_make_thread_handle",
        "_shutdown",
        "_start_joinable_thread",
        "lock",
        "start_joinable_thread",
    ]

if hasattr(_thread, "set_name"):  # since CPython 3.14

    @builtin
    def set_name(name: str, /) -> None:
        """Set the native thread's name; do nothing if the caller is a thread that is a greenlet."""
        if not isinstance(getcurrent(), ThreadGreenlet):
            _native_set_name(name)

    _native_set_name = _thread.set_name
    __implements__.append("set_name")
