"""The PROXY protocol, versions 1 and 2: a proxy first sends the address of its client.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any

from treadle._core.clock import seconds as monotonic

__all__ = ["BadHeader", "Proxies", "receive"]

Address = tuple[str, int] | tuple[str, int, int, int]

#: The start of a version 2 header; the shortest line of version 1 is longer.
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
#: The longest line of version 1 with its end, in bytes.
_LONGEST_LINE = 107
#: The longest header of version 2 that is accepted, in bytes; addresses have up to 216.
_LONGEST = 4096
#: For how many hosts each set of trusted addresses remembers whether it contains them.
_REMEMBERED = 1024
#: By family and transport: the bytes of both addresses and ports, and of the first address.
_SIZES = {0x11: (12, 4), 0x21: (36, 16), 0x31: (216, 0)}


class BadHeader(OSError):
    """Raised if what a proxy sent is not a valid header of the PROXY protocol."""


class Proxies:
    """The set of trusted addresses: ``address in proxies`` tells whether one is trusted.

    *allowed* contains addresses or networks ("10.0.0.0/8"), "unix" for all clients of a Unix
    socket, or "*" for all addresses. Raises ValueError for anything else.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        words = set(allowed)
        self._everybody = "*" in words
        self._unix = self._everybody or "unix" in words
        self._networks = [_network(word) for word in sorted(words - {"*", "unix"})]
        # Each connection and request asks, mostly for the same few proxies.
        self._trusts: Callable[[str], bool] = lru_cache(_REMEMBERED)(self._is_in_networks)

    def __contains__(self, address: Any) -> bool:
        if not isinstance(address, tuple):
            return self._unix
        if self._everybody or not self._networks:
            return self._everybody
        return self._trusts(address[0])

    def _is_in_networks(self, name: str) -> bool:
        host = ip_address(name.partition("%")[0])
        if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
            host = host.ipv4_mapped
        return any(host in network for network in self._networks)


def _network(word: str) -> IPv4Network | IPv6Network:
    """Return the network *word*; that of IPv4 addresses in IPv6 as one of IPv4."""
    network = ip_network(word)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        inner = network.network_address.ipv4_mapped
        if inner is not None:
            return IPv4Network((inner, network.prefixlen - 96))
    return network


def receive(sock: Any, seconds: float | None) -> Address | None:
    """Receive a header within *seconds*, and nothing of what follows it.

    Returns the client's address, in the form of a socket's, or None if the header does not contain
    one: then the proxy itself is the client. Raises :class:`BadHeader`, TimeoutError or another
    OSError.
    """
    reader = _Reader(sock, seconds)
    start = reader.exactly(len(_SIGNATURE))
    if start == _SIGNATURE:
        version, transport, size = struct.unpack("!BBH", reader.exactly(4))
        if size > _LONGEST:
            raise BadHeader(f"a header of {size} bytes")
        return version_2(version, transport, reader.exactly(size))
    if not start.startswith(b"PROXY "):
        raise BadHeader(f"no PROXY header: {start!r}")
    while not start.endswith(b"\r\n"):
        if len(start) >= _LONGEST_LINE:
            raise BadHeader("a line that does not end")
        start += reader.exactly(1 if start.endswith(b"\r") else 2)
    return version_1(start)


class _Reader:
    """Receives exact numbers of bytes, all of them within *seconds*."""

    def __init__(self, sock: Any, seconds: float | None) -> None:
        self._sock = sock
        self._deadline = None if seconds is None else monotonic() + seconds

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if self._deadline is not None:
                self._sock.settimeout(max(self._deadline - monotonic(), 0.001))
            more = self._sock.recv(size - len(data))
            if not more:
                raise BadHeader("the connection ended within the header")
            data += more
        self._sock.settimeout(None)
        return data


def version_1(line: bytes) -> Address | None:
    """Return the client's address in *line*, a version 1 header with its line end, or None."""
    if len(line) > _LONGEST_LINE:
        raise BadHeader(f"a line of {len(line)} bytes")
    words = line.removesuffix(b"\r\n").split(b" ")
    if words[:2] == [b"PROXY", b"UNKNOWN"]:
        return None
    if len(words) != 6 or words[0] != b"PROXY":
        raise BadHeader(f"not like a PROXY line: {line!r}")
    family = {b"TCP4": 4, b"TCP6": 6}.get(words[1])
    try:
        host, other = (ip_address(word.decode("ascii")) for word in words[2:4])
        if not family == host.version == other.version:
            raise ValueError("another family")
        port, _ = map(_port, words[4:])
    except ValueError as exc:
        raise BadHeader(f"not like a PROXY line: {line!r}") from exc
    return _address(host, port)


def _port(word: bytes) -> int:
    if not word.isdigit() or int(word) > 65535 or word != b"%d" % int(word):
        raise ValueError("no port")
    return int(word)


def version_2(version: int, transport: int, rest: bytes) -> Address | None:
    """Return the client's address in a version 2 header, or None.

    *version* is its byte of version and command, *transport* its byte of family and transport, and
    *rest* what follows the length.
    """
    if version not in (0x20, 0x21):
        raise BadHeader(f"version and command {version:#x}")
    if version == 0x20 or transport == 0:  # the proxy's own connection, or of an unknown kind
        return None
    if transport not in _SIZES:
        raise BadHeader(f"family and transport {transport:#x}")
    size, width = _SIZES[transport]
    if len(rest) < size:
        raise BadHeader(f"{len(rest)} bytes of addresses where there must be {size}")
    _check_extensions(rest[size:])
    if not width:
        return None
    host = ip_address(rest[:width])
    (port,) = struct.unpack_from("!H", rest, 2 * width)
    return _address(host, port)


def _check_extensions(data: bytes) -> None:
    """Raise BadHeader unless the extensions fill *data*; their contents are not used."""
    while data:
        size = 3 + int.from_bytes(data[1:3], "big")
        if len(data) < size:
            raise BadHeader("an extension that is cut short")
        data = data[size:]


def _address(host: IPv4Address | IPv6Address, port: int) -> Address:
    # As the system writes it: "::ffff:10.0.0.1", where ipaddress writes "::ffff:a00:1".
    name = inet_ntop(AF_INET if host.version == 4 else AF_INET6, host.packed)
    return (name, port) if host.version == 4 else (name, port, 0, 0)
