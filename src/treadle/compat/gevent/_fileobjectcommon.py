"""``gevent._fileobjectcommon`` under the alias: the arguments of file objects, checked."""

import io
import os

from treadle.fileobject import FileObjectBlock, FileObjectThread
from treadle.fileobject import _either as _collapse_arg

__all__ = ["FileObjectBlock", "FileObjectThread"]


class WriteallMixin:
    """Adds :meth:`writeall` to a raw file."""

    def writeall(self, value):
        """Write all of *value*, in several calls if needed; return its length in bytes."""
        rest = memoryview(value)
        while rest:
            rest = rest[super().write(rest) :]
        return len(value)


class WriteallFileIO(WriteallMixin, io.FileIO):
    """A raw file whose :meth:`write` writes everything."""

    def write(self, value):
        rest = memoryview(value)
        while rest:
            rest = rest[super().write(rest) :]
        return len(value)


class OpenDescriptor:
    """Checks the arguments of :func:`open`; :meth:`opened` opens the file.

    If *atomic_write* is true, each write to an unbuffered file writes all of its data.
    """

    def __init__(
        self,
        fobj,
        mode="r",
        bufsize=None,
        close=None,
        encoding=None,
        errors=None,
        newline=None,
        buffering=None,
        closefd=None,
        atomic_write=False,
    ):
        self.closefd = _collapse_arg("closefd", closefd, "close", close, True)
        self.buffering = _collapse_arg("buffering", buffering, "bufsize", bufsize, -1)
        for name, value, kinds in (
            ("mode", mode, str),
            ("buffering", self.buffering, int),
            ("encoding", encoding, (str, type(None))),
            ("errors", errors, (str, type(None))),
        ):
            if not isinstance(value, kinds):
                raise TypeError(f"invalid {name}: {value!r}")
        _check_mode(mode, encoding, errors, newline)
        is_descriptor = isinstance(fobj, int) or hasattr(fobj, "fileno")
        self.fobj = fobj if is_descriptor else os.fspath(fobj)
        self.mode = mode.replace("U", "" if "r" in mode else "r")
        self.encoding, self.errors, self.newline = encoding, errors, newline
        self.atomic_write = atomic_write

    def opened(self):
        """Open the file and return it."""
        if self.atomic_write and self.buffering == 0:
            return WriteallFileIO(self.fobj, self.mode.replace("b", ""), closefd=self.closefd)
        return open(
            self.fobj,
            self.mode,
            self.buffering,
            self.encoding,
            self.errors,
            self.newline,
            closefd=self.closefd,
        )


def _check_mode(mode, encoding, errors, newline):
    if set(mode) - set("axrwb+tU") or len(set(mode)) < len(mode):
        raise ValueError(f"invalid mode: {mode!r}")
    if "U" in mode and set(mode) & set("xwa+"):
        raise ValueError("mode U cannot be combined with 'x', 'w', 'a', or '+'")
    if "t" in mode and "b" in mode:
        raise ValueError("can't have text and binary mode at once")
    kinds = len(set(mode) & set("xwa")) + bool(set(mode) & set("rU"))
    if kinds > 1:
        raise ValueError("can't have read/write/append mode at once")
    if kinds == 0:
        raise ValueError("must have exactly one of read/write/append mode")
    for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
        if "b" in mode and value is not None:
            article = "an" if name[0] in "aeiou" else "a"
            raise ValueError(f"binary mode doesn't take {article} {name} argument")
