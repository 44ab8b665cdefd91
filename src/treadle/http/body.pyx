# cython: nonecheck=True
"""Bodies that applications read and return: ``wsgi.input`` and ``wsgi.file_wrapper``."""

import os
import stat
from io import BufferedRandom, BufferedReader, FileIO, RawIOBase

from treadle.http.h1 cimport Request

__all__ = ["FileWrapper", "Input", "Received"]


cdef class Input:
    """Input(request, receive, begin=None)\n--\n
    A file object that reads the body of a request, and ends where the body ends.

    Reading blocks until data arrives. It raises OSError if the client goes away, TimeoutError if
    the client takes too long, and BadRequest if the body is malformed or too long.
    """

    cdef Request request
    cdef object receive
    cdef object begin           # called before the first read, or None
    cdef Py_ssize_t at          # bytes of the first chunk that were read
    cdef long long taken        # bytes that were read

    def __init__(self, Request request, receive, begin=None):
        """Read the body of *request*.

        *receive* blocks until more of the body has arrived or the request is complete. *begin* is
        called before the first read.
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
        """Read and return *size* bytes, or the rest of the body if *size* is negative or None.

        Returns fewer bytes only at the end of the body.
        """
        request = self.request
        self.start()
        if size is None or size < 0:
            while not request.complete:
                self.receive(request)
            return self.take(self.there())
        while self.there() < size and not request.complete:
            self.receive(request)
        return self.take(size)

    def read1(self, size=-1):
        """Return up to *size* bytes that have arrived; b"" at the end of the body.

        Blocks only if no bytes have arrived.
        """
        request = self.request
        self.start()
        while not request.body and not request.complete:
            self.receive(request)
        there = len(request.body[0]) - self.at if request.body else 0
        return self.take(there if size is None or size < 0 else min(size, there))

    def readinto(self, buffer):
        """Read bytes into *buffer* and return how many; they fill it, except at the body's end."""
        data = self.read(len(buffer))
        buffer[:len(data)] = data
        return len(data)

    def readline(self, size=-1):
        """Read and return a line, with its line feed; at most *size* bytes if that is given."""
        request = self.request
        self.start()
        most = None if size is None or size < 0 else size
        # *seen* bytes, which end at *at* of the chunk *chunk*, have no line feed. A chunk that was
        # looked at may have grown while more was received.
        chunk, at, seen = 0, self.at, 0
        while most is None or seen < most:
            while chunk < self.chunks():
                data = request.body[chunk]
                found = data.find(b"\n", at)
                if found >= 0:
                    seen += found + 1 - at
                    return self.take(seen if most is None else min(seen, most))
                seen += len(data) - at
                if chunk + 1 == self.chunks():
                    at = len(data)
                    break
                chunk, at = chunk + 1, 0
            if request.complete:
                break
            self.receive(request)
        return self.take(seen if most is None else min(seen, most))

    def readlines(self, hint=None):
        """Read and return all lines; with *hint*, stop once they have that many bytes."""
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
        return self.request.body_size - self.taken

    cdef bytes take(self, Py_ssize_t size):
        chunks = self.request.body
        parts = []
        while size > 0 and chunks:
            chunk = chunks[0]
            part = chunk[self.at:self.at + size] if self.at else chunk[:size]
            parts.append(part)
            size -= len(part)
            self.taken += len(part)
            self.at += len(part)
            if self.at == len(chunk):
                chunks.popleft()
                self.at = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __repr__(self):
        complete = self.request.complete
        return f"<{type(self).__name__} {self.there()} bytes there, complete={complete}>"


class Received(RawIOBase):
    """A raw stream of *first*, which was received already, and then of what *sock* receives."""

    #: If true, the stream receives nothing more. The socket is not shut down.
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
    """``wsgi.file_wrapper``: iterates over blocks of *filelike*.

    HTTP/1.1 sends a regular file with the socket's sendfile().
    """

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
        """Return the position in a regular file and the bytes after it; None for other files.

        Only of the classes that ``open()`` makes for binary files: what another one's read() gives,
        such as that of a GzipFile, need not be what the file holds. Nor of files whose size need
        not be true because they are nowhere stored, such as those of /proc and /sys, and of files
        that cannot be read.
        """
        file = self.filelike
        raw = file.raw if type(file) is BufferedReader or type(file) is BufferedRandom else file
        if type(raw) is not FileIO:
            return None
        try:
            status = os.fstat(file.fileno())
            left = status.st_size - file.tell()
            stored = getattr(status, "st_blocks", left)
            if stored and left > 0 and stat.S_ISREG(status.st_mode) and file.readable():
                return status.st_size - left, left
        except (AttributeError, OSError, ValueError):
            pass
        return None
