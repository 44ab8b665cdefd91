"""Merges concurrent lookups of the same name into one, for all resolvers."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from functools import partial
from typing import Any

from treadle._core.crew import get_from_thread
from treadle.event import AsyncResult

__all__ = ["Merger"]


#: A value, or what was raised.
Outcome = tuple[Any, Exception | None]


class Merger:
    """Merges lookups: a caller that asks for a pending lookup waits for its result.

    *start* runs a function elsewhere, in a thread or in a greenlet: killing one caller does not
    take the result from the others.
    """

    def __init__(self, start: Callable[[partial[None]], object]) -> None:
        self.start = start
        self.pending: dict[Any, AsyncResult[Outcome]] = {}

    def call(self, function: Callable[..., Any], name: str, *args: Any) -> Any:
        """Return the value of ``function(*args)``, or raise what it raises.

        Calls with equal *name* and *args* share one call; *name* identifies the function.
        """
        mine: AsyncResult[Outcome] = AsyncResult()
        key: Any = (name, args, repr(args))  # repr: 1, 1.0 and True are equal, but other arguments
        try:
            shared = self.pending.setdefault(key, mine)
        except TypeError:  # an argument is not hashable: do not share
            key, shared = None, mine
        if shared is mine:
            try:
                self.start(partial(self.answer, key, mine, function, args))
            except Exception as exc:
                self.pending.pop(key, None)
                mine.set((None, exc.with_traceback(None)))
        value, error = get_from_thread(shared)
        if error is not None:
            raise copy(error)  # a shared instance would collect the tracebacks of all callers
        return value if shared is mine else deepcopy(value)

    def answer(
        self,
        key: Any,
        result: AsyncResult[Outcome],
        function: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        """Call *function* and set *result*; :meth:`call` has this run in a thread or greenlet."""
        outcome: Outcome
        try:
            outcome = function(*args), None
        except Exception as exc:
            outcome = None, exc.with_traceback(None)
        self.pending.pop(key, None)
        result.set(outcome)
