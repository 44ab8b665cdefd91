"""Queues between greenlets and threads: the API of gevent.queue."""

from __future__ import annotations

import sys
from queue import Empty, Full
from typing import TypeVar

from treadle._core import queues as core_queues

__all__ = [
    "Channel",
    "Empty",
    "Full",
    "JoinableQueue",
    "LifoQueue",
    "PriorityQueue",
    "Queue",
    "ShutDown",
    "SimpleQueue",
]

T = TypeVar("T")

if sys.version_info >= (3, 13):
    from queue import ShutDown
else:

    class ShutDown(Exception):
        """Raised by put(), and by get() of an empty queue, after the queue was shut down."""


core_queues.full_class = Full
core_queues.shutdown_class = ShutDown


# Where a class has several bases, the compiled one comes first: it decides how the object is built.


class SimpleQueue(core_queues.SimpleQueue[T]):
    """A first-in, first-out queue of at most *maxsize* items, or any number if that is None.

    It starts with *items*. Iteration gets items until one is ``StopIteration``. As with the
    standard library's queues, subclasses may override ``_init``, ``_qsize``, ``_put`` and ``_get``.
    """

    __slots__ = ()


class Queue(core_queues.Queue[T], SimpleQueue[T]):
    """A :class:`SimpleQueue` that also counts unfinished tasks and can be shut down.

    *unfinished_tasks* is the initial count, by default the number of *items*.
    """

    __slots__ = ()


JoinableQueue = Queue


class LifoQueue(core_queues.LifoQueue[T], Queue[T]):
    """A :class:`Queue` that returns the latest item first."""

    __slots__ = ()


class PriorityQueue(core_queues.PriorityQueue[T], Queue[T]):
    """A :class:`Queue` that returns the lowest item first; items are often ``(priority, data)``."""

    __slots__ = ()


class Channel(core_queues.Channel[T]):
    """A queue without room for items: put() and get() wait for each other and hand over an item."""

    __slots__ = ()

    def next(self) -> T:
        """Return the next item; raise StopIteration at the end. gevent's old name."""
        return self.__next__()
