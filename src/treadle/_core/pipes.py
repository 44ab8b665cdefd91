"""Files over pipes that switch to other greenlets while they wait."""

from __future__ import annotations

import io as _io
from typing import Any

from treadle._core.descriptor import PIPE_BUF as _PIPE_BUF
from treadle._core.descriptor import cancel_waits as _cancel_waits
from treadle._core.descriptor import wait_for as _wait_for

_READ, _WRITE = 1, 2


class PipeIO(_io.RawIOBase):
    """A raw file over *raw*, which is one end of a pipe and stays in blocking mode.

    O_NONBLOCK would also apply in every process that shares the end, such as the next one of a
    pipeline, whose calls would fail. When a pipe is ready, a read never blocks, nor does a write of
    at most PIPE_BUF bytes.
    """

    def __init__(self, raw: _io.FileIO) -> None:
        self._raw = raw

    def readinto(self, buffer: Any) -> int:
        """Wait for data and read it into *buffer*; return the number of bytes, 0 at the end."""
        _wait_for(self.fileno(), _READ)
        return self._raw.readinto(buffer) or 0

    def write(self, data: Any) -> int:
        """Wait for room and write as much as surely fits; return the number of bytes."""
        _wait_for(self.fileno(), _WRITE)
        return self._raw.write(memoryview(data).cast("B")[:_PIPE_BUF]) or 0

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
    def mode(self) -> str:
        """The mode of the underlying file."""
        return self._raw.mode

    def close(self) -> None:
        """Close the file. Greenlets that wait for it get an OSError (EBADF)."""
        if not self._raw.closed:
            _cancel_waits(self.fileno())
            self._raw.close()
        super().close()


def cooperative(file: Any, bufsize: int | None = None) -> Any:
    """Return a cooperative file over the pipe of *file*, from which nothing may have been read yet.

    Its buffer holds *bufsize* bytes if that is more than 1, otherwise the default size. Returns
    *file* itself if it is None or cooperative already.
    """
    if file is None or isinstance(file, PipeIO):
        return file
    if isinstance(file, _io.FileIO):
        return PipeIO(file)
    if isinstance(file, _io.TextIOWrapper):
        settings: Any = {
            "encoding": file.encoding,
            "errors": file.errors,
            "line_buffering": file.line_buffering,
            "write_through": file.write_through,
        }
        return _io.TextIOWrapper(cooperative(file.detach(), bufsize), **settings)
    if isinstance(getattr(file, "raw", None), PipeIO):
        return file
    size = bufsize if bufsize and bufsize > 1 else _io.DEFAULT_BUFFER_SIZE
    return type(file)(cooperative(file.detach()), size)
