"""Replace what a module has, telling subscribers before and after as gevent does."""

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
from treadle.monkey._saved import patch_item

#: What holds the replacements for each standard module that is patched. Imported only then: most
#: import the standard module, which must not be loaded before a program asks for it.
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
    """Patching came too late for something, or two calls contradict each other."""

    __module__ = __package__


def warn(message: str) -> None:
    """Tell whoever patches, at the line outside of this package that does."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(__package__):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, MonkeyPatchWarning, stacklevel=level)


def patch_module(
    target_module: ModuleType, source_module: ModuleType, items: Iterable[str] | None = None
) -> bool:
    """Replace attributes of *target_module* by those of the same names in *source_module*.

    *items* names them; without it, ``source_module.__implements__`` does (AttributeError if there
    is none). The functions ``_gevent_will_monkey_patch(target_module, items, warn)`` and
    ``_gevent_did_monkey_patch`` of the source are called before and after, if it has them, and so
    are the subscribers of :mod:`treadle.events`. False if one of them vetoed it.
    """
    names = implemented(source_module) if items is None else list(items)
    if not will_patch(target_module, source_module, names):
        return False
    replace(target_module, source_module, names)
    did_patch(target_module, source_module, names)
    return True


def implemented(source: Any) -> list[str]:
    """The names of what a module replaces in the standard one."""
    return list(source.__implements__)


def will_patch(target: ModuleType, source: ModuleType, names: list[str]) -> bool:
    """Tell that *names* are about to be replaced in *target*, and let the list be changed.

    False if that was vetoed.
    """
    try:
        _call_hook("_gevent_will_monkey_patch", target, source, names)
        event = GeventWillPatchModuleEvent(target.__name__, source, target, names)
        notify_and_call_entry_points(event)
    except DoNotPatch:
        return False
    return True


def replace(target: ModuleType, source: ModuleType, names: list[str]) -> None:
    """Put those attributes of *source* into *target*."""
    for name in names:
        patch_item(target, name, getattr(source, name))


def did_patch(target: ModuleType, source: ModuleType, names: list[str], title: str = "") -> None:
    """Tell that *names* have been replaced in *target*, which events call *title*."""
    _call_hook("_gevent_did_monkey_patch", target, source, names)
    event = GeventDidPatchModuleEvent(title or target.__name__, source, target)
    notify_and_call_entry_points(event)


def _call_hook(name: str, target: ModuleType, source: ModuleType, items: list[str]) -> None:
    hook = getattr(source, name, None)
    if hook is not None:
        hook(target, items, warn)


def source_and_target(name: str) -> tuple[ModuleType, ModuleType]:
    """Treadle's module *name*, and the standard one that it is for."""
    source = importlib.import_module(SOURCES[name])
    return source, importlib.import_module(getattr(source, "__target__", name))


def patch_module_by_name(name: str, items: Iterable[str] | None = None) -> bool:
    """Patch the standard module *name* with treadle's of the same name; False on a veto."""
    source, target = source_and_target(name)
    return patch_module(target, source, items)


def vetoable(function: Callable[P, R]) -> Callable[P, R | Literal[False]]:
    """Let *function* answer False when a subscriber vetoes what it is about to do."""

    @functools.wraps(function)
    def patch(*args: P.args, **kwargs: P.kwargs) -> R | Literal[False]:
        try:
            return function(*args, **kwargs)
        except DoNotPatch:
            return False

    return patch
