"""The primitives under the standard library's threads, as greenlets: what gevent.thread offers.

Patching puts them into ``_thread``; the classes of :mod:`threading` stay what they are.
"""

from __future__ import annotations

import _thread
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
from treadle._core.builtins import builtin, get_ident, report_ignored, report_thread
from treadle._core.greenlet import Greenlet, getcurrent
from treadle._core.hub import get_existing_hub
from treadle.event import Event

__target__ = "_thread"
__implements__ = [
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
    """The lock of the thread module; it may be released by somebody else than its holder."""

    __slots__ = ()


class EndLock(LockType):
    """What joins wait for until CPython 3.12; its thread holds it and releases it once, at its end.

    threading wants it to be free then, though the first of those who waited has it already.
    """

    is_over = False

    def locked(self) -> bool:
        """Whether the thread is still running."""
        return not self.is_over and super().locked()

    def release(self) -> None:
        """Let one more of those who wait go on."""
        self.is_over = True
        super().release()

    def _at_fork_reinit(self) -> None:
        self.is_over = False
        super()._at_fork_reinit()


class RLock(core_locks.RLock):
    """The re-entrant lock of the thread module."""

    __slots__ = ()


allocate = allocate_lock = lock = LockType


get_ident.__module__ = __name__


class ThreadGreenlet(Greenlet[None]):
    """A thread of the standard library, run as a greenlet."""

    sentinel: Any = None
    #: What :class:`threading.Thread` knows it by, from CPython 3.13 on.
    handle: Any = None
    #: The signals it blocks, once it has said which.
    signal_mask: Any = None


@builtin
def start_new_thread(
    function: Callable[..., object],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    /,
) -> int:
    """Run ``function(*args, **kwargs)`` in a new greenlet; returns its identifier.

    What it raises goes to :func:`sys.unraisablehook`, but for SystemExit.
    """
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    return id(ThreadGreenlet.spawn(_run, function, args, kwargs or {}))


start_new = start_new_thread

#: The greenlets that are in :func:`_run`.
_running: set[Any] = set()
#: Handles of threads that were not started here, as the main one's, from CPython 3.13 on.
_handles_by_ident: WeakSet[Any] = WeakSet()
#: Handles of the threads that the interpreter waits for at its exit, from CPython 3.13 on.
_awaited_at_exit: set[Any] = set()


@builtin
def _count() -> int:
    """How many threads the module started that have not ended, native ones included."""
    return _native_count() + len(_running)


#: The trace and the profile function of the system's thread when no greenlet is a thread.
_hooks_before: tuple[Any, Any] = (None, None)


def _run(function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    global _hooks_before
    current = getcurrent()
    if not _running:
        _hooks_before = sys.gettrace(), sys.getprofile()
    _running.add(current)
    try:
        function(*args, **kwargs)
    except SystemExit:
        pass
    except Exception as exc:
        report_thread(function, exc)
    finally:
        _running.discard(current)
        if not _running:
            # What threading.settrace() had each thread set is set in the system's thread.
            trace, profile = _hooks_before
            if sys.gettrace() is not trace:
                sys.settrace(trace)
            if sys.getprofile() is not profile:
                sys.setprofile(profile)
        sentinel = getattr(current, "sentinel", None)
        if sentinel is not None and sentinel.locked():
            sentinel.release()


def _forget_threads_in_child() -> None:
    """What fork() calls in the child: threads end by it, unless their greenlets are kept."""
    current, hub = getcurrent(), get_existing_hub()
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
    """The greenlets of threads but the calling one, each with its :class:`threading.Thread`."""
    active = getattr(sys.modules.get("threading"), "_active", {})
    others = _running - {getcurrent()}
    return {greenlet: active[id(greenlet)] for greenlet in others if id(greenlet) in active}


def go_on_in_child(threads: dict[Any, Any]) -> None:
    """Have :mod:`threading`, for which a fork ends all threads but the calling one, know these."""
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
        """A lock that is released when the calling thread ends."""
        current = getcurrent()
        if not isinstance(current, ThreadGreenlet):
            return _native_set_sentinel()  # type: ignore[no-any-return]
        current.sentinel = EndLock()
        return current.sentinel  # type: ignore[no-any-return]

    _native_set_sentinel = getattr(_thread, "_set_sentinel")  # noqa: B009
    __implements__ += ["_set_sentinel"]

else:

    class _ThreadHandle:
        """What :class:`threading.Thread` knows its thread by."""

        def __init__(self) -> None:
            self.ident: int | None = None
            self._greenlet: Any = None
            self._done = Event()

        def is_done(self) -> bool:
            """Whether the thread has ended."""
            return bool(self._done.is_set())

        def _set_done(self) -> None:
            self._check_started()
            self._done.set()

        def _check_started(self) -> None:
            if self.ident is None:
                raise RuntimeError("thread not started")

        def join(self, timeout: float | None = None) -> None:
            """Wait for its end, *timeout* seconds at most (None or negative: for ever)."""
            self._check_started()
            if self._greenlet is not None and self._greenlet is getcurrent():
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
        """Run ``function()`` in a new greenlet; returns the handle to join it by."""
        if not callable(function):
            raise TypeError("thread function must be callable")
        if handle is None:
            handle = _ThreadHandle()
        if handle.ident is not None:
            raise RuntimeError("thread already started")
        if not daemon:
            _awaited_at_exit.add(handle)
        handle._greenlet = ThreadGreenlet.spawn(_run_joinable, function, handle)
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

        What interrupts it is reported, and ends it: as the native function has it.
        """
        try:
            while _awaited_at_exit:
                handle = next(iter(_awaited_at_exit))
                if handle.ident is None:  # a signal came while it was started
                    _awaited_at_exit.discard(handle)
                else:
                    handle.join()
        except BaseException as exc:
            report_ignored(exc)
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
        """Name the system's thread, unless a greenlet asks, whose own it is not."""
        if not isinstance(getcurrent(), ThreadGreenlet):
            _native_set_name(name)

    _native_set_name = _thread.set_name
    __implements__ += ["set_name"]
