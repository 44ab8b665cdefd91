"""What weft tells subscribers of: gevent.events' patch events.

Append a function of one argument to :data:`subscribers`; it is called with every event. Installed
packages may instead name a function in the entry-point group of an event, under gevent's names of
the groups, so that what was written for gevent is found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "DoNotPatch",
    "GeventDidPatchAllEvent",
    "GeventDidPatchBuiltinModulesEvent",
    "GeventDidPatchEvent",
    "GeventDidPatchModuleEvent",
    "GeventPatchEvent",
    "GeventWillPatchAllEvent",
    "GeventWillPatchEvent",
    "GeventWillPatchModuleEvent",
    "notify",
    "notify_and_call_entry_points",
    "subscribers",
]

#: Called with each event, in order; what one raises goes to whoever notifies.
subscribers: list[Callable[[Any], object]] = []


def notify(event: object) -> None:
    """Call all :data:`subscribers` with *event*."""
    for subscriber in subscribers:
        subscriber(event)


def notify_and_call_entry_points(event: Any) -> None:
    """Call all subscribers, then what installed packages name in ``event.ENTRY_POINT_NAME``."""
    notify(event)
    from importlib.metadata import entry_points  # imports much, for whoever patches only

    for plugin in entry_points(group=event.ENTRY_POINT_NAME):
        plugin.load()(event)


class DoNotPatch(BaseException):
    """Raised by a subscriber of a will-patch event to keep that from being patched."""


class GeventPatchEvent:
    """Something is patched: *target* gets what *source* has."""

    def __init__(self, source: Any, target: Any) -> None:
        self.source = source
        self.target = target

    def __repr__(self) -> str:
        return f"<{type(self).__name__} source={self.source!r} target={self.target!r}>"


class GeventWillPatchEvent(GeventPatchEvent):
    """Something is about to be patched; :class:`DoNotPatch` prevents it."""


class GeventDidPatchEvent(GeventPatchEvent):
    """Something has been patched."""


class GeventWillPatchModuleEvent(GeventWillPatchEvent):
    """The module *module_name* is about to be patched; *target_item_names* are its attributes."""

    ENTRY_POINT_NAME = "gevent.plugins.monkey.will_patch_module"

    def __init__(self, module_name: str, source: Any, target: Any, items: Any) -> None:
        super().__init__(source, target)
        self.module_name = module_name
        self.target_item_names = items


class GeventDidPatchModuleEvent(GeventDidPatchEvent):
    """The module *module_name* has been patched."""

    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_module"

    def __init__(self, module_name: str, source: Any, target: Any) -> None:
        super().__init__(source, target)
        self.module_name = module_name


class _PatchAllEvent(GeventPatchEvent):
    def __init__(
        self, patch_all_arguments: dict[str, Any], patch_all_kwargs: dict[str, Any]
    ) -> None:
        super().__init__(None, None)
        self._arguments = patch_all_arguments
        self._kwargs = patch_all_kwargs

    @property
    def patch_all_arguments(self) -> dict[str, Any]:
        """A copy of the named arguments of ``patch_all()``."""
        return self._arguments.copy()

    @property
    def patch_all_kwargs(self) -> dict[str, Any]:
        """A copy of its other keyword arguments."""
        return self._kwargs.copy()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._arguments!r}>"


class GeventWillPatchAllEvent(_PatchAllEvent, GeventWillPatchEvent):
    """``patch_all()`` begins; :class:`DoNotPatch` makes it do nothing."""

    ENTRY_POINT_NAME = "gevent.plugins.monkey.will_patch_all"

    def will_patch_module(self, module_name: str) -> Any:
        """Whether the module of this name is going to be patched."""
        return self._arguments.get(module_name)


class GeventDidPatchBuiltinModulesEvent(_PatchAllEvent, GeventDidPatchEvent):
    """``patch_all()`` has patched the standard library: the time to patch other packages."""

    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_builtins"


class GeventDidPatchAllEvent(_PatchAllEvent, GeventDidPatchEvent):
    """``patch_all()`` has ended."""

    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_all"
