"""The import lock of ``_imp`` and, in CPython 3.11, ``imp``, held by a greenlet.

The native lock belongs to the whole thread: any of the thread's greenlets could acquire it.
"""

from __future__ import annotations

from treadle._core.builtins import builtin
from treadle._core.locks import RLock

__target__ = "_imp"
__implements__ = ["acquire_lock", "lock_held", "release_lock"]

import_lock = RLock()


@builtin
def acquire_lock() -> None:
    """Acquire the import lock, or acquire it again if the caller holds it.

    Waits while another greenlet holds the lock.
    """
    import_lock.acquire()


@builtin
def lock_held() -> bool:
    """Return whether any greenlet holds the import lock."""
    return import_lock.locked()


@builtin
def release_lock() -> None:
    """Undo one :func:`acquire_lock`. Raises RuntimeError if the caller does not hold the lock."""
    try:
        import_lock.release()
    except RuntimeError:
        raise RuntimeError("not holding the import lock") from None
