"""Locks and semaphores for greenlets and native threads: gevent.lock's, and Condition."""

from __future__ import annotations

from types import TracebackType

from treadle._core import locks as core_locks

__all__ = ["BoundedSemaphore", "Condition", "DummySemaphore", "RLock", "Semaphore"]


class Semaphore(core_locks.Semaphore):
    """A counter of permits: ``acquire()`` takes one, ``release()`` gives one back.

    *value* is how many there are at first; ValueError if it is negative. Permits go to those who
    wait in the order they came. *hub* is accepted for gevent's sake.
    """

    __slots__ = ()


class BoundedSemaphore(core_locks.BoundedSemaphore):
    """A semaphore that raises ValueError when more is released than there was at first."""

    __slots__ = ()


class RLock(core_locks.RLock):
    """A lock that its owner, a greenlet or thread, may acquire several times."""

    __slots__ = ()


class Condition(core_locks.Condition):
    """:class:`threading.Condition`'s interface; *lock* is an :class:`RLock` unless given."""

    __slots__ = ()


class DummySemaphore:
    """A semaphore with permits without end, where one is asked for and none is needed."""

    def __init__(self, value: int | None = None) -> None:
        """*value* is ignored."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def locked(self) -> bool:
        """Never."""
        return False

    def ready(self) -> bool:
        """Always."""
        return True

    def release(self) -> None:
        """Do nothing."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Always True."""
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
