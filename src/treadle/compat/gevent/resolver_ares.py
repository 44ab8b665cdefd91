"""``gevent.resolver_ares``, gevent's old name of :mod:`treadle.resolver.ares`."""

from treadle.resolver.ares import Resolver

__all__ = ["Resolver"]
