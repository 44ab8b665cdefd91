"""``gevent._semaphore`` under the alias."""

from weft.lock import BoundedSemaphore, Semaphore

__all__ = ["BoundedSemaphore", "Semaphore"]
