"""Files over pipes that switch to other greenlets while they wait."""

from __future__ import annotations

import io as _io
import os as _os
from collections.abc import Callable as _Callable
from functools import wraps as _wraps
from sys import is_finalizing as _is_finalizing
from typing import Any
from weakref import WeakKeyDictionary as _WeakKeyDictionary
from weakref import ref as _ref

from treadle._core.descriptor import PIPE_BUF as _PIPE_BUF
from treadle._core.descriptor import await_ready as _await_ready
from treadle._core.descriptor import cancel_waits as _cancel_waits
from treadle._core.descriptor import closed_error as _closed_error
from treadle._core.descriptor import takes_parts as _takes_parts
from treadle._core.descriptor import wait_for as _wait_for
from treadle._core.descriptor import waits as _waits
from treadle._core.greenlet import getcurrent as _getcurrent
from treadle._core.turns import Turn as _Turn

_READ, _WRITE = 1, 2
# What closing a file uses: the interpreter closes the last files when the builtins have gone.
_bytes, _getattr, _isinstance, _len = bytes, getattr, isinstance, len
_memoryview, _OSError, _BlockingIOError = memoryview, OSError, BlockingIOError
_super: Any = super
#: The most bytes that a text file collects: it gives them to its buffer when there are 8192, and
#: gives text of that size alone.
_COLLECTED = 2 * 8192


class PipeIO(_io.RawIOBase):
    """A raw file over *raw*, which is one end of a pipe and stays in blocking mode.

    O_NONBLOCK would also apply in every process that shares the end, such as the next one of a
    pipeline, whose calls would fail. When a pipe is ready, a read never blocks, nor does a write of
    at most PIPE_BUF bytes. If the program made the pipe non-blocking, calls do not wait either,
    unless the file *always_waits*.
    """

    def __init__(
        self, raw: _io.FileIO, *, buffered: bool = False, always_waits: bool = False
    ) -> None:
        self._raw = raw
        self._always_waits = always_waits
        # A buffer counts what each write() took, and loses nothing if the next one is interrupted.
        self._writes_parts = buffered
        #: What the buffer has given to a write that waits, otherwise None.
        self.waiting: Any = None
        #: Whether the system refused the last write of the buffer.
        self.refused = False

    def readinto(self, buffer: Any) -> int | None:
        """Wait for data and read it into *buffer*; return the number of bytes, 0 at the end.

        Return None, as native files do, if the pipe is empty and the program made it non-blocking.
        """
        fd = self.fileno()
        while True:
            if memoryview(buffer).nbytes:
                _await_ready(fd, _READ)
            size = self._raw.readinto(buffer)
            if size is not None or not self._waits(fd):
                return size
            _wait_for(fd, _READ)

    def write(self, data: Any) -> int | None:
        """Wait for room and write all of *data*, or beneath a buffer as much as surely fits.

        Return the number of bytes. They are less than all if the pipe fails after some, or if the
        program made it non-blocking; in that case None means that nothing fits.
        """
        fd = self.fileno()
        octets = _memoryview(data).cast("B")
        total = _len(octets)
        part = _PIPE_BUF if _takes_parts(fd) else total
        done = 0
        if self._writes_parts:
            return self._write_part(fd, octets, part)
        while done < total:
            _await_ready(fd, _WRITE)
            try:
                size = self._raw.write(octets[done : done + part])
            except _OSError:
                if done:
                    return done
                raise
            if size is None:
                if not self._waits(fd):
                    return done or None
                _wait_for(fd, _WRITE)
                continue
            done += size
        return done

    def _write_part(self, fd: int, octets: Any, part: int) -> int | None:
        self.waiting = octets
        self.refused = False
        try:
            while octets.nbytes:
                _await_ready(fd, _WRITE)
                try:
                    size = self._raw.write(octets[:part])
                except _OSError:
                    self.refused = True
                    raise
                if size is not None or not self._waits(fd):
                    return size
                _wait_for(fd, _WRITE)
            return 0
        finally:
            self.waiting = None

    def _waits(self, fd: int) -> bool:
        return self._always_waits or _waits(fd)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._raw.fileno()

    def readable(self) -> bool:
        """Return whether this is the end to read from."""
        return self._raw.readable()

    def writable(self) -> bool:
        """Return whether this is the end to write to."""
        return self._raw.writable()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Raise OSError (ESPIPE), as the system does for a pipe."""
        return self._raw.seek(offset, whence)

    def isatty(self) -> bool:
        """Return whether the file is a terminal."""
        return self._raw.isatty()

    @property
    def name(self) -> Any:
        """The file descriptor, as for every file that was opened from one."""
        return self._raw.name

    @property
    def closefd(self) -> bool:
        """Whether closing the file closes its descriptor."""
        return self._raw.closefd

    @property
    def mode(self) -> str:
        """The mode of the underlying file."""
        return self._raw.mode

    def close(self) -> None:
        """Close the file. Greenlets that wait for it get an OSError (EBADF)."""
        if not self._raw.closed:
            _cancel_waits(self.fileno())
            self._raw.close()
        _super(PipeIO, self).close()


class Turns:
    """Lets the greenlets that share a file take turns; wakes those who wait when one closes it.

    The interpreter's buffers refuse a call while another one of the same thread is in progress, and
    its text files mix up what two calls at once write or read. Between greenlets they must wait.
    """

    def __init__(self, buffer: Any, size: int) -> None:
        #: Held during each call.
        self.lock = _Turn()
        #: The number of bytes that the buffer holds.
        self.size = size
        #: The greenlet that closes the file.
        self.closer: object = None
        #: What the next call has to do first, if an exception ended one before it was done.
        self.first: _Callable[[], None] | None = None
        self._buffer = _ref(buffer)

    def call(self, method: _Callable[..., Any], *args: Any, **settings: Any) -> Any:
        """Call *method* when it is the caller's turn. Raise OSError (EBADF) if the file closes."""
        with self.lock:
            if self.closer is not None and self.closer is not _getcurrent():
                raise _closed_error()
            if self.lock.was_left:
                self._renew()
            if self.first is not None:
                self.first()
            return method(*args, **settings)

    def close(self, raw: Any, method: _Callable[[], None]) -> None:
        """Call *method*, which closes the file, while greenlets that wait for *raw* get EBADF."""
        if self.closer is None and raw is not None and not raw.closed:  # None: it was detached
            self.closer = _getcurrent()
            _cancel_waits(raw.fileno())
        try:
            with self.lock:
                if self.lock.was_left:
                    self._renew()
                method()
        finally:
            if self.closer is _getcurrent():
                self.closer = None

    def _renew(self) -> None:
        """Make the buffer usable after a call that was left in the middle of it.

        What a writer's buffer had not sent is put into it again: it was accepted before.
        """
        buffer: Any = self._buffer()
        self.lock.was_left = False
        if not _isinstance(buffer, _NATIVE):  # a text file has given what it holds to its buffer
            return
        waiting = _getattr(buffer.raw, "waiting", None)
        unsent = None if waiting is None else _bytes(waiting)
        renew(buffer, self.size)
        if unsent and not buffer.closed and not _is_finalizing():  # else that might wait for ever
            _io.BufferedWriter.write(buffer, unsent)

    def renew_in_child(self) -> None:
        """In a forked child, end the call in progress if its greenlet is not there.

        What it had to send belongs to the parent.
        """
        if self.lock.reclaim() or self.lock.was_left:
            self.closer = None
            buffer: Any = self._buffer()
            raw = getattr(buffer, "raw", None)
            if isinstance(raw, PipeIO):
                raw.waiting = None
            if isinstance(buffer, BufferedWriter):
                buffer.kept = b""
            self._renew()


_NATIVE: tuple[Any, ...] = (_io.BufferedReader, _io.BufferedWriter, _io.BufferedRandom)

#: The turns of each buffer that greenlets share.
_shared: _WeakKeyDictionary[Any, Turns] = _WeakKeyDictionary()


def share(buffer: Any, size: int) -> Turns:
    """Return the turns for *buffer*, which holds *size* bytes and is to be used in turns only."""
    turns = _shared[buffer] = Turns(buffer, size)
    return turns


def renew(buffer: Any, size: int) -> None:
    """Make *buffer* usable again, in which a call was in progress that never goes on.

    It is empty then. A reader's buffer is empty anyway while it waits for the file.
    """
    closed = buffer.raw.closed
    raw = _io.BytesIO() if closed else buffer.raw  # a buffer is made only of an open file
    for kind in _NATIVE:
        if _isinstance(buffer, kind):
            kind.__init__(buffer, raw, size)  # makes a new lock, too
    if closed:
        raw.close()


def _renew_all() -> None:
    for turns in list(_shared.values()):
        turns.renew_in_child()


if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_renew_all)


class _Shared:
    """What greenlets that share a buffer need; to be named before a class of buffers."""

    raw: Any

    def __init__(self, raw: Any, buffer_size: int = _io.DEFAULT_BUFFER_SIZE) -> None:
        self._turns = share(self, buffer_size)
        super().__init__(raw, buffer_size)  # type: ignore[call-arg]

    def close(self) -> None:
        """Flush and close the file; greenlets that wait for it get an OSError (EBADF)."""
        self._turns.close(self.raw, _super(_Shared, self).close)


def _in_turn(cls: type, *names: str) -> type:
    """Make the methods *names* of *cls*, whose objects have Turns, wait for their turn."""

    def method(name: str) -> _Callable[..., Any]:
        native = getattr(cls, name)

        @_wraps(native)
        def call(self: Any, *args: Any, **settings: Any) -> Any:
            return self._turns.call(native, self, *args, **settings)

        return call

    for name in names:
        setattr(cls, name, method(name))
    return cls


class TextIOWrapper(_io.TextIOWrapper):
    """:class:`io.TextIOWrapper` for any number of greenlets: their lines stay whole."""

    def __init__(self, buffer: Any, **settings: Any) -> None:
        self._turns = share(self, 0)
        super().__init__(buffer, **settings)
        if isinstance(buffer, BufferedWriter):
            buffer.turns_of_text = self._turns

    def close(self) -> None:
        """Flush and close the file; greenlets that wait for it get an OSError (EBADF)."""
        buffer = self.buffer
        raw = _getattr(buffer, "raw", buffer)
        self._turns.close(raw, _super(TextIOWrapper, self).close)


class BufferedReader(_Shared, _io.BufferedReader):
    """:class:`io.BufferedReader` for any number of greenlets, as the native one for threads."""


class BufferedWriter(_Shared, _io.BufferedWriter):
    """:class:`io.BufferedWriter` for any number of greenlets, as the native one for threads.

    A text file collects what many greenlets write, and forgets it when it gives it to its buffer.
    An exception that ends the wait of the greenlet that happens to give must not lose it: what the
    buffer has not taken then is kept here.
    """

    #: What is kept. It comes before all that is written later.
    kept = b""
    #: The turns of the text file over this buffer.
    turns_of_text: Turns | None = None

    def write(self, data: Any, /) -> int:
        """Write *data* and return its size, as :meth:`io.BufferedWriter.write` does."""
        text = self.turns_of_text
        if text is None or not text.lock._is_owned() or _len(data) > _COLLECTED:
            if self.kept:
                self.write_kept()
            return _super(BufferedWriter, self).write(data)  # type: ignore[no-any-return]
        self.kept += data
        text.first = self.write_kept  # before it accepts more, so that this does not pile up
        self.write_kept()
        return _len(data)

    def write_kept(self) -> None:
        """Give what is kept to the native buffer, in parts of which it takes all or nothing."""
        while self.kept:
            part = self.kept[: self._turns.size]
            try:
                taken = _super(BufferedWriter, self).write(part)
            except _BlockingIOError as exc:  # the program made the pipe non-blocking
                self.kept = self.kept[_getattr(exc, "characters_written", 0) :]
                raise
            except _OSError:
                if self.raw.refused:
                    self.kept = b""  # as a native text file forgets it
                raise
            self.kept = self.kept[taken:]
        if self.turns_of_text is not None:
            self.turns_of_text.first = None

    def flush(self) -> None:
        """Write what is held back, as :meth:`io.BufferedWriter.flush` does."""
        if self.kept:
            self.write_kept()
        _super(BufferedWriter, self).flush()


#: The methods for which the native buffers hold a lock, and what depends on them.
READS = ("read", "read1", "readinto", "readinto1", "readline", "peek", "seek", "tell", "detach")
_in_turn(BufferedReader, *READS)
_in_turn(BufferedWriter, "write", "write_kept", "flush", "seek", "tell", "truncate", "detach")
_in_turn(TextIOWrapper, "write", "flush", "read", "readline", "__next__", "seek", "tell")
_in_turn(TextIOWrapper, "truncate", "reconfigure", "detach")
_SHARED: dict[type, type] = {
    _io.BufferedReader: BufferedReader,
    _io.BufferedWriter: BufferedWriter,
}


def cooperative(
    file: Any,
    bufsize: int | None = None,
    newline: str | None = None,
    *,
    always_waits: bool = False,
) -> Any:
    """Return a cooperative file over the pipe of *file*, from which nothing may have been read yet.

    Its buffer holds *bufsize* bytes if that is more than 1, otherwise the default size. *newline*
    is the one that a text file was opened with. With *always_waits*, its calls wait even if the
    pipe is in non-blocking mode. Returns *file* itself if it is None or cooperative already.
    """
    if file is None or isinstance(file, PipeIO):
        return file
    if isinstance(file, _io.FileIO):
        return PipeIO(file, always_waits=always_waits)
    if isinstance(file, _io.TextIOWrapper):
        settings: Any = {
            "encoding": file.encoding,
            "errors": file.errors,
            "newline": newline,
            "line_buffering": file.line_buffering,
            "write_through": file.write_through,
        }
        mode = getattr(file, "mode", None)
        text = TextIOWrapper(
            cooperative(file.detach(), bufsize, always_waits=always_waits), **settings
        )
        if mode is not None:
            text.mode = mode  # type: ignore[misc]
        return text
    if isinstance(getattr(file, "raw", None), PipeIO):
        return file
    size = bufsize if bufsize and bufsize > 1 else _io.DEFAULT_BUFFER_SIZE
    kind = type(file)
    raw = PipeIO(file.detach(), buffered=True, always_waits=always_waits)
    return _SHARED.get(kind, kind)(raw, size)
