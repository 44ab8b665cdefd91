"""Look-ups in flight are shared: one implementation for all resolvers."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from functools import partial
from typing import Any

from treadle.event import AsyncResult

__all__ = ["Merger"]


#: A value, or what was raised.
Outcome = tuple[Any, Exception | None]


class Merger:
    """Who asks for what is being looked up waits for the same answer.

    *start* has a function called elsewhere, in a thread or a greenlet: no asker that is killed
    takes the answer away from the others.
    """

    def __init__(self, start: Callable[[partial[None]], object]) -> None:
        self.start = start
        self.pending: dict[Any, AsyncResult[Outcome]] = {}

    def call(self, function: Callable[..., Any], name: str, *args: Any) -> Any:
        """The value of ``function(*args)``, or what it raises; *name* tells functions apart."""
        mine: AsyncResult[Outcome] = AsyncResult()
        key: Any = (name, args, repr(args))  # 1, 1.0 and True are equal, and not the same argument
        try:
            shared = self.pending.setdefault(key, mine)
        except TypeError:  # an argument that has no hash
            key, shared = None, mine
        if shared is mine:
            self.start(partial(self.answer, key, mine, function, args))
        value, error = shared.get()
        if error is not None:
            raise copy(error)  # one instance for all would collect their tracebacks
        return value if shared is mine else deepcopy(value)

    def answer(
        self,
        key: Any,
        result: AsyncResult[Outcome],
        function: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        """What is called elsewhere for :meth:`call`."""
        outcome: Outcome
        try:
            outcome = function(*args), None
        except Exception as exc:
            outcome = None, exc.with_traceback(None)
        self.pending.pop(key, None)
        result.set(outcome)
