"""A resolver that blocks the thread: what gevent.resolver.blocking offers."""

from __future__ import annotations

from typing import Any

from treadle.resolver import NATIVE, AbstractResolver

__all__ = ["Resolver"]


class Resolver(AbstractResolver):
    """Calls the standard functions where it is; no other greenlet runs meanwhile."""

    def look_up(self, name: str, *args: Any) -> Any:
        """Call the standard function *name*."""
        return NATIVE[name](*args)
