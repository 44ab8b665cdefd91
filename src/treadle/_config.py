"""The settings that ``treadle.config`` holds.

Each setting has gevent's name and an environment variable: ``TREADLE_`` and the name in capitals.
The variable is read when treadle is imported or, if it is set later, when the setting is first
read. An assignment in code overrides the variable; assign before the code that reads the setting
is first used.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from treadle._core import greenlet as core_greenlet
from treadle._core import pollers

__all__ = ["config"]

#: The classes of all settings, in order.
ALL_SETTINGS: list[type[Setting]] = []

#: Whether gevent's environment variables are read where treadle's own are not set.
_reads_gevent = False


def validate_anything(value: Any) -> Any:
    """Return *value*: any value is valid."""
    return value


def validate_invalid(value: Any) -> Any:
    """Raise ValueError: no value is valid."""
    raise ValueError(f"not a valid value: {value!r}")


def validate_bool(value: Any) -> bool:
    """Return *value* as a bool. Raises ValueError for a string that is neither true nor false.

    The strings 1, true, on and yes are true; 0, false, off, no and the empty string are false.
    """
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("1", "true", "on", "yes"):
            return True
        if word in ("", "0", "false", "off", "no"):
            return False
        raise ValueError(f"{value!r} is neither true nor false: write 1 or 0")
    return bool(value)


class Setting:
    """The base of settings: each subclass is one setting, and each instance holds one value."""

    #: What the setting is for.
    desc = ""
    default: Any = None
    #: The default under the gevent alias if programs rely on gevent's default, else None.
    gevent_default: Any = None
    #: The setting's names: in ``treadle.config``, in the environment, in gevent's environment.
    name: ClassVar[str]
    environment_key: ClassVar[str]
    gevent_key: ClassVar[str]

    def __init_subclass__(cls, name: str = "", gevent_key: str = "") -> None:
        if not name:
            return  # a base class of settings, not a setting
        cls.name = name
        cls.environment_key = f"TREADLE_{name.upper()}"
        cls.gevent_key = gevent_key or f"GEVENT_{name.upper()}"
        ALL_SETTINGS.append(cls)

    def convert(self, value: Any) -> Any:
        """Return the setting's value for what was assigned or read from the environment.

        Raises ValueError or ImportError if *value* is not valid.
        """
        return value

    def apply(self, value: Any) -> None:
        """Pass *value* to the code that uses it, if that code does not read the setting itself."""

    def from_environment(self) -> str | None:
        """Return the text of the setting's environment variable, or None."""
        text = os.environ.get(self.environment_key)
        if text is None and _reads_gevent:
            text = os.environ.get(self.gevent_key)
        return text

    def get(self) -> Any:
        """Return the value. Later changes of the environment do not change it any more."""
        if "value" not in self.__dict__:
            text = self.from_environment()
            self.set(self.default if text is None else text)
        return self.__dict__["value"]

    def set(self, value: Any) -> None:
        """Set the value. Raises ValueError, with the setting's name, if *value* is not valid."""
        try:
            value = self.convert(value)
        except ValueError as exc:
            raise ValueError(f"{self.name} ({self.environment_key}): {exc}") from None
        self.__dict__["value"] = value
        self.apply(value)


class BoolSetting(Setting):
    """A setting that is true or false."""

    def convert(self, value: Any) -> Any:
        return validate_bool(value)


class CountSetting(Setting):
    """A setting that is an integer, 0 or more."""

    def convert(self, value: Any) -> Any:
        number = int(value)
        if number < 0:
            raise ValueError(f"{value!r} must not be negative")
        return number


class OptionalCountSetting(CountSetting):
    """A setting that is an integer, 0 or more, or None."""

    def convert(self, value: Any) -> Any:
        return None if value in (None, "") else super().convert(value)


class SecondsSetting(Setting):
    """A setting that is a positive number of seconds, or None."""

    def convert(self, value: Any) -> Any:
        if value in (None, ""):
            return None
        seconds = float(value)
        if seconds <= 0:
            raise ValueError(f"{value!r} must be a positive number of seconds")
        return seconds


class BytesSetting(Setting):
    """A setting that is a positive number of bytes, or None; a string may end in kb, mb or gb."""

    SUFFIXES: ClassVar[dict[str, int]] = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}

    def convert(self, value: Any) -> Any:
        if value in (None, ""):
            return None
        if isinstance(value, str):
            unit = self.SUFFIXES.get(value[-2:].lower())
            value = int(value) if unit is None else int(value[:-2]) * unit
        if value <= 0:
            raise ValueError(f"{value!r} must be a positive number of bytes")
        return value


class WordsSetting(Setting):
    """A setting that is a list of words; a string is split at its commas."""

    def convert(self, value: Any) -> Any:
        return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


class ImportableSetting(WordsSetting):
    """A setting that is an object, its dotted name, or a list of these.

    Of a list, the value is the first object that can be imported. ``treadle/__init__.py`` sets
    treadle's own choices and the default with :meth:`offer`: this module must not know the modules
    of higher layers.
    """

    #: The dotted names that short names stand for.
    shortname_map: ClassVar[dict[str, str]] = {}

    @classmethod
    def offer(cls, *default: str, **shortnames: str) -> None:
        """Set the default, and the dotted names that *shortnames* stand for."""
        cls.default = default
        cls.shortname_map = shortnames

    def get(self) -> Any:
        """Return the object. Raises ImportError if it cannot be imported.

        Raises RuntimeError while the interpreter takes its modules apart, as no import works then.
        """
        value = super().get()
        if isinstance(value, list):
            try:
                value = self.__dict__["value"] = self.import_one_of(value)
            except ImportError:
                if sys.is_finalizing():
                    text = f"can't import {self.name} ({value}) at interpreter shutdown"
                    raise RuntimeError(text) from None
                raise
        return value

    def keep(self) -> None:
        """Get the object if its module is loaded, while that can be done: finalizers may use it."""
        value = super().get()
        path = value[0] if isinstance(value, list) and value else None
        if isinstance(path, str):
            path = self.shortname_map.get(path, path)
        if isinstance(path, str) and path.rpartition(".")[0] in sys.modules:
            with suppress(ImportError):
                self.get()

    def convert(self, value: Any) -> Any:
        value = super().convert(value)
        return list(value) if isinstance(value, list | tuple) else value

    def import_one_of(self, candidates: list[Any]) -> Any:
        """Return the first of *candidates* that can be imported.

        Candidates are objects, dotted names and short names. Raises ImportError if none can be
        imported.
        """
        failure = ImportError("Cannot import from empty list")
        for candidate in candidates:
            try:
                return self.import_one(self.shortname_map.get(candidate, candidate))
            except ImportError as exc:
                failure = exc
        raise failure

    def import_one(self, path: Any) -> Any:
        """Return the object with the dotted name *path*, or *path* itself if it is not a string.

        Raises ImportError if there is no such object.
        """
        if not isinstance(path, str):
            return path
        module, _, name = path.rpartition(".")
        if not module or "/" in path:
            raise ImportError(
                f"Cannot import {path!r}: write package.module.name, "
                f"or one of {list(self.shortname_map)}"
            )
        try:
            return getattr(import_module(module), name)
        except AttributeError:
            raise ImportError(f"Cannot import {name!r} from {module!r}") from None

    def get_options(self) -> dict[str, Any]:
        """Return the object of each short name, or the ImportError if it cannot be imported."""
        options: dict[str, Any] = {}
        for name, path in self.shortname_map.items():
            try:
                options[name] = self.import_one(path)
            except ImportError as exc:
                options[name] = exc
        return options


class Poller(WordsSetting, name="poller", gevent_key="GEVENT_BACKEND"):
    desc = (
        "The poller of new hubs: epoll or select, or several of which the first counts; None, or "
        "another that gevent has, for the best there is."
    )

    #: The other pollers and flags that gevent accepts; they are ignored here.
    GEVENTS = frozenset(
        {"forkcheck", "kqueue", "linux_aio", "linux_iouring", "noenv", "noinotify", "nosigmask"}
        | {"poll", "port", "signalfd"}
    )

    def convert(self, value: Any) -> Any:
        names = super().convert(value or [])
        for name in names:
            if name not in {"epoll", "select"} | self.GEVENTS:
                raise ValueError(f"no poller is named {name!r}; choose 'epoll' or 'select'")
        return next((str(name) for name in names if name not in self.GEVENTS), None)

    def apply(self, value: Any) -> None:
        pollers.default_name = value


class Resolver(ImportableSetting, name="resolver"):
    desc = "Who looks names up for new hubs."


class ResolverNameservers(WordsSetting, name="resolver_nameservers"):
    desc = (
        "The servers that the ares and dnspython resolvers ask instead of the system's, as "
        "address or address:port."
    )


class ResolverTimeout(SecondsSetting, name="resolver_timeout"):
    desc = "Seconds that a server has before the ares and dnspython resolvers ask the next."


class AresFlags(OptionalCountSetting, name="ares_flags", gevent_key="GEVENTARES_FLAGS"):
    desc = "The ares resolver's ARES_FLAG_ bits; None for c-ares' own default, as in the next four."


class AresTries(OptionalCountSetting, name="ares_tries", gevent_key="GEVENTARES_TRIES"):
    desc = "How often the ares resolver asks each server."


class AresNdots(OptionalCountSetting, name="ares_ndots", gevent_key="GEVENTARES_NDOTS"):
    desc = "How many dots a name has that the ares resolver asks for as it stands first."


class AresUdpPort(OptionalCountSetting, name="ares_udp_port", gevent_key="GEVENTARES_UDP_PORT"):
    desc = "The UDP port of the ares resolver's servers."


class AresTcpPort(OptionalCountSetting, name="ares_tcp_port", gevent_key="GEVENTARES_TCP_PORT"):
    desc = "The TCP port of the ares resolver's servers."


class Threadpool(ImportableSetting, name="threadpool"):
    desc = "The class of new hubs' thread pools."


class ThreadpoolSize(CountSetting, name="threadpool_size"):
    desc = "The most threads that a hub's pool has."
    default = 10


class ThreadpoolIdleTaskTimeout(SecondsSetting, name="threadpool_idle_task_timeout"):
    desc = "Seconds after which an idle thread of a hub's pool ends; -1: never."
    default = 5.0

    def convert(self, value: Any) -> Any:
        return -1 if value in (-1, "-1") else super().convert(value)


class Loop(ImportableSetting, name="loop"):
    desc = "The class of new hubs' loops."


class FileObject(ImportableSetting, name="fileobject", gevent_key="GEVENT_FILE"):
    desc = "The class of file objects."


class FormatContext(ImportableSetting, name="format_context"):
    desc = "The function that names the context of an error in its report."
    default = "builtins.repr"


class TrackGreenletTree(BoolSetting, name="track_greenlet_tree"):
    desc = "Whether greenlets know their spawner and share spawn_tree_locals."
    default = True

    def apply(self, value: Any) -> None:
        core_greenlet.set_track_tree(value)


class SpawningStackLimit(CountSetting, name="spawning_stack_limit"):
    desc = "How many frames of the spawner's stack a greenlet keeps as spawning_stack."
    default = 0
    gevent_default = 10

    def apply(self, value: Any) -> None:
        core_greenlet.set_stack_limit(value)


class DisableWatchChildren(
    BoolSetting, name="disable_watch_children", gevent_key="GEVENT_NOWAITPID"
):
    desc = "Whether os.fork and os.waitpid stay the operating system's under patching."
    default = False


class MonitorThread(BoolSetting, name="monitor_thread", gevent_key="GEVENT_MONITOR_THREAD_ENABLE"):
    desc = "Whether each new hub has a native thread that reports who blocks it."
    default = False


class MaxBlockingTime(SecondsSetting, name="max_blocking_time"):
    desc = "Seconds that a greenlet may run before a hub's monitor reports it."
    default = 0.1


class PrintBlockingReports(
    BoolSetting,
    name="print_blocking_reports",
    gevent_key="GEVENT_MONITOR_PRINT_BLOCKING_REPORTS",
):
    desc = "Whether a hub's monitor prints its reports, besides publishing them as events."
    default = True


class MemoryMonitorPeriod(
    SecondsSetting, name="memory_monitor_period", gevent_key="GEVENT_MONITOR_MEMORY_PERIOD"
):
    desc = "Seconds between two looks of a hub's monitor at the memory."
    default = 5.0


class MaxMemoryUsage(BytesSetting, name="max_memory_usage", gevent_key="GEVENT_MONITOR_MEMORY_MAX"):
    desc = "Bytes of memory above which a hub's monitor publishes events."


#: Other names that settings have in gevent.
OTHER_NAMES = {
    "ares_servers": "resolver_nameservers",
    "ares_timeout": "resolver_timeout",
    "libev_backend": "poller",
}


class Config:
    """The settings as attributes. Only the instance ``treadle.config`` has an effect.

    Assigning raises ValueError if the value is not valid, and AttributeError if no setting has
    this name. Deleting an attribute sets it to its default.
    """

    # The types of the values that are read. Other types may be assigned: strings are converted.
    ares_flags: int | None
    ares_ndots: int | None
    ares_servers: Any
    ares_tcp_port: int | None
    ares_timeout: float | None
    ares_tries: int | None
    ares_udp_port: int | None
    disable_watch_children: bool
    fileobject: Any
    format_context: Any
    libev_backend: Any
    loop: Any
    max_blocking_time: float | None
    max_memory_usage: Any  # bytes; a string such as "100 MB" may be assigned
    memory_monitor_period: float
    monitor_thread: bool
    poller: Any
    print_blocking_reports: bool
    resolver: Any
    resolver_nameservers: Any
    resolver_timeout: float | None
    spawning_stack_limit: int
    threadpool: Any
    threadpool_idle_task_timeout: float | None
    threadpool_size: int
    track_greenlet_tree: bool

    def __init__(self) -> None:
        self.__dict__["settings"] = {kind.name: kind() for kind in ALL_SETTINGS}

    def _setting(self, name: str) -> Setting:
        settings: dict[str, Setting] = self.__dict__["settings"]
        name = OTHER_NAMES.get(name, name)
        if name not in settings:
            raise AttributeError(f"no setting is named {name!r}; there are {', '.join(settings)}")
        return settings[name]

    if not TYPE_CHECKING:  # so that type checkers report attributes that are not declared above

        def __getattr__(self, name):
            if "settings" not in self.__dict__:  # a copy that is being made
                raise AttributeError(name)
            return self._setting(name).get()

        def __setattr__(self, name, value):
            self._setting(name).set(value)

        def __delattr__(self, name):
            setting = self._setting(name)
            setting.set(setting.default)

    def __copy__(self) -> Config:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        new = Config()
        for name, setting in self.__dict__["settings"].items():
            new.__dict__["settings"][name].__dict__.update(setting.__dict__)
        return new

    def set(self, name: str, value: Any) -> None:
        """Assign *value* to the setting *name*. Raises what an assignment raises."""
        self._setting(name).set(value)

    def __dir__(self) -> list[str]:
        return list(self.__dict__["settings"])

    def print_help(self) -> None:
        """Print the names, environment variables, values and descriptions of all settings."""
        for name, setting in self.__dict__["settings"].items():
            print(f"{name} ({setting.environment_key}, now {setting.get()!r})")
            print(f"    {setting.desc}")


config: Config = Config()


def _apply_environment() -> None:
    """Set all settings that have an environment variable and no value yet.

    The code that uses a setting with an ``apply()`` does not read it, so :meth:`Setting.get` may
    never be called.
    """
    for setting in config.__dict__["settings"].values():
        if setting.from_environment() is not None and "value" not in setting.__dict__:
            setting.set(setting.from_environment())


def read_gevent_environment() -> None:
    """Read ``GEVENT_...`` variables from now on, where the ``TREADLE_...`` one is not set.

    Also set the defaults to gevent's where programs rely on gevent's.
    """
    global _reads_gevent
    _reads_gevent = True
    _apply_environment()
    for setting in config.__dict__["settings"].values():
        if setting.gevent_default is not None:
            setting.default = setting.gevent_default
            if "value" not in setting.__dict__:
                setting.set(setting.default)


@atexit.register
def _keep_objects() -> None:
    for setting in config.__dict__["settings"].values():
        if isinstance(setting, ImportableSetting):
            setting.keep()


_apply_environment()
