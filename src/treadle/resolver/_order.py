"""Sorts the addresses of a name into the order in which to try them: RFC 6724, section 6.

The rules that need a table of the network interfaces are left out: 3, 4 and 7, and 9 for IPv4.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

__all__ = ["in_order"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: The policy table of section 2.1, with glibc's values: prefix, precedence, label.
_POLICY = [
    (ipaddress.IPv6Network(prefix), precedence, label)
    for prefix, precedence, label in (
        ("::1/128", 50, 0),
        ("::ffff:0:0/96", 10, 4),
        ("::/96", 20, 3),
        ("2001::/32", 40, 7),
        ("2002::/16", 30, 2),
        ("fec0::/10", 40, 5),
        ("fc00::/7", 40, 6),
        ("::/0", 40, 1),
    )
]


def _policy(address: Address) -> tuple[int, int]:
    if isinstance(address, ipaddress.IPv4Address):
        address = ipaddress.IPv6Address(f"::ffff:{address}")
    return next((precedence, label) for prefix, precedence, label in _POLICY if address in prefix)


def _scope(address: Address) -> int:
    """Return the scope of an address as the number of a multicast scope: section 3.1."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_multicast:
            return address.packed[1] & 15
        if address.is_site_local:
            return 5
    return 2 if address.is_link_local or address.is_loopback else 14


def _source(family: int, address: str) -> Address | None:
    """Return the local address that this machine reaches *address* from; None if it cannot."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 53))  # sends nothing and never blocks, as for any UDP socket
            return ipaddress.ip_address(probe.getsockname()[0])
    except OSError:
        return None


def _rank(family: int, text: str) -> tuple[Any, ...]:
    """Return the sort key of an address, which is lowest for the best one."""
    destination = ipaddress.ip_address(text)
    precedence, label = _policy(destination)
    source = _source(family, text)
    if source is None:
        return (True, True, True, -precedence, _scope(destination), 0)
    common = 0
    if isinstance(destination, ipaddress.IPv6Address):
        common = 128 - (int(destination) ^ int(source)).bit_length()
    return (
        False,  # rule 1: it can be reached
        _scope(destination) != _scope(source),  # 2
        _policy(source)[1] != label,  # 5
        -precedence,  # 6
        _scope(destination),  # 8
        -common,  # 9
    )


def in_order(addresses: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return the pairs of family and address in the order in which to try them.

    Addresses that the rules do not tell apart keep their order.
    """
    found = list(addresses)
    return found if len(found) < 2 else sorted(found, key=lambda each: _rank(*each))
