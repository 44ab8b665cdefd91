"""The ends of connections: a client gets all that was sent, and the log says how much that was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hyperframe.frame import PriorityFrame

import treadle
from treadle import socket
from treadle.http import connection as connections
from treadle.http import ending
from treadle.http.connection import end_connections
from treadle.http.limits import Limits
from treadle.pywsgi import WSGIServer

from .conftest import Site, received
from .test_http2 import Client, head

Start = Callable[..., Site]
LONG = b"x" * 1_500_000  # the system's buffers take it, the client's do not
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def whole(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [LONG if environ["PATH_INFO"] == "/" else b"short"]


def connect_slow(address: Any) -> Any:
    """Return a connection of a client that takes little of what it does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(10)
    sock.connect(address)
    return sock


def begin_stopping(here: Site) -> Any:
    server = here.server
    server.stopping = True
    deadline = time.monotonic() + 5
    return treadle.spawn(end_connections, [server], lambda: len(server.connections), deadline)


def test_a_client_that_has_ended_too_is_not_waited_for(
    site: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler would live on meanwhile, with all that its request and response hold."""
    sleeps: list[float] = []
    monkeypatch.setattr(ending, "sleep", sleeps.append)
    here = site(whole)
    for _ in range(20):
        answer = here.exchange(b"GET /short HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert answer.endswith(b"short")
    while here.server.connections:
        treadle.sleep(0.001)
    assert sleeps == []


@pytest.mark.parametrize(
    "half",
    [
        b"GET / HT",
        b"GET /short HTTP/1.1\r\nHost: a\r\n",
        b"POST /short HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc",
    ],
)
@pytest.mark.parametrize("first", [b"", GET.replace(b"/ ", b"/short ")])
def test_half_a_request_delays_no_end(site: Start, half: bytes, first: bytes) -> None:
    here = site(whole)
    with here.connect() as sock:
        sock.sendall(first + half)
        treadle.sleep(0.05)
        began = time.monotonic()
        assert begin_stopping(here).get() == 0
        assert 0.9 < time.monotonic() - began < 3  # the rest has had time


class TestWhatIsOnItsWay:
    """A client that sends something when its connection has ended gets all of the last answer."""

    def test_after_the_idle_time(self, site: Start) -> None:
        here = site(whole, replace(Limits(), idle_time=0.05))
        with connect_slow(here.address) as sock:
            sock.sendall(GET)
            treadle.sleep(0.2)
            sock.sendall(GET)
            treadle.sleep(0.02)
            assert received(sock).endswith(b"\r\n\r\n" + LONG)
        assert len(here.requests) == 1

    def test_a_server_that_stops(self, site: Start) -> None:
        here = site(whole)
        with connect_slow(here.address) as sock:
            sock.sendall(GET)
            treadle.sleep(0.1)
            ending = begin_stopping(here)
            treadle.sleep(0.2)
            sock.sendall(GET.replace(b"/ ", b"/short "))
            answers = received(sock)
        assert LONG + b"HTTP/1.1 200 OK" in answers  # it had time for one more
        assert answers.endswith(b"short")
        ending.join()

    @pytest.mark.parametrize("by_client", [False, True])
    def test_http2(self, site: Start, monkeypatch: pytest.MonkeyPatch, by_client: bool) -> None:
        monkeypatch.setattr(WSGIServer, "http2", True)
        here = site(whole)
        monkeypatch.setattr(here, "connect", lambda: connect_slow(here.address))
        with Client(here, window=1 << 24) as client:
            client.h2.increment_flow_control_window(1 << 24)
            id = client.ask()
            treadle.sleep(0.1)
            if by_client:
                client.h2.close_connection()
                client.h2.state_machine.state = type(client.h2.state_machine.state).CLIENT_OPEN
                client.send()
            else:
                begin_stopping(here)
            treadle.sleep(0.2)
            client.send()  # credit, which it sends as it reads
            _, _, body = client.answer(id)
            assert body == LONG
            client.until(lambda: False)
            assert client.closed

    def test_credit_of_a_client_that_reads_late_resets_nothing(
        self, site: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(WSGIServer, "http2", True)
        here = site(whole)
        with Client(here) as client:
            id = client.ask(head("GET", "/short"))
            treadle.sleep(0.1)
            stopping = begin_stopping(here)
            treadle.sleep(0.3)
            for _ in range(3):
                client.h2.increment_flow_control_window(1000)
                client.sock.sendall(client.h2.data_to_send())  # fails after a reset
                treadle.sleep(0.02)
            assert client.answer(id)[2] == b"short"
            client.until(lambda: False)
        stopping.join()

    @pytest.mark.parametrize("stall", [0.0, 0.3])
    def test_http2_and_a_client_that_takes_its_time(
        self, site: Start, monkeypatch: pytest.MonkeyPatch, stall: float
    ) -> None:
        """It gives credit for what it reads, although the server reads no more requests."""
        monkeypatch.setattr(WSGIServer, "http2", True)
        monkeypatch.setattr(ending, "PATIENCE", 0.2)
        here = site(whole)
        monkeypatch.setattr(here, "connect", lambda: connect_slow(here.address))
        with Client(here, window=1 << 24) as client:
            client.h2.increment_flow_control_window(1 << 24)
            id = client.ask()
            treadle.sleep(0.05)
            stopping = begin_stopping(here)
            treadle.sleep(0.2 + stall)
            began = time.monotonic()
            while id not in client.ended:
                assert client.hear()
                if time.monotonic() - began < 0.7:
                    client.send(PriorityFrame(id))  # after the end of reading that is a reset
                    treadle.sleep(0.02)
            assert client.body[id] == LONG
            client.until(lambda: False)
            assert client.closed
            assert client.goaway == 0
            stopping.join()

    def test_http1_and_a_client_that_takes_its_time(
        self, site: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ending, "PATIENCE", 0.15)
        here = site(whole)
        with connect_slow(here.address) as sock:
            sock.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            treadle.sleep(0.05)
            stopping = begin_stopping(here)
            began, answer = time.monotonic(), b""
            while part := sock.recv(65536):
                answer += part
                if time.monotonic() - began < 0.7:
                    sock.sendall(b"more")  # what comes after the end resets the connection
                    treadle.sleep(0.02)
            assert answer.endswith(b"\r\n\r\n" + LONG)
            stopping.join()

    def test_a_client_that_never_reads_is_given_up(self, site: Start) -> None:
        limits = replace(Limits(), idle_time=0.05, write_time=0.2)
        here = site(whole, limits)
        with connect_slow(here.address) as sock:
            sock.sendall(GET)
            treadle.sleep(0.15)
            assert len(here.server.connections) == 1
            treadle.sleep(0.4)
            assert not here.server.connections

    def test_one_that_has_everything_is_not_waited_for(self, site: Start) -> None:
        here = site(whole, replace(Limits(), idle_time=0.05))
        with here.connect() as sock:
            sock.sendall(GET.replace(b"/ ", b"/short "))
            assert received(sock).endswith(b"short")
            treadle.sleep(0.3)  # until its system has acknowledged the end
            assert not here.server.connections


class TestAClientThatHasJustConnected:
    """Its first request needs longer than one on a connection that has been used."""

    def test_it_is_answered(self, site: Start) -> None:
        here = site(whole)
        with here.connect() as new, here.connect() as used:
            used.sendall(GET.replace(b"/ ", b"/short "))
            assert used.recv(1000).endswith(b"short")
            stopping = begin_stopping(here)
            began = time.monotonic()
            assert used.recv(1000) == b""
            assert time.monotonic() - began < 0.4
            treadle.sleep(0.1)
            new.sendall(GET.replace(b"/ ", b"/short "))
            answer = received(new)
        assert answer.endswith(b"short")
        assert b"\r\nConnection: close\r\n" in answer
        stopping.join()

    def test_http2(self, site: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(WSGIServer, "http2", True)
        here = site(whole)
        with Client(here) as client:
            client.send()
            treadle.sleep(0.02)
            stopping = begin_stopping(here)
            treadle.sleep(0.2)
            assert client.answer(client.ask(head("GET", "/short")))[2] == b"short"
            client.until(lambda: False)
            assert client.closed
        stopping.join()

    def test_one_that_asks_for_nothing_is_ended(
        self, site: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections, "_FIRST_REQUEST", 0.3)
        here = site(whole)
        with here.connect() as sock:
            treadle.sleep(0.02)
            began = time.monotonic()
            stopping = begin_stopping(here)
            assert sock.recv(1) == b""
            assert 0.2 < time.monotonic() - began < 1.0
        stopping.join()

    def test_not_beyond_the_deadline(self, site: Start) -> None:
        here = site(whole)
        with here.connect():
            treadle.sleep(0.02)
            here.server.stopping = True
            began = time.monotonic()
            end_connections([here.server], lambda: len(here.server.connections), began + 0.1)
            assert time.monotonic() - began < 0.5


class TestWhatTheProgramThrows:
    """A time limit of the program's own is no error of the connection."""

    @pytest.fixture
    def reported(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """Return a list that gets what is reported to the hub."""
        found: list[Any] = []
        report = lambda context, kind, value, traceback: found.append(value)  # noqa: E731
        monkeypatch.setattr(treadle.get_hub(), "handle_error", report)
        return found

    @pytest.mark.parametrize("end", [b"Connection: close\r\n\r\n", b"\r\n"])
    def test_into_a_connection_that_ends_or_waits(
        self, site: Start, reported: list[Any], end: bytes
    ) -> None:
        mine = TimeoutError("mine")

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            treadle.Timeout.start_new(0.02, mine)
            start_response("200 OK", [])
            return [b"short"]

        with site(application).connect() as sock:
            sock.sendall(GET[:-2] + end)
            treadle.sleep(0.2)
        assert reported == [mine]

    @pytest.mark.parametrize("http2", [False, True])
    def test_into_a_write(
        self, site: Start, reported: list[Any], monkeypatch: pytest.MonkeyPatch, http2: bool
    ) -> None:
        monkeypatch.setattr(WSGIServer, "http2", http2)
        mine = TimeoutError("mine")

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            write = start_response("200 OK", [])
            with treadle.Timeout(0.02, mine):
                while True:
                    write(LONG)

        here = site(application)
        with contextlib.ExitStack() as kept:
            if http2:
                client = kept.enter_context(Client(here, window=1 << 24))
                client.h2.increment_flow_control_window(1 << 24)
                client.ask()
                client.until(lambda: client.h2.open_outbound_streams)
            else:
                kept.enter_context(here.connect()).sendall(GET)
            treadle.sleep(0.3)
            assert reported == [mine]


class TestTheLength:
    """The log has the length that was sent, not the one that was meant."""

    @staticmethod
    def logged(here: Site) -> int:
        until = time.monotonic() + 5
        while not here.log and time.monotonic() < until:
            treadle.sleep(0.01)
        return int(here.log[0].split('" ')[1].split()[1].replace("-", "0"))

    @pytest.mark.parametrize("pieces", [1, 400])
    @pytest.mark.parametrize("length", [False, True])
    def test_a_client_that_leaves(self, site: Start, pieces: int, length: bool) -> None:
        body = [b"x" * (20_000_000 // pieces)] * pieces

        def application(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "20000000")] if length else [])
            return body if pieces == 1 else iter(body)

        here = site(application)
        with connect_slow(here.address) as sock:
            sock.sendall(GET)
            sock.recv(1000)
        assert self.logged(here) < 8_000_000

    def test_a_write_after_one_that_failed(self, site: Start) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            write = start_response("200 OK", [])
            for _ in range(400):
                try:
                    write(b"x" * 50_000)
                except OSError:
                    continue
            yield b"x" * 1_000_000

        here = site(application)
        with connect_slow(here.address) as sock:
            sock.sendall(GET)
            sock.recv(1000)
        assert self.logged(here) < 8_000_000

    def test_http2(self, site: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(WSGIServer, "http2", True)
        here = site(whole)
        with Client(here) as client:
            client.credit = False
            client.ask()
            client.until(lambda: sum(map(len, client.body.values())) >= 65535)
        assert self.logged(here) == 65535


class TestNoContent:
    @pytest.mark.parametrize("kind", [list, iter])
    def test_a_reset_content_has_none(self, site: Start, kind: Any) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> Any:
            headers = [("Content-Length", "4")] if environ["PATH_INFO"] == "/length" else []
            start_response("205 Reset Content", headers)
            return kind([b"bo", b"dy"])

        here = site(application)
        answer = here.exchange(GET + GET.replace(b"/ ", b"/length ") + GET, end=True)
        assert answer.count(b"HTTP/1.1 205 ") == 3
        assert answer.count(b"Content-Length: 0\r\n") == 3
        assert b"body" not in answer
        assert b"Transfer-Encoding" not in answer
        assert [line.split('" ')[1].split()[1] for line in here.log] == ["-"] * 3
        assert here.errors == []

    def test_http2(self, site: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(WSGIServer, "http2", True)

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("205 Reset Content", [])
            return [b"body"]

        with Client(site(application)) as client:
            status, headers, body = client.answer(client.ask())
            assert (status, headers["content-length"], body) == ("205", "0", b"")
