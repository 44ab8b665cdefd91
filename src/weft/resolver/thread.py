"""A resolver that uses native threads of its own: what gevent.resolver.thread offers."""

from __future__ import annotations

import os
from copy import copy, deepcopy
from functools import partial
from typing import Any

from weft._crew import Crew
from weft.event import AsyncResult
from weft.resolver import NATIVE, AbstractResolver

__all__ = ["Resolver"]

#: The most threads: a dead name server holds one for some ten seconds per name, and 500 names at
#: 300 ms each shall take two rounds.
MAX_THREADS = 256
#: After how many seconds without a look-up a thread ends.
IDLE_SECONDS = 5.0


class Lookups:
    """The look-ups of all threads of the process; who asks for the same waits for the same."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start with no threads; a forked child does, the parent's are not there."""
        self.crew = Crew(IDLE_SECONDS)
        self.pending: dict[Any, AsyncResult] = {}

    def call(self, name: str, args: tuple[Any, ...]) -> Any:
        """The value of the standard function *name*; raises what it raises."""
        mine = AsyncResult()
        key: Any = (name, args, repr(args))  # 1, 1.0 and True are equal, and not the same argument
        try:
            shared = self.pending.setdefault(key, mine)
        except TypeError:  # an argument that has no hash
            key, shared = None, mine
        if shared is mine:
            self.crew.submit(partial(self.answer, key, mine, name, args), MAX_THREADS)
        value, error = shared.get()
        if error is not None:
            raise copy(error)  # one instance for all would collect their tracebacks
        return value if shared is mine else deepcopy(value)

    def answer(self, key: Any, result: AsyncResult, name: str, args: tuple[Any, ...]) -> None:
        """What a worker does for :meth:`call`."""
        outcome: tuple[Any, Exception | None]
        try:
            outcome = NATIVE[name](*args), None
        except Exception as exc:
            outcome = None, exc.with_traceback(None)
        self.pending.pop(key, None)
        result.set(outcome)


lookups = Lookups()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lookups.begin)


class Resolver(AbstractResolver):
    """Calls the standard functions in threads that do nothing else.

    At most :data:`MAX_THREADS` of them. Look-ups of the same name at the same time are one. Where
    no thread can be started any more, as the interpreter ends, the calling one is used.
    """

    def look_up(self, name: str, *args: Any) -> Any:
        """Have a thread call the standard function *name*, and wait."""
        return lookups.call(name, args)
