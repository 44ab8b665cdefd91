"""Settings: what ``weft.config`` holds.

Each has gevent's name and an environment variable, ``WEFT_`` and the name in capitals. What is set
in code wins over the environment; set it before the part that reads it is first used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from weft._core import greenlet as core_greenlet
from weft._core import hub as core_hub

__all__ = ["config"]


class Setting(NamedTuple):
    """How one setting is read, and who is told of it."""

    doc: str
    default: Any
    #: Makes the value from what was assigned or stood in the environment; raises ValueError.
    convert: Callable[[Any], Any]
    #: Hands the value on to where it takes effect, unless that reads it here.
    apply: Callable[[Any], object] | None = None


def boolean(value: Any) -> bool:
    """True for 1, true, on and yes; false for 0, false, off, no and nothing."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("1", "true", "on", "yes"):
            return True
        if word in ("", "0", "false", "off", "no"):
            return False
        raise ValueError(f"{value!r} is neither true nor false: write 1 or 0")
    return bool(value)


def count(value: Any) -> int:
    """A whole number, 0 or more."""
    number = int(value)
    if number < 0:
        raise ValueError(f"{value!r} must not be negative")
    return number


def positive_seconds(value: Any) -> float:
    """A positive number of seconds, or -1 for no limit."""
    seconds = float(value)
    if seconds <= 0 and seconds != -1:
        raise ValueError(f"{value!r} must be a positive number of seconds, or -1 for no limit")
    return seconds


def poller(value: Any) -> str | None:
    """The name of a poller; None for the best there is."""
    if value in (None, ""):
        return None
    if value not in ("epoll", "select"):
        raise ValueError(f"no poller is named {value!r}; choose 'epoll' or 'select'")
    return str(value)


def words(value: Any) -> Any:
    """A list of words from a text with commas; anything else as it is."""
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


def apply_poller(name: str | None) -> None:
    core_hub.poller_name = name


SETTINGS: dict[str, Setting] = {
    "poller": Setting(
        "The poller of new hubs: epoll or select.",
        None,
        poller,
        apply_poller,
    ),
    "resolver": Setting(
        "Who looks names up for new hubs: thread, ares, dnspython, block, a dotted name or a "
        "class; the first of several that can be imported.",
        "thread,dnspython,ares,block",
        words,
    ),
    "threadpool": Setting(
        "The class of new hubs' thread pools, or its dotted name.",
        "weft.threadpool.ThreadPool",
        words,
    ),
    "threadpool_size": Setting("The most threads that a hub's pool has.", 10, count),
    "threadpool_idle_task_timeout": Setting(
        "Seconds after which an idle thread of a hub's pool ends; -1: never.",
        5.0,
        positive_seconds,
    ),
    "track_greenlet_tree": Setting(
        "Whether greenlets know their spawner and share spawn_tree_locals.",
        True,
        boolean,
        core_greenlet.set_track_tree,
    ),
    "spawning_stack_limit": Setting(
        "How many frames of the spawner's stack a greenlet keeps as spawning_stack.",
        0,
        count,
        core_greenlet.set_stack_limit,
    ),
    "format_context": Setting(
        "What names the context of an error in its report: a function or its dotted name.",
        "builtins.repr",
        words,
    ),
}


class Config:
    """Holds the settings as attributes; ``weft.config`` is the only one."""

    def __init__(self) -> None:
        values: dict[str, Any] = {}
        self.__dict__["_values"] = values
        for name in SETTINGS:
            text = os.environ.get(environment_key(name))
            if text is not None:
                setattr(self, name, text)

    def __getattr__(self, name: str) -> Any:
        if name not in SETTINGS:
            raise AttributeError(f"no setting is named {name!r}; there are {', '.join(SETTINGS)}")
        if name not in self._values:
            return SETTINGS[name].convert(SETTINGS[name].default)
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in SETTINGS:
            raise AttributeError(f"no setting is named {name!r}; there are {', '.join(SETTINGS)}")
        setting = SETTINGS[name]
        try:
            value = setting.convert(value)
        except ValueError as exc:
            raise ValueError(f"{name} ({environment_key(name)}): {exc}") from None
        self._values[name] = value
        if setting.apply is not None:
            setting.apply(value)

    def __delattr__(self, name: str) -> None:
        """Go back to the default."""
        setattr(self, name, SETTINGS[name].default if name in SETTINGS else None)

    def set(self, name: str, value: Any) -> None:
        """Assign to a setting by its name."""
        setattr(self, name, value)

    def __dir__(self) -> list[str]:
        return [*SETTINGS, "print_help", "set"]

    def print_help(self) -> None:
        """Print what settings there are, their environment variables and values."""
        for name, setting in SETTINGS.items():
            print(f"{name} ({environment_key(name)}, now {getattr(self, name)!r})")
            print(f"    {setting.doc}")


def environment_key(name: str) -> str:
    """The environment variable of a setting."""
    return f"WEFT_{name.upper()}"


def load(setting: str, choices: Any, shorthands: dict[str, str] | None = None) -> Any:
    """The first of *choices* that can be imported: objects, dotted names or shorthands of them.

    Raises ImportError of the last, naming *setting*, if none can.
    """
    if not isinstance(choices, list | tuple):
        choices = [choices]
    failure: Exception = ImportError("nothing to choose from")
    for choice in choices:
        if not isinstance(choice, str):
            return choice
        module, _, name = (shorthands or {}).get(choice, choice).rpartition(".")
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as exc:
            failure = exc
    raise ImportError(f"cannot import {setting} {choices!r}: {failure}") from failure


config = Config()
