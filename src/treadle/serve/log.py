"""Log files of the server: writing to them neither fails nor blocks."""

from __future__ import annotations

import errno
import os
import stat
from _socket import socket as _system_socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from socket import MSG_DONTWAIT
from time import monotonic
from typing import Any

from treadle.greenlet import spawn
from treadle.hub import sleep
from treadle.monkey import get_original
from treadle.os import close
from treadle.socket import wait_write

__all__ = ["LogFile", "SaysInOneLine"]

#: How many bytes may wait for the reader of a pipe or terminal; more are lost.
MOST_WAITING = 1 << 20
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: What waits is written by a greenlet of ours, never by a caller.
_write: Callable[[int, bytes], int] = get_original("os", "write")
_open: Callable[..., int] = get_original("os", "open")


class LogFile:
    """A log file to which any number of processes append whole lines.

    The path "-" stands for the file descriptor *standard*. What cannot be written (the disk is
    full, the reader of a pipe has gone or does not read) is lost: *on_loss* is called for each.
    Once the log works again, a line in the log *reports* (None: in this one) says how many.

    Raises OSError if the file cannot be opened and is *needed*; if it is not, all is lost until
    :meth:`reopen` opens it.
    """

    def __init__(
        self,
        path: str,
        standard: int,
        on_loss: Callable[[], object] = lambda: None,
        reports: LogFile | None = None,
        *,
        needed: bool = True,
    ) -> None:
        self._path, self._standard = path, standard
        self._write = _write
        self._on_loss, self._reports = on_loss, reports or self
        self._fd = -1
        self._waiting: deque[bytes] = deque()
        self._size = 0  # of what waits
        self._lost, self._why = 0, ""
        self._unfinished = False  # the last write was short
        self._torn = False  # its rest is lost: the file ends in the middle of a line
        try:
            self.reopen()
        except OSError:
            if needed:
                raise

    def reopen(self) -> None:
        """Open the file again, for example after it was renamed.

        Raises OSError if it cannot be opened; the log then goes on where it was.
        """
        fd = self._open()
        self._write = _send if fd >= 0 and stat.S_ISSOCK(os.fstat(fd).st_mode) else _write
        old, self._fd = self._fd, fd
        if old >= 0:
            close(old)  # which wakes the greenlet that waits to write

    def _open(self) -> int:
        if self._path != "-":
            return _open_to_write(self._path, os.O_CREAT)
        with suppress(OSError):
            return _own_description(self._standard)
        return -1  # it is closed: every write is lost

    def write(self, text: str) -> None:
        """Append *text*."""
        data = text.encode("utf-8", "backslashreplace")
        if self._waiting:
            self._keep(data)
            return
        rest = self._put(data)
        if rest:
            self._keep(rest)
            spawn(self._write_waiting)

    def writelines(self, lines: list[str]) -> None:
        """Append all of *lines*."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Do nothing: what can be written is written at once."""

    def drain(self, seconds: float) -> None:
        """Wait until nothing waits to be written, for at most *seconds*."""
        deadline = monotonic() + seconds
        while self._waiting and monotonic() < deadline:
            sleep(0.01)

    def _keep(self, data: bytes) -> None:
        if self._size + len(data) > MOST_WAITING:
            self._lose("nobody reads it")
            return
        self._waiting.append(data)
        self._size += len(data)

    def _lose(self, why: str) -> None:
        self._lost, self._why = self._lost + 1, why
        self._on_loss()

    def _confess(self) -> None:
        lost, self._lost = self._lost, 0
        place = "standard output" if self._path == "-" else self._path
        self._reports.write(f"treadle serve: {lost} writes to {place} were lost: {self._why}\n")
        if self._lost:
            self._lost = lost  # this line was lost too

    def _put(self, data: bytes) -> bytes:
        """Write what can be written at once; return the rest."""
        if self._torn:
            data = b"\n" + data
        try:
            rest = data[self._write(self._fd, data) :]
        except BlockingIOError:
            return data[self._torn :]
        except OSError as exc:
            self._torn = self._torn or self._unfinished
            self._unfinished = False
            self._lose(str(exc))
            return b""
        self._torn, self._unfinished = False, bool(rest)
        if self._lost and not rest:
            self._confess()
        return rest

    def _write_waiting(self) -> None:
        while self._waiting:
            with suppress(OSError):  # what cannot be waited for fails when it is written
                wait_write(self._fd)
            data = self._waiting.popleft()
            self._size -= len(data)
            rest = self._put(data)
            if rest:
                self._waiting.appendleft(rest)
                self._size += len(rest)


class SaysInOneLine:
    """Mixin of servers: says in one line of a log that a connection cannot be accepted."""

    errors: LogFile

    def _report(self, context: object, exc: Exception) -> None:
        if isinstance(exc, OSError):  # mostly a lack of descriptors, which may last
            self.errors.write(f"treadle serve: cannot accept a connection: {exc}\n")
        else:
            report: Any = super()
            report._report(context, exc)


def _open_to_write(path: str, flags: int = 0) -> int:
    try:
        return _open(path, _FLAGS | flags, 0o644)
    except OSError as exc:
        if exc.errno != errno.ENXIO:
            raise
    # A pipe with a name, which nobody reads now. It can be opened while we read it ourselves.
    reader = _open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _open(path, _FLAGS)
    finally:
        close(reader)


def _own_description(standard: int) -> int:
    """Return a descriptor like *standard* that can be non-blocking without any other being so."""
    if stat.S_IFMT(os.fstat(standard).st_mode) in (stat.S_IFIFO, stat.S_IFCHR):
        with suppress(OSError):
            return _open_to_write(f"/proc/self/fd/{standard}")
    return os.dup(standard)


def _send(fd: int, data: bytes) -> int:
    sock: Any = _system_socket(fileno=os.dup(fd))
    try:
        return int(sock.send(data, MSG_DONTWAIT))
    finally:
        sock.close()
