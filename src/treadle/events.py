"""What treadle tells subscribers of: gevent.events' events.

Append a function of one argument to :data:`subscribers`; it is called with every event. Installed
packages may instead name a function in an entry-point group: an event whose ``ENTRY_POINT_NAME`` is
``gevent.plugins.monkey.did_patch_all`` calls what stands in
``treadle.plugins.monkey.did_patch_all``, and where ``import gevent`` means treadle, also what
stands in the group of gevent's name.

Under the alias ``gevent.events`` also has gevent's zope interfaces (``IGeventPatchEvent`` and so
on), where the package zope.interface is installed.
"""

from __future__ import annotations

import functools
from typing import Any

__all__ = [
    "DoNotPatch",
    "EventLoopBlocked",
    "GeventDidPatchAllEvent",
    "GeventDidPatchBuiltinModulesEvent",
    "GeventDidPatchEvent",
    "GeventDidPatchModuleEvent",
    "GeventPatchEvent",
    "GeventWillPatchAllEvent",
    "GeventWillPatchEvent",
    "GeventWillPatchModuleEvent",
    "MemoryUsageThresholdExceeded",
    "MemoryUsageUnderThreshold",
    "PeriodicMonitorThreadStartedEvent",
    "notify",
    "notify_and_call_entry_points",
    "subscribers",
]

try:
    # gevent's are these; who subscribed to them there gets treadle's events as well.
    from zope.event import notify, subscribers
except ImportError:
    #: Called with each event, in order; what one raises goes to whoever notifies.
    subscribers = []

    def notify(event: object) -> None:
        """Call all :data:`subscribers` with *event*."""
        for subscriber in subscribers:
            subscriber(event)


#: Under which packages' names plug-ins are looked for; the alias adds gevent's.
plugin_owners = ["treadle"]


def notify_and_call_entry_points(event: Any) -> None:
    """Call all subscribers, then what installed packages name in the event's group."""
    notify(event)
    topic = event.ENTRY_POINT_NAME.partition(".")[2]
    for owner in plugin_owners:
        for plugin in _entry_points().select(group=f"{owner}.{topic}"):
            if plugin.module.partition(".")[0] != "gevent":  # what the real gevent tells itself
                plugin.load()(event)


@functools.cache
def _entry_points() -> Any:
    from importlib.metadata import entry_points  # imports much, for whoever patches only

    return entry_points()


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


class PeriodicMonitorThreadStartedEvent:
    """A hub has started its *monitor*; functions may be added to that."""

    ENTRY_POINT_NAME = "gevent.plugins.hub.periodic_monitor_thread_started"

    def __init__(self, monitor: Any) -> None:
        self.monitor = monitor


class EventLoopBlocked:
    """*greenlet* has not waited for about *blocking_time* seconds; *info* are lines about it.

    Published in the monitor's native thread. *info* may be changed.
    """

    def __init__(
        self, greenlet: Any, blocking_time: float, info: list[str], *, hub: Any = None
    ) -> None:
        self.greenlet = greenlet
        self.blocking_time = blocking_time
        self.info = info
        self.hub = hub


class _MemoryEvent:
    def __init__(self, mem_usage: int, max_allowed: int, memory_info: Any) -> None:
        self.mem_usage = mem_usage
        self.max_allowed = max_allowed
        self.memory_info = memory_info

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} used={self.mem_usage} max={self.max_allowed} "
            f"details={self.memory_info!r}>"
        )


class MemoryUsageThresholdExceeded(_MemoryEvent):
    """The process uses more bytes than allowed, and more than when that was said last."""


class MemoryUsageUnderThreshold(_MemoryEvent):
    """The process uses no more bytes than allowed, after it did: *max_usage* of them."""

    def __init__(self, mem_usage: int, max_allowed: int, memory_info: Any, max_usage: int) -> None:
        super().__init__(mem_usage, max_allowed, memory_info)
        self.max_memory_usage = max_usage
