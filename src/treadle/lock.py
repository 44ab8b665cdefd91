"""Locks and semaphores for greenlets and native threads: the API of gevent.lock, and Condition."""

from __future__ import annotations

from types import TracebackType

from treadle._core import locks as core_locks

__all__ = ["BoundedSemaphore", "Condition", "DummySemaphore", "RLock", "Semaphore"]


class Semaphore(core_locks.Semaphore):
    """A counter of permits: ``acquire()`` takes one, ``release()`` gives one back.

    *value* is the initial number of permits; a negative one raises ValueError. Waiters get permits
    in the order in which they began to wait. *hub* is accepted for gevent's sake.
    """

    __slots__ = ()


class BoundedSemaphore(core_locks.BoundedSemaphore):
    """A semaphore whose ``release()`` raises ValueError above the initial number of permits."""

    __slots__ = ()


class RLock(core_locks.RLock):
    """A lock that its owner, a greenlet or a thread, may acquire several times."""

    __slots__ = ()


class Condition(core_locks.Condition):
    """A condition variable like :class:`threading.Condition`; *lock* is a new RLock by default."""

    __slots__ = ()


class DummySemaphore:
    """A semaphore with unlimited permits, for code that requires one where none is needed."""

    def __init__(self, value: int | None = None) -> None:
        """Accept and ignore *value*."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def locked(self) -> bool:
        """Return False: there is always a permit."""
        return False

    def ready(self) -> bool:
        """Return True: there is always a permit."""
        return True

    def release(self) -> None:
        """Do nothing."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Return True at once."""
        return True

    def wait(self, timeout: float | None = None) -> int:
        """Return 1 at once."""
        return 1

    def rawlink(self, callback: object) -> None:
        """Do nothing."""

    def unlink(self, callback: object) -> None:
        """Do nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        pass
