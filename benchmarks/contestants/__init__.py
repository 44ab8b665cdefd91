"""The contestants, and how to load one in a process of its own.

A contestant has calls (row name -> function of an operation count) and an echo server. The server
announces the port that it listens on and serves for ever, over TLS if it gets the path of a
certificate with its key. Calls that a contestant does not support are missing.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

Call = Callable[[int], object]
Announce = Callable[[int], None]
Server = Callable[[Announce, str | None], object]

# In the order of the table; "C epoll" is a program, not a Python contestant.
NAMES = (
    "treadle",
    "gevent",
    "asyncio",
    "asyncio protocol",
    "uvloop",
    "uvloop protocol",
    "threads",
    "C epoll",
)


@dataclass(frozen=True)
class Contestant:
    version: str
    calls: Mapping[str, Call]
    serve_echo: Server


def load(name: str) -> Contestant:
    """Return the contestant called `name`. Raises ImportError if its package is not installed."""
    package, _, variant = name.partition(" ")
    module = import_module(f"{__name__}.{_HOMES[package]}")
    contestant: Contestant = module.load(package, variant)
    return contestant


_HOMES = {
    "treadle": "green",
    "gevent": "green",
    "asyncio": "aio",
    "uvloop": "aio",
    "threads": "threads",
}


def package_version(package: str) -> str:
    """Return the version of a package; for the standard library, that of CPython."""
    own = getattr(import_module(package), "__version__", None)
    return str(own) if own else f"CPython {platform.python_version()}"


def nothing(*_args: object) -> None:
    """Do nothing: the work of every spawned task."""
