"""DNS lookups with callbacks: the API of gevent.resolver.cares, on treadle's c-ares resolver."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from treadle.greenlet import spawn_raw
from treadle.resolver.ares import Resolver

__all__ = ["channel"]


class Result:
    """The outcome of a lookup: a value or an exception."""

    def __init__(self, value: Any = None, exception: BaseException | None = None) -> None:
        self.value = value
        self.exception = exception

    def successful(self) -> bool:
        """Return whether the lookup succeeded."""
        return self.exception is None

    def get(self) -> Any:
        """Return the value, or raise the exception."""
        if self.exception is not None:
            raise self.exception
        return self.value

    def __repr__(self) -> str:
        if self.exception is not None:
            return f"<{type(self).__name__} exception={self.exception!r}>"
        return f"<{type(self).__name__} value={self.value!r}>"


class channel:
    """Lookups by c-ares; each method calls its *callback* with a :class:`Result` in the hub.

    *loop* is the hub's; the other arguments are those of :class:`treadle.resolver.ares.Resolver`.
    The values are those that the functions of the same names return in :mod:`socket`.
    """

    def __init__(
        self,
        loop: Any,
        flags: int | None = None,
        timeout: float | None = None,
        tries: int | None = None,
        ndots: int | None = None,
        udp_port: int | None = None,
        tcp_port: int | None = None,
        servers: Sequence[str] | str | None = None,
    ) -> None:
        self.loop = loop
        self._options: dict[str, Any] = {
            "flags": flags,
            "timeout": timeout,
            "tries": tries,
            "ndots": ndots,
            "udp_port": udp_port,
            "tcp_port": tcp_port,
        }
        self._resolver: Resolver | None = None
        self.set_servers(servers)

    def set_servers(self, servers: Sequence[str] | str | None = None) -> None:
        """Use these name servers: a list, a string with commas, or None for the system's."""
        if isinstance(servers, str):
            servers = servers.split(",")
        self.destroy()
        self._resolver = Resolver(
            self.loop.hub, use_environ=False, servers=servers, **self._options
        )

    def destroy(self) -> None:
        """Close the channel; further lookups raise gaierror."""
        resolver, self._resolver = self._resolver, None
        if resolver is not None:
            resolver.close()

    def gethostbyname(
        self, callback: Callable[[Result], object], name: str | bytes, family: int = socket.AF_INET
    ) -> None:
        """Look up the addresses of a host: its name, its aliases and the addresses."""
        self._ask(callback, _host, name, family)

    def gethostbyaddr(self, callback: Callable[[Result], object], addr: str | bytes) -> None:
        """Look up the host that has an address."""
        self._ask(callback, Resolver.gethostbyaddr, _text(addr))

    def getaddrinfo(
        self,
        callback: Callable[[Result], object],
        name: str | bytes,
        service: str | bytes | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> None:
        """Look up the addresses of a host and a service, as :func:`socket.getaddrinfo` does."""
        port = _text(service) if isinstance(service, bytes) else service
        self._ask(callback, Resolver.getaddrinfo, _text(name), port, family, type, proto, flags)

    def getnameinfo(
        self, callback: Callable[[Result], object], sockaddr: tuple[Any, ...], flags: int
    ) -> None:
        """Look up the names of a host and a service, as :func:`socket.getnameinfo` does."""
        self._ask(callback, Resolver.getnameinfo, sockaddr, flags)

    def _ask(
        self, callback: Callable[[Result], object], function: Callable[..., Any], *args: Any
    ) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        if self._resolver is None:
            raise socket.gaierror(socket.EAI_FAIL, "this channel has been destroyed")
        spawn_raw(self._answer, callback, function, self._resolver, *args)

    def _answer(
        self, callback: Callable[[Result], object], function: Callable[..., Any], *args: Any
    ) -> None:
        try:
            result = Result(function(*args))
        except OSError as exc:
            result = Result(exception=exc)
        self.loop.run_callback(callback, result)


def _text(name: str | bytes) -> str:
    return name.decode("idna") if isinstance(name, bytes) else name


def _host(resolver: Resolver, name: str | bytes, family: int) -> tuple[str, list[str], list[str]]:
    if family == socket.AF_INET:
        return resolver.gethostbyname_ex(_text(name))
    flags = socket.AI_CANONNAME
    found = resolver.getaddrinfo(_text(name), None, family, socket.SOCK_DGRAM, 0, flags)
    return found[0][3], [], [each[4][0] for each in found]
