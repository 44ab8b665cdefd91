"""Events and results to wait for: what gevent.event offers."""

from __future__ import annotations

from treadle._core import event as core_event

__all__ = ["AsyncResult", "Event"]


class Event(core_event.Event):
    """A flag that greenlets and threads wait for: :class:`threading.Event`'s interface."""

    __slots__ = ()


class AsyncResult(core_event.AsyncResult):
    """A value or exception that arrives later and wakes all who wait for it."""

    __slots__ = ()
