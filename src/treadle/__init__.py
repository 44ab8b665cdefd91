"""Ordinary blocking Python, run concurrently on one thread: gevent's API on a new engine."""

from sys import getswitchinterval, setswitchinterval
from typing import NamedTuple

from treadle._config import config
from treadle._core import __version__ as __version__
from treadle.greenlet import (
    Greenlet,
    GreenletExit,
    getcurrent,
    joinall,
    kill,
    killall,
    spawn,
    spawn_later,
    spawn_raw,
)
from treadle.hub import Hub, get_hub, idle, iwait, reinit, sleep, wait
from treadle.hub import signal as signal_handler
from treadle.os import fork
from treadle.timeout import Timeout, with_timeout


class VersionInfo(NamedTuple):
    """The parts of the version, as :data:`sys.version_info` has them."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: int


version_info = VersionInfo(0, 1, 0, "final", 0)

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
