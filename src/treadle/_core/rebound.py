"""Copies of the standard library's functions that use other global names."""

from __future__ import annotations

from types import FunctionType
from typing import Any


def rebound(function: Any, namespace: dict[str, Any]) -> Any:
    """Return a copy of *function* whose global names are those of *namespace*."""
    copy = FunctionType(
        function.__code__,
        namespace,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__doc__ = function.__doc__
    return copy
