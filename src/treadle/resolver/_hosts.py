"""The hosts file, ``/etc/hosts``."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

__all__ = ["Answer", "Hosts", "packed"]

#: The prefix of an IPv4-mapped IPv6 address.
_MAPPED = bytes(10) + b"\xff\xff"


class Answer(NamedTuple):
    """The result of a lookup of a name or of an address, as a ``hostent`` holds it."""

    canonical: str
    aliases: list[str]
    #: Addresses as text; empty in the result of a lookup of an address.
    addresses: list[str]


def packed(address: str) -> bytes:
    """Return the bytes of an address given as text; the IPv4 ones of an IPv4-mapped address.

    Raises OSError if the text is not an address.
    """
    try:
        return socket.inet_pton(socket.AF_INET, address)
    except OSError:
        found = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
        return found[12:] if found.startswith(_MAPPED) else found


class Hosts:
    """The contents of a hosts file, which is read again whenever it has changed."""

    def __init__(self, path: str = "/etc/hosts") -> None:
        self.path = path
        self._seen: object = None
        self._by_name: dict[tuple[int, str], Answer] = {}
        self._by_address: dict[bytes, Answer] = {}

    def by_name(self, name: str, family: int) -> Answer | None:
        """Return the entry of *name*, with its addresses of *family* from all lines; or None."""
        self._refresh()
        return self._by_name.get((family, name.lower()))

    def by_address(self, address: bytes) -> Answer | None:
        """Return the entry of the first line with this address, or None."""
        self._refresh()
        return self._by_address.get(address)

    def items(self) -> list[tuple[tuple[int, str], Answer]]:
        """Return ``((family, name), answer)`` for all names."""
        self._refresh()
        return list(self._by_name.items())

    def _refresh(self) -> None:
        try:
            now = os.stat(self.path)
            seen: object = (now.st_ino, now.st_size, now.st_mtime_ns)
            if seen == self._seen:
                return
            with open(self.path, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.readlines()
        except OSError:
            seen, lines = None, []
        self._by_name, self._by_address = {}, {}
        for line in lines:
            self._add(line.partition("#")[0].split())
        self._seen = seen

    def _add(self, words: list[str]) -> None:
        if len(words) < 2:
            return
        address, canonical, *aliases = words
        try:
            raw = packed(address)
        except (OSError, ValueError):
            return
        family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
        self._by_address.setdefault(raw, Answer(canonical, aliases, []))
        for name in {each.lower() for each in (canonical, *aliases)}:
            entry = self._by_name.setdefault((family, name), Answer(canonical, aliases[:], []))
            if address not in entry.addresses:
                entry.addresses.append(address)
