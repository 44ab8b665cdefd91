"""The cooperative part of the standard library's time module."""

from __future__ import annotations

from typing import SupportsFloat, SupportsIndex

from weft._core.hub import sleep as _sleep

__implements__ = ["sleep"]
__target__ = "time"
__all__ = ["sleep"]


def sleep(seconds: SupportsFloat | SupportsIndex, /) -> None:
    """Let other greenlets run for *seconds*: :func:`time.sleep`, with its errors.

    Raises TypeError for what is not a number, ValueError for negative numbers and NaN,
    OverflowError for more than the platform's time can hold.
    """
    if not isinstance(seconds, SupportsFloat | SupportsIndex):
        kind = type(seconds).__name__
        raise TypeError(f"'{kind}' object cannot be interpreted as an integer")
    duration = float(seconds)
    if duration != duration:
        raise ValueError("Invalid value NaN (not a number)")
    if duration < 0:
        raise ValueError("sleep length must be non-negative")
    if duration > 9223372036:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")
    _sleep(duration)
