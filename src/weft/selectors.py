"""The standard library's selectors, cooperative: its own classes on :mod:`weft.select`."""

from __future__ import annotations

import selectors as _selectors
from typing import Any

from weft import select as _select

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

__all__ = list(__implements__)
