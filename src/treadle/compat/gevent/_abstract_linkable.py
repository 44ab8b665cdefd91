"""``gevent._abstract_linkable`` under the alias: what events, results and semaphores are."""

from treadle._core.linkable import Linkable as AbstractLinkable

__all__ = ["AbstractLinkable"]
