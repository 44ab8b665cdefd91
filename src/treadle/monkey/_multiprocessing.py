"""Cooperative primitives for multiprocessing: its semaphores and the pipes of its connections."""

from __future__ import annotations

import os as _os
from _multiprocessing import SemLock as _NativeSemLock  # type: ignore[import-not-found]
from collections.abc import Callable
from contextlib import suppress as _suppress
from functools import wraps as _wraps
from select import PIPE_BUF as _PIPE_BUF
from typing import Any
from weakref import WeakSet as _WeakSet

from treadle._core.descriptor import await_ready as _await_ready
from treadle._core.native import allocate_lock as _native_lock
from treadle._core.native import start_new_thread as _start_native_thread
from treadle._core.sockets import hand_over as _hand_over
from treadle.event import Event as _Event
from treadle.hub import get_hub as _get_hub
from treadle.lock import Semaphore as _Semaphore
from treadle.os import close as _close
from treadle.thread import get_ident as _get_ident

__target__ = "_multiprocessing"
__implements__ = ["SemLock"]

_READ, _WRITE = 1, 2
_RECURSIVE_MUTEX, _SEMAPHORE = 0, 1  # the values in multiprocessing.synchronize

_native_read = _os.read
_native_write = _os.write


class _Request:
    """One greenlet's request that a native thread acquire the semaphore within a timeout."""

    __slots__ = ("answered", "granted", "withdrawn")

    def __init__(self) -> None:
        self.answered = _Event()
        self.granted = False
        self.withdrawn = False


class SemLock:
    """A cooperative ``_multiprocessing.SemLock``: a named POSIX semaphore owned by a greenlet.

    A POSIX semaphore has no file descriptor to poll, so native threads wait instead of greenlets.
    Each greenlet that waits with a timeout has its own thread. All greenlets that wait on the same
    object without a timeout share one. If a greenlet is killed while it waits, the thread still
    acquires the semaphore, and releases it. In between, a non-blocking acquire may fail.
    """

    SEM_VALUE_MAX = _NativeSemLock.SEM_VALUE_MAX

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool) -> None:
        if kind not in (_RECURSIVE_MUTEX, _SEMAPHORE):
            raise ValueError("unrecognized kind")
        # Always a plain native semaphore: a native mutex would belong to the whole thread.
        self._adopt(_NativeSemLock(_SEMAPHORE, value, maxvalue, name, unlink), kind)

    @classmethod
    def _rebuild(cls, handle: int, kind: int, maxvalue: int, name: str | None) -> SemLock:
        self = cls.__new__(cls)
        native = _NativeSemLock._rebuild(handle, _SEMAPHORE, maxvalue, name)
        self._adopt(native, kind)
        return self

    def _adopt(self, native: Any, kind: int) -> None:
        self._native = native
        self.kind = kind
        self.handle: int = native.handle
        self.maxvalue: int = native.maxvalue
        self.name: str | None = native.name
        self._get_value = native._get_value
        self._is_zero = native._is_zero
        self._after_fork()

    def _after_fork(self) -> None:
        self._owner = 0
        self._held = 0
        self.forget_who_waits()
        _all.add(self)

    def forget_who_waits(self) -> None:
        """Begin with nobody who waits: a forked child has none of its parent's waiters."""
        self._guard = _native_lock()  # for the three below; never held across a switch
        self._wanted = 0  # waiting greenlets; `_handed` holds the permits fetched for them
        self._fetching = False
        self._handed = _Semaphore(0)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire the semaphore; may switch to other greenlets.

        Return False if it is not free and *block* is false, or not within *timeout* seconds.
        """
        if self.kind == _RECURSIVE_MUTEX and self._is_mine():
            self._held += 1
            return True
        if not self._native.acquire(False):
            if not block or (timeout is not None and timeout <= 0):
                return False
            if not self._wait(timeout):
                return False
        self._owner = _get_ident()
        self._held += 1
        return True

    def release(self) -> None:
        """Release the semaphore.

        As the native class does, raise AssertionError if the caller does not own a recursive lock,
        and ValueError if a semaphore is released too many times.
        """
        if self.kind == _RECURSIVE_MUTEX:
            if not self._is_mine():
                raise AssertionError("attempt to release recursive lock not owned by thread")
            if self._held > 1:
                self._held -= 1
                return
        # Decrement first: the next owner may run as soon as the semaphore is free.
        self._held -= 1
        try:
            self._native.release()
        except BaseException:
            self._held += 1
            raise

    def _wait(self, timeout: float | None) -> bool:
        hub = _get_hub()
        hub.refs += 1  # another process can release it: this wait is no deadlock
        try:
            return self._wait_for_ever() if timeout is None else self._wait_for(timeout)
        finally:
            hub.refs -= 1

    def _wait_for(self, timeout: float) -> bool:
        # The timeout belongs to the native call, so that a permit is never acquired and released
        # again after a timeout. multiprocessing's Condition relies on that.
        request = _Request()
        _start_native_thread(self._take, (request, timeout))
        try:
            request.answered.wait()
        except BaseException:
            with self._guard:
                request.withdrawn = True
                if request.granted:
                    self._native.release()
            raise
        return request.granted

    def _take(self, request: _Request, timeout: float) -> None:
        """Acquire the semaphore for *request*, within *timeout* seconds, in a native thread."""
        granted = self._native.acquire(True, timeout)
        with self._guard:
            if granted and request.withdrawn:
                self._native.release()
            request.granted = granted
        request.answered.set()

    def _wait_for_ever(self) -> bool:
        with self._guard:
            self._wanted += 1
            start = not self._fetching
            self._fetching = True
        try:
            if start:
                self._start_fetching()
            return self._handed.acquire()
        except BaseException:
            self._give_up()
            raise

    def _start_fetching(self) -> None:
        try:
            _start_native_thread(self._fetch, ())
        except BaseException:
            with self._guard:
                self._fetching = False  # the next one that waits tries again
            raise

    def _give_up(self) -> None:
        with self._guard:
            if self._wanted:
                self._wanted -= 1
            elif self._handed.acquire(blocking=False):
                self._native.release()

    def _fetch(self) -> None:
        """Acquire the semaphore once per waiting greenlet, in a native thread."""
        while True:
            self._native.acquire(True)
            with self._guard:
                if self._wanted:
                    self._wanted -= 1
                    self._handed.release()
                else:
                    self._native.release()
                if not self._wanted:
                    self._fetching = False
                    return

    def _count(self) -> int:
        return self._held

    def _is_mine(self) -> bool:
        return self._held > 0 and self._owner == _get_ident()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *args: object) -> None:
        self.release()


#: All semaphores of the process.
_all: _WeakSet[SemLock] = _WeakSet()


def _forget_in_child() -> None:
    for semaphore in _all:
        semaphore.forget_who_waits()


_os.register_at_fork(after_in_child=_forget_in_child)


def _read(fd: int, size: int) -> bytes:
    """Wait until *fd* is readable, then call :func:`os.read`; may switch to other greenlets."""
    while True:
        _await_ready(fd, _READ)
        with _suppress(BlockingIOError):
            return _native_read(fd, size)


def _write(fd: int, data: Any) -> int:
    """Wait until *fd* is writable, then write at most PIPE_BUF bytes, which cannot block."""
    while True:
        _await_ready(fd, _WRITE)
        with _suppress(BlockingIOError):
            return _native_write(fd, data[:_PIPE_BUF])


def make_cooperative(connection: Any) -> None:
    """Make multiprocessing's class *connection* wait cooperatively before it reads or writes.

    Its file descriptors are made blocking, even those that a cooperative socket made non-blocking:
    the process at the other end, or one that inherits this end, may not be patched.
    """
    initialise = connection.__init__

    def __init__(self: Any, handle: Any, *args: Any, **kwargs: Any) -> None:
        initialise(self, handle, *args, **kwargs)
        with _suppress(OSError):  # an invalid descriptor fails when it is used, as without patching
            _os.set_blocking(self._handle, True)

    connection.__init__ = __init__
    connection._close.__defaults__ = (_close,)
    connection._send.__defaults__ = (_write,)
    connection._recv.__defaults__ = (_read,)


def handing_over(duplicate: Callable[[int], Any]) -> Callable[[int], Any]:
    """Return multiprocessing's function *duplicate*, preceded by handing a socket over.

    The process that gets the descriptor of a pickled socket expects it to block if there is no
    timeout, as it would in the standard library.
    """

    @_wraps(duplicate)
    def DupFd(fd: int) -> Any:
        _hand_over(fd)
        return duplicate(fd)

    return DupFd
