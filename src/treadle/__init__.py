"""Ordinary blocking Python, run concurrently on one thread: gevent's API on a new engine."""

from importlib import import_module as _import_module
from sys import getswitchinterval, setswitchinterval
from typing import TYPE_CHECKING, Any, NamedTuple

from treadle import _config
from treadle._config import config
from treadle._core import __version__ as __version__
from treadle._core import importlock as _importlock
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
from treadle.scopes import (
    Cancelled,
    CancelScope,
    checkpoint,
    fail_after,
    move_on_after,
    shield,
)
from treadle.taskgroup import TaskGroup, gather, race, started
from treadle.timeout import Timeout, with_timeout

if TYPE_CHECKING:
    from treadle import core as core
    from treadle import event as event
    from treadle import events as events
    from treadle import fileobject as fileobject
    from treadle import futures as futures
    from treadle import greenlet as greenlet
    from treadle import hub as hub
    from treadle import local as local
    from treadle import lock as lock
    from treadle import monkey as monkey
    from treadle import os as os
    from treadle import pool as pool
    from treadle import pywsgi as pywsgi
    from treadle import queue as queue
    from treadle import resolver as resolver
    from treadle import scopes as scopes
    from treadle import select as select
    from treadle import selectors as selectors
    from treadle import server as server
    from treadle import signal as signal
    from treadle import socket as socket
    from treadle import ssl as ssl
    from treadle import subprocess as subprocess
    from treadle import taskgroup as taskgroup
    from treadle import thread as thread
    from treadle import threading as threading
    from treadle import threadpool as threadpool
    from treadle import time as time
    from treadle import timeout as timeout
    from treadle import util as util
    from treadle import websocket as websocket

_importlock.install()

# The choices of settings. Each is imported when it is first needed.
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
    """The parts of treadle's version, with the fields of :data:`sys.version_info`."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: int


version_info: VersionInfo = VersionInfo(0, 1, 0, "final", 0)

__all__ = [
    "CancelScope",
    "Cancelled",
    "Greenlet",
    "GreenletExit",
    "Hub",
    "TaskGroup",
    "Timeout",
    "checkpoint",
    "config",
    "fail_after",
    "fork",
    "gather",
    "get_hub",
    "getcurrent",
    "getswitchinterval",
    "idle",
    "iwait",
    "joinall",
    "kill",
    "killall",
    "move_on_after",
    "race",
    "reinit",
    "setswitchinterval",
    "shield",
    "signal_handler",
    "sleep",
    "spawn",
    "spawn_later",
    "spawn_raw",
    "started",
    "version_info",
    "wait",
    "with_timeout",
]

#: Modules that are available as attributes after ``import treadle``; imported on first use.
_MODULES = frozenset(
    (
        *("core", "event", "events", "fileobject", "futures", "greenlet", "hub", "local", "lock"),
        *("monkey", "os", "pool", "pywsgi", "queue", "resolver", "scopes", "select", "selectors"),
        *("server", "signal", "socket", "ssl", "subprocess", "taskgroup", "thread", "threading"),
        *("threadpool", "time", "timeout", "util", "websocket"),
    )
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        text = f"module {__name__!r} has no attribute {name!r}"
        if name not in _MODULES:
            raise AttributeError(text)
        try:
            return _import_module(f"{__name__}.{name}")
        except ImportError as exc:  # a Python without ssl, or one that is about to exit
            raise AttributeError(text) from exc


def __dir__() -> list[str]:
    public = {name for name in globals() if name[0] != "_" or name.endswith("__")}
    return sorted(public | _MODULES)
