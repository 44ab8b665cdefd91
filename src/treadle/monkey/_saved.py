"""The record of patched attributes and their original values."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from treadle.monkey._once import COMPILED, PATCHED_AGAIN, keep, patch_again

_MISSING: Any = object()

#: Module name -> attribute name -> the value before patching.
saved: dict[str, dict[str, Any]] = {}
#: The id of a class that took the name of an original -> the module that defines it.
homes: dict[int, str] = {}


def is_module_patched(mod_name: str) -> bool:
    """Return whether any attribute of the module named *mod_name* was patched."""
    return mod_name in saved


def is_object_patched(mod_name: str, item_name: str) -> bool:
    """Return whether the attribute *item_name* of the module *mod_name* was patched."""
    return item_name in saved.get(mod_name, ())


def is_anything_patched() -> bool:
    """Return whether anything was patched."""
    return bool(saved)


def get_original(mod_name: str | list[str], item_name: str | Iterable[str]) -> Any:
    """Return the unpatched attribute *item_name* of the module *mod_name*.

    *mod_name* may be a list of modules to search. If *item_name* is an iterable of names, return a
    list of attributes. Raise ImportError if there is no such module, and AttributeError if there is
    no such attribute.
    """
    names = [item_name] if isinstance(item_name, str) else list(item_name)
    modules = [mod_name] if isinstance(mod_name, str) else list(mod_name)
    found = [_original_of(modules, name) for name in names]
    return found[0] if isinstance(item_name, str) else found


def _original_of(modules: list[str], name: str) -> Any:
    for module in modules:
        if name in saved.get(module, ()):
            return saved[module][name]
    for module in modules:
        value = getattr(importlib.import_module(module), name, _MISSING)
        if value is not _MISSING:
            return value
    raise AttributeError(f"none of the modules {', '.join(modules)} has an attribute {name!r}")


def patch_item(module: ModuleType, attr: str, newitem: Any) -> None:
    """Set one attribute of a module and save its original value."""
    olditem = getattr(module, attr, _MISSING)
    if olditem is not _MISSING:
        saved.setdefault(module.__name__, {}).setdefault(attr, olditem)
    setattr(module, attr, newitem)
    if module.__name__ in COMPILED:
        keep(module)
    elif module.__name__ in PATCHED_AGAIN:
        patch_again(module, attr, newitem)


def take_name(new: Any, old: Any) -> None:
    """Let a class say of itself what the original class says: its module and its name.

    Libraries check the module of a lock's class, and reprs and errors of pickle name it.
    """
    if isinstance(new, type) and isinstance(old, type):
        homes.setdefault(id(new), new.__module__)
        new.__module__ = old.__module__
        new.__name__ = old.__name__
        new.__qualname__ = old.__qualname__


def take_place(new: Any, module: ModuleType, attr: str) -> None:
    """Let a function be pickled under the name *attr* of *module*, where patching has put it.

    Processes without treadle can read such pickles.
    """
    if getattr(new, "home", attr) is None and new.__name__ == attr:
        new.home = module.__name__


def note_change_inside(module: ModuleType, attr: str) -> None:
    """Record the attribute as patched although it stays: something inside it was replaced."""
    saved.setdefault(module.__name__, {}).setdefault(attr, getattr(module, attr))


def remove_item(module: ModuleType, attr: str) -> None:
    """Remove one attribute of a module, if it exists, and save its original value."""
    if hasattr(module, attr):
        saved.setdefault(module.__name__, {}).setdefault(attr, getattr(module, attr))
        delattr(module, attr)
