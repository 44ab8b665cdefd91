"""Servers step by step: what subclasses override, and what may change while they serve."""

import os
import socket as native
from collections.abc import Iterator
from typing import Any

import pytest

import treadle
from treadle import socket
from treadle.hub import get_hub
from treadle.pool import Pool
from treadle.server import DatagramServer, StreamServer


def greet(connection: Any, _address: Any) -> None:
    connection.sendall(b"hello")


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with StreamServer(("127.0.0.1", 0), greet) as server:
        yield server


def ask(server: Any, timeout: float = 5) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout) as connection:
        return bytes(connection.recv(100))


def test_accepting_may_pause(server: StreamServer) -> None:
    assert ask(server) == b"hello"
    server.stop_accepting()
    with pytest.raises(TimeoutError):
        ask(server, 0.05)
    server.start_accepting()
    assert ask(server) == b"hello"
    assert server.started


def test_a_socket_is_there_while_it_listens() -> None:
    server = StreamServer(("127.0.0.1", 0), greet)
    assert server.closed
    assert not server.started
    server.start()
    assert not server.closed
    assert server.address == server.socket.getsockname()
    with pytest.raises(AssertionError, match="started already"):
        server.start()
    server.stop()
    assert server.closed
    assert not server.started
    with pytest.raises(ConnectionRefusedError):
        ask(server)


def test_a_subclass_has_its_handler() -> None:
    class Shouter(StreamServer):
        def handle(self, connection: Any, _address: Any) -> None:
            connection.sendall(b"HELLO")

    with Shouter(("127.0.0.1", 0)) as server:
        assert ask(server) == b"HELLO"
    with pytest.raises(TypeError, match="'handle'"):
        StreamServer(("127.0.0.1", 0))


def test_a_connection_that_waits_keeps_little_of_the_c_stack() -> None:
    class Patient(StreamServer):
        def handle(self, connection: Any, _address: Any) -> None:
            handlers.append(treadle.getcurrent())
            connection.recv(1)

    handlers: list[Any] = []
    left, right = socket.socketpair()
    other = treadle.spawn(lambda: left.recv(1))
    with (
        left,
        right,
        Patient(("127.0.0.1", 0)) as server,
        socket.create_connection(("127.0.0.1", server.server_port)),
    ):
        while not handlers:
            treadle.sleep(0.001)
        treadle.sleep(0.001)
        assert handlers[0]._stack_saved <= other._stack_saved + 200
        right.sendall(b"x")
        other.join()


def test_the_handler_may_be_changed(server: StreamServer) -> None:
    server.set_handle(lambda connection, _: connection.sendall(b"bye"))
    server._handle = server.handle
    assert ask(server) == b"bye"
    assert "handle=<function" in repr(server)


def test_a_plain_socket_that_listens_stays_its_owners() -> None:
    with native.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = StreamServer(listener, greet)
        with server:
            assert ask(server) == b"hello"
            assert server.socket is listener
            assert listener.fileno() >= 0
        assert listener.fileno() == -1  # the server closed it, as gevent's does


@pytest.fixture
def short_default() -> Iterator[None]:
    native.setdefaulttimeout(0.01)
    yield
    native.setdefaulttimeout(None)


def listening(module: Any, seconds: float | None, kind: int) -> Any:
    listener = module.socket(type=kind)
    listener.bind(("127.0.0.1", 0))
    if kind == native.SOCK_STREAM:
        listener.listen()
    listener.settimeout(seconds)
    return listener


@pytest.mark.parametrize("own", [None, 0, 0.01], ids=["None", "0", "0.01"])
@pytest.mark.parametrize("module", [native, socket, None], ids=["standard", "treadle", "address"])
@pytest.mark.parametrize("kind", [native.SOCK_STREAM, native.SOCK_DGRAM], ids=["TCP", "UDP"])
def test_an_idle_server_waits_whatever_timeout_is_set(
    monkeypatch: pytest.MonkeyPatch, short_default: None, kind: int, module: Any, own: float | None
) -> None:
    errors: list[Any] = []
    monkeypatch.setattr(get_hub(), "handle_error", lambda *args: errors.append(args))
    listener = ("127.0.0.1", 0) if module is None else listening(module, own, kind)
    if kind == native.SOCK_DGRAM:
        server: Any = DatagramServer(listener, lambda data, address: server.sendto(data, address))
    else:
        server = StreamServer(listener, lambda connection, _: connection.sendall(b"x"))
    with server:
        treadle.sleep(0.05)
        with native.socket(type=kind) as client:
            client.settimeout(30)
            client.connect(("127.0.0.1", server.server_port))
            if kind == native.SOCK_DGRAM:
                client.send(b"x")
            received = get_hub().threadpool.apply(client.recv, (10,))
    assert (received, errors) == (b"x", [])


def test_a_plain_socket_is_as_its_owner_left_it_after_serving() -> None:
    for seconds in None, 0, 5:
        with listening(native, seconds, native.SOCK_STREAM) as listener:
            server = StreamServer(native.socket(fileno=os.dup(listener.fileno())), greet)
            server.socket.settimeout(seconds)
            server.start()
            assert ask(server) == b"hello"
            server.close()
            assert os.get_blocking(listener.fileno()) == (seconds is None)


def test_a_listener_has_its_backlog() -> None:
    with native.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with pytest.raises(TypeError, match="backlog"):
            StreamServer(listener, greet, backlog=5)


def test_an_error_of_spawning_is_reported_and_survived(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(get_hub(), "handle_error", lambda context, typ, value, tb: seen.append(typ))
    spawn = server._spawn

    def fail(*_: object) -> None:
        server._spawn = spawn
        raise ZeroDivisionError

    server._spawn = fail
    assert ask(server) == b""
    assert ask(server) == b"hello"
    assert seen == [ZeroDivisionError]


def test_no_more_are_accepted_than_the_pool_has_places_for() -> None:
    busy = treadle.event.Event()
    with StreamServer(("127.0.0.1", 0), lambda *_: busy.wait(), spawn=Pool(1)) as server:
        first = socket.create_connection(("127.0.0.1", server.server_port))
        with first, pytest.raises(TimeoutError):
            ask(server, 0.05)
        assert server.full()
        busy.set()
        assert ask(server) == b""


def test_a_datagram_server_restarts_its_pause_after_success() -> None:
    class Moody(DatagramServer):
        failures = 2

        def do_read(self) -> Any:
            if self.failures:
                self.failures -= 1
                raise OSError(12, "out of memory")
            return super().do_read()

    with (
        Moody(("127.0.0.1", 0), lambda data, address: server.sendto(data, address)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(30)
        client.sendto(b"x", server.address)
        assert client.recv(1) == b"x"
        assert server.delay == server.min_delay
