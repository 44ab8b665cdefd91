"""Cooperative versions of blocking functions of the os module, with the API of gevent.os."""

from __future__ import annotations

import errno as _errno
import fcntl as _fcntl
import os as _os
import stat as _stat
import sys as _sys
import typing as _typing
from collections.abc import Callable as _Callable
from collections.abc import Sequence as _Sequence
from contextlib import suppress as _suppress
from functools import partial as _partial
from functools import wraps as _wraps
from operator import index as _index
from typing import Any

from treadle._core.builtins import builtin as _builtin
from treadle._core.clock import seconds as _monotonic
from treadle._core.crew import files as _files
from treadle._core.crew import get_from_thread as _get_from_thread
from treadle._core.crew import waits as _waits
from treadle._core.descriptor import PIPE_BUF as _PIPE_BUF
from treadle._core.descriptor import await_ready as _await_ready
from treadle._core.descriptor import cancel_all_waits as _cancel_all_waits
from treadle._core.descriptor import cancel_waits as _cancel_waits
from treadle._core.descriptor import cancel_waits_between as _cancel_waits_between
from treadle._core.descriptor import had_writer as _had_writer
from treadle._core.descriptor import takes_parts as _takes_parts
from treadle._core.descriptor import used_descriptors as _used_descriptors
from treadle._core.descriptor import wait_for as _wait_for
from treadle._core.descriptor import waits as _shall_wait
from treadle._core.descriptor import yield_number as _yield_number
from treadle._core.event import AsyncResult as _AsyncResult
from treadle._core.hub import get_existing_hub as _get_existing_hub
from treadle._core.importlock import import_lock as _import_lock
from treadle._core.sockets import hand_over as _hand_over
from treadle.fcntl import native_lockf as _lock_region
from treadle.fcntl import others_may_run as _others_may_run
from treadle.fcntl import until_free as _until_free
from treadle.fcntl import wait_for_lock as _wait_for_lock
from treadle.greenlet import getcurrent as _getcurrent
from treadle.hub import get_hub
from treadle.hub import sleep as _sleep
from treadle.thread import go_on_in_child as _go_on_in_child
from treadle.thread import other_threads as _other_threads
from treadle.timeout import Timeout as _Timeout

_T = _typing.TypeVar("_T")

if _typing.TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.os import *  # noqa: F403

__implements__: list[str] = [
    "close",
    "closerange",
    "dup2",
    "fork",
    "forkpty",
    "lockf",
    "open",
    "read",
    "readv",
    "set_inheritable",
    "system",
    "wait",
    "wait3",
    "wait4",
    "waitid",
    "waitpid",
    "write",
    "writev",
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
_native_closerange = _os.closerange
_native_dup2 = _os.dup2
_native_fork = _os.fork
_native_forkpty = _os.forkpty
_native_lockf = _os.lockf
_native_open = _os.open
_native_readv = _os.readv
_native_set_inheritable = _os.set_inheritable
_native_writev = _os.writev
_read = _os.read
_write = _os.write

_native_system = _os.system
_native_wait3 = _os.wait3
_native_wait4 = _os.wait4
_native_waitid = _os.waitid
_native_waitpid = _os.waitpid
#: The standard function; sockets use it too.
native_sendfile: Any = getattr(_os, "sendfile", None)
_native_pidfd_open = getattr(_os, "pidfd_open", None)

_READ, _WRITE = 1, 2
_NOWAIT: int = getattr(_os, "RWF_NOWAIT", 0)
#: How many bytes are copied between files before other greenlets run: about a millisecond's work.
_COPIED_AT_ONCE = 1 << 20
#: Seconds between two attempts: at first, and at most.
_RETRY, _LONGEST_PAUSE = 0.001, 0.05
#: Error numbers after which nb_read() and nb_write() try again.
ignored_errors: tuple[int, int] = (_errno.EAGAIN, _errno.EINTR)
#: Interval in seconds at which waitpid() checks whether a child's watcher was called.
_WATCH_INTERVAL = 0.001


@_builtin
def close(fd: int) -> None:
    """Close *fd* as :func:`os.close` does; greenlets that wait for it get an OSError (EBADF).

    A descriptor of treadle's own is none of the program's: that is EBADF, too.
    """
    if isinstance(fd, int):
        if _used_descriptors(fd, fd + 1):
            raise OSError(_errno.EBADF, _os.strerror(_errno.EBADF))
        _cancel_waits(fd)
    _native_close(fd)


@_builtin
def closerange(fd_low: int, fd_high: int, /) -> None:
    """Close descriptors as :func:`os.closerange` does, except those of treadle's own.

    Greenlets that wait for one get an OSError (EBADF).
    """
    _cancel_waits_between(fd_low, fd_high)
    for kept in _used_descriptors(fd_low, fd_high):
        _native_closerange(fd_low, kept)
        fd_low = kept + 1
    _native_closerange(fd_low, fd_high)


@_builtin
def dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
    """Duplicate *fd* as :func:`os.dup2` does; who waits for *fd2* gets an OSError (EBADF).

    If the copy is *inheritable*, a socket is handed over to children, which find it blocking unless
    it has a timeout.
    """
    _os.get_inheritable(fd)  # raises EBADF before anything is done
    if fd != fd2:
        _cancel_all_waits(fd2)
        _yield_number(fd2)
    fd2 = _native_dup2(fd, fd2, inheritable)
    if inheritable:
        _hand_over(fd2)
    return fd2


@_builtin
def set_inheritable(fd: int, inheritable: Any, /) -> None:
    """Call :func:`os.set_inheritable`; a socket is handed over as by :func:`dup2`."""
    _native_set_inheritable(fd, inheritable)
    if inheritable:
        _hand_over(fd)


def _handing_over(spawn: _Callable[..., int]) -> _Callable[..., int]:
    """Return *spawn*, one of the variants of posix_spawn(), preceded by handing sockets over."""

    @_builtin
    @_wraps(spawn, ("__name__", "__qualname__", "__doc__"))
    def call(path: Any, argv: Any, env: Any, /, *, file_actions: Any = (), **settings: Any) -> int:
        actions = file_actions and [*file_actions]
        for action in actions or ():
            if action[:1] == (_os.POSIX_SPAWN_DUP2,) and isinstance(action[1], int):
                _hand_over(action[1])
        return spawn(path, argv, env, file_actions=actions, **settings)

    return call


if hasattr(_os, "posix_spawn"):
    posix_spawn = _handing_over(_os.posix_spawn)
    posix_spawnp = _handing_over(_os.posix_spawnp)
    __implements__.extend(["posix_spawn", "posix_spawnp"])


# fork() and forkpty() have no @_builtin: code written for gevent expects plain functions.


def fork(keep: bool = False) -> int:
    """Fork as :func:`os.fork` does; in the child only the calling greenlet goes on.

    If *keep* is true, all greenlets of the thread go on in the child, with their timers, locks and
    file descriptors. A wait for another thread, or for a child of the parent, never succeeds there.
    Like the native function, this waits until no other greenlet holds the import lock.

    A signal handler (one that :mod:`treadle.signal` has not set: only while its greenlet waits) or
    a callback of the hub forks on behalf of the main greenlet: once it has returned, that one goes
    on.
    """
    hub = get_hub()
    with _import_lock:
        before, hub.keeping_fork = hub.keeping_fork, _getcurrent() if keep else None
        threads = _other_threads() if keep else {}
        try:
            pid = _native_fork() if keep else _fork_for_caller(_native_fork)
        finally:
            hub.keeping_fork = before
        if pid == 0:
            _go_on_in_child(threads)
        return pid


def _fork_for_caller(native: _Callable[[], _T]) -> _T:
    """Fork, and have the at-fork functions see the greenlet that goes on as the current one."""
    hub = get_hub()
    before, hub.host = hub.host, _getcurrent() if hub.forks_for_principal() else None
    try:
        return native()
    finally:
        hub.host = before


def forkpty() -> tuple[int, int]:
    """Fork as :func:`os.forkpty` does; in the child the same goes on as after :func:`fork`."""
    with _import_lock:
        return _fork_for_caller(_native_forkpty)


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


def _when_ready(fd: int, event: int, call: _Callable[..., _T], *args: Any) -> _T:
    """Return ``call(fd, *args)``, made when *fd* is ready; wait again if that was too late."""
    while True:
        _await_ready(fd, event)  # what this raises is no error of the call
        try:
            return call(fd, *args)
        except BlockingIOError:
            if not _waits_for_us(fd):
                raise
        _sleep(_RETRY)  # rare: another thread or process was faster


def _waits_for_us(fd: int) -> bool:
    """Return whether a call on *fd* that would block is to be repeated.

    O_NONBLOCK alone does not tell: treadle sets it for sockets whose calls shall wait.
    """
    return _others_may_run() and _shall_wait(fd)


@_builtin
def read(fd: int, length: int, /) -> bytes:
    """Read as :func:`os.read` does; other greenlets run while there is nothing to read."""
    length = _index(length)
    if not 0 < length <= _sys.maxsize:
        return _read(fd, length)
    return _when_ready(fd, _READ, _read, length)


@_builtin
def readv(fd: int, buffers: Any, /) -> int:
    """Read as :func:`os.readv` does; other greenlets run while there is nothing to read."""
    if not _total(buffers, writable=True):
        return _native_readv(fd, buffers)
    return _when_ready(fd, _READ, _native_readv, buffers)


@_builtin
def write(fd: int, data: Any, /) -> int:
    """Write as :func:`os.write` does; other greenlets run while *fd* is not writable."""
    size = _total([data])
    if not size:
        return _write(fd, data)
    if _would_need_room(fd, size):
        return _write_by_pages(fd, [data])
    return _when_ready(fd, _WRITE, _write, data)


@_builtin
def writev(fd: int, buffers: Any, /) -> int:
    """Write as :func:`os.writev` does; other greenlets run while *fd* is not writable."""
    size = _total(buffers)
    if not size:
        return _native_writev(fd, buffers)
    if _would_need_room(fd, size):
        return _write_by_pages(fd, buffers)
    return _when_ready(fd, _WRITE, _native_writev, buffers)


def _total(buffers: Any, writable: bool = False) -> int:
    """Return the number of bytes in *buffers*; 0 if the native call refuses them.

    A call without room or with wrong arguments ends at once: it must not wait first.
    """
    if not isinstance(buffers, _Sequence):
        return 0
    total = 0
    try:
        for buffer in buffers:
            with memoryview(buffer) as view:
                if (writable and view.readonly) or not view.c_contiguous:
                    return 0
                total += view.nbytes
    except (TypeError, ValueError, BufferError):
        return 0
    return total


def _would_need_room(fd: int, size: int) -> bool:
    """Return whether writing *size* bytes may block although *fd* is writable.

    A pipe is writable as soon as one page is free. Datagrams and the like are never split.
    """
    if size <= _PIPE_BUF or type(fd) is not int or fd < 0:
        return False
    return _takes_parts(fd) and _shall_wait(fd)


def _write_by_pages(fd: int, buffers: _Sequence[Any]) -> int:
    pages = (
        octets[at : at + _PIPE_BUF]
        for octets in (memoryview(data).cast("B") for data in buffers)
        for at in range(0, len(octets), _PIPE_BUF)
    )
    done = 0
    for page in pages:
        while page:
            _await_ready(fd, _WRITE)
            size = 0
            try:
                size = _write(fd, page)
            except OSError as exc:
                if not (isinstance(exc, BlockingIOError) and _waits_for_us(fd)):
                    if done:  # as the native call does after a partial write
                        return done
                    raise
            if not size:
                _sleep(_RETRY)  # another thread or process was faster
            done += size
            page = page[size:]
    return done


if hasattr(_os, "preadv"):
    _native_preadv = _os.preadv
    _native_pwritev = _os.pwritev

    @_builtin
    def preadv(fd: int, buffers: Any, offset: int, flags: int = 0, /) -> int:
        """Read as :func:`os.preadv` does; other greenlets run if that would wait for a pipe."""
        if offset == -1 and not _index(flags) & _NOWAIT and _total(buffers, writable=True):
            _await_ready(fd, _READ)
        return _native_preadv(fd, buffers, offset, flags)

    @_builtin
    def pwritev(fd: int, buffers: Any, offset: int, flags: int = 0, /) -> int:
        """Write as :func:`os.pwritev` does; other greenlets run if that would wait for a pipe."""
        if offset == -1 and not _index(flags) & _NOWAIT and not _is_regular(fd):
            return writev(fd, buffers)
        return _native_pwritev(fd, buffers, offset, flags)

    __implements__.extend(["preadv", "pwritev"])


if hasattr(_os, "eventfd_read"):
    _native_eventfd_read = _os.eventfd_read
    _native_eventfd_write = _os.eventfd_write

    @_builtin
    def eventfd_read(fd: int) -> int:
        """Call :func:`os.eventfd_read`; other greenlets run while the counter is 0."""
        _await_ready(fd, _READ)
        return _native_eventfd_read(fd)

    @_builtin
    def eventfd_write(fd: int, value: int) -> None:
        """Call :func:`os.eventfd_write`; other greenlets run while the counter is at its limit."""
        if 0 <= _index(value) < 1 << 64:
            _await_ready(fd, _WRITE)
        _native_eventfd_write(fd, value)

    __implements__.extend(["eventfd_read", "eventfd_write"])


def _in_parts(copy: _Callable[[int, int], int], count: int, part: int) -> int:
    """Call ``copy(done, size)`` until *count* bytes are copied, or no more can be.

    Return how many were. They are less than *count* if an error comes after the first part, as with
    the system's calls.
    """
    done = 0
    while done < count:
        try:
            size = copy(done, min(part, count - done))
        except OSError:
            if done:
                return done
            raise
        if not size:
            break
        done += size
        if done < count:
            _sleep(0)
    return done


def _check_open(*descriptors: int) -> None:
    """Raise what the native call would, before there is a wait for one of the *descriptors*."""
    for fd in descriptors:
        _os.fstat(fd)


def _after(offset: int | None, done: int) -> int | None:
    return None if offset is None else offset + done


if _sys.platform == "linux":
    _native_splice = _os.splice
    _native_copy_file_range = _os.copy_file_range

    @_builtin
    def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
        """Copy as :func:`os.sendfile` does; other greenlets run meanwhile."""
        count = _index(count)
        if offset is not None:
            offset = _index(offset)
        if not 0 <= count <= _sys.maxsize or not 0 <= (offset or 0) <= _sys.maxsize:
            return native_sendfile(out_fd, in_fd, offset, count)  # type: ignore[no-any-return]
        if not _others_may_run() or not _shall_wait(out_fd):
            return native_sendfile(out_fd, in_fd, offset, count)  # type: ignore[no-any-return]
        _check_open(in_fd, out_fd)
        if _is_regular(out_fd) and count > _COPIED_AT_ONCE:
            return _in_parts(
                lambda done, size: native_sendfile(out_fd, in_fd, _after(offset, done), size),
                count,
                _COPIED_AT_ONCE,
            )
        done = 0
        while True:
            _await_ready(in_fd, _READ)
            _await_ready(out_fd, _WRITE)
            size = min(_PIPE_BUF, count - done)
            try:
                size = native_sendfile(out_fd, in_fd, _after(offset, done), size)
            except OSError as exc:
                if not (isinstance(exc, BlockingIOError) and _waits_for_us(out_fd)):
                    if done:
                        return done
                    raise
                size = -1
            if size < 0:
                _sleep(_RETRY)  # another thread or process was faster
                continue
            done += size
            if not size or done >= count:
                return done

    @_builtin
    def splice(
        src: int,
        dst: int,
        count: int,
        offset_src: int | None = None,
        offset_dst: int | None = None,
        flags: int = 0,
    ) -> int:
        """Move data as :func:`os.splice` does; other greenlets run while it would wait."""
        count, flags = _index(count), _index(flags)
        if flags & _os.SPLICE_F_NONBLOCK or not _others_may_run():
            return _native_splice(src, dst, count, offset_src, offset_dst, flags)
        at_once = flags | _os.SPLICE_F_NONBLOCK
        _check_open(src, dst)
        if not 0 < count <= _sys.maxsize:
            return _native_splice(src, dst, count, offset_src, offset_dst, at_once)
        if count > _PIPE_BUF and _stat.S_ISSOCK(_os.fstat(dst).st_mode) and _shall_wait(dst):
            count = _PIPE_BUF  # the flag does not count for a socket
        while True:
            _await_ready(src, _READ)
            _await_ready(dst, _WRITE)
            try:
                return _native_splice(src, dst, count, offset_src, offset_dst, at_once)
            except BlockingIOError:
                if not (_shall_wait(src) and _shall_wait(dst)):
                    raise
            _sleep(_RETRY)  # rare: another thread or process was faster

    @_builtin
    def copy_file_range(
        src: int,
        dst: int,
        count: int,
        offset_src: int | None = None,
        offset_dst: int | None = None,
    ) -> int:
        """Copy as :func:`os.copy_file_range` does; other greenlets run between its parts."""
        count = _index(count)
        if not _COPIED_AT_ONCE < count <= _sys.maxsize or not _others_may_run():
            return _native_copy_file_range(src, dst, count, offset_src, offset_dst)
        return _in_parts(
            lambda done, size: _native_copy_file_range(
                src, dst, size, _after(offset_src, done), _after(offset_dst, done)
            ),
            count,
            _COPIED_AT_ONCE,
        )

    __implements__.extend(["copy_file_range", "sendfile", "splice"])


# -- opening FIFOs


@_builtin
def open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """Open as :func:`os.open` does; other greenlets run while a FIFO lacks its other end."""
    how = flags & _os.O_ACCMODE if isinstance(flags, int) else None
    if how not in (_os.O_RDONLY, _os.O_WRONLY) or not _is_fifo_that_waits(path, flags, dir_fd):
        return _native_open(path, flags, mode, dir_fd=dir_fd)
    if how == _os.O_RDONLY:
        return _await_writer(path, flags, dir_fd)

    try:
        fd = _native_open(path, flags | _os.O_NONBLOCK, mode, dir_fd=dir_fd)
    except OSError as exc:
        if exc.errno != _errno.ENXIO:  # there is no reader
            raise
        # Somebody may remove the FIFO meanwhile: make no file in its place, and empty none.
        again = flags & ~(_os.O_CREAT | _os.O_EXCL | _os.O_TRUNC) | _os.O_NONBLOCK
        fd = _until_free(lambda: _native_open(path, again, dir_fd=dir_fd), (_errno.ENXIO,))
    _os.set_blocking(fd, True)
    return fd


#: Flags with which open() does not wait.
_OPENS_AT_ONCE: int = _os.O_NONBLOCK | _os.O_DIRECTORY | getattr(_os, "O_PATH", 0)


def _is_fifo_that_waits(path: Any, flags: int, dir_fd: int | None) -> bool:
    if flags & _OPENS_AT_ONCE or not _others_may_run():
        return False
    try:
        return _stat.S_ISFIFO(_os.stat(path, dir_fd=dir_fd).st_mode)
    except (OSError, TypeError, ValueError):
        return False  # the native function raises it, or makes the file


def _await_writer(path: Any, flags: int, dir_fd: int | None) -> int:
    """Open a FIFO for reading when it has a writer.

    Not in a thread, which could be stopped only by a writer: others who read would take that for
    theirs.
    """
    fd = _native_open(path, flags | _os.O_NONBLOCK, dir_fd=dir_fd)
    _unready.add(fd)
    try:
        pause = _RETRY
        while not _had_writer(fd):
            # The system tells only of writers that write or leave: ask again for others.
            if _sys.platform == "linux":
                _wait_for(fd, _READ, pause)
            else:
                _sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        _os.set_blocking(fd, True)
    except BaseException:
        _native_close(fd)
        raise
    finally:
        _unready.discard(fd)
    return fd


#: The FIFOs that greenlets have opened and wait for a writer of.
_unready: set[int] = set()


def _close_unready() -> None:
    """In a forked child: be no reader for others if the greenlets that wait are not there."""
    hub = _get_existing_hub()
    if hub is None or hub.keeping_fork is None:
        while _unready:
            _native_close(_unready.pop())


_os.register_at_fork(after_in_child=_close_unready)


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


def _in_thread(call: _Callable[[int, Any], Any], fd: int, argument: Any) -> Any:
    # To the end: after that, others may close *fd* and open another file under its number. A copy
    # of the descriptor would not do. Closing it would release what lockf() has locked.
    return _files.apply(call, (fd, argument), to_the_end=True)


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
    with _Timeout(timeout, False):
        _ask_thread((kind, number, events | _os.WNOWAIT, _os.getpid()))
        return True
    return False


#: The calls of waitid() in native threads, by their arguments and process. Who asks the same joins
#: such a call: one that was given up cannot be ended, and another each time would pile up threads.
_asked: dict[tuple[int, int, int, int], _AsyncResult[None]] = {}


def _ask_thread(call: tuple[int, int, int, int]) -> None:
    result = _asked.get(call)
    if result is None:
        result = _asked[call] = _AsyncResult()
        try:
            _waits.submit(_partial(_answer, call, result))
        except BaseException:
            del _asked[call]
            raise
    _get_from_thread(result)


def _answer(call: tuple[int, int, int, int], result: _AsyncResult[None]) -> None:
    # Without reaping: if nobody waits any more, the status must not be lost.
    try:
        with _suppress(OSError):  # the caller, who asks again, gets the error
            _native_waitid(*call[:3])
    finally:
        _asked.pop(call, None)
        result.set(None)


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
    options = _index(options)
    while True:
        found = call(options | _os.WNOHANG)
        if found[0] or options & _os.WNOHANG:
            return found
        _until_changed(*_whose(pid), _events(options))


@_builtin
def waitpid(pid: int, options: int, /) -> tuple[int, int]:
    """Wait as :func:`os.waitpid` does; other greenlets run meanwhile."""
    pid, options = _index(pid), _index(options)
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
    options = _index(options)
    while True:
        found = _native_waitid(idtype, id, options | _os.WNOHANG)
        if found is not None or options & _os.WNOHANG:
            return found
        _until_changed(idtype, id, options & ~(_os.WNOHANG | _os.WNOWAIT))


@_builtin
def system(command: Any) -> int:
    """Call :func:`os.system` in a worker thread; other greenlets run meanwhile."""
    return _waits.apply(_native_system, (command,))


def _gevent_did_monkey_patch(module: Any, items: Any, warn: Any) -> None:
    # Programs ask ``os.open in os.supports_dir_fd``.
    if "open" in items and _native_open in module.supports_dir_fd:
        module.supports_dir_fd.remove(_native_open)
        module.supports_dir_fd.add(open)
