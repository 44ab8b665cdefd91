"""The built-in ``open()``, whose files over pipes, FIFOs, sockets and terminals are cooperative."""

from __future__ import annotations

import _io
import io
from collections.abc import Callable
from os import stat
from stat import S_ISCHR, S_ISFIFO, S_ISSOCK
from sys import flags
from typing import Any

from treadle import os as cooperative_os
from treadle._core.builtins import builtin
from treadle._core.pipes import cooperative

_native_open = _io.open


@builtin
def open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> Any:
    """Open a file as :func:`open` does; other greenlets run while a FIFO lacks its other end.

    They also run while a pipe, a FIFO, a socket or a terminal has no data or no room.
    """
    if encoding is None and flags.warn_default_encoding and "b" not in mode:
        encoding = io.text_encoding(encoding)  # warns of the caller's line
    kind = _kind(file) if opener is None else None
    if kind is not None and S_ISFIFO(kind) and not isinstance(file, int):
        opener = _open_fifo
    opened = _native_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    if kind is None and opener is not None:
        kind = _kind(opened.fileno())
    if kind is None or not _is_waited_for(kind, opened):
        return opened
    return cooperative(opened, buffering, newline)


def _open_fifo(path: str, flags: int) -> int:
    return cooperative_os.open(path, flags, 0o666)


def _kind(file: Any) -> int | None:
    """Return the mode of a file given by path or descriptor; None if there is no such file."""
    try:
        return stat(file).st_mode
    except (OSError, TypeError, ValueError):
        return None


def _is_waited_for(mode: int, file: Any) -> bool:
    if S_ISCHR(mode):
        return bool(file.isatty())
    return S_ISFIFO(mode) or S_ISSOCK(mode)
