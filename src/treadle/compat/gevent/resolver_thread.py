"""``gevent.resolver_thread``, gevent's old name of :mod:`treadle.resolver.thread`."""

from treadle.resolver.thread import Resolver

__all__ = ["Resolver"]
