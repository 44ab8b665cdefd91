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
    return True


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
