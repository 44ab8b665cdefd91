"""The lock that ``_imp`` and, in CPython 3.11, ``imp`` offer, held by a greenlet.

The native one belongs to the whole thread: any of its greenlets would get it.
"""

from __future__ import annotations

from treadle._core.builtins import builtin
from treadle._core.locks import RLock

__target__ = "_imp"
__implements__ = ["acquire_lock", "lock_held", "release_lock"]

import_lock = RLock()


@builtin
def acquire_lock() -> None:
    """Wait until nobody else holds the lock, and hold it, once more if the caller does already."""
    import_lock.acquire()


@builtin
def lock_held() -> bool:
    """Whether anybody holds it."""
    return import_lock.locked()


@builtin
def release_lock() -> None:
    """Undo one :func:`acquire_lock`; RuntimeError if the caller does not hold it."""
    try:
        import_lock.release()
    except RuntimeError:
        raise RuntimeError("not holding the import lock") from None
