"""Windows's texts of its error numbers: what gevent.win32util offers."""

from __future__ import annotations

import os

__all__ = ["formatError"]

try:
    from ctypes import WinError  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    WinError = None  # type: ignore[assignment,unused-ignore]


def formatError(errorcode: int) -> str:
    """The system's text of an error number, as socket errors have it."""
    return os.strerror(errorcode) if WinError is None else str(WinError(errorcode))
