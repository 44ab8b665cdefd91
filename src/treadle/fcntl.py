"""The cooperative functions of the standard library's fcntl module: file locks.

While another process has the lock, a greenlet asks for it again and again. A native thread that
waits in the system's call could not be stopped: given up by its greenlet, it would get the lock
later, and its release would take the lock from whoever holds it by then.
"""

from __future__ import annotations

import errno as _errno
import fcntl as _fcntl
import os as _os
from collections.abc import Callable as _Callable
from typing import Any

from treadle._core.builtins import builtin as _builtin
from treadle._core.descriptor import closed_error as _closed_error
from treadle._core.hub import get_existing_hub as _get_existing_hub
from treadle._core.sleep import sleep as _sleep
from treadle._core.sockets import hand_over as _hand_over
from treadle.greenlet import getcurrent as _getcurrent

__implements__: list[str] = ["fcntl", "flock", "lockf"]
__target__ = "fcntl"
__all__ = [*__implements__]

_native_fcntl = _fcntl.fcntl
_native_flock = _fcntl.flock
#: The standard function; :func:`os.lockf` is built on it too.
native_lockf: _Callable[..., None] = _fcntl.lockf

#: Seconds between two attempts to get a lock: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05
#: The commands of fcntl() that wait -> those that fail instead.
_AT_ONCE = {
    getattr(_fcntl, f"{name}W"): getattr(_fcntl, name)
    for name in ("F_SETLK", "F_OFD_SETLK")
    if hasattr(_fcntl, f"{name}W")
}


@_builtin
def flock(fd: Any, operation: int, /) -> None:
    """:func:`fcntl.flock`; while the file is locked, other greenlets run."""
    if _may_wait(operation):
        wait_for_lock(fd, lambda: _native_flock(fd, operation | _fcntl.LOCK_NB))
    else:
        _native_flock(fd, operation)


@_builtin
def lockf(fd: Any, cmd: int, len: int = 0, start: int = 0, whence: int = 0, /) -> None:
    """:func:`fcntl.lockf`; while the file is locked, other greenlets run."""
    if _may_wait(cmd):
        wait_for_lock(fd, lambda: native_lockf(fd, cmd | _fcntl.LOCK_NB, len, start, whence))
    else:
        native_lockf(fd, cmd, len, start, whence)


@_builtin
def fcntl(fd: Any, cmd: int, arg: Any = 0, /) -> Any:
    """:func:`fcntl.fcntl`; commands that wait for a lock let other greenlets run.

    A socket that a command lets children inherit is handed over to them, as by :func:`os.dup2`.
    """
    at_once = _AT_ONCE.get(cmd) if isinstance(cmd, int) else None
    if at_once is None or not others_may_run():
        done = _native_fcntl(fd, cmd, arg)
        if cmd == _fcntl.F_DUPFD or (cmd == _fcntl.F_SETFD and not arg & _fcntl.FD_CLOEXEC):
            _hand_over(fd if isinstance(fd, int) else fd.fileno())
        return done
    return wait_for_lock(fd, lambda: _native_fcntl(fd, at_once, arg))


def _may_wait(operation: Any) -> bool:
    return (
        isinstance(operation, int)
        and not operation & (_fcntl.LOCK_NB | _fcntl.LOCK_UN)
        and others_may_run()
    )


def others_may_run() -> bool:
    """Return whether the caller may switch to other greenlets: there is a hub, and it is not it."""
    hub = _get_existing_hub()
    return hub is not None and hub is not _getcurrent()


def wait_for_lock(fd: Any, try_lock: _Callable[[], Any]) -> Any:
    """Call *try_lock* until it gets the lock, as long as *fd* stands for the same file.

    Raises OSError (EBADF) if it does not.
    """
    try:
        return try_lock()
    except OSError as exc:
        if exc.errno not in _LOCKED:
            raise
    # Not by a copy of the descriptor: closing that would release what lockf() has locked.
    before = _identity(fd)

    def try_again() -> Any:
        if _identity(fd) != before:
            raise _closed_error()
        return try_lock()

    return until_free(try_again)


#: POSIX allows either error for a region that another process has locked.
_LOCKED = (_errno.EAGAIN, _errno.EACCES)


def _identity(fd: Any) -> tuple[int, int]:
    status = _os.fstat(fd if isinstance(fd, int) else fd.fileno())
    return status.st_dev, status.st_ino


def until_free(attempt: _Callable[[], Any], taken: tuple[int, ...] = _LOCKED) -> Any:
    """Call *attempt*, with pauses, until it does not raise an OSError with a number in *taken*."""
    pause = _FIRST_PAUSE
    while True:
        _sleep(pause)
        try:
            return attempt()
        except OSError as exc:
            if exc.errno not in taken:
                raise
        pause = min(2 * pause, _LONGEST_PAUSE)
