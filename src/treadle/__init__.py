"""Ordinary blocking Python, run concurrently on one thread: gevent's API on a new engine."""

from sys import getswitchinterval, setswitchinterval
from typing import NamedTuple

from treadle import _config
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

# What settings choose from; imported when it is first asked for.
_config.Loop.offer("treadle.core.loop")
_config.Threadpool.offer("treadle.threadpool.ThreadPool")
_config.Resolver.offer(
    *("thread", "dnspython", "ares", "block"),
    ares="treadle.resolver.ares.Resolver",
    block="treadle.resolver.blocking.Resolver",
    dnspython="treadle.resolver.dnspython.Resolver",
    thread="treadle.resolver.thread.Resolver",
)
_config.FileObject.offer(
    *("posix", "thread"),
    block="treadle.fileobject.FileObjectBlock",
    posix="treadle.fileobject.FileObjectPosix",
    thread="treadle.fileobject.FileObjectThread",
)


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
