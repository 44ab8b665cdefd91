"""``gevent.win32util`` under the alias: Windows's messages for error numbers."""

from __future__ import annotations

import os

__all__ = ["formatError"]

try:
    from ctypes import WinError  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    WinError = None  # type: ignore[assignment,unused-ignore]


def formatError(errorcode: int) -> str:
    """Return the system's message for an error number, as socket errors show it."""
    return os.strerror(errorcode) if WinError is None else str(WinError(errorcode))
