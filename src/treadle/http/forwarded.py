"""What proxies say about the client in a request's headers: ``X-Forwarded-...`` and ``Forwarded``.

Each proxy of a chain adds the address of its own client at the end of a list. What a client says
itself comes before that. So a list is read from its end, as long as a trusted proxy has written it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple

from treadle.http.h1 import is_host
from treadle.http.proxy import Proxies

__all__ = ["HEADERS", "Forwarded"]

#: The headers that are understood.
HEADERS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "forwarded",
)
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_PORTS = {"http": "80", "https": "443"}
#: How many lists of addresses are remembered, and how long each may be: clients choose them.
_REMEMBERED, _LONGEST = 1024, 256
#: The most proxies in a chain. Without a limit a client could have thousands of addresses read.
_MOST_PROXIES = 100
#: One parameter of Forwarded, and what separates it from the next (RFC 7239, section 4).
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")\s*([;,]|$)')
_PREFIX = re.compile(r"(?:/[^/\x00-\x20\x7f-\xff?#\\]+)+/?")
_PORT = re.compile(r"[0-9]{1,5}")


class Client(NamedTuple):
    """A client that proxies told of, and by how many entries of the list they trusted."""

    host: str
    port: str
    at: int


class Forwarded:
    """Takes what trusted proxies say of a request into its environment.

    *headers* are names of :data:`HEADERS`. If a proxy sends ``X-Forwarded-...``, ``Forwarded`` is
    not read: a proxy that writes the one kind passes on what a client sends of the other.
    """

    def __init__(self, trusted: Proxies, headers: Collection[str] = HEADERS) -> None:
        """Raises ValueError for a name that is not in :data:`HEADERS`."""
        unknown = sorted(set(headers) - set(HEADERS))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(HEADERS)}")
        self.trusted = trusted
        kinds = [(name, f"HTTP_{name.upper().replace('-', '_')}") for name in HEADERS[:-1]]
        self._variables = [variable if name in headers else "" for name, variable in kinds]
        self._reads_forwarded = "forwarded" in headers
        self._remembered = lru_cache(_REMEMBERED)(self._client)

    def apply(self, environ: dict[str, Any]) -> None:
        """Update *environ*, of a request that came from a trusted proxy.

        It sets REMOTE_ADDR, REMOTE_PORT ("0" if no proxy tells it), ``wsgi.url_scheme``,
        HTTP_HOST, SERVER_NAME, SERVER_PORT and SCRIPT_NAME, as far as headers tell them. An entry
        that is malformed tells nothing.
        """
        addresses, scheme, host, prefix = map(environ.get, self._variables)
        if addresses or scheme or host or prefix:
            client = self._find(addresses) if addresses else None
            at = 0 if client is None else client.at
            values = [_from_end(each, at) if each else "" for each in (scheme, host, prefix)]
        elif self._reads_forwarded and (value := environ.get("HTTP_FORWARDED")):
            entries = list(_entries(value))
            if not entries:
                return
            client = self._find(",".join(entry.get("for", "") for entry in entries))
            entry = entries[-1 - (0 if client is None else client.at)]
            values = [entry.get("proto", ""), entry.get("host", ""), ""]
        else:
            return
        if client is not None:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client.host, client.port
        _set_place(environ, *values)

    def _find(self, addresses: str) -> Client | None:
        if len(addresses) > _LONGEST:
            return self._client(addresses)
        return self._remembered(addresses)

    def _client(self, addresses: str) -> Client | None:
        """Return the last client that is no trusted proxy, or the first one if all are trusted."""
        found = None
        for at, text in enumerate(reversed(addresses.rsplit(",", _MOST_PROXIES)[-_MOST_PROXIES:])):
            node = _node(text.strip())
            if node is None:
                break
            found = Client(*node, at)
            if node not in self.trusted:
                break
        return found


def _set_place(environ: dict[str, Any], scheme: str, host: str, prefix: str) -> None:
    """Set the scheme, the host and the path at which the client finds the application."""
    scheme = _SCHEMES.get(scheme.lower(), "")
    if scheme:
        environ["wsgi.url_scheme"] = scheme
    if host and is_host(host):
        environ["HTTP_HOST"] = host
        name, port = host, ""
        if not host.endswith("]") and ":" in host:
            name, _, port = host.rpartition(":")
        environ["SERVER_NAME"] = name
        environ["SERVER_PORT"] = port or _PORTS[environ["wsgi.url_scheme"]]
    if prefix and _PREFIX.fullmatch(prefix):
        environ["SCRIPT_NAME"] = prefix.rstrip("/")


def _from_end(value: str, at: int) -> str:
    """Return the item at *at* from the end of a list; the first one if the list is shorter.

    A proxy that replaces a header instead of adding to it leaves one item for all proxies.
    """
    items = [item.strip() for item in value.split(",")]
    return items[max(len(items) - 1 - at, 0)]


def _node(text: str) -> tuple[str, str] | None:
    """Return the address and the port ("0" if there is none) of a node, or None if it has none.

    A node is ``address``, ``address:port`` or ``[address]:port``; RFC 7239 also has names for
    nodes that are not told.
    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and port[0] != ":"):
            return None
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        address = address.ipv4_mapped or address
    if not (_PORT.fullmatch(port) and int(port) < 65536):
        port = "0"
    return str(address), port


def _entries(value: str) -> Iterator[dict[str, str]]:
    """Yield the parameters of each entry of Forwarded; nothing if the header is malformed."""
    entries: list[dict[str, str]] = [{}]
    at = 0
    while at < len(value):
        found = _PARAMETER.match(value, at)
        if found is None:
            return
        name, text, separator = found.groups()
        if text[0] == '"':
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        if "," in text:  # no address, scheme or host has one
            return
        entries[-1][name.lower()] = text
        if separator == ",":
            entries.append({})
        at = found.end()
    yield from entries
