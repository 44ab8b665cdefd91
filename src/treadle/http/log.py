"""The formats of access logs, and a log that keeps nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import localtime, strftime, time
from typing import Any

__all__ = ["FORMATS", "SILENCE", "request_line"]


class _Silence:
    """A log that keeps nothing."""

    def write(self, text: str) -> None:
        """Discard *text*."""

    def writelines(self, lines: list[str]) -> None:
        """Discard *lines*."""

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


SILENCE = _Silence()

#: Characters that are escaped: those that are not ASCII, and those that could end a line or its
#: quoted parts.
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 256))}
_ESCAPED |= {ord('"'): '\\"', ord("\\"): "\\\\"}
_ESCAPED_WORD = _ESCAPED | {ord(" "): "\\x20"}


def _quoted(value: str | None) -> str:
    return f'"{value.translate(_ESCAPED)}"' if value else '"-"'


def request_line(request: Any) -> str:
    """Return the first line of *request*, or what was read of it before it was refused."""
    target = request.target.decode("latin-1")
    if request.version:
        return f"{request.method} {target} HTTP/{request.version}"
    return f"{request.method} {target}".rstrip(" ")


_stamp = (0, "")


def _now() -> str:
    global _stamp
    now = int(time())
    if _stamp[0] != now:
        _stamp = (now, strftime("%d/%b/%Y:%H:%M:%S %z", localtime(now)))
    return _stamp[1]


def _host(handler: Any) -> str:
    """Return the client's address: what the application found, as proxies may have told it."""
    host = handler.environ.get("REMOTE_ADDR")
    if not host:  # the application was not called, or the client came by a Unix socket
        address = handler.client_address
        host = address[0] if isinstance(address, tuple) else "-"
    return str(host).translate(_ESCAPED_WORD)


def common(handler: Any) -> str:
    """Return the request's line in NCSA's common log format."""
    user = str(handler.environ.get("REMOTE_USER") or "-").translate(_ESCAPED_WORD)
    line = _quoted(request_line(handler.request))
    size = handler.response_length or "-"
    return f"{_host(handler)} - {user} [{_now()}] {line} {handler.code} {size}"


def combined(handler: Any) -> str:
    """Return the request's line in the common log format, with Referer and User-Agent added."""
    fields = handler.request.fields
    agent, referer = _quoted(fields.get("HTTP_USER_AGENT")), _quoted(fields.get("HTTP_REFERER"))
    return f"{common(handler)} {referer} {agent}"


def as_json(handler: Any) -> str:
    """Return the request as a JSON object in one line; ``seconds`` is how long it took."""
    request = handler.request
    fields = request.fields
    return json.dumps(
        {
            "time": _now(),
            "remote_addr": _host(handler),
            "method": request.method,
            "target": request.target.decode("latin-1"),
            "protocol": f"HTTP/{request.version}" if request.version else None,
            "host": fields.get("HTTP_HOST"),
            "status": handler.code,
            "bytes": handler.response_length,
            "seconds": round(handler.time_finish - handler.time_start, 6),
            "referer": fields.get("HTTP_REFERER"),
            "user_agent": fields.get("HTTP_USER_AGENT"),
        }
    )


FORMATS: dict[str, Callable[[Any], str]] = {"common": common, "combined": combined, "json": as_json}
