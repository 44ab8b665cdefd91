"""The events that treadle publishes: the API of gevent.events.

Append a function of one argument to :data:`subscribers`; it is called with every event. Installed
packages may instead name a function in an entry-point group: an event whose ``ENTRY_POINT_NAME`` is
``gevent.plugins.monkey.did_patch_all`` calls the functions in the group
``treadle.plugins.monkey.did_patch_all``, and where ``import gevent`` means treadle, also those in
the group with gevent's name.

Under the alias, ``gevent.events`` also has gevent's zope interfaces (``IGeventPatchEvent`` and so
on) if the package zope.interface is installed.
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
    # gevent.events uses these, so that zope.event's subscribers get treadle's events as well.
    from zope.event import notify, subscribers
except ImportError:
    #: Called with each event, in order; an exception propagates to the caller of :func:`notify`.
    subscribers: list[Any] = []  # type: ignore[no-redef]

    def notify(event: object) -> None:
        """Call all :data:`subscribers` with *event*."""
        for subscriber in subscribers:
            subscriber(event)


#: The package names in whose entry-point groups plug-ins are looked for; the alias adds gevent.
plugin_owners: list[str] = ["treadle"]


def notify_and_call_entry_points(event: Any) -> None:
    """Call all subscribers, then the functions in the event's entry-point groups."""
    notify(event)
    topic = event.ENTRY_POINT_NAME.partition(".")[2]
    for owner in plugin_owners:
        for plugin in _entry_points().select(group=f"{owner}.{topic}"):
            if plugin.module.partition(".")[0] != "gevent":  # skip the plug-ins of gevent itself
                plugin.load()(event)


@functools.cache
def _entry_points() -> Any:
    from importlib.metadata import entry_points  # a large import that only patching needs

    return entry_points()


class DoNotPatch(BaseException):
    """Raised by a subscriber of a will-patch event to prevent the patching."""


class GeventPatchEvent:
    """Base of the events about patching: *target* gets attributes of *source*."""

    def __init__(self, source: Any, target: Any) -> None:
        self.source = source
        self.target = target

    def __repr__(self) -> str:
        return f"<{type(self).__name__} source={self.source!r} target={self.target!r}>"


class GeventWillPatchEvent(GeventPatchEvent):
    """Base of the events before patching; a subscriber prevents it with :class:`DoNotPatch`."""


class GeventDidPatchEvent(GeventPatchEvent):
    """Base of the events after patching."""


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
        """A copy of the other keyword arguments of ``patch_all()``."""
        return self._kwargs.copy()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._arguments!r}>"


class GeventWillPatchAllEvent(_PatchAllEvent, GeventWillPatchEvent):
    """``patch_all()`` begins; a subscriber prevents it with :class:`DoNotPatch`."""

    ENTRY_POINT_NAME = "gevent.plugins.monkey.will_patch_all"

    def will_patch_module(self, module_name: str) -> Any:
        """Return whether the module of this name is going to be patched."""
        return self._arguments.get(module_name)


class GeventDidPatchBuiltinModulesEvent(_PatchAllEvent, GeventDidPatchEvent):
    """``patch_all()`` has patched the standard library; subscribers may patch other packages."""

    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_builtins"


class GeventDidPatchAllEvent(_PatchAllEvent, GeventDidPatchEvent):
    """``patch_all()`` has ended."""

    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_all"


class PeriodicMonitorThreadStartedEvent:
    """A hub has started its *monitor* thread; subscribers may add functions to it."""

    ENTRY_POINT_NAME = "gevent.plugins.hub.periodic_monitor_thread_started"

    def __init__(self, monitor: Any) -> None:
        self.monitor = monitor


class EventLoopBlocked:
    """*greenlet* has blocked its event loop for about *blocking_time* seconds.

    *info* is a list of lines about it, which subscribers may change. The event is published in the
    monitor's native thread.
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
    """The process uses more memory than allowed, and more than at the monitor's previous check.

    *mem_usage* and *max_allowed* are in bytes.
    """


class MemoryUsageUnderThreshold(_MemoryEvent):
    """The process uses no more memory than allowed, after it did at the monitor's previous check.

    *mem_usage*, *max_allowed* and *max_usage* are in bytes; *max_usage* is the previous usage.
    """

    def __init__(self, mem_usage: int, max_allowed: int, memory_info: Any, max_usage: int) -> None:
        super().__init__(mem_usage, max_allowed, memory_info)
        self.max_memory_usage = max_usage
