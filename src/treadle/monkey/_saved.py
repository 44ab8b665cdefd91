"""What was patched, and what stood there before."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from treadle.monkey._once import COMPILED, keep

_MISSING: Any = object()

#: module name -> attribute name -> what it was before it was patched.
saved: dict[str, dict[str, Any]] = {}


def is_module_patched(mod_name: str) -> bool:
    """Whether anything in the module of this name was replaced."""
    return mod_name in saved


def is_object_patched(mod_name: str, item_name: str) -> bool:
    """Whether this attribute of the module of this name was replaced."""
    return item_name in saved.get(mod_name, ())


def is_anything_patched() -> bool:
    """Whether anything at all was replaced."""
    return bool(saved)


def get_original(mod_name: str | list[str], item_name: str | Iterable[str]) -> Any:
    """The unpatched attribute; a list of them if *item_name* is not a string.

    Raises ImportError or AttributeError where there is no such module or attribute.
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
    """Set one attribute of a module and remember what it was."""
    olditem = getattr(module, attr, _MISSING)
    if olditem is not _MISSING:
        saved.setdefault(module.__name__, {}).setdefault(attr, olditem)
    setattr(module, attr, newitem)
    if module.__name__ in COMPILED:
        keep(module)


def note_change_inside(module: ModuleType, attr: str) -> None:
    """Count the attribute as patched: it stays, something within it was replaced."""
    saved.setdefault(module.__name__, {}).setdefault(attr, getattr(module, attr))


def remove_item(module: ModuleType, attr: str) -> None:
    """Remove one attribute of a module, if it is there, and remember what it was."""
    if hasattr(module, attr):
        saved.setdefault(module.__name__, {}).setdefault(attr, getattr(module, attr))
        delattr(module, attr)
