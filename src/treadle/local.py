"""Attributes that each greenlet has for itself: what gevent.local offers."""

from __future__ import annotations

from typing import Any

import greenlet as _greenlet

from treadle._core import local as core_local

__all__ = ["local"]


def all_local_dicts_for_greenlet(
    greenlet: _greenlet.greenlet,
) -> list[tuple[tuple[type, int], dict[str, Any]]]:
    """What debugging tools ask: ``((class, id), attributes)`` of each local of a greenlet."""
    return core_local.dictionaries_of(greenlet)


class local(core_local.local):
    """An object whose attributes are each greenlet's, and each native thread's, own.

    A subclass's ``__init__`` is called once in each greenlet that uses the object, with the
    arguments it was made with. What ``__slots__`` names is shared. The attributes go when their
    greenlet ends.
    """

    __slots__ = ()
