"""A resolver that blocks the thread: the API of gevent.resolver.blocking."""

from __future__ import annotations

from typing import Any

from treadle.resolver import NATIVE, AbstractResolver

__all__ = ["Resolver"]


class Resolver(AbstractResolver):
    """A resolver that calls the standard functions, which block the calling thread."""

    def look_up(self, name: str, *args: Any) -> Any:
        """Call the standard function *name* in this thread."""
        return NATIVE[name](*args)
