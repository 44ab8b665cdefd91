"""Bodies as applications see them: ``wsgi.input`` and ``wsgi.file_wrapper``."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from weft.http.h1 import Request

__all__ = ["FileWrapper", "Input"]


class Input:
    """A file to read a body from; it ends where the body does, whatever comes after.

    Reading waits for what has not come. It raises OSError if the client goes away, sends what is
    no body, or takes too long.
    """

    def __init__(self, request: Request, receive: Callable[[Request], None]) -> None:
        """*receive* waits until more has come, or the request is complete."""
        self._request = request
        self._receive = receive
        self._at = 0  # how much of the first chunk was read

    def read(self, size: int | None = -1) -> bytes:
        """Up to *size* bytes, fewer only at the end; everything if it is negative or None."""
        request, receive = self._request, self._receive
        chunks = request.body
        if size is None or size < 0:
            while not request.complete:
                receive(request)
            return self._take(self._there())
        there = self._there()
        while there < size and not request.complete:
            count = len(chunks)
            receive(request)
            there += sum(len(chunks[i]) for i in range(count, len(chunks)))
        return self._take(size)

    def read1(self, size: int | None = -1) -> bytes:
        """What has come, up to *size* bytes; waits only if that is nothing; b"" at the end."""
        request = self._request
        while not request.body and not request.complete:
            self._receive(request)
        there = len(request.body[0]) - self._at if request.body else 0
        return self._take(there if size is None or size < 0 else min(size, there))

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill *buffer* as :meth:`read` would; returns how many bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1) -> bytes:
        """Up to and with the next line feed, *size* bytes at most if it is given."""
        request = self._request
        chunks = request.body
        most = None if size is None or size < 0 else size
        seen, there = 0, -self._at
        while most is None or there < most:
            while seen < len(chunks):
                found = chunks[seen].find(b"\n", 0 if seen else self._at)
                if found >= 0:
                    there += found + 1
                    return self._take(there if most is None else min(there, most))
                there += len(chunks[seen])
                seen += 1
            if request.complete:
                break
            self._receive(request)
        return self._take(max(there, 0) if most is None else min(max(there, 0), most))

    def readlines(self, hint: int | None = None) -> list[bytes]:
        """All lines; with *hint*, no more once they have that many bytes."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def _there(self) -> int:
        return sum(map(len, self._request.body)) - self._at

    def _take(self, size: int) -> bytes:
        chunks = self._request.body
        parts: list[bytes] = []
        while size > 0 and chunks:
            part = chunks[0][self._at : self._at + size] if self._at else chunks[0][:size]
            parts.append(part)
            size -= len(part)
            self._at += len(part)
            if self._at == len(chunks[0]):
                chunks.popleft()
                self._at = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __repr__(self) -> str:
        there, complete = self._there(), self._request.complete
        return f"<{type(self).__name__} {there} bytes there, complete={complete}>"


class FileWrapper:
    """``wsgi.file_wrapper``: an iterable over *filelike*; a file is sent by the system itself."""

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.block_size)
        if not data:
            raise StopIteration
        return data

    def regular_file(self) -> tuple[int, int] | None:
        """Where it stands in the file and how much follows; None if it is no regular file."""
        try:
            status = os.fstat(self.filelike.fileno())
            at = self.filelike.tell()
        except (AttributeError, OSError, ValueError):
            return None
        return (at, max(status.st_size - at, 0)) if stat.S_ISREG(status.st_mode) else None
