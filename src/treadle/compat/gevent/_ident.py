"""``gevent._ident`` under the alias."""

from treadle.hub import IdentRegistry

__all__ = ["IdentRegistry"]
