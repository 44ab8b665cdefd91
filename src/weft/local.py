"""Greenlet-local attributes: what gevent.local offers."""

from __future__ import annotations

from weft._core import local as core

__all__ = ["local"]


class local(core.local):
    """An object whose attributes each greenlet (and each native thread) has for itself.

    :class:`threading.local`'s interface: a subclass's ``__init__`` is called once in every
    greenlet that uses the object, with the arguments it was made with.
    """
