"""The loop and what it is made of: what gevent.core offers."""

from __future__ import annotations

from weft._core import hub as core
from weft._core.clock import monotonic
from weft._core.watchers import EVENTS, READ, WRITE, Loop

__all__ = ["EVENTS", "READ", "WRITE", "callback", "loop", "supported_backends", "time"]

#: The class of what ``run_callback`` returns.
callback = core.Callback


class loop(Loop):
    """A hub's callbacks and watchers; ``get_hub().loop`` is the current thread's."""


def supported_backends() -> list[str]:
    """The pollers that work here, the best first."""
    return ["select"] if core.EpollPoller is None else ["epoll", "select"]


def time() -> float:
    """The loops' time in seconds, of no particular beginning."""
    return monotonic() / 1e9
