"""The cooperative part of the standard library's time module."""

from __future__ import annotations

import time as _time

from treadle._core.builtins import sleep

__implements__ = ["sleep"]
__target__ = "time"
#: What is the standard library's own.
__imports__ = [name for name in dir(_time) if not name.startswith("__") and name != "sleep"]

globals().update({name: getattr(_time, name) for name in __imports__})
__all__ = ["sleep"]

sleep.__module__ = __name__
