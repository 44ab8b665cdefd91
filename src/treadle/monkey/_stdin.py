"""Make ``sys.stdin`` cooperative in place, so that data in its buffers is not lost."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from treadle._core.builtins import builtin
from treadle._core.descriptor import await_ready
from treadle._core.pipes import READS, Turns, share

_READ = 1
_native_input = input


def wait_before_reads(file: Any) -> bool:
    """Let other greenlets run while the text file *file* waits for a pipe or a terminal.

    Return False, and change nothing, if it is a regular file, closed, or not a standard file
    object.
    """
    raw = getattr(getattr(file, "buffer", None), "raw", None)
    if type(raw) is not io.FileIO or raw.closed or stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        return False
    turns = share(file.buffer, io.DEFAULT_BUFFER_SIZE)
    # Instance attributes, which the buffer and the text file call instead of the classes' methods.
    overrides: Any = raw
    overrides.read = partial(_read, turns, raw, raw.read)
    overrides.readall = partial(io.RawIOBase.readall, raw)  # which calls read()
    overrides.readinto = partial(_when_ready, turns, raw, raw.readinto)
    for name in READS:
        setattr(file.buffer, name, partial(turns.call, getattr(file.buffer, name)))
    file.buffer.close = partial(turns.close, raw, file.buffer.close)
    readers = _Readers(file)
    file.buffer.read1 = readers.read1
    file.close = partial(readers.turns.close, raw, file.close)
    file.read = partial(readers.turns.call, readers.read, file.read)
    for name in ("readline", "readlines"):
        setattr(file, name, partial(readers.turns.call, getattr(file, name)))
    return True


class _Readers:
    """Lets greenlets share a native text file: each gets whole lines, and none is lost.

    Its calls keep what they have read in local variables, and overwrite what is decoded when they
    wait for more. So they take turns. Iteration cannot: it calls no method of the instance. But
    what it needs comes from :meth:`read1`. Nothing decoded may be left over when it gets that,
    since it looked before. So while others wait, no call gets more than it uses.
    """

    def __init__(self, file: Any) -> None:
        #: Held during each call.
        self.turns = share(file, 0)
        self._peek = file.buffer.peek
        self._read1 = file.buffer.read1
        self._readline = file.buffer.readline
        #: Whether the call in progress reads a number of characters, not lines.
        self._counts = False

    def read(self, native: Callable[..., Any], *args: Any) -> Any:
        """Call *native*, the text file's ``read()``."""
        before, self._counts = self._counts, True
        try:
            return native(*args)
        finally:
            self._counts = before

    def read1(self, size: int = -1, /) -> bytes:
        """Return the next bytes for the text file, or for a program that reads bytes."""
        if self.turns.lock._is_owned():
            return self._next_bytes(size, True)
        result: bytes = self.turns.call(self._next_bytes, size, False)
        return result

    def _next_bytes(self, size: int, comes_back: bool) -> bytes:
        available: bytes = self._peek(1) if size else b""
        if not available:
            return b""  # without reading again: a terminal goes on after its end
        if self.turns.lock.is_awaited:
            if self._counts:
                size = 1
            elif end := available.find(b"\n") + 1:
                size = min(end, size) if size >= 0 else end
            elif not comes_back:  # another greenlet would get the rest of the line
                rest: bytes = self._readline(size)
                return rest
        data: bytes = self._read1(size)
        return data


def _when_ready(turns: Turns, raw: io.FileIO, call: Callable[..., Any], *args: Any) -> Any:
    # In turn, as a buffer that is iterated over calls this without having waited for its turn.
    return turns.call(_call_when_ready, raw, call, *args)


def _call_when_ready(raw: io.FileIO, call: Callable[..., Any], *args: Any) -> Any:
    if not raw.closed:
        await_ready(raw.fileno(), _READ)
    return call(*args)


def _read(
    turns: Turns, raw: io.FileIO, native: Callable[[int], Any], size: int | None = -1, /
) -> Any:
    if size is None or size < 0:
        return raw.readall()
    return _when_ready(turns, raw, native, size)


@builtin
def input(prompt: object = "", /) -> str:
    """Read a line as :func:`input` does; other greenlets run while the terminal has none.

    On a terminal, :mod:`readline` is not used, even if it is loaded: the terminal edits the line.
    """
    if not _are_terminal():
        return _native_input(prompt)  # it calls sys.stdin.readline()
    sys.audit("builtins.input", prompt)
    if sys.stderr is not None:
        sys.stderr.flush()
    sys.stdout.write(str(prompt))
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError("EOF when reading a line")
    line = line.removesuffix("\n")
    sys.audit("builtins.input/result", line)
    return line


def _are_terminal() -> bool:
    """Return whether the native function would read the terminal without ``sys.stdin``."""
    try:
        return (sys.stdin.fileno(), sys.stdout.fileno()) == (0, 1) and os.isatty(0) and os.isatty(1)
    except (AttributeError, OSError, ValueError):
        return False
