"""The cooperative functions of the standard library's fcntl module: file locks."""

from __future__ import annotations

import fcntl as _fcntl
from collections.abc import Callable as _Callable
from typing import Any

from treadle._core.builtins import builtin as _builtin
from treadle._core.crew import waits as _waits
from treadle._core.hub import get_existing_hub as _get_existing_hub
from treadle.greenlet import getcurrent as _getcurrent

__implements__: list[str] = ["flock", "lockf"]
__target__ = "fcntl"
__all__ = [*__implements__]

_native_flock = _fcntl.flock
_native_lockf = _fcntl.lockf


@_builtin
def flock(fd: Any, operation: int, /) -> None:
    """:func:`fcntl.flock`; while the file is locked, a native thread waits for the lock."""
    _lock(_native_flock, fd, operation)


@_builtin
def lockf(fd: Any, cmd: int, len: int = 0, start: int = 0, whence: int = 0, /) -> None:
    """:func:`fcntl.lockf`; while the file is locked, a native thread waits for the lock."""
    _lock(_native_lockf, fd, cmd, len, start, whence)


def _lock(call: _Callable[..., None], fd: Any, operation: int, *place: int) -> None:
    hub = _get_existing_hub()
    waits = isinstance(operation, int) and not operation & (_fcntl.LOCK_NB | _fcntl.LOCK_UN)
    if not waits or hub is None or hub is _getcurrent():
        return call(fd, operation, *place)
    try:
        return call(fd, operation | _fcntl.LOCK_NB, *place)
    except (BlockingIOError, PermissionError):  # POSIX allows either error for lockf()
        pass
    # Set once, by what comes first: the thread has the lock, or the greenlet was interrupted. If
    # both happen, the second one to set it releases the lock.
    end: dict[str, str] = {}

    def wait() -> None:
        call(fd, operation, *place)
        if end.setdefault("is", "locked") != "locked":
            call(fd, _fcntl.LOCK_UN, *place)

    try:
        return _waits.apply(wait)
    except BaseException:
        if end.setdefault("is", "given up") != "given up":
            call(fd, _fcntl.LOCK_UN, *place)
        raise
