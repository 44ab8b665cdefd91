"""Locks of all kinds that a Condition may have."""

from typing import Any

from treadle.lock import BoundedSemaphore, RLock, Semaphore
from treadle.thread import LockType


class Plain:
    """A lock with the public methods only."""

    def __init__(self) -> None:
        self.inner = RLock()

    def acquire(self, *args: Any) -> bool:
        return self.inner.acquire(*args)

    def release(self) -> None:
        self.inner.release()

    def _is_owned(self) -> bool:
        return self.inner._is_owned()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *args: object) -> None:
        self.release()


class Wrapped(Plain):
    """A lock that passes on the methods that the standard library's Condition looks for."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self._release_save = inner._release_save
        self._acquire_restore = inner._acquire_restore
        self.locked = inner.locked


class Noted(LockType):
    """A lock with an acquire() of its own."""

    taken = 0

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        taken = super().acquire(blocking, timeout)
        self.taken += taken
        return taken


class Restoring(RLock):
    """A lock with an _acquire_restore() of its own."""

    def _acquire_restore(self, state: Any) -> None:
        super()._acquire_restore(state)


#: Those that treadle's Condition may have.
LOCKS: dict[str, Any] = {
    "RLock": RLock,
    "Lock": LockType,
    "Semaphore": Semaphore,
    "BoundedSemaphore": BoundedSemaphore,
    "Noted": Noted,
    "Restoring": Restoring,
    "Plain": Plain,
    "wrapped Lock": lambda: Wrapped(LockType()),
    "wrapped RLock": lambda: Wrapped(RLock()),
}
#: Those that the standard library's, when patched, may have. It calls a Plain lock's acquire(), and
#: takes that for done if a kill ends it.
LOCKS_FOR_THREADING = {name: make for name, make in LOCKS.items() if name != "Plain"}


def is_free(lock: Any) -> bool:
    """Return whether *lock* can be taken once, and not twice."""
    lock = getattr(lock, "inner", lock)
    if isinstance(lock, RLock):
        return not lock.locked()
    return bool(lock.counter == 1)


def depth(lock: Any) -> int:
    """Return how often the caller holds *lock*: at most once, unless it is an RLock."""
    lock = getattr(lock, "inner", lock)
    return lock._recursion_count() if isinstance(lock, RLock) else 1 - lock.counter
