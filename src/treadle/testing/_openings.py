"""Which line opened a descriptor, and which started a greenlet."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import ref

from treadle._config import config
from treadle._core.trial import audit

#: Frames kept of the code that starts a greenlet.
STACK_LIMIT = 12
_LIBRARY = os.path.dirname(os.__file__) + os.sep
_PACKAGES = f"{os.sep}site-packages{os.sep}"
#: Where treadle's files are; compiled ones name their sources.
_OWN = (os.path.dirname(os.path.dirname(__file__)) + os.sep, os.path.join("src", "treadle", ""))


class _Opening(NamedTuple):
    #: The path of a file; or what returns a socket, or None if that is gone.
    what: str | Callable[[], Any]
    filename: str
    line: int
    function: str


#: What was opened since the run began; None: nothing is recorded.
_openings: list[_Opening] | None = None


def _note(event: str, args: tuple[Any, ...]) -> None:
    openings = _openings  # another thread may end the record
    if openings is None:
        return
    what: str | Callable[[], Any]
    try:
        what = ref(args[0]) if event == "socket.__new__" else os.path.abspath(os.fsdecode(args[0]))
    except (TypeError, ValueError, OSError):
        return  # a descriptor that was open already
    frame = sys._getframe(1)
    outer = frame
    while _is_library(outer.f_code.co_filename) and outer.f_back is not None:
        outer = outer.f_back
    code = outer.f_code
    openings.append(_Opening(what, code.co_filename, outer.f_lineno, code.co_name))


def is_own(filename: str) -> bool:
    """Whether a frame of this file is treadle's, not the tested program's."""
    return filename.startswith(_OWN)


def _is_library(filename: str) -> bool:
    in_library = filename.startswith(_LIBRARY) and _PACKAGES not in filename
    return in_library or is_own(filename)


def forget_openings() -> None:
    """Let the record begin anew."""
    if _openings is not None:
        _openings.clear()


def opened_at(number: int, target: str) -> str:
    """Where a descriptor was opened, as the end of a sentence; empty if that is not known."""
    for opening in reversed(_openings or []):
        if isinstance(opening.what, str):
            found = opening.what == target
        else:
            socket = opening.what()
            found = socket is not None and socket.fileno() == number
        if found:
            line = linecache.getline(opening.filename, opening.line).strip()
            text = f"; opened at {opening.filename}:{opening.line} in {opening.function}"
            return f"{text}: {line}" if line else text
    return ""


@contextmanager
def recording() -> Iterator[None]:
    """Record in the block which code opens descriptors and starts greenlets."""
    global _openings
    limit, before = config.spawning_stack_limit, _openings
    config.spawning_stack_limit = max(limit, STACK_LIMIT)
    _openings = [] if before is None else before
    audit(_note)
    try:
        yield
    finally:
        config.spawning_stack_limit, _openings = limit, before
        if before is None:
            audit(None)
