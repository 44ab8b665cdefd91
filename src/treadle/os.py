"""Cooperative versions of blocking functions of the os module, with the API of gevent.os."""

from __future__ import annotations

import errno as _errno
import fcntl as _fcntl
import os as _os
import stat as _stat
import typing as _typing
from collections.abc import Callable as _Callable
from contextlib import suppress as _suppress
from typing import Any

from treadle._core.builtins import builtin as _builtin
from treadle._core.clock import seconds as _monotonic
from treadle._core.crew import files as _files
from treadle._core.crew import waits as _waits
from treadle._core.descriptor import PIPE_BUF as _PIPE_BUF
from treadle._core.descriptor import await_ready as _await_ready
from treadle._core.descriptor import cancel_waits as _cancel_waits
from treadle._core.descriptor import wait_for as _wait_for
from treadle._core.importlock import import_lock as _import_lock
from treadle.fcntl import native_lockf as _lock_region
from treadle.fcntl import others_may_run as _others_may_run
from treadle.fcntl import wait_for_lock as _wait_for_lock
from treadle.greenlet import getcurrent as _getcurrent
from treadle.hub import get_hub
from treadle.hub import sleep as _sleep
from treadle.thread import go_on_in_child as _go_on_in_child
from treadle.thread import other_threads as _other_threads
from treadle.timeout import Timeout as _Timeout

if _typing.TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.os import *  # noqa: F403

__implements__: list[str] = [
    "close",
    "fork",
    "forkpty",
    "lockf",
    "read",
    "system",
    "wait",
    "wait3",
    "wait4",
    "waitid",
    "waitpid",
    "write",
]
__target__ = "os"
__extensions__: list[str] = [
    "fork_and_watch",
    "fork_gevent",
    "forkpty_and_watch",
    "forkpty_gevent",
    "make_nonblocking",
    "nb_read",
    "nb_write",
    "tp_read",
    "tp_write",
    "wait_for_child",
]
#: Names of the standard module. Those not defined in this module are the standard ones.
__imports__: list[str] = [name for name in dir(_os) if not name.startswith("__")]

globals().update({name: getattr(_os, name) for name in __imports__})
__all__ = [*getattr(_os, "__all__", []), *__extensions__]

_native_close = _os.close
_native_fork = _os.fork
_native_forkpty = _os.forkpty
_native_lockf = _os.lockf
_read = _os.read
_write = _os.write

_native_system = _os.system
_native_wait3 = _os.wait3
_native_wait4 = _os.wait4
_native_waitid = _os.waitid
_native_waitpid = _os.waitpid
_native_pidfd_open = getattr(_os, "pidfd_open", None)

_READ, _WRITE = 1, 2
#: Error numbers after which nb_read() and nb_write() try again.
ignored_errors: tuple[int, int] = (_errno.EAGAIN, _errno.EINTR)
#: Interval in seconds at which waitpid() checks whether a child's watcher was called.
_WATCH_INTERVAL = 0.001


@_builtin
def close(fd: int) -> None:
    """Close *fd* as :func:`os.close` does; greenlets that wait for it get an OSError (EBADF)."""
    if isinstance(fd, int):
        _cancel_waits(fd)
    _native_close(fd)


# fork() and forkpty() have no @_builtin: code written for gevent expects plain functions.


def fork(keep: bool = False) -> int:
    """Fork as :func:`os.fork` does; in the child only the calling greenlet goes on.

    If *keep* is true, all greenlets of the thread go on in the child, with their timers, locks and
    file descriptors. A wait for another thread, or for a child of the parent, never succeeds there.
    Like the native function, this waits until no other greenlet holds the import lock.
    """
    hub = get_hub()
    with _import_lock:
        before, hub.keeping_fork = hub.keeping_fork, _getcurrent() if keep else None
        threads = _other_threads() if keep else {}
        try:
            pid = _native_fork()
        finally:
            hub.keeping_fork = before
        if pid == 0:
            _go_on_in_child(threads)
        return pid


def forkpty() -> tuple[int, int]:
    """Fork as :func:`os.forkpty` does; in the child only the calling greenlet goes on."""
    with _import_lock:
        return _native_forkpty()


@_builtin
def lockf(fd: int, command: int, length: int, /) -> None:
    """Call :func:`os.lockf`; while another process has the lock, other greenlets run."""
    if command != _os.F_LOCK or not _others_may_run():
        return _native_lockf(fd, command, length)
    # From the position of now, which may be another one at a later attempt.
    start = _os.lseek(fd, 0, _os.SEEK_CUR)

    def attempt() -> None:
        _lock_region(fd, _fcntl.LOCK_EX | _fcntl.LOCK_NB, length, start)

    _wait_for_lock(fd, attempt)


@_builtin
def read(fd: int, length: int, /) -> bytes:
    """Read as :func:`os.read` does; other greenlets run while there is nothing to read."""
    if length:
        _await_ready(fd, _READ)
    return _read(fd, length)


@_builtin
def write(fd: int, data: Any, /) -> int:
    """Write as :func:`os.write` does; other greenlets run while *fd* is not writable."""
    if isinstance(data, bytes | bytearray | memoryview) and _would_need_room(fd, data):
        return _write_by_pages(fd, memoryview(data).cast("B"))
    _await_ready(fd, _WRITE)
    return _write(fd, data)


def _would_need_room(fd: int, data: Any) -> bool:
    """Return whether writing *data* may block although *fd* is writable.

    A pipe is writable as soon as one page is free.
    """
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    if size <= _PIPE_BUF or type(fd) is not int or fd < 0:
        return False
    return not _stat.S_ISREG(_os.fstat(fd).st_mode) and _os.get_blocking(fd)


def _write_by_pages(fd: int, data: memoryview) -> int:
    done = 0
    while done < len(data):
        _await_ready(fd, _WRITE)  # what this raises is no error of the call
        try:
            done += _write(fd, data[done : done + _PIPE_BUF])
        except OSError:
            if done:  # as the native call does after a partial write
                return done
            raise
    return done


#: gevent's names for its own versions; here they are :func:`fork` and :func:`forkpty`.
fork_gevent = fork
forkpty_gevent = forkpty


def fork_and_watch(
    callback: _Callable[[Any], object] | None = None,
    loop: Any = None,
    ref: bool = False,
    fork: _Callable[[], int] = fork,
) -> int:
    """Fork with *fork*; in the parent, call *callback* in the hub when the child has ended.

    The argument of *callback* is a child watcher with ``rpid`` and ``rstatus``. The watcher belongs
    to *loop*, by default the current hub's. It keeps the loop running if *ref* is true.
    :func:`waitpid` still returns the child's status once. Return what *fork* returns.
    """
    pid = fork()
    if pid and callback is not None:
        watcher = (get_hub().loop if loop is None else loop).child(pid, ref=ref)
        _watched[pid] = None
        watcher.start(_child_ended, watcher, callback)
    return pid


def forkpty_and_watch(
    callback: _Callable[[Any], object] | None = None,
    loop: Any = None,
    ref: bool = False,
    forkpty: _Callable[[], tuple[int, int]] = forkpty_gevent,
) -> tuple[int, int]:
    """Fork with *forkpty*, and call *callback* as :func:`fork_and_watch` does.

    Return what *forkpty* returns: the process id and the file descriptor of the terminal.
    """
    made = []

    def fork() -> int:
        made.append(forkpty())
        return made[0][0]

    fork_and_watch(callback, loop, ref, fork)
    return made[0]


#: Process id of a watched child -> its status for waitpid(), and when it ended; None until then.
_watched: dict[int, tuple[int, float] | None] = {}


def _child_ended(watcher: Any, callback: _Callable[[Any], object]) -> None:
    watcher.stop()
    _watched[watcher.pid] = watcher.rstatus, _monotonic()
    try:
        callback(watcher)
    finally:
        watcher.close()
        _reap_children()


def _reap_children(timeout: float = 60) -> None:
    """Discard the statuses of children that ended more than *timeout* seconds ago."""
    oldest = _monotonic() - timeout
    for pid, found in list(_watched.items()):
        if found is not None and found[1] <= oldest:
            del _watched[pid]


def make_nonblocking(fd: int) -> bool | None:
    """Make *fd* non-blocking; return True if it was blocking, else None."""
    flags = _fcntl.fcntl(fd, _fcntl.F_GETFL)
    if flags & _os.O_NONBLOCK:
        return None
    _fcntl.fcntl(fd, _fcntl.F_SETFL, flags | _os.O_NONBLOCK)
    return True


def nb_read(fd: int, n: int) -> bytes:
    """Read up to *n* bytes from a non-blocking *fd*; wait in the hub while there is no data."""
    while True:
        try:
            return _read(fd, n)
        except OSError as exc:
            if exc.errno not in ignored_errors:
                raise
        _wait_in_hub(fd, _READ)


def nb_write(fd: int, buf: Any) -> int:
    """Write *buf* to a non-blocking *fd*; wait in the hub until it takes some bytes.

    Return the number of bytes written.
    """
    while True:
        try:
            return _write(fd, buf)
        except OSError as exc:
            if exc.errno not in ignored_errors:
                raise
        _wait_in_hub(fd, _WRITE)


def _wait_in_hub(fd: int, event: int) -> None:
    hub = get_hub()
    watcher = hub.loop.io(fd, event)
    try:
        hub.wait(watcher)
    finally:
        watcher.close()


def tp_read(fd: int, n: int) -> bytes:
    """Read as :func:`os.read` does; other greenlets run, also while the disk is read."""
    get_hub()  # without one, read() would block
    return _in_thread(_read, fd, n) if _is_regular(fd) else read(fd, n)


def tp_write(fd: int, buf: Any) -> int:
    """Write as :func:`os.write` does; other greenlets run, also while the disk is written to."""
    get_hub()
    return _in_thread(_write, fd, buf) if _is_regular(fd) else write(fd, buf)


def _is_regular(fd: int) -> bool:
    return _stat.S_ISREG(_os.fstat(fd).st_mode)


class _Copy:
    """Another number for the open file of *fd*, for as long as this object lives.

    A call in a thread may go on after its greenlet has left. By then the greenlet's number may
    stand for another file.
    """

    fd: int = -1

    def __init__(self, fd: int) -> None:
        self.fd = _os.dup(fd)

    def __del__(self) -> None:
        if self.fd >= 0:
            _native_close(self.fd)


def _in_thread(call: _Callable[[int, Any], Any], fd: int, argument: Any) -> Any:
    copy = _Copy(fd)
    return _files.apply(lambda: call(copy.fd, argument))


# -- children


def wait_for_child(pid: int, timeout: float | None = None) -> bool:
    """Wait until the child *pid* has ended, without reaping it.

    Return False after *timeout* seconds, else True. Return True at once if *pid* has been reaped
    already or is no child of this process.
    """
    return _until_changed(_os.P_PID, pid, _os.WEXITED, timeout)


def _until_changed(kind: int, number: int, events: int, timeout: float | None = None) -> bool:
    if kind == _os.P_PID and events == _os.WEXITED and _native_pidfd_open is not None:
        try:
            pidfd = _native_pidfd_open(number)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # an old kernel, or a sandbox
        else:
            try:
                return _wait_for(pidfd, _READ, timeout)
            finally:
                _native_close(pidfd)
    # In a thread, without reaping: if the caller gives up waiting, the status must not be lost.
    with _Timeout(timeout, False):
        _waits.apply(_await_change, (kind, number, events | _os.WNOWAIT))
        return True
    return False


def _await_change(kind: int, number: int, events: int) -> None:
    with _suppress(ChildProcessError):
        _native_waitid(kind, number, events)


def _events(options: int) -> int:
    events = _os.WEXITED
    if options & _os.WUNTRACED:
        events |= _os.WSTOPPED
    if options & _os.WCONTINUED:
        events |= _os.WCONTINUED
    return events


def _whose(pid: int) -> tuple[int, int]:
    """Return the arguments of waitid() for the children that *pid* means to waitpid()."""
    if pid > 0:
        return _os.P_PID, pid
    if pid == -1:
        return _os.P_ALL, 0
    return _os.P_PGID, -pid or _os.getpgrp()


def _reap(call: Any, pid: int, options: int) -> Any:
    while True:
        found = call(options | _os.WNOHANG)
        if found[0] or options & _os.WNOHANG:
            return found
        _until_changed(*_whose(pid), _events(options))


@_builtin
def waitpid(pid: int, options: int, /) -> tuple[int, int]:
    """Wait as :func:`os.waitpid` does; other greenlets run meanwhile."""
    while pid in _watched:
        found = _watched[pid]
        if found is not None:
            del _watched[pid]
            return pid, found[0]
        if options & _os.WNOHANG:
            return 0, 0
        _sleep(_WATCH_INTERVAL)  # rare: the watcher is called soon, or the child still runs
        wait_for_child(pid)
    return _reap(lambda how: _native_waitpid(pid, how), pid, options)  # type: ignore[no-any-return]


@_builtin
def wait() -> tuple[int, int]:
    """Wait as :func:`os.wait` does; other greenlets run meanwhile."""
    return waitpid(-1, 0)


@_builtin
def wait3(options: int) -> tuple[int, int, Any]:
    """Wait as :func:`os.wait3` does; other greenlets run meanwhile."""
    return _reap(_native_wait3, -1, options)  # type: ignore[no-any-return]


@_builtin
def wait4(pid: int, options: int) -> tuple[int, int, Any]:
    """Wait as :func:`os.wait4` does; other greenlets run meanwhile."""
    return _reap(lambda how: _native_wait4(pid, how), pid, options)  # type: ignore[no-any-return]


@_builtin
def waitid(idtype: int, id: int, options: int, /) -> Any:
    """Wait as :func:`os.waitid` does; other greenlets run meanwhile."""
    while True:
        found = _native_waitid(idtype, id, options | _os.WNOHANG)
        if found is not None or options & _os.WNOHANG:
            return found
        _until_changed(idtype, id, options & ~(_os.WNOHANG | _os.WNOWAIT))


@_builtin
def system(command: Any) -> int:
    """Call :func:`os.system` in a worker thread; other greenlets run meanwhile."""
    return _waits.apply(_native_system, (command,))
