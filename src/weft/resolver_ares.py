"""gevent's old name of :mod:`weft.resolver.ares`."""

from weft.resolver.ares import Resolver

__all__ = ["Resolver"]
