"""The standard library's selectors, cooperative: its own classes on :mod:`treadle.select`."""

from __future__ import annotations

import selectors as _selectors
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any

from treadle import select as _select

if _TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.selectors import *  # noqa: F403

__target__ = "selectors"
__implements__ = ["DefaultSelector", "SelectSelector"]


class SelectSelector(_selectors.SelectSelector):
    """:class:`selectors.SelectSelector`, whose ``select()`` lets other greenlets run."""

    def _select(self, r: Any, w: Any, _: Any, timeout: float | None = None) -> Any:
        return _select.select(r, w, [], timeout)


DefaultSelector: Any = SelectSelector

if hasattr(_selectors, "PollSelector"):

    class PollSelector(_selectors.PollSelector):
        """:class:`selectors.PollSelector`, whose ``select()`` lets other greenlets run."""

        _selector_cls = _select.poll

    __implements__ += ["PollSelector"]
    DefaultSelector = PollSelector

if hasattr(_selectors, "EpollSelector"):

    class EpollSelector(_selectors.EpollSelector):
        """:class:`selectors.EpollSelector`, whose ``select()`` lets other greenlets run."""

        _selector_cls = _select.epoll

    __implements__ += ["EpollSelector"]
    DefaultSelector = EpollSelector


class _BadDescriptor(OSError, ValueError):
    """An OSError in the standard library, a ValueError in gevent."""


class GeventSelector(DefaultSelector):  # type: ignore[misc]
    """The best of them, by the name it has in gevent.

    The operating system's error about a bad descriptor is a ValueError too. *hub* is gevent's: who
    waits, waits in the hub of its thread.
    """

    def __init__(self, hub: object = None) -> None:
        super().__init__()

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        try:
            return super().register(fileobj, events, data)
        except OSError as exc:
            text = f"Invalid file descriptor: {exc.strerror}"
            raise _BadDescriptor(exc.errno, text) from exc


DefaultSelector = GeventSelector

#: What is the standard library's own.
__imports__ = [
    name for name in dir(_selectors) if not name.startswith("__") and name not in globals()
]

globals().update({name: getattr(_selectors, name) for name in __imports__})
__all__ = [*__implements__, "GeventSelector"]
