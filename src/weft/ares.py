"""gevent's old name of :mod:`weft.resolver.cares`."""

from weft.resolver.cares import channel

__all__ = ["channel"]
