"""The standard library's selectors module, made cooperative: it uses :mod:`treadle.select`."""

from __future__ import annotations

import errno as _errno
import selectors as _selectors
import typing as _typing
from collections.abc import Callable as _Callable
from collections.abc import Iterable as _Iterable
from typing import Any

from treadle import select as _select
from treadle._core.rebound import rebound as _rebound

if _typing.TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.selectors import *  # noqa: F403

__target__ = "selectors"
__implements__: list[str] = ["DefaultSelector", "SelectSelector"]


def _select_of(cls: Any) -> Any:
    """Return the method ``select()`` of the standard *cls*, made to raise InterruptedError.

    The standard one takes it for the interruption of a system call, which Python hides by itself.
    Here it can only have been thrown into the wait.
    """
    return _rebound(cls.select, {**vars(_selectors), "InterruptedError": ()})


class SelectSelector(_selectors.SelectSelector):
    """:class:`selectors.SelectSelector`, whose ``select()`` switches to other greenlets."""

    select = _select_of(_selectors.SelectSelector)

    def _select(self, r: Any, w: Any, _: Any, timeout: float | None = None) -> Any:
        return _select.select(r, w, [], timeout)


DefaultSelector: type[_selectors.BaseSelector] = SelectSelector

if hasattr(_selectors, "PollSelector"):

    class PollSelector(_selectors.PollSelector):
        """:class:`selectors.PollSelector`, whose ``select()`` switches to other greenlets."""

        _selector_cls = _select.poll
        select = _select_of(_selectors.PollSelector)

    __implements__.append("PollSelector")
    DefaultSelector = PollSelector

if hasattr(_selectors, "EpollSelector"):

    class EpollSelector(_selectors.EpollSelector):
        """:class:`selectors.EpollSelector`, whose ``select()`` switches to other greenlets."""

        _selector_cls = _select.epoll
        select = _select_of(_selectors.EpollSelector)

    __implements__.append("EpollSelector")
    DefaultSelector = EpollSelector


def make_cooperative(selector: _selectors.BaseSelector) -> None:
    """Make a selector of the standard library cooperative in place, with what it watches."""
    made: Any = selector
    adopt = _ADOPT.get(type(selector))
    watched = selector.get_map()
    if adopt is not None and watched is not None:  # it is None if the selector is closed
        adopt(made, watched.values())
        made.__class__ = globals()[type(selector).__name__]


def _adopt_select(selector: Any, keys: _Iterable[_selectors.SelectorKey]) -> None:
    """Keep all: it watches nothing between its calls."""


def _adopt_poll(selector: Any, keys: _Iterable[_selectors.SelectorKey]) -> None:
    selector._selector = poll = _select.poll()
    for key in keys:
        reads = key.events & _selectors.EVENT_READ and _select.POLLIN
        writes = key.events & _selectors.EVENT_WRITE and _select.POLLOUT
        poll.register(key.fd, reads | writes)


def _adopt_epoll(selector: Any, keys: _Iterable[_selectors.SelectorKey]) -> None:
    selector._selector = _select.epoll(native=selector._selector)


#: A class of the standard library -> what makes its instances use :mod:`treadle.select`.
_ADOPT: dict[type, _Callable[[Any, _Iterable[_selectors.SelectorKey]], None]] = {
    getattr(_selectors, name): adopt
    for name, adopt in (
        ("SelectSelector", _adopt_select),
        ("PollSelector", _adopt_poll),
        ("EpollSelector", _adopt_epoll),
    )
    if hasattr(_selectors, name)
}


class _BadDescriptor(OSError, ValueError):
    """A bad file descriptor: an OSError in the standard library, a ValueError in gevent."""


if _typing.TYPE_CHECKING:
    from selectors import DefaultSelector as _Best
else:
    _Best = DefaultSelector


class GeventSelector(_Best):
    """The best selector of this system, under gevent's name for it.

    The OSError that :meth:`register` raises for a bad file descriptor is a ValueError too. *hub* is
    accepted for gevent's sake: a greenlet always waits in the hub of its own thread.
    """

    def __init__(self, hub: object = None) -> None:
        super().__init__()

    def register(self, fileobj: Any, events: int, data: Any = None) -> _selectors.SelectorKey:
        try:
            return super().register(fileobj, events, data)
        except OSError as exc:
            # EINVAL: the number is now that of this selector. Others stay as they are, such as the
            # PermissionError for a regular file.
            if exc.errno not in (_errno.EBADF, _errno.EINVAL):
                raise
            text = f"Invalid file descriptor: {exc.strerror}"
            raise _BadDescriptor(exc.errno, text) from exc


DefaultSelector = GeventSelector

#: The names that are the standard library's own.
__imports__: list[str] = [
    name for name in dir(_selectors) if not name.startswith("__") and name not in globals()
]

globals().update({name: getattr(_selectors, name) for name in __imports__})
__all__ = [*__implements__, "GeventSelector"]
