"""Files over pipes that let other greenlets run while they wait."""

from __future__ import annotations

import io as _io
from typing import Any

from treadle._core.descriptor import PIPE_BUF as _PIPE_BUF
from treadle._core.descriptor import cancel_waits as _cancel_waits
from treadle._core.descriptor import wait_for as _wait_for

_READ, _WRITE = 1, 2


class PipeIO(_io.RawIOBase):
    """A raw file over *raw*, which is one end of a pipe and stays a blocking one.

    O_NONBLOCK would belong to whatever process shares the end, as the next one of a pipeline does:
    it would fail there. A pipe that is ready never blocks who reads, nor who writes as much as
    one page.
    """

    def __init__(self, raw: _io.FileIO) -> None:
        self._raw = raw

    def readinto(self, buffer: Any) -> int:
        """Wait for data; 0 at the end."""
        _wait_for(self.fileno(), _READ)
        return self._raw.readinto(buffer) or 0

    def write(self, data: Any) -> int:
        """Wait for room and write what surely fits."""
        _wait_for(self.fileno(), _WRITE)
        return self._raw.write(memoryview(data).cast("B")[:_PIPE_BUF]) or 0

    def fileno(self) -> int:
        """The descriptor."""
        return self._raw.fileno()

    def readable(self) -> bool:
        """Whether it is an end to read from."""
        return self._raw.readable()

    def writable(self) -> bool:
        """Whether it is an end to write to."""
        return self._raw.writable()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """What the system says: OSError (ESPIPE)."""
        return self._raw.seek(offset, whence)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._raw.isatty()

    @property
    def name(self) -> Any:
        """The descriptor, as files that were opened from one have it."""
        return self._raw.name

    @property
    def mode(self) -> str:
        """As of the file beneath."""
        return self._raw.mode

    def close(self) -> None:
        """Close it; whoever waits for it gets an OSError (EBADF)."""
        if not self._raw.closed:
            _cancel_waits(self.fileno())
            self._raw.close()
        super().close()


def cooperative(file: Any, bufsize: int | None = None) -> Any:
    """The same as *file*, a new one that nothing was read from, over the same pipe.

    Its buffer takes *bufsize* bytes if that is more than 1, otherwise what buffers take.
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
