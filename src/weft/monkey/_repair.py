"""Re-bind what was taken from a module before it was patched: names, and locks in use."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from weft.monkey._once import COMPILED
from weft.monkey._saved import get_original, saved

#: Modules of the standard library whose instances keep locks in their attributes.
_LOCK_KEEPERS = frozenset({"concurrent.futures._base", "logging", "queue", "threading"})


def rebind_imported_names() -> None:
    """Replace originals that other modules hold under any name (``from time import sleep``)."""
    replacements = {
        id(old): (old, getattr(sys.modules[module], name))
        for module, items in saved.items()
        if module in sys.modules
        for name, old in items.items()
        if callable(old)
    }
    for module in list(sys.modules.values()):
        if not isinstance(module, ModuleType) or _is_ours(module.__name__):
            continue
        if module.__name__ in COMPILED:  # what they hold changes only where patching names it
            continue
        for name, value in list(vars(module).items()):
            old, new = replacements.get(id(value), (None, None))
            if old is not None and old is value:
                setattr(module, name, new)


def _is_ours(name: object) -> bool:
    return isinstance(name, str) and (name == "weft" or name.startswith("weft."))


class LockUpgrade:
    """Puts cooperative locks where native ones stand, one new for one old, however shared.

    A lock that is held stays as it is: its holder is going to release that one.
    """

    def __init__(self, make_lock: Callable[[], Any], make_rlock: Callable[[], Any]) -> None:
        self._native_rlock = type(get_original("_thread", "RLock")())
        native_lock = type(get_original("_thread", "allocate_lock")())
        self._makers = {native_lock: make_lock, self._native_rlock: make_rlock}
        self._made: dict[int, tuple[Any, Any]] = {}

    def replace_everywhere(self) -> None:
        """Go through all namespaces and through the standard instances that keep locks."""
        objects = gc.get_objects()
        class_namespaces = {
            id(part)
            for obj in objects
            if isinstance(obj, type)
            for part in gc.get_referents(obj)
            if type(part) is dict
        }
        for obj in objects:
            if type(obj) is dict:
                if id(obj) not in class_namespaces:
                    self._replace_in(obj)
            elif isinstance(obj, type):
                self._replace_in_class(obj)
            elif any(base.__module__ in _LOCK_KEEPERS for base in type(obj).__mro__):
                self._replace_in_instance(obj)

    def _replace_in(self, namespace: dict[Any, Any]) -> None:
        if _is_ours(namespace.get("__name__")):
            return
        for key, value in list(namespace.items()):
            new = self._upgraded(value)
            if new is not None:
                namespace[key] = new

    def _replace_in_class(self, cls: type) -> None:
        for key, value in list(vars(cls).items()):
            new = self._upgraded(value)
            if new is not None:
                setattr(cls, key, new)

    def _replace_in_instance(self, obj: Any) -> None:
        if isinstance(obj, sys.modules["threading"].Condition):
            new = self._upgraded(obj._lock)
            if new is not None:
                waiters = obj._waiters
                obj.__init__(new)  # a Condition keeps bound methods of its lock
                obj._waiters = waiters
        elif hasattr(obj, "__dict__"):
            self._replace_in(vars(obj))

    def _upgraded(self, lock: Any) -> Any:
        make = self._makers.get(type(lock))
        if make is None:
            return None
        if id(lock) not in self._made:
            if self._is_held(lock):
                return None
            self._made[id(lock)] = (lock, make())  # the old one stays alive, so does its id
        return self._made[id(lock)][1]

    def _is_held(self, lock: Any) -> bool:
        if isinstance(lock, self._native_rlock) and lock._is_owned():
            return True
        if not lock.acquire(False):
            return True
        lock.release()
        return False
