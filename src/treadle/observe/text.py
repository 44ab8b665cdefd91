"""Text about the objects of a running program, whatever their methods do."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["safe_repr"]


def safe_repr(obj: object, format: Callable[[object], str] = repr) -> str:
    """Return ``format(obj)``, or a text that says how it failed: a report never fails itself."""
    try:
        return format(obj)
    except Exception as exc:
        kind = type(obj).__name__
        return f"<{kind} at {id(obj):#x}, whose {format.__name__}() raises {type(exc).__name__}>"
