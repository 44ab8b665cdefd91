"""What proxies say about the client in a request's headers: ``X-Forwarded-...`` and ``Forwarded``.

Each proxy of a chain adds the address of its own client at the end of a list. What a client says
itself comes before that. So a list is read from its end, as long as a trusted proxy has written it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
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
#: How many nodes are remembered, and the length of the longest text that can be one.
_REMEMBERED, _LONGEST_NODE = 1024, 64
#: The most proxies in a chain. Without a limit a client could have thousands of addresses read.
_MOST_PROXIES = 100
#: The longest entry of Forwarded.
_LONGEST_ENTRY = 2048
#: One parameter of Forwarded, or none, and what ends it (RFC 7239, section 4).
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'[ \t]*(?:({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*)?(?:;|\Z)')
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

    def apply(self, environ: dict[str, Any]) -> None:
        """Update *environ*, of a request that came from a trusted proxy.

        It sets REMOTE_ADDR, REMOTE_PORT ("0" if no proxy tells it), ``wsgi.url_scheme``,
        HTTP_HOST, SERVER_NAME, SERVER_PORT and SCRIPT_NAME, as far as headers tell them. An entry
        that is malformed tells nothing.
        """
        addresses, scheme, host, prefix = map(environ.get, self._variables)
        if addresses or scheme or host or prefix:
            client = self._client(_from_end(addresses)) if addresses else None
            at = 0 if client is None else client.at
            values = [_item_from_end(each, at) if each else "" for each in (scheme, host, prefix)]
        elif self._reads_forwarded and (value := environ.get("HTTP_FORWARDED")):
            entries = list(_entries(value))
            if not entries:
                return
            client = self._client(entry.get("for", "") for entry in entries)
            entry = entries[0 if client is None else client.at]
            values = [entry.get("proto", ""), entry.get("host", ""), ""]
        else:
            return
        if client is not None:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client.host, client.port
        _set_place(environ, *values)

    def _client(self, nodes: Iterable[str]) -> Client | None:
        """Return the client that *nodes* tell of, beginning with the last proxy's.

        It is the first one that is no trusted proxy, or the last one if all are trusted.
        """
        found = None
        for at, text in enumerate(nodes):
            node = _node(text) if len(text) <= _LONGEST_NODE else None
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
        name, port = host, ""
        if not host.endswith("]") and ":" in host:
            name, _, port = host.rpartition(":")
        if name and _is_port(port or "0"):
            environ["HTTP_HOST"], environ["SERVER_NAME"] = host, name
            environ["SERVER_PORT"] = port or _PORTS[environ["wsgi.url_scheme"]]
    if prefix and _PREFIX.fullmatch(prefix):
        environ["SCRIPT_NAME"] = prefix.rstrip("/")


def _from_end(value: str) -> Iterator[str]:
    """Return the last items of a list, the last one first."""
    last = value.rsplit(",", _MOST_PROXIES)[-_MOST_PROXIES:]
    return (item.strip() for item in reversed(last))


def _item_from_end(value: str, at: int) -> str:
    """Return the item at *at* from the end of a list; the first one if the list is shorter.

    A proxy that replaces a header instead of adding to it leaves one item for all proxies.
    """
    items = value.rsplit(",", at + 1)
    return items[max(len(items) - 1 - at, 0)].strip()


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) < 65536


@lru_cache(_REMEMBERED)
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
    return str(address), port if _is_port(port) else "0"


def _entries(value: str) -> Iterator[dict[str, str]]:
    """Yield the parameters of each entry of Forwarded, the last entry first.

    Ends at a malformed one: what a client says must not spoil what the proxies after it say.
    """
    text = ""
    for part in reversed(value.rsplit(",", _MOST_PROXIES)[-_MOST_PROXIES:]):
        text = f"{part},{text}" if text else part
        entry = _entry(text) if len(text) <= _LONGEST_ENTRY else None
        if entry is not None:
            text = ""
            if entry:  # lists may have empty items (RFC 9110, 5.6.1)
                yield entry
        elif '"' not in text or len(text) > _LONGEST_ENTRY:
            return
        # Otherwise the comma before it may be within quotes.


def _entry(text: str) -> dict[str, str] | None:
    """Return the parameters of an entry of Forwarded, or None if it is malformed."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            return None
        at = parameter.end()
        if not parameter[1]:
            continue
        name, value = parameter[1].lower(), parameter[2]
        if name in found:
            return None
        found[name] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value
    return found
