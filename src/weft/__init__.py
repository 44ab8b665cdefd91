"""Ordinary blocking Python, run concurrently on one thread: gevent's API on a new engine."""

from weft.greenlet import (
    Greenlet,
    GreenletExit,
    getcurrent,
    kill,
    spawn,
    spawn_later,
    spawn_raw,
)
from weft.hub import Hub, get_hub, reinit, sleep
from weft.timeout import Timeout, with_timeout

__version__ = "0.1.0"

__all__ = [
    "Greenlet",
    "GreenletExit",
    "Hub",
    "Timeout",
    "get_hub",
    "getcurrent",
    "kill",
    "reinit",
    "sleep",
    "spawn",
    "spawn_later",
    "spawn_raw",
    "with_timeout",
]
