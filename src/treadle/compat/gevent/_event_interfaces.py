"""The zope interfaces of gevent.events; importing this needs the package zope.interface."""

# mypy: disable-error-code="misc,no-untyped-def,no-untyped-call"

from typing import Any

from zope.interface import Attribute, Interface, classImplements


class IGeventPatchEvent(Interface):
    """An event about patching."""

    source = Attribute("What holds the replacements.")
    target = Attribute("What they are put into.")


class IGeventWillPatchEvent(IGeventPatchEvent):
    """The target is about to be patched; :class:`treadle.events.DoNotPatch` prevents it."""


class IGeventDidPatchEvent(IGeventPatchEvent):
    """The target has been patched."""


class IGeventWillPatchModuleEvent(IGeventWillPatchEvent):
    """A module is about to be patched."""

    module_name = Attribute("The name of the module.")
    target_item_names = Attribute("A list of its attributes; it may be changed.")


class IGeventDidPatchModuleEvent(IGeventDidPatchEvent):
    """A module has been patched."""

    module_name = Attribute("The name of the module.")


class IGeventWillPatchAllEvent(IGeventWillPatchEvent):
    """``patch_all()`` begins."""

    patch_all_arguments = Attribute("Its named arguments, in a dictionary.")
    patch_all_kwargs = Attribute("Its other keyword arguments.")

    def will_patch_module(module_name):
        """Return whether the module named *module_name* is going to be patched."""


class IGeventDidPatchBuiltinModulesEvent(IGeventDidPatchEvent):
    """``patch_all()`` has patched the standard library."""

    patch_all_arguments = Attribute("Its named arguments, in a dictionary.")
    patch_all_kwargs = Attribute("Its other keyword arguments.")


class IGeventDidPatchAllEvent(IGeventDidPatchEvent):
    """``patch_all()`` has ended."""


class IPeriodicMonitorThread(Interface):
    """A native thread that monitors a hub."""

    def add_monitoring_function(function, period):
        """Call *function* with the hub every *period* seconds; stop if *period* is None."""


class IPeriodicMonitorThreadStartedEvent(Interface):
    """A hub has started its monitor."""

    monitor = Attribute("The monitor, an IPeriodicMonitorThread.")


class IEventLoopBlocked(Interface):
    """A greenlet has blocked the hub: it has not switched, so no other greenlet could run."""

    greenlet = Attribute("The greenlet.")
    blocking_time = Attribute("For about how many seconds.")
    info = Attribute("A list of lines about it; it may be changed.")
    hub = Attribute("The hub, or None.")


class IMemoryUsageThresholdExceeded(Interface):
    """The process uses more memory than allowed."""

    mem_usage = Attribute("How many bytes it uses.")
    max_allowed = Attribute("How many it may use.")
    memory_info = Attribute("What psutil says of it.")


class IMemoryUsageUnderThreshold(IMemoryUsageThresholdExceeded):
    """The process no longer uses more memory than allowed."""

    max_memory_usage = Attribute("How many bytes that were at most.")


def declare(namespace: dict[str, Any]) -> None:
    """Add the interfaces to *namespace*, and declare which of its classes implements which."""
    for interface in list(globals().values()):
        if isinstance(interface, type(Interface)) and interface.__module__ == __name__:
            if interface is not IPeriodicMonitorThread:  # its class is no event
                classImplements(namespace[interface.__name__[1:]], interface)
            namespace[interface.__name__] = interface
