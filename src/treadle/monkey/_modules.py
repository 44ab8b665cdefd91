"""Replace a module's attributes, and notify subscribers before and after, as gevent does."""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Literal, ParamSpec, TypeVar

from treadle.events import (
    DoNotPatch,
    GeventDidPatchModuleEvent,
    GeventWillPatchModuleEvent,
    notify_and_call_entry_points,
)
from treadle.monkey._once import keep
from treadle.monkey._saved import patch_item, take_name, take_place

#: Standard module -> the module that holds its replacements. It is imported only when that part is
#: patched: most of them import the standard module, which must not be loaded before the program
#: needs it.
SOURCES = {
    "fcntl": "treadle.fcntl",
    "os": "treadle.os",
    "queue": "treadle.queue",
    "select": "treadle.select",
    "selectors": "treadle.selectors",
    "signal": "treadle.signal",
    "socket": "treadle.socket",
    "ssl": "treadle.ssl",
    "subprocess": "treadle.subprocess",
    "thread": "treadle.thread",
    "threading": "treadle.threading",
    "time": "treadle.time",
}

P = ParamSpec("P")
R = TypeVar("R")


class MonkeyPatchWarning(RuntimeWarning):
    """Issued when patching came too late for a reference, or when two calls contradict."""

    __module__ = __package__


def warn(message: str) -> None:
    """Issue a :class:`MonkeyPatchWarning` at the line outside this package that patches."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(__package__):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, MonkeyPatchWarning, stacklevel=level)


def patch_module(
    target_module: ModuleType, source_module: ModuleType, items: Iterable[str] | None = None
) -> bool:
    """Replace attributes of *target_module* by those of the same names in *source_module*.

    *items* lists the names; the default is ``source_module.__implements__``. Raise AttributeError
    if there is no such list.

    If *source_module* has a function ``_gevent_will_monkey_patch(target_module, items, warn)``, it
    is called before, and ``_gevent_did_monkey_patch`` with the same arguments after. The
    subscribers of :mod:`treadle.events` are called too. Return False if one of these vetoed the
    patch, else True.
    """
    names = implemented(source_module) if items is None else list(items)
    if not will_patch(target_module, source_module, names):
        return False
    replace(target_module, source_module, names)
    did_patch(target_module, source_module, names)
    return True


def implemented(source: Any) -> list[str]:
    """Return the names that module *source* replaces in the standard module."""
    return list(source.__implements__)


def will_patch(target: ModuleType, source: ModuleType, names: list[str]) -> bool:
    """Notify that *names* are about to be replaced in *target*.

    Subscribers may change the list *names*. Return False if one vetoed the patch, else True.
    """
    try:
        _call_hook("_gevent_will_monkey_patch", target, source, names)
        event = GeventWillPatchModuleEvent(target.__name__, source, target, names)
        notify_and_call_entry_points(event)
    except DoNotPatch:
        return False
    return True


def replace(target: ModuleType, source: ModuleType, names: list[str]) -> None:
    """Set the attributes *names* of *target* to those of *source*."""
    if source.__name__.split(".")[0] == "treadle":
        keep(source)  # loaded again, it would take what it has put there for the originals
    for name in names:
        new, old = getattr(source, name), getattr(target, name, None)
        patch_item(target, name, new)
        take_place(new, target, name)
        own_name = getattr(old, "__name__", name)
        if own_name == name or not hasattr(target, own_name):  # else it is an alias in the module
            take_name(new, old)


def did_patch(target: ModuleType, source: ModuleType, names: list[str], title: str = "") -> None:
    """Notify that *names* have been replaced in *target*; *title* is its name in the event."""
    _call_hook("_gevent_did_monkey_patch", target, source, names)
    event = GeventDidPatchModuleEvent(title or target.__name__, source, target)
    notify_and_call_entry_points(event)


def _call_hook(name: str, target: ModuleType, source: ModuleType, items: list[str]) -> None:
    hook = getattr(source, name, None)
    if hook is not None:
        hook(target, items, warn)


def source_and_target(name: str) -> tuple[ModuleType, ModuleType]:
    """Import and return treadle's module *name* and the standard module that it patches."""
    source = importlib.import_module(SOURCES[name])
    return source, importlib.import_module(getattr(source, "__target__", name))


def patch_module_by_name(name: str, items: Iterable[str] | None = None) -> bool:
    """Patch the standard module *name* with treadle's module; return False on a veto."""
    source, target = source_and_target(name)
    return patch_module(target, source, items)


def vetoable(function: Callable[P, R]) -> Callable[P, R | Literal[False]]:
    """Wrap *function* so that it returns False when a subscriber raises :class:`DoNotPatch`."""

    @functools.wraps(function)
    def patch(*args: P.args, **kwargs: P.kwargs) -> R | Literal[False]:
        try:
            return function(*args, **kwargs)
        except DoNotPatch:
            return False

    return patch
