"""What was patched, and what stood there before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

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
    """Replace one attribute of a module and remember what it was."""
    olditem = getattr(module, attr, _MISSING)
    if olditem is newitem:
        return
    if olditem is not _MISSING:
        saved.setdefault(module.__name__, {}).setdefault(attr, olditem)
    setattr(module, attr, newitem)


def note_change_inside(module: ModuleType, attr: str) -> None:
    """Count the attribute as patched: it stays, something within it was replaced."""
    saved.setdefault(module.__name__, {}).setdefault(attr, getattr(module, attr))


def remove_item(module: ModuleType, attr: str) -> None:
    """Remove one attribute of a module, if it is there, and remember what it was."""
    if hasattr(module, attr):
        saved.setdefault(module.__name__, {}).setdefault(attr, getattr(module, attr))
        delattr(module, attr)


def patch_module(
    target_module: ModuleType, source_module: ModuleType, items: Iterable[str] | None = None
) -> bool:
    """Replace in *target_module* what *source_module* implements.

    Without *items*, that is what its ``__implements__`` lists. Names the target does not have
    are left out. True if there was anything to replace.
    """
    names = source_module.__implements__ if items is None else items
    done = False
    for name in names:
        if hasattr(target_module, name) and hasattr(source_module, name):
            patch_item(target_module, name, getattr(source_module, name))
            done = True
    return done


def patch_module_by_name(name: str, items: Iterable[str] | None = None) -> ModuleType:
    """Patch the standard module *name* with weft's module of the same name; return the former."""
    source = importlib.import_module(f"weft.{name}")
    target = importlib.import_module(getattr(source, "__target__", name))
    patch_module(target, source, items)
    return target


def loaded(name: str) -> ModuleType | None:
    """The module of this name if something imported it already."""
    return sys.modules.get(name)
