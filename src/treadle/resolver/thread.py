"""A resolver that uses native threads of its own: what gevent.resolver.thread offers."""

from __future__ import annotations

from typing import Any

from treadle._core.crew import Threads
from treadle.resolver import NATIVE, AbstractResolver
from treadle.resolver._merging import Merger

__all__ = ["Resolver"]

#: The most threads: a dead name server holds one for some ten seconds per name, and 500 names at
#: 300 ms each shall take two rounds.
MAX_THREADS = 256


class Lookups(Threads):
    """The look-ups of all threads of the process."""

    def begin(self) -> None:
        """Start with no threads and nothing to look up."""
        super().begin()
        self.merger = Merger(self.submit)


lookups = Lookups(MAX_THREADS)


class Resolver(AbstractResolver):
    """Calls the standard functions in threads that do nothing else.

    At most :data:`MAX_THREADS` of them. Look-ups of the same name at the same time are one. Where
    no thread can be started any more, as the interpreter ends, the calling one is used.
    """

    def look_up(self, name: str, *args: Any) -> Any:
        """Have a thread call the standard function *name*, and wait."""
        return lookups.merger.call(NATIVE[name], name, *args)
