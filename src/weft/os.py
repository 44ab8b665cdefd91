"""The cooperative part of the standard library's os module: what gevent.os offers."""

from __future__ import annotations

import fcntl as _fcntl
import os as _os
from typing import Any

from weft._core.descriptor import cancel_waits as _cancel_waits
from weft._core.descriptor import wait_for as _wait_for
from weft.hub import get_hub as _get_hub

__implements__ = ["close", "fork"]
__target__ = "os"
__all__ = ["close", "fork", "make_nonblocking", "nb_read", "nb_write", "tp_read", "tp_write"]

_native_close = _os.close
_native_fork = _os.fork
_native_read = _os.read
_native_write = _os.write

_READ, _WRITE = 1, 2


def close(fd: int) -> None:
    """:func:`os.close`; whoever waits for *fd* gets an OSError (EBADF)."""
    if isinstance(fd, int):
        _cancel_waits(fd)
    _native_close(fd)


def fork(keep: bool = False) -> int:
    """:func:`os.fork`; only the calling greenlet goes on in the child, all of them with *keep*."""
    hub = _get_hub()
    before, hub.keeps_greenlets = hub.keeps_greenlets, hub.keeps_greenlets or keep
    try:
        return _native_fork()
    finally:
        hub.keeps_greenlets = before


def make_nonblocking(fd: int) -> bool | None:
    """Make *fd* non-blocking; True if it was not before."""
    flags = _fcntl.fcntl(fd, _fcntl.F_GETFL)
    if flags & _os.O_NONBLOCK:
        return None
    _fcntl.fcntl(fd, _fcntl.F_SETFL, flags | _os.O_NONBLOCK)
    return True


def nb_read(fd: int, n: int) -> bytes:
    """:func:`os.read` of a non-blocking descriptor, waiting in the hub while there is nothing."""
    while True:
        try:
            return _native_read(fd, n)
        except BlockingIOError:
            _wait_for(fd, _READ)


def nb_write(fd: int, buf: Any) -> int:
    """:func:`os.write` of a non-blocking descriptor, waiting in the hub while it is full."""
    while True:
        try:
            return _native_write(fd, buf)
        except BlockingIOError:
            _wait_for(fd, _WRITE)


def tp_read(fd: int, n: int) -> bytes:
    """:func:`os.read` in a worker thread, for descriptors that block."""
    return _get_hub().threadpool.apply(_native_read, (fd, n))  # type: ignore[no-any-return]


def tp_write(fd: int, buf: Any) -> int:
    """:func:`os.write` in a worker thread, for descriptors that block."""
    return _get_hub().threadpool.apply(_native_write, (fd, buf))  # type: ignore[no-any-return]
