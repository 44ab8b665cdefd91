"""Who looks names up: what gevent.resolver offers.

A hub's ``resolver`` answers for :mod:`treadle.socket`. ``treadle.config.resolver`` or the
environment variable ``TREADLE_RESOLVER`` chooses it: ``thread`` (the default), ``ares``,
``dnspython``, ``block``, a dotted name, a class, or several of them with commas, of which the first
that can be imported is taken. The second and third need the extra ``treadle[dns]``.
"""

from __future__ import annotations

import socket
from typing import Any

__all__ = ["AbstractResolver", "is_address"]

#: The standard functions, taken here before patching replaces them.
NATIVE: dict[str, Any] = {
    name: getattr(socket, name)
    for name in ("getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo")
}
_ONLY_NUMBERS = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


def is_address(host: object) -> bool:
    """Whether *host* is an IPv4 or IPv6 address in text, with or without a scope."""
    if not isinstance(host, str):
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except (OSError, ValueError):  # ValueError: a null character, or a lone surrogate
            continue
        return True
    return False


def _is_port(port: object) -> bool:
    return port is None or isinstance(port, int) or (isinstance(port, str) and port.isdecimal())


def _encoded(host: Any) -> Any:
    """Names in other scripts are encoded here: a worker thread must not import the codec."""
    return host.encode("idna") if isinstance(host, str) and not host.isascii() else host


class AbstractResolver:
    """Looks names up as the functions of :mod:`socket` do: same results, same errors.

    What needs no look-up is answered at once. A subclass defines :meth:`look_up`.
    """

    def __init__(self, hub: object = None) -> None:
        """*hub* is gevent's and not needed."""

    def close(self) -> None:
        """Let go of what it holds; it may be used again."""

    def look_up(self, name: str, *args: Any) -> Any:
        """Do what the function *name* of :mod:`socket` does, with these arguments."""
        raise NotImplementedError(f"{type(self).__name__} does not define look_up()")

    def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        socktype: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """:func:`socket.getaddrinfo`."""
        args = (port, family, socktype, proto, flags)
        if (host is None or is_address(host)) and _is_port(port):
            return NATIVE["getaddrinfo"](host, *args)  # type: ignore[no-any-return]
        return self.look_up("getaddrinfo", _encoded(host), *args)  # type: ignore[no-any-return]

    def gethostbyname(self, hostname: Any) -> str:
        """:func:`socket.gethostbyname`."""
        return self._by_name("gethostbyname", hostname)  # type: ignore[no-any-return]

    def gethostbyname_ex(self, hostname: Any) -> tuple[str, list[str], list[str]]:
        """:func:`socket.gethostbyname_ex`."""
        return self._by_name("gethostbyname_ex", hostname)  # type: ignore[no-any-return]

    def _by_name(self, name: str, hostname: Any) -> Any:
        if is_address(hostname):
            return NATIVE[name](hostname)
        return self.look_up(name, _encoded(hostname))

    def gethostbyaddr(self, ip_address: Any) -> tuple[str, list[str], list[str]]:
        """:func:`socket.gethostbyaddr`."""
        return self.look_up("gethostbyaddr", _encoded(ip_address))  # type: ignore[no-any-return]

    def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """:func:`socket.getnameinfo`."""
        if isinstance(flags, int) and flags & _ONLY_NUMBERS == _ONLY_NUMBERS:
            return NATIVE["getnameinfo"](sockaddr, flags)  # type: ignore[no-any-return]
        return self.look_up("getnameinfo", sockaddr, flags)  # type: ignore[no-any-return]
