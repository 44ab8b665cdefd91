"""DNS lookups: the API of gevent.resolver.

A hub's ``resolver`` does the lookups of :mod:`treadle.socket`. ``treadle.config.resolver`` or the
environment variable ``TREADLE_RESOLVER`` chooses it: ``thread`` (the default), ``ares``,
``dnspython``, ``block``, a dotted name, a class, or several of them separated by commas, of which
the first that can be imported is used. ``ares`` and ``dnspython`` need the extra ``treadle[dns]``.
"""

from __future__ import annotations

import socket
from typing import Any

__all__ = ["AbstractResolver", "is_address"]

#: The standard functions, stored here before monkey patching replaces them.
NATIVE: dict[str, Any] = {
    name: getattr(socket, name)
    for name in ("getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo")
}
_ONLY_NUMBERS = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


def is_address(host: object) -> bool:
    """Return whether *host* is the text of an IPv4 or IPv6 address.

    An IPv6 address may have a scope. The standard functions would look up ``1.2.3.4%x``.
    """
    if not isinstance(host, str):
        return False
    for family, text in (socket.AF_INET, host), (socket.AF_INET6, host.partition("%")[0]):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):  # ValueError: a null character, or a lone surrogate
            continue
        return True
    return False


def is_special(host: str | bytes | bytearray) -> bool:
    """Return whether the standard functions know *host* without a DNS lookup."""
    # The interpreter may have been told to refuse comparisons of text and bytes (-bb).
    return (host if isinstance(host, str) else host.decode("latin-1")) in ("", "<broadcast>")


def _is_port(port: object) -> bool:
    return port is None or isinstance(port, int) or (isinstance(port, str) and port.isdecimal())


def _encoded(host: Any) -> Any:
    """Return *host*, as IDNA bytes if it is not ASCII.

    This is done before a thread gets the name: a worker thread must not import the codec.
    """
    return host.encode("idna") if isinstance(host, str) and not host.isascii() else host


class AbstractResolver:
    """Base of the resolvers: their methods return and raise what those of :mod:`socket` do.

    A call that needs no lookup is answered at once. A subclass defines :meth:`look_up`.
    """

    def __init__(self, hub: object = None) -> None:
        """Accept *hub* for gevent's sake."""

    def close(self) -> None:
        """Free the resolver's resources; it may be used again."""

    def look_up(self, name: str, *args: Any) -> Any:
        """Do what the function *name* of :mod:`socket` does with these arguments."""
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
        """Do what :func:`socket.getaddrinfo` does."""
        args = (port, family, socktype, proto, flags)
        if (host is None or is_address(host)) and _is_port(port):
            return NATIVE["getaddrinfo"](host, *args)  # type: ignore[no-any-return]
        return self.look_up("getaddrinfo", _encoded(host), *args)  # type: ignore[no-any-return]

    def gethostbyname(self, hostname: Any) -> str:
        """Do what :func:`socket.gethostbyname` does."""
        return self._by_name("gethostbyname", hostname)  # type: ignore[no-any-return]

    def gethostbyname_ex(self, hostname: Any) -> tuple[str, list[str], list[str]]:
        """Do what :func:`socket.gethostbyname_ex` does."""
        return self._by_name("gethostbyname_ex", hostname)  # type: ignore[no-any-return]

    def _by_name(self, name: str, hostname: Any) -> Any:
        if is_address(hostname):
            return NATIVE[name](hostname)
        return self.look_up(name, _encoded(hostname))

    def gethostbyaddr(self, ip_address: Any) -> tuple[str, list[str], list[str]]:
        """Do what :func:`socket.gethostbyaddr` does."""
        return self.look_up("gethostbyaddr", _encoded(ip_address))  # type: ignore[no-any-return]

    def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """Do what :func:`socket.getnameinfo` does."""
        if isinstance(flags, int) and flags & _ONLY_NUMBERS == _ONLY_NUMBERS:
            return NATIVE["getnameinfo"](sockaddr, flags)  # type: ignore[no-any-return]
        return self.look_up("getnameinfo", sockaddr, flags)  # type: ignore[no-any-return]
