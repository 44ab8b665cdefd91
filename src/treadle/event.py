"""Events and results that greenlets can wait for, with the interface of gevent.event."""

from __future__ import annotations

from typing import TypeVar

from treadle._core import event as core_event

__all__ = ["AsyncResult", "Event"]

T = TypeVar("T")


class Event(core_event.Event):
    """A flag that greenlets and threads can wait for, with the interface of threading.Event."""

    __slots__ = ()


class AsyncResult(core_event.AsyncResult[T]):
    """A value or an exception that is set once and wakes all greenlets that wait for it.

    For type checkers, ``AsyncResult[int]`` is a result with an int value.
    """

    __slots__ = ()
