"""``gevent._abstract_linkable`` under the alias: the base of events, results and semaphores."""

from treadle._core.linkable import Linkable as AbstractLinkable

__all__ = ["AbstractLinkable"]
