"""The cooperative part of the standard library's time module."""

from __future__ import annotations

from weft._core.builtins import sleep

__implements__ = ["sleep"]
__target__ = "time"
__all__ = ["sleep"]

sleep.__module__ = __name__
