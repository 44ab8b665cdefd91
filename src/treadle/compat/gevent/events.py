"""``gevent.events`` under the alias: treadle's events, and their zope interfaces."""

from treadle.events import *
from treadle.events import __all__ as _ours
from treadle.events import plugin_owners

__all__ = [*_ours]


def __getattr__(name: str) -> object:
    if name[:1] == "I" and (name[1:] in __all__ or name == "IPeriodicMonitorThread"):
        from ._event_interfaces import declare  # imports zope.interface

        declare(globals())
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
