"""``gevent._abstract_linkable`` under the alias: what events, results and semaphores are."""

from weft._core.linkable import Linkable as AbstractLinkable

__all__ = ["AbstractLinkable"]
