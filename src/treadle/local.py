"""Greenlet-local attributes: the API of gevent.local."""

from __future__ import annotations

from typing import Any

import greenlet as _greenlet

from treadle._core import local as core_local

__all__ = ["local"]


def all_local_dicts_for_greenlet(
    greenlet: _greenlet.greenlet,
) -> list[tuple[tuple[type, int], dict[str, Any]]]:
    """Return ``((class, id), attributes)`` for each local object that *greenlet* has used.

    Debugging tools call this.
    """
    return core_local.dictionaries_of(greenlet)


class local(core_local.local):
    """An object with separate attributes for each greenlet and each native thread.

    A subclass's ``__init__`` is called once in each greenlet that uses the object, with the
    arguments that the object was made with. Attributes in ``__slots__`` are shared. A greenlet's
    attributes are freed when it ends.
    """

    __slots__ = ()
