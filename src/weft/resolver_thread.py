"""gevent's old name of :mod:`weft.resolver.thread`."""

from weft.resolver.thread import Resolver

__all__ = ["Resolver"]
