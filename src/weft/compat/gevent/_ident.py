"""``gevent._ident`` under the alias."""

from weft.hub import IdentRegistry

__all__ = ["IdentRegistry"]
