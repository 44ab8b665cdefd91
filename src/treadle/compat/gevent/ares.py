"""``gevent.ares``, gevent's old name of :mod:`treadle.resolver.cares`."""

from treadle.resolver.cares import channel

__all__ = ["channel"]
