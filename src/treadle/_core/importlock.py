"""The locks of the import system, held by greenlets.

Natively they belong to the whole thread. Then a greenlet that imports a module which another
greenlet of the thread is importing gets it half-made.
"""

from __future__ import annotations

import _thread
import os
import sys
from typing import Any

from treadle._core import native
from treadle._core.builtins import builtin, get_ident
from treadle._core.greenlet import getcurrent
from treadle._core.hub import get_existing_hub
from treadle._core.locks import Lock, RLock

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


class GreenletsForThreads:
    """What the import system uses instead of ``_thread``: greenlets are its threads."""

    allocate_lock = Lock
    RLock = RLock
    get_ident = staticmethod(get_ident)

    def __getattr__(self, name: str) -> Any:
        return getattr(_thread, name)


_bootstrap: Any = sys.modules["_frozen_importlib"]


def install() -> None:
    """Have each module imported by one greenlet at a time, whether anything is patched or not."""
    if isinstance(_bootstrap._thread, GreenletsForThreads):
        return
    mine = _names_of_imports()
    for name, reference in list(_bootstrap._module_locks.items()):
        lock = reference()
        if lock is not None and _is_free(lock.lock) and _is_free(lock.wakeup):
            lock.lock = Lock() if isinstance(lock.lock, _NativeLock) else RLock()
            lock.wakeup = Lock()
        if lock is not None and name in mine and lock.owner == native.get_ident():
            lock.owner = get_ident()  # a greenlet imports treadle
    _bootstrap._thread = GreenletsForThreads()


_NativeLock = type(native.allocate_lock())


def _is_free(lock: Any) -> bool:
    if not lock.acquire(False):
        return False
    lock.release()
    return True


def _names_of_imports() -> set[str]:
    """Return the names of the modules that the current greenlet is importing."""
    names = set()
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_code is _bootstrap._find_and_load.__code__:
            names.add(frame.f_locals["name"])
        frame = frame.f_back
    return names


def _forget_imports_of_others() -> None:
    """Have the modules that others were importing imported anew, in a forked child.

    The greenlets and threads that were importing them are not there, and would hold the locks for
    ever.
    """
    hub = get_existing_hub()
    if hub is not None and hub.keeping_fork is getcurrent():
        return
    for name, reference in list(_bootstrap._module_locks.items()):
        lock = reference()
        if lock is not None and lock.owner not in (None, get_ident()):
            del _bootstrap._module_locks[name]
            sys.modules.pop(name, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_imports_of_others)
