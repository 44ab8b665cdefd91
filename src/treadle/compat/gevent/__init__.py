"""The package ``gevent`` under the alias: treadle's names, with gevent's version."""

from importlib import import_module as _import_module

from treadle import (
    Greenlet,
    GreenletExit,
    Hub,
    Timeout,
    config,
    fork,
    get_hub,
    getcurrent,
    getswitchinterval,
    greenlet,
    hub,
    idle,
    iwait,
    joinall,
    kill,
    killall,
    os,
    reinit,
    setswitchinterval,
    signal_handler,
    sleep,
    spawn,
    spawn_later,
    spawn_raw,
    timeout,
    wait,
    with_timeout,
)
from treadle import VersionInfo as _VersionInfo
from treadle.compat._finder import VERSION as __version__

from . import events, exceptions

__all__ = [
    "Greenlet",
    "GreenletExit",
    "Hub",
    "Timeout",
    "config",
    "fork",
    "get_hub",
    "getcurrent",
    "getswitchinterval",
    "idle",
    "iwait",
    "joinall",
    "kill",
    "killall",
    "reinit",
    "setswitchinterval",
    "signal_handler",
    "sleep",
    "spawn",
    "spawn_later",
    "spawn_raw",
    "version_info",
    "wait",
    "with_timeout",
]

# gevent has kept this value since version 20; only __version__ has the real version.
version_info: _VersionInfo = _VersionInfo(20, 0, 0, "dev", 0)


def __getattr__(name: str) -> object:
    """Import and return the submodule *name*.

    The real ``import gevent`` loads many submodules, and programs rely on that.
    """
    if not name.startswith("__"):
        try:
            return _import_module(f"gevent.{name}")
        except ModuleNotFoundError as exc:
            if exc.name != f"gevent.{name}":
                raise
    raise AttributeError(f"module 'gevent' has no attribute {name!r}")
