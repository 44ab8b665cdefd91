"""A resolver that uses native threads of its own: the API of gevent.resolver.thread."""

from __future__ import annotations

from typing import Any

from treadle._core.crew import Threads
from treadle.resolver import NATIVE, AbstractResolver
from treadle.resolver._merging import Merger

__all__ = ["Resolver"]

#: The most threads. A dead name server blocks one for some ten seconds per name. The limit lets 500
#: names that take 300 ms each be looked up in two rounds.
MAX_THREADS = 256


class Lookups(Threads):
    """The native threads that do the lookups of the whole process."""

    def begin(self) -> None:
        """Start with no threads and no pending lookups; a forked child does this too."""
        super().begin()
        self.merger: Merger = Merger(self.submit)


lookups: Lookups = Lookups(MAX_THREADS)


class Resolver(AbstractResolver):
    """A resolver that calls the standard functions in native threads that do nothing else.

    There are at most :data:`MAX_THREADS` threads. Concurrent lookups of the same name are merged
    into one. When no thread can be started because the interpreter is ending, the calling thread
    does the lookup.
    """

    def look_up(self, name: str, *args: Any) -> Any:
        """Call the standard function *name* in a native thread, and wait for its result."""
        return lookups.merger.call(NATIVE[name], name, *args)
