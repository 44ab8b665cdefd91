"""The standard library's time module with a cooperative sleep()."""

from __future__ import annotations

import time as _time
import typing as _typing

from treadle._core.builtins import sleep as sleep

if _typing.TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.time import *  # noqa: F403

__implements__: list[str] = ["sleep"]
__target__ = "time"
#: The names that are the standard library's own.
__imports__: list[str] = [
    name for name in dir(_time) if not name.startswith("__") and name != "sleep"
]

globals().update({name: getattr(_time, name) for name in __imports__})
__all__ = [name for name in (*__implements__, *__imports__) if not name.startswith("_")]

sleep.__module__ = __name__
