"""Queues between greenlets and threads: what gevent.queue offers."""

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
        """Raised by put() and get() of a queue that was shut down."""


core_queues.full_class = Full
core_queues.shutdown_class = ShutDown


# Of several bases the compiled one stands first: it decides how the object is built.


class SimpleQueue(core_queues.SimpleQueue[T]):
    """First in, first out; at most *maxsize* items, or any number if that is None.

    Begins with *items*. Iterating gets items until one is ``StopIteration``. As with the standard
    library's queues, subclasses may override ``_init``, ``_qsize``, ``_put`` and ``_get``.
    """

    __slots__ = ()


class Queue(core_queues.Queue[T], SimpleQueue[T]):
    """A :class:`SimpleQueue` that also counts what is done, and can be shut down.

    *unfinished_tasks* is the count to begin with: that of *items* unless given.
    """

    __slots__ = ()


JoinableQueue = Queue


class LifoQueue(core_queues.LifoQueue[T], Queue[T]):
    """A :class:`Queue` that gives the latest item first."""

    __slots__ = ()


class PriorityQueue(core_queues.PriorityQueue[T], Queue[T]):
    """A :class:`Queue` that gives the lowest item first; often tuples ``(priority, data)``."""

    __slots__ = ()


class Channel(core_queues.Channel[T]):
    """Hands each item from a putter to a getter; whoever comes first waits for the other."""

    __slots__ = ()

    next = core_queues.Channel.__next__
