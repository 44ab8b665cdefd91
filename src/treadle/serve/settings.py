"""The settings of ``treadle serve``, from defaults, a file, the environment and flags.

Each of these sources overrides those before it.
"""

from __future__ import annotations

import argparse
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from treadle.http.forwarded import HEADERS, Forwarded
from treadle.http.limits import Limits
from treadle.http.proxy import Proxies

__all__ = ["Settings", "SettingsError", "read_settings"]

ACCESS_FORMATS = ("common", "combined", "json")
_VARIABLE = "TREADLE_SERVE_"
#: Of sizes and counts that the reader of requests keeps as C integers.
_NO_LIMIT = 0x7FFFFFFF
#: The largest number that a setting may be; C integers hold it and sums of such numbers.
_LARGEST = 1 << 60
#: More are a mistake; no machine has so many processors.
_MOST_WORKERS = 4096


class SettingsError(Exception):
    """Raised for an invalid setting; the message names the setting and says what to write."""


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Settings:
    """All settings of ``treadle serve``; times are in seconds, sizes in bytes.

    0 turns off ``timeout``, ``max_requests``, all limits, and the times that a client may take.
    With a ``queue`` of 0 no request waits.
    """

    app: str = _setting("", "MODULE:APPLICATION, or MODULE:FACTORY() to call it")
    bind: list[str] = field(
        default_factory=lambda: ["127.0.0.1:8000"],
        metadata={"help": "HOST:PORT or unix:PATH; may be repeated"},
    )
    workers: int = _setting(1, "worker processes")
    reuse_port: bool = _setting(False, "a listening socket for each worker, by SO_REUSEPORT")
    backlog: int = _setting(2048, "connections that may wait to be accepted")
    chdir: str = _setting("", "the folder to change to, and to import from")
    reload: bool = _setting(False, "restart the workers when a module's source changes")
    pid: str = _setting("", "a file to write the supervisor's process id to")

    certfile: str = _setting("", "serve TLS with this certificate chain (PEM)")
    keyfile: str = _setting("", "its key (PEM), if that is not in the same file")
    sni: dict[str, list[str]] = field(
        default_factory=dict,
        metadata={"help": "in the file only: host name = [certfile, keyfile]"},
    )

    proxy_protocol: list[str] = field(
        default_factory=list,
        metadata={"help": "an address or network whose PROXY protocol is believed; or unix, or *"},
    )
    forwarded_allow_ips: list[str] = field(
        default_factory=lambda: ["unix"],
        metadata={
            "help": "an address or network whose X-Forwarded-For, -Proto, -Host, -Prefix and "
            "Forwarded headers are believed; or unix, or *"
        },
    )
    forwarded_headers: list[str] = field(
        default_factory=lambda: list(HEADERS),
        metadata={"help": "the headers that are believed: those that the proxy writes or removes"},
    )
    http2: bool = _setting(True, "speak HTTP/2 to clients that choose it, if h2 is installed")

    timeout: float = _setting(30.0, "how long a worker may hang before it is killed")
    graceful_timeout: float = _setting(30.0, "how long a worker that is told to stop may take")
    max_requests: int = _setting(0, "replace a worker after so many requests; 0 is never")

    worker_connections: int = _setting(20_000, "connections of a worker")
    connections_per_address: int = _setting(5_000, "connections of a worker from one address")
    limit_concurrency: int = _setting(0, "requests at once in the application of a worker")
    queue: int = _setting(1_000, "requests that wait for that; others get 503")
    limit_request_line: int = _setting(8190, "longest request line")
    limit_request_fields: int = _setting(100, "headers of a request")
    limit_request_field_size: int = _setting(65536, "size of a request's headers together")
    limit_request_trailers: int = _setting(8190, "size of a body's trailers, or chunk extensions")
    limit_request_body: int = _setting(128 << 20, "longest body of a request")
    header_timeout: float = _setting(10.0, "time for a request's headers to come")
    body_timeout: float = _setting(60.0, "time waiting for a request's body")
    keep_alive: float = _setting(30.0, "time from one request to the next")
    write_timeout: float = _setting(60.0, "time for the client to take a part of an answer")

    access_log: str = _setting("", "a file for the access log; - is standard output")
    access_log_format: str = _setting("combined", "common, combined or json")
    error_log: str = _setting("-", "a file for errors; - is standard error")
    admin: str = _setting("", "HOST:PORT or unix:PATH for /livez, /readyz and /metrics")

    def forwarded(self) -> Forwarded | None:
        """Return what takes in the headers of trusted proxies; None if no proxy is trusted.

        Raises ValueError if a setting is invalid.
        """
        if not self.forwarded_allow_ips:
            return None
        headers = {name.lower() for name in self.forwarded_headers}
        return Forwarded(Proxies(self.forwarded_allow_ips), headers)

    def limits(self) -> Limits:
        """Return the limits for clients."""
        return Limits(
            request_line=self.limit_request_line or _NO_LIMIT,
            header_count=self.limit_request_fields or _NO_LIMIT,
            header_size=self.limit_request_field_size or _NO_LIMIT,
            trailer_size=self.limit_request_trailers or _NO_LIMIT,
            body_size=self.limit_request_body or None,
            header_time=self.header_timeout or None,
            body_time=self.body_timeout or None,
            idle_time=self.keep_alive or None,
            write_time=self.write_timeout or None,
            connections=self.worker_connections or None,
            connections_per_address=self.connections_per_address or None,
            requests=self.limit_concurrency or None,
            queue=self.queue,
        )


FIELDS = {each.name: each for each in fields(Settings)}
DEFAULTS = Settings()


def _kind(name: str) -> type:
    return type(getattr(DEFAULTS, name))


def _converted(name: str, value: Any, where: str) -> Any:
    """Return *value* converted to the type of the setting *name*.

    Raises SettingsError if the value is not valid; *where* names the value's source in it.
    """
    kind = _kind(name)
    try:
        if isinstance(value, str) and kind is not str:
            value = _from_text(kind, value)
        if kind is float and type(value) is int:
            value = float(value)
        if kind is list and isinstance(value, str):
            value = [value]
        if kind is list and name != "bind":  # a path may have a comma
            value = [part.strip() for each in value for part in str(each).split(",")]
            value = [part for part in value if part]
    except (ValueError, OverflowError) as exc:
        raise SettingsError(f"{where}: {name} cannot be {value!r}: {exc}") from None
    if type(value) is not kind:
        raise SettingsError(f"{where}: {name} must be {kind.__name__}, not {value!r}")
    if isinstance(value, list) and not all(isinstance(each, str) for each in value):
        raise SettingsError(f"{where}: {name} must be a list of str, not {value!r}")
    if isinstance(value, int | float):
        _check_number(name, value, where)
    return value


def _check_number(name: str, value: float, where: str) -> None:
    if value < 0:
        raise SettingsError(f"{where}: {name} must not be negative, and is {value!r}")
    if math.isnan(value) or (isinstance(value, int) and value > _LARGEST):
        raise SettingsError(f"{where}: {name} cannot be {value!r}: 0 or the largest is {_LARGEST}")


def _from_text(kind: type, text: str) -> Any:
    if kind is bool:
        word = text.strip().lower()
        if word not in ("1", "true", "yes", "on", "0", "false", "no", "off", ""):
            raise ValueError("write 1 or 0")
        return word in ("1", "true", "yes", "on")
    if kind is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is dict:
        raise ValueError("it can be set in a file only")
    return kind(text)


def from_file(path: str) -> dict[str, Any]:
    """Read settings from a TOML file: from its table ``tool.treadle.serve``, else its top level."""
    try:
        with Path(path).open("rb") as file:
            table: dict[str, Any] = tomllib.load(file)
    except (OSError, ValueError) as exc:  # ValueError includes TOMLDecodeError
        raise SettingsError(f"{path}: {exc}") from None
    within: Any = table
    for name in ("tool", "treadle", "serve"):
        within = within.get(name) if isinstance(within, dict) else None
    if isinstance(within, dict):
        table = within
    found = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in FIELDS:
            raise SettingsError(f"{path}: there is no setting {key!r}")
        found[name] = _converted(name, value, path)
    return found


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read settings from variables: ``TREADLE_SERVE_`` and a setting's name in capitals.

    WEB_CONCURRENCY, PORT and FORWARDED_ALLOW_IPS, which hosting platforms set, give ``workers``,
    ``bind`` and ``forwarded_allow_ips`` unless such a variable does.
    """
    found: dict[str, Any] = {}
    if environ.get("WEB_CONCURRENCY"):
        found["workers"] = _converted("workers", environ["WEB_CONCURRENCY"], "WEB_CONCURRENCY")
    if environ.get("PORT"):
        found["bind"] = [f"0.0.0.0:{environ['PORT']}"]
    if environ.get("FORWARDED_ALLOW_IPS"):
        found["forwarded_allow_ips"] = _converted(
            "forwarded_allow_ips", environ["FORWARDED_ALLOW_IPS"], "FORWARDED_ALLOW_IPS"
        )
    for key, value in environ.items():
        name = key.removeprefix(_VARIABLE).lower()
        if not key.startswith(_VARIABLE) or name == "config":
            continue
        if name not in FIELDS:
            raise SettingsError(f"{key}: there is no setting {name!r}")
        found[name] = _converted(name, value, key)
    return found


def _help(name: str) -> str:
    """Return the help of the setting *name*, with its default and its environment variable."""
    default = getattr(DEFAULTS, name)
    if isinstance(default, bool):
        default = "on" if default else "off"
    if isinstance(default, list):
        default = ", ".join(default)
    said = f"(default: {'none' if default == '' else default}; {_VARIABLE}{name.upper()})"
    return f"{FIELDS[name].metadata['help']} {said}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting to *parser*; flags that are not given set nothing."""
    parser.add_argument("app", nargs="?", help=FIELDS["app"].metadata["help"])
    parser.add_argument("--config", metavar="FILE", help="a TOML file of settings")
    for name in FIELDS:
        kind = _kind(name)
        if name == "app" or kind is dict:
            continue
        flags = [f"--{name.replace('_', '-')}"]
        flags += {"bind": ["-b"], "workers": ["-w"]}.get(name, [])
        options: dict[str, Any] = {"dest": name, "help": _help(name)}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif kind is list:
            metavar = "NAME" if name == "forwarded_headers" else "ADDRESS"
            options |= {"action": "append", "metavar": metavar}
        else:
            options["metavar"] = {int: "N", float: "SECONDS", str: "TEXT"}[kind]
        parser.add_argument(*flags, default=argparse.SUPPRESS, **options)


def read_settings(options: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Settings:
    """Combine the settings of all sources; raise SettingsError for the first invalid one."""
    found: dict[str, Any] = {}
    config = options.config or environ.get("TREADLE_SERVE_CONFIG")
    if config:
        found |= from_file(config)
    found |= from_environment(environ)
    for name, value in vars(options).items():
        if name in FIELDS and value is not None:
            found[name] = _converted(name, value, f"--{name.replace('_', '-')}")
    if find_spec("h2") is None:
        if found.get("http2"):
            raise SettingsError("http2 needs h2: pip install 'treadle[serve]'")
        found["http2"] = False
    settings = Settings(**found)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    module, _, name = settings.app.partition(":")
    if not module or module.startswith(".") or not name:
        raise SettingsError(f"which application? write MODULE:APPLICATION, not {settings.app!r}")
    if not 1 <= settings.workers <= _MOST_WORKERS:
        raise SettingsError(f"workers must be from 1 to {_MOST_WORKERS}, not {settings.workers}")
    if settings.access_log_format not in ACCESS_FORMATS:
        raise SettingsError(f"access_log_format must be one of {', '.join(ACCESS_FORMATS)}")
    if settings.keyfile and not settings.certfile:
        raise SettingsError("keyfile needs a certfile")
    for host, files in settings.sni.items():
        good = isinstance(files, list) and all(isinstance(each, str) for each in files)
        if not good or len(files) not in (1, 2):
            raise SettingsError(f"sni: {host!r} must be [certfile] or [certfile, keyfile]")
    try:
        Proxies(settings.proxy_protocol)
    except ValueError as exc:
        raise SettingsError(f"proxy_protocol: {exc}") from None
    try:
        settings.forwarded()
    except ValueError as exc:
        raise SettingsError(f"forwarded_allow_ips, forwarded_headers: {exc}") from None
    if not settings.bind:
        raise SettingsError("bind needs an address: HOST:PORT or unix:PATH")


def parse(arguments: Sequence[str]) -> Settings:
    """Return the settings for the command line *arguments*; for tests and programs."""
    parser = argparse.ArgumentParser(prog="treadle serve")
    add_flags(parser)
    return read_settings(parser.parse_args(list(arguments)))
