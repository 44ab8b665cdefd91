"""Servers on loopback and raw connections to them."""

import socket as native
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from treadle import socket
from treadle.http.limits import Limits
from treadle.http.policy import STRICT, Policy
from treadle.pywsgi import WSGIServer

Raw = Callable[..., bytes]


class Log(list[str]):
    """A log that collects what a server writes."""

    def write(self, text: str) -> None:
        self.append(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.extend(lines)

    def flush(self) -> None:
        pass


class Site:
    """A server for *application*, by default with the strict policy, and the requests it got."""

    def __init__(
        self,
        application: Any,
        limits: Limits | None = None,
        policy: Policy = STRICT,
        **options: Any,
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.log, self.errors = Log(), Log()

        def recording(environ: dict[str, Any], start_response: Any) -> Any:
            self.requests.append(environ)
            return application(environ, start_response)

        options = {"log": self.log, "error_log": self.errors, **options}
        listener = options.pop("listener", ("127.0.0.1", 0))
        self.server = WSGIServer(listener, recording, **options)
        self.server.policy = policy
        if limits is not None:
            self.server.limits = limits
        self.server.start()

    @property
    def address(self) -> Any:
        return self.server.address

    def connect(self) -> Any:
        """Return a new connection to the server."""
        return socket.create_connection(self.address, timeout=10)

    def exchange(self, data: bytes, *, end: bool = False) -> bytes:
        """Send *data*, shut down the sending side if *end*, and return everything received."""
        with self.connect() as sock:
            sock.sendall(data)
            if end:
                sock.shutdown(native.SHUT_WR)
            return received(sock)


def received(sock: Any) -> bytes:
    """Receive until the peer closes, and return everything."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    """Return a function that starts sites, which are stopped after the test."""
    sites: list[Site] = []

    def start(application: Any, limits: Limits | None = None, **options: Any) -> Site:
        sites.append(Site(application, limits, **options))
        return sites[-1]

    yield start
    for each in sites:
        each.server.stop()
