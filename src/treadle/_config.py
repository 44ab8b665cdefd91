"""Settings: what ``treadle.config`` holds.

Each has gevent's name and an environment variable, ``TREADLE_`` and the name in capitals, which is
read when the setting is first asked for. What is set in code wins; set it before the part that
reads it is first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from treadle._core import greenlet as core_greenlet
from treadle._core import pollers

__all__ = ["config"]

#: The classes of all settings, in order.
ALL_SETTINGS: list[type[Setting]] = []

#: Whether gevent's environment variables count where treadle's own are not set.
_reads_gevent = False


def validate_anything(value: Any) -> Any:
    """Any value."""
    return value


def validate_invalid(value: Any) -> Any:
    """No value: raises ValueError."""
    raise ValueError(f"not a valid value: {value!r}")


def validate_bool(value: Any) -> bool:
    """True for 1, true, on and yes; false for 0, false, off, no and nothing."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("1", "true", "on", "yes"):
            return True
        if word in ("", "0", "false", "off", "no"):
            return False
        raise ValueError(f"{value!r} is neither true nor false: write 1 or 0")
    return bool(value)


class Setting:
    """One setting; its class says which, and its instances hold a value each."""

    #: What it is for.
    desc = ""
    default: Any = None
    #: The default under the alias, where programs rely on gevent's.
    gevent_default: Any = None
    #: Its names: in ``treadle.config``, in the environment, and in gevent's environment.
    name: ClassVar[str]
    environment_key: ClassVar[str]
    gevent_key: ClassVar[str]

    def __init_subclass__(cls, name: str = "", gevent_key: str = "") -> None:
        if not name:
            return  # a kind of setting, or another face of one
        cls.name = name
        cls.environment_key = f"TREADLE_{name.upper()}"
        cls.gevent_key = gevent_key or f"GEVENT_{name.upper()}"
        ALL_SETTINGS.append(cls)

    def convert(self, value: Any) -> Any:
        """Make the value of what was assigned, or stood in the environment.

        Raises ValueError or ImportError for what cannot be one.
        """
        return value

    def apply(self, value: Any) -> None:
        """Hand the value on to where it takes effect, unless that asks for it."""

    def from_environment(self) -> str | None:
        """What the environment says, if anything."""
        text = os.environ.get(self.environment_key)
        if text is None and _reads_gevent:
            text = os.environ.get(self.gevent_key)
        return text

    def get(self) -> Any:
        """The value; from then on it stays, whatever becomes of the environment."""
        if "value" not in self.__dict__:
            text = self.from_environment()
            self.set(self.default if text is None else text)
        return self.__dict__["value"]

    def set(self, value: Any) -> None:
        """Take a value. Raises ValueError, naming the setting, for what cannot be one."""
        try:
            value = self.convert(value)
        except ValueError as exc:
            raise ValueError(f"{self.name} ({self.environment_key}): {exc}") from None
        self.__dict__["value"] = value
        self.apply(value)


class BoolSetting(Setting):
    """True or false."""

    def convert(self, value: Any) -> Any:
        return validate_bool(value)


class CountSetting(Setting):
    """A whole number, 0 or more."""

    def convert(self, value: Any) -> Any:
        number = int(value)
        if number < 0:
            raise ValueError(f"{value!r} must not be negative")
        return number


class OptionalCountSetting(CountSetting):
    """A whole number, 0 or more, or None."""

    def convert(self, value: Any) -> Any:
        return None if value in (None, "") else super().convert(value)


class SecondsSetting(Setting):
    """A positive number of seconds, or None."""

    def convert(self, value: Any) -> Any:
        if value in (None, ""):
            return None
        seconds = float(value)
        if seconds <= 0:
            raise ValueError(f"{value!r} must be a positive number of seconds")
        return seconds


class BytesSetting(Setting):
    """A positive number of bytes, which kb, mb or gb may follow, or None."""

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
    """A list of words; in a text, commas stand between them."""

    def convert(self, value: Any) -> Any:
        return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


class ImportableSetting(WordsSetting):
    """An object, its dotted name, or several: the first that can be imported.

    What treadle's own choices are, and which is the default, the package above says: this module
    knows nothing of those that stand upon it.
    """

    #: Short names of objects.
    shortname_map: ClassVar[dict[str, str]] = {}

    @classmethod
    def offer(cls, *default: str, **shortnames: str) -> None:
        """Say what is chosen unless something else is, and what short names mean."""
        cls.default = default
        cls.shortname_map = shortnames

    def get(self) -> Any:
        """The object. Raises ImportError if it cannot be imported."""
        value = super().get()
        if isinstance(value, list):
            value = self.__dict__["value"] = self.import_one_of(value)
        return value

    def convert(self, value: Any) -> Any:
        value = super().convert(value)
        return list(value) if isinstance(value, list | tuple) else value

    def import_one_of(self, candidates: list[Any]) -> Any:
        """The first of objects, dotted names and short names that can be imported."""
        failure = ImportError("Cannot import from empty list")
        for candidate in candidates:
            try:
                return self.import_one(self.shortname_map.get(candidate, candidate))
            except ImportError as exc:
                failure = exc
        raise failure

    def import_one(self, path: Any) -> Any:
        """The object with this dotted name; anything but a text is returned."""
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
        """What the short names mean here: the object, or why it cannot be imported."""
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

    #: The other pollers of gevent's loops, and their flags.
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
    """The settings as attributes. ``treadle.config`` is the only one that has an effect.

    Assigning raises ValueError for what cannot be a value, AttributeError for an unknown name.
    Deleting an attribute sets the default again.
    """

    # As each reads; what may be assigned is more, since texts are converted.
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
    max_blocking_time: float
    max_memory_usage: Any  # bytes; a text such as "100 MB" may be assigned
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

    if not TYPE_CHECKING:  # so that type checkers see that there are no other attributes

        def __getattr__(self, name):
            return self._setting(name).get()

        def __setattr__(self, name, value):
            self._setting(name).set(value)

        def __delattr__(self, name):
            setting = self._setting(name)
            setting.set(setting.default)

    def set(self, name: str, value: Any) -> None:
        """Assign to a setting by its name."""
        self._setting(name).set(value)

    def __dir__(self) -> list[str]:
        return list(self.__dict__["settings"])

    def print_help(self) -> None:
        """Print what settings there are, their environment variables and values."""
        for name, setting in self.__dict__["settings"].items():
            print(f"{name} ({setting.environment_key}, now {setting.get()!r})")
            print(f"    {setting.desc}")


config: Config = Config()


def _apply_environment() -> None:
    """Take up from the environment what nobody will ask this module for."""
    for setting in config.__dict__["settings"].values():
        if setting.from_environment() is not None and "value" not in setting.__dict__:
            setting.set(setting.from_environment())


def read_gevent_environment() -> None:
    """Let ``GEVENT_...`` variables count from now on, where the ``TREADLE_...`` one is not set.

    So do gevent's defaults that programs rely on.
    """
    global _reads_gevent
    _reads_gevent = True
    _apply_environment()
    for setting in config.__dict__["settings"].values():
        if setting.gevent_default is not None:
            setting.default = setting.gevent_default
            if "value" not in setting.__dict__:
                setting.set(setting.default)


_apply_environment()
