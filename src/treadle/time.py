"""The standard library's time module with a cooperative sleep()."""

from __future__ import annotations

import time as _time
import typing as _typing

from treadle._core.builtins import builtin as _builtin
from treadle._core.builtins import sleep as sleep
from treadle.thread import native_ident as _native_ident

if _typing.TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.time import *  # noqa: F403

__implements__: list[str] = ["sleep"]
if hasattr(_time, "pthread_getcpuclockid"):
    __implements__.append("pthread_getcpuclockid")
__target__ = "time"
#: The names that are the standard library's own.
__imports__: list[str] = [
    name for name in dir(_time) if not name.startswith("__") and name not in __implements__
]

globals().update({name: getattr(_time, name) for name in __imports__})
__all__ = [name for name in (*__implements__, *__imports__) if not name.startswith("_")]

sleep.__module__ = __name__

if hasattr(_time, "pthread_getcpuclockid"):
    _native_getcpuclockid = _time.pthread_getcpuclockid

    @_builtin
    def pthread_getcpuclockid(thread_id: int, /) -> int:
        """Return the clock id of a thread's CPU time; for a greenlet, of the thread it runs in."""
        return _native_getcpuclockid(_native_ident(thread_id))
