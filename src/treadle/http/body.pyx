# cython: binding=False
"""Bodies as applications see them: ``wsgi.input`` and ``wsgi.file_wrapper``."""

import os
import stat
from io import RawIOBase

from treadle.http.h1 cimport Request

__all__ = ["FileWrapper", "Input", "Received"]


cdef class Input:
    """A file to read a body from; it ends where the body does, whatever comes after.

    Reading waits for what has not come. It raises OSError if the client goes away, sends what is
    no body, or takes too long.
    """

    cdef Request request
    cdef object receive
    cdef object begin           # is called before the first read, or None
    cdef Py_ssize_t at          # how much of the first chunk was read

    def __init__(self, Request request, receive, begin=None):
        """*receive* waits until more has come, or the request is complete; *begin* is called
        before the first read.
        """
        self.request = request
        self.receive = receive
        self.begin = begin

    cdef int start(self) except -1:
        begin, self.begin = self.begin, None
        if begin is not None:
            begin()
        return 0

    def read(self, size=-1):
        """Up to *size* bytes, fewer only at the end; everything if it is negative or None."""
        request = self.request
        self.start()
        if size is None or size < 0:
            while not request.complete:
                self.receive(request)
            return self.take(self.there())
        there = self.there()
        while there < size and not request.complete:
            count = self.chunks()
            self.receive(request)
            for at in range(count, self.chunks()):
                there += len(request.body[at])
        return self.take(size)

    def read1(self, size=-1):
        """What has come, up to *size* bytes; waits only if that is nothing; b"" at the end."""
        request = self.request
        self.start()
        while not request.body and not request.complete:
            self.receive(request)
        there = len(request.body[0]) - self.at if request.body else 0
        return self.take(there if size is None or size < 0 else min(size, there))

    def readinto(self, buffer):
        """Fill *buffer* as :meth:`read` would; returns how many bytes."""
        data = self.read(len(buffer))
        buffer[:len(data)] = data
        return len(data)

    def readline(self, size=-1):
        """Up to and with the next line feed, *size* bytes at most if it is given."""
        request = self.request
        self.start()
        most = None if size is None or size < 0 else size
        seen, there = 0, -self.at
        while most is None or there < most:
            while seen < self.chunks():
                chunk = request.body[seen]
                found = chunk.find(b"\n", 0 if seen else self.at)
                if found >= 0:
                    there += found + 1
                    return self.take(there if most is None else min(there, most))
                there += len(chunk)
                seen += 1
            if request.complete:
                break
            self.receive(request)
        there = max(there, 0)
        return self.take(there if most is None else min(there, most))

    def readlines(self, hint=None):
        """All lines; with *hint*, no more once they have that many bytes."""
        lines = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    cdef Py_ssize_t chunks(self) except -1:
        return len(self.request.body) if self.request.body is not None else 0

    cdef Py_ssize_t there(self) except? -1:
        return sum(map(len, self.request.body)) - self.at if self.request.body is not None else 0

    cdef bytes take(self, Py_ssize_t size):
        chunks = self.request.body
        parts = []
        while size > 0 and chunks:
            chunk = chunks[0]
            part = chunk[self.at:self.at + size] if self.at else chunk[:size]
            parts.append(part)
            size -= len(part)
            self.at += len(part)
            if self.at == len(chunk):
                chunks.popleft()
                self.at = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __repr__(self):
        complete = self.request.complete
        return f"<{type(self).__name__} {self.there()} bytes there, complete={complete}>"


class Received(RawIOBase):
    """What a socket receives, after *first*, which it has received already."""

    #: Whether nothing more is received; nor is the socket shut down.
    ended = False

    def __init__(self, first, sock):
        self._first, self._sock = first, sock

    def readable(self):
        return True

    def fileno(self):
        return self._sock.fileno()

    def readinto(self, buffer):
        if self._first:
            size = min(len(buffer), len(self._first))
            buffer[:size], self._first = self._first[:size], self._first[size:]
            return size
        return 0 if self.ended else self._sock.recv_into(buffer)


class FileWrapper:
    """``wsgi.file_wrapper``: an iterable over *filelike*; a file is sent by the system itself."""

    filelike = None
    block_size = 65536

    def __init__(self, filelike, block_size=65536):
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.block_size)
        if not data:
            raise StopIteration
        return data

    def regular_file(self):
        """Where it stands in the file and how much follows; None if it is no regular file."""
        try:
            status = os.fstat(self.filelike.fileno())
            at = self.filelike.tell()
        except (AttributeError, OSError, ValueError):
            return None
        return (at, max(status.st_size - at, 0)) if stat.S_ISREG(status.st_mode) else None
