"""A resolver that uses native threads of its own: what gevent.resolver.thread offers."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from weft._crew import Crew
from weft.resolver import NATIVE, AbstractResolver
from weft.resolver._merging import Merger

__all__ = ["Resolver"]

#: The most threads: a dead name server holds one for some ten seconds per name, and 500 names at
#: 300 ms each shall take two rounds.
MAX_THREADS = 256
#: After how many seconds without a look-up a thread ends.
IDLE_SECONDS = 5.0


class Lookups:
    """The look-ups of all threads of the process."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start with no threads; a forked child does, the parent's are not there."""
        self.crew = Crew(IDLE_SECONDS)
        self.merger = Merger(self.submit)

    def submit(self, task: partial[None]) -> None:
        """Have a worker call *task*."""
        self.crew.submit(task, MAX_THREADS)


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
        return lookups.merger.call(NATIVE[name], name, *args)
