"""TLS: treadle.ssl's sockets with each other and with the standard library's sockets."""

import _ssl  # type: ignore[import-not-found]
import array
import contextlib
import errno
import gc
import os
import random
import socket as native_socket
import ssl as native
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import treadle
from treadle import socket, ssl
from treadle.event import Event
from treadle.server import StreamServer

HOST = "localhost"


class Certificates:
    """An authority, certificates for localhost and for a client, and contexts that use them."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.certificate = self.authority.issue_cert(HOST, "127.0.0.1")
        self.client_certificate = self.authority.issue_cert("client@example.org")
        self.trusted = folder / "authority.pem"
        self.authority.cert_pem.write_to_path(self.trusted)

    def server(self, module: Any = ssl) -> Any:
        context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
        self.certificate.configure_cert(context)
        self.authority.configure_trust(context)
        return context

    def client(self, module: Any = ssl) -> Any:
        context = module.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def wrapped(certificates: Certificates, left: Any, right: Any, **options: Any) -> tuple[Any, Any]:
    """Return a client and a server on a connection, after the handshake."""
    server_context = options.pop("server", None) or certificates.server()
    client_context = options.pop("client", None) or certificates.client()
    server = treadle.spawn(server_context.wrap_socket, right, server_side=True)
    client = client_context.wrap_socket(left, server_hostname=HOST, **options)
    return client, server.get(timeout=10)


@pytest.fixture
def pair(certificates: Certificates) -> Iterator[tuple[Any, Any]]:
    client, server = wrapped(certificates, *socket.socketpair())
    with client, server:
        yield client, server


def settled() -> None:
    """Yield until all greenlets wait."""
    for _ in range(20):
        treadle.sleep(0)
    treadle.sleep(0.01)


def fill(connection: Any) -> int:
    """Send until the socket would block; return how many bytes were sent."""
    sent = 0
    connection.setblocking(False)
    with contextlib.suppress(native.SSLWantWriteError):
        while True:
            sent += connection.send(b"f" * 1000)
    connection.setblocking(True)
    return sent


def leave_waiting(call: Callable[..., object], *args: Any) -> None:
    """Let a thread end while a greenlet of it waits in *call*."""

    def run() -> None:
        treadle.spawn(call, *args)
        treadle.sleep(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        treadle.sleep(0.005)


def read_until(connection: Any, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        found += treadle.with_timeout(5, connection.recv, 65536)
    return found


# -- exchanging data


def test_echo_of_all_sizes(pair: Any) -> None:
    client, server = pair

    def echo() -> None:
        while data := server.recv(70_000):
            server.sendall(data)
        server.unwrap()

    echoing = treadle.spawn(echo)
    for size in (1, 100, 16_384, 16_385, 1_000_000):
        message = bytes(range(256)) * (size // 256 + 1)
        message = message[:size]
        sending = treadle.spawn(client.sendall, message)
        received = bytearray()
        while len(received) < size:
            received += client.recv(size)
        assert received == message
        sending.get(timeout=30)
    assert client.unwrap() is client
    echoing.get(timeout=30)


def test_send_sends_everything(pair: Any) -> None:
    client, server = pair
    sending = treadle.spawn(client.send, b"x" * 500_000)
    received = 0
    while received < 500_000:
        received += len(server.recv(70_000))
    assert sending.get(timeout=30) == 500_000
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.send(b"x" * 10_000_000)


def test_every_way_to_read_and_write(pair: Any, tmp_path: Path) -> None:
    client, server = pair
    assert client.send(b"send") == 4
    assert server.recv(100) == b"send"
    assert client.write(array.array("H", [1, 2])) == 4
    assert server.read() == struct.pack("HH", 1, 2)
    client.sendall(memoryview(array.array("I", range(10_000))))
    received = bytearray()
    while len(received) < 40_000:
        received += server.recv(40_000)
    assert received == struct.pack("10000I", *range(10_000))
    for nothing in (b"", bytearray(), memoryview(b"")):
        client.sendall(nothing)
    client.sendall(b"into")
    buffer = bytearray(10)
    assert server.recv_into(buffer) == 4
    assert buffer[:4] == b"into"
    client.sendall(b"some more")
    assert server.recv_into(buffer, 4) == 4
    assert server.pending() == 5
    assert server.recv(0) == b""
    assert server.recv_into(bytearray(), 0) == 0
    assert server.recv(100) == b" more"
    path = tmp_path / "file"
    path.write_bytes(b"contents" * 5000)
    with path.open("rb") as file:
        sending = treadle.spawn(client.sendfile, file)
        with server.makefile("rb") as reader:
            assert reader.read(40_000) == b"contents" * 5000
    assert sending.get(timeout=30) == 40_000
    for call in (lambda: client.send(b"x", 1), lambda: client.sendall(b"x", 1)):
        with pytest.raises(ValueError, match="non-zero flags"):
            call()
    with pytest.raises(NotImplementedError):
        client.recvmsg(1)
    with pytest.raises(ValueError, match="not allowed"):
        client.sendto(b"x", ("127.0.0.1", 1))


def test_bytes_that_are_decrypted_already_are_not_waited_for(pair: Any) -> None:
    client, server = pair
    reading = treadle.spawn(server.recv, 1)
    settled()
    client.sendall(b"abc")
    assert reading.get(timeout=30) == b"a"  # it waited, so the next read looks first
    assert [server.recv(1) for _ in range(2)] == [b"b", b"c"]


def test_records_that_came_together_are_all_read(pair: Any) -> None:
    client, server = pair
    reading = treadle.spawn(server.recv, 100)
    settled()
    for letter in (b"a", b"b", b"c"):
        client.sendall(letter)
    assert reading.get(timeout=30) == b"a"
    assert [server.recv(100), server.recv(100)] == [b"b", b"c"]


def test_the_end_is_seen_by_a_reader_that_waited_before(pair: Any) -> None:
    client, server = pair
    reading = treadle.spawn(server.recv, 100)
    settled()
    client.sendall(b"last")
    assert reading.get(timeout=30) == b"last"
    saying_good_bye = treadle.spawn(client.unwrap)  # ends TLS; the connection itself stays open
    assert server.recv(100) == b""
    assert server.recv(100) == b""
    assert server.unwrap() is server
    saying_good_bye.get(timeout=30)


# -- what the handshake agreed on


def test_details_of_the_connection(certificates: Certificates) -> None:
    server_context, client_context = certificates.server(), certificates.client()
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    client_context.set_alpn_protocols(["http/1.1"])
    server_context.verify_mode = ssl.CERT_REQUIRED
    certificates.client_certificate.configure_cert(client_context)
    client, server = wrapped(
        certificates, *socket.socketpair(), server=server_context, client=client_context
    )
    with client, server:
        assert isinstance(client, ssl.SSLSocket)
        assert isinstance(client, native.SSLSocket)
        assert isinstance(client, socket.socket)
        assert client.version() == server.version() == "TLSv1.3"
        assert client.cipher() == server.cipher()
        assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == "http/1.1"
        names = dict(client.getpeercert()["subjectAltName"])
        assert names["DNS"] == HOST
        assert ("email", "client@example.org") in server.getpeercert()["subjectAltName"]
        assert client.getpeercert(binary_form=True)
        assert client.context is client_context
        assert (client.server_side, server.server_side) == (False, True)
        assert client.server_hostname == HOST
        assert server.get_channel_binding("tls-unique") is not None
        assert client.session is not None


def test_sessions_are_reused(certificates: Certificates) -> None:
    contexts = {"server": certificates.server(), "client": certificates.client()}
    contexts["client"].maximum_version = ssl.TLSVersion.TLSv1_2
    first, server = wrapped(certificates, *socket.socketpair(), **contexts)
    with first, server:
        assert not first.session_reused
        session = first.session
    second, server = wrapped(certificates, *socket.socketpair(), session=session, **contexts)
    with second, server:
        assert second.session_reused
        assert server.session_reused


def test_a_thread_that_ends_in_a_call_gives_its_turn_back(pair: Any) -> None:
    client, server = pair
    leave_waiting(server.recv, 1)
    leave_waiting(client.sendall, b"a" * 3_000_000)
    sender = treadle.spawn(client.sendall, b"end")
    found = read_until(server, b"end")  # each record that was begun is whole
    assert set(found.removesuffix(b"end")) == {ord("a")}
    sender.get(timeout=5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_has_the_turns_of_the_parents_greenlets(pair: Any) -> None:
    client, server = pair
    left = [treadle.spawn(server.recv, 1), treadle.spawn(client.sendall, b"a" * 3_000_000)]
    left.append(treadle.spawn(client.recv, 1))
    settled()
    pid = os.fork()
    if pid == 0:
        treadle.spawn(client.sendall, b"end")
        read_until(server, b"end")
        server.sendall(b"answer")
        os._exit(client.recv(6) != b"answer")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    treadle.killall(left)


def test_a_callback_for_the_servers_name_may_choose_the_context_and_wait(
    certificates: Certificates,
) -> None:
    context, other = certificates.server(), certificates.server()
    asked = []

    def choose(connection: Any, name: str, _context: Any) -> None:
        treadle.sleep(0.01)
        asked.append(name)
        connection.context = other

    context.sni_callback = choose
    client, server = wrapped(certificates, *socket.socketpair(), server=context)
    with client, server:
        assert asked == [HOST]
        assert server.context is other


def test_client_certificates_may_be_asked_for_later(certificates: Certificates) -> None:
    server_context, client_context = certificates.server(), certificates.client()
    server_context.post_handshake_auth = client_context.post_handshake_auth = True
    server_context.verify_mode = ssl.CERT_REQUIRED
    certificates.client_certificate.configure_cert(client_context)
    client, server = wrapped(
        certificates, *socket.socketpair(), server=server_context, client=client_context
    )
    with client, server:
        assert server.getpeercert() is None
        server.verify_client_post_handshake()
        server.sendall(b"?")
        answering = treadle.spawn(lambda: (client.recv(1), client.sendall(b"!")))
        assert server.recv(1) == b"!"
        answering.get(timeout=30)
        assert server.getpeercert()


def test_wrong_names_and_unknown_authorities_are_refused(certificates: Certificates) -> None:
    def attempt(context: Any, name: str) -> None:
        left, right = socket.socketpair()

        def serve() -> None:
            with contextlib.suppress(OSError):
                certificates.server().wrap_socket(right, server_side=True).close()

        serving = treadle.spawn(serve)
        with left:
            try:
                context.wrap_socket(left, server_hostname=name)
            finally:
                left.close()
                serving.join(timeout=30)
                right.close()

    with pytest.raises(native.SSLCertVerificationError, match="mismatch"):
        attempt(certificates.client(), "example.org")
    with pytest.raises(native.SSLCertVerificationError, match="verify failed"):
        attempt(ssl.create_default_context(), HOST)


def test_the_deferred_handshake(certificates: Certificates) -> None:
    client, server = socket.socketpair()
    serving = treadle.spawn(certificates.server().wrap_socket, server, server_side=True)
    deferred = certificates.client().wrap_socket(
        client, server_hostname=HOST, do_handshake_on_connect=False
    )
    with deferred:
        assert deferred.version() is None
        deferred.do_handshake()
        assert deferred.version() == "TLSv1.3"
        serving.get(timeout=30).close()


# -- connecting and accepting


def test_connect_and_accept(certificates: Certificates) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with certificates.server().wrap_socket(listener, server_side=True) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            for _ in range(2):
                connection, address = server.accept()
                assert isinstance(connection, ssl.SSLSocket)
                assert address[0] == "127.0.0.1"
                with connection:
                    connection.sendall(connection.recv(10))

        serving = treadle.spawn(serve)
        for connect in ("connect", "connect_ex"):
            plain = socket.socket()
            with certificates.client().wrap_socket(plain, server_hostname=HOST) as client:
                client.settimeout(30)
                assert not getattr(client, connect)(("127.0.0.1", port))
                client.sendall(b"hello")
                assert client.recv(10) == b"hello"
        serving.get(timeout=30)


@pytest.mark.parametrize("by", ["context", "files"])
def test_a_server(certificates: Certificates, tmp_path: Path, by: str) -> None:
    path = tmp_path / "server.pem"
    certificates.certificate.private_key_and_cert_chain_pem.write_to_path(path)
    tls = {"certfile": path} if by == "files" else {"ssl_context": certificates.server()}

    def shout(connection: Any, _address: Any) -> None:
        while data := connection.recv(100):
            connection.sendall(data.upper())
        connection.unwrap()

    def client(number: int) -> bytes:
        plain = socket.create_connection(server.address)
        with certificates.client().wrap_socket(plain, server_hostname=HOST) as connection:
            connection.sendall(b"hello %d" % number)
            answer: bytes = connection.recv(100)
            connection.unwrap()
        return answer

    with StreamServer(("127.0.0.1", 0), shout, **tls) as server:
        assert server.ssl_enabled
        clients = [treadle.spawn(client, number) for number in range(10)]
        assert [each.get(timeout=10) for each in clients] == [b"HELLO %d" % n for n in range(10)]
    with pytest.raises(TypeError, match="give ssl_context"):
        StreamServer(("127.0.0.1", 0), shout, keyfile=path)


@pytest.mark.parametrize(
    "extra",
    [
        {"ssl_version": native.PROTOCOL_TLS_SERVER},
        {"ssl_version": None, "cert_reqs": None, "ca_certs": None, "ciphers": None},
        {"cert_reqs": native.CERT_NONE},
        {"cert_reqs": native.CERT_REQUIRED, "ca_certs": "authority.pem"},
        {"ciphers": "ECDHE+AESGCM", "suppress_ragged_eofs": False},
    ],
)
def test_a_server_takes_what_wrap_socket_took(
    certificates: Certificates, tmp_path: Path, extra: dict[str, Any]
) -> None:
    path = tmp_path / "server.pem"
    certificates.certificate.private_key_and_cert_chain_pem.write_to_path(path)
    if extra.get("ca_certs"):
        extra = {**extra, "ca_certs": certificates.trusted}
    seen: list[Any] = []

    def note(connection: Any, _address: Any) -> None:
        seen.append(connection.getpeercert())
        connection.sendall(b"hello")

    with StreamServer(("127.0.0.1", 0), note, certfile=path, **extra) as server:
        context = certificates.client()
        context.load_cert_chain(path)
        plain = socket.create_connection(server.address)
        with context.wrap_socket(plain, server_hostname=HOST) as connection:
            assert connection.recv(10) == b"hello"
    (certificate,) = seen
    assert bool(certificate) == (extra.get("cert_reqs") == native.CERT_REQUIRED)


def test_a_server_that_is_closed_during_a_handshake(certificates: Certificates) -> None:
    """The client is served, as those are whose handshake was over."""

    def greet(connection: Any, _address: Any) -> None:
        connection.sendall(b"hello")

    server = StreamServer(("127.0.0.1", 0), greet, ssl_context=certificates.server())
    server.start()
    with socket.create_connection(server.address) as plain:
        treadle.sleep(0.01)  # the server waits for the handshake
        server.close()
        with certificates.client().wrap_socket(plain, server_hostname=HOST) as connection:
            assert connection.recv(10) == b"hello"


def test_a_server_refuses_unknown_arguments_when_it_is_made(certificates: Certificates) -> None:
    with pytest.raises(TypeError, match="no_such"):
        StreamServer(("127.0.0.1", 0), print, ssl_context=certificates.server(), no_such=1)


def test_get_server_certificate(certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            certificates.server().wrap_socket(connection, server_side=True).close()

        serving = treadle.spawn(serve)
        found = ssl.get_server_certificate(
            listener.getsockname(), ca_certs=str(certificates.trusted), timeout=5
        )
        serving.get(timeout=30)
        assert "BEGIN CERTIFICATE" in found


@pytest.mark.parametrize("ours", ["client", "server"])
def test_against_the_standard_library_in_a_thread(certificates: Certificates, ours: str) -> None:
    left, right = native_socket.socketpair()
    message = bytes(300_000)

    def other_side() -> None:
        context = certificates.server(native) if ours == "client" else certificates.client(native)
        options = {"server_side": True} if ours == "client" else {"server_hostname": HOST}
        with context.wrap_socket(right, **options) as connection:
            received = 0
            while received < len(message):
                received += len(connection.recv(100_000))
            connection.sendall(message)
            connection.unwrap()

    thread = threading.Thread(target=other_side)
    thread.start()
    context = certificates.client() if ours == "client" else certificates.server()
    options = {"server_hostname": HOST} if ours == "client" else {"server_side": True}
    with context.wrap_socket(left, **options) as connection:
        connection.sendall(message)
        received = bytearray()
        while data := connection.recv(100_000):
            received += data
        assert received == message
        connection.unwrap()
    thread.join(timeout=30)
    assert not thread.is_alive()


# -- non-blocking calls and timeouts


def test_a_socket_that_does_not_wait(pair: Any) -> None:
    client, server = pair
    client.setblocking(False)
    with pytest.raises(native.SSLWantReadError):
        client.recv(1)
    assert fill(client) > 16_384
    server.sendall(b"x")
    assert client.recv(1) == b"x"


def test_asking_again_and_again_starves_nobody(pair: Any) -> None:
    client, _ = pair
    client.setblocking(False)
    for call in (lambda: client.recv(1), lambda: client.send(bytes(100_000)), client.do_handshake):
        done = treadle.spawn(treadle.sleep, 0.01)
        until = time.monotonic() + 5
        while not done.ready():
            assert time.monotonic() < until
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                call()


def test_a_handshake_that_does_not_wait(certificates: Certificates) -> None:
    left, right = socket.socketpair()
    serving = treadle.spawn(certificates.server().wrap_socket, right, server_side=True)
    left.setblocking(False)
    context = certificates.client()
    with pytest.raises(ValueError, match="non-blocking"):
        context.wrap_socket(left.dup(), server_hostname=HOST)
    client = context.wrap_socket(left, server_hostname=HOST, do_handshake_on_connect=False)
    wants = 0
    while True:
        try:
            client.do_handshake()
            break
        except native.SSLWantReadError:
            wants += 1
            socket.wait_read(client.fileno(), timeout=5)
    assert wants
    with client, serving.get(timeout=30):
        assert client.version() == "TLSv1.3"


def test_timeouts_say_what_the_standard_librarys_say(pair: Any) -> None:
    client, _ = pair
    client.settimeout(0.02)
    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"^The read operation timed out$"):
            client.recv(1)
    with pytest.raises(TimeoutError, match=r"^The write operation timed out$"):
        client.sendall(bytes(100_000_000))


def test_each_timeout_raises_its_own_exception(pair: Any) -> None:
    client, _ = pair
    client.settimeout(0.01)
    errors = []
    for _ in range(2):
        with pytest.raises(TimeoutError) as caught:
            client.recv(1)
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_a_timeout_for_other_calls_does_not_end_one_that_goes_on(pair: Any) -> None:
    sending, other = pair
    left = 1_000_000
    sending.settimeout(5)
    sender = treadle.spawn(sending.sendall, b"x" * left)
    treadle.sleep(0.02)
    sending.settimeout(0.01)
    other.settimeout(0)
    while left and not sender.ready():
        try:
            left -= len(other.recv(16384))
        except ssl.SSLWantReadError:
            treadle.sleep(0.03)  # the next record waits meanwhile
    sender.get()


def test_a_handshake_has_one_deadline_however_much_arrives(certificates: Certificates) -> None:
    left, right = socket.socketpair()
    left.settimeout(0.1)

    def dribble() -> None:
        with contextlib.suppress(OSError):
            right.sendall(b"\x16\x03\x03\x3f\xff")  # a long handshake record, byte by byte
            while True:
                right.sendall(b"\0")
                treadle.sleep(0.01)

    dribbling = treadle.spawn(dribble)
    with treadle.Timeout(5), pytest.raises(TimeoutError, match="The handshake operation timed out"):
        certificates.client().wrap_socket(left, server_hostname=HOST)
    dribbling.join(timeout=30)
    assert left.fileno() == -1
    right.close()


# -- ends


def test_an_end_that_is_thrown_in_is_none(pair: Any) -> None:
    error = ssl.SSLEOFError("mine")
    reading = treadle.spawn(pair[0].recv, 1)
    settled()
    reading.kill(error)
    assert reading.exception is error


def sudden_end(
    certificates: Certificates, sockets: Any, tls: Any, begin: Any, *, reset: bool, suppress: bool
) -> Any:
    """Return the outcome of a read when the peer disconnects without ending TLS.

    *begin* runs a function concurrently and returns a function that waits for its result.
    """
    with sockets.create_server(("127.0.0.1", 0)) as listener:
        left = sockets.create_connection(listener.getsockname())
        right, _ = listener.accept()
    accepted = begin(lambda: certificates.server(tls).wrap_socket(right, server_side=True))
    client = certificates.client(tls).wrap_socket(
        left, server_hostname=HOST, suppress_ragged_eofs=suppress
    )
    server = accepted()
    with client:

        def read() -> Any:
            try:
                return client.recv(1)
            except OSError as exc:
                return type(exc), exc.errno

        ended = begin(read)
        if reset:
            server.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        return ended()


@pytest.mark.parametrize("suppress", [True, False])
@pytest.mark.parametrize("reset", [True, False])
def test_sudden_ends_mean_what_they_mean_to_the_standard_library(
    certificates: Certificates, reset: bool, suppress: bool
) -> None:
    def in_greenlet(function: Callable[[], Any]) -> Callable[[], Any]:
        greenlet = treadle.spawn(function)
        settled()
        return lambda: greenlet.get(timeout=30)

    def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(function()))
        thread.start()
        return lambda: (thread.join(timeout=30), answers[0])[1]

    how = {"reset": reset, "suppress": suppress}
    ours = sudden_end(certificates, socket, ssl, in_greenlet, **how)
    theirs = sudden_end(certificates, native_socket, native, in_thread, **how)
    assert ours == theirs
    assert ours == b"" or issubclass(ours[0], OSError)


class Interrupted:
    """A native TLS object whose calls are each interrupted by a signal, the first time."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.begun: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def _interrupted(self, name: str, error: type[OSError], *args: Any) -> Any:
        if name not in self.begun:
            self.begun.add(name)
            raise error
        return getattr(self.real, name)(*args)

    def read(self, *args: Any) -> Any:
        return self._interrupted("read", ssl.SSLWantReadError, *args)

    def write(self, *args: Any) -> Any:
        return self._interrupted("write", ssl.SSLWantWriteError, *args)

    def shutdown(self) -> Any:
        return self._interrupted("shutdown", ssl.SSLWantWriteError)


def test_a_call_that_a_signal_interrupts_is_repeated(pair: Any) -> None:
    client, server = pair
    reader = treadle.spawn(server.recv, 100)
    treadle.sleep(0.01)
    (native_object,) = [
        each for each in gc.get_referents(client._connection) if type(each) is _ssl._SSLSocket
    ]
    interrupted = Interrupted(native_object)
    client._sslobj = interrupted
    with treadle.Timeout(30):
        client.sendall(b"hello")
        assert reader.get() == b"hello"
        server.sendall(b"answer")
        treadle.sleep(0.01)
        assert client.recv(100) == b"answer"
        ending = treadle.spawn(server.unwrap)
        client.unwrap()
        ending.get()
    assert interrupted.begun == {"read", "write", "shutdown"}


def test_a_call_within_a_call_of_the_same_greenlet_is_refused(pair: Any) -> None:
    client, server = pair

    class Reentrant:
        def __getattr__(self, name: str) -> Any:
            return getattr(native_object, name)

        def write(self, data: Any) -> Any:
            with pytest.raises(RuntimeError, match="reentrant call inside <TLS connection"):
                client.sendall(b"as a finalizer does")
            return native_object.write(data)

    (native_object,) = [
        each for each in gc.get_referents(client._connection) if type(each) is _ssl._SSLSocket
    ]
    client._sslobj = Reentrant()
    with treadle.Timeout(5):
        client.sendall(b"hello")
        assert server.recv(100) == b"hello"


@pytest.mark.parametrize("by", ["itself", "another"])
@pytest.mark.parametrize("waits", ["recv", "sendall"])
def test_a_connection_that_was_handed_over_blocks_no_others(pair: Any, waits: str, by: str) -> None:
    client, server = pair
    another = treadle.socket.socket(fileno=os.dup(client.fileno()))
    for one, other in ((client, server), (server, client)):  # found not to block
        one.sendall(b"before")
        assert other.recv(100) == b"before"
    (client if by == "itself" else another).set_inheritable(True)
    # A call that blocks the thread gets an error in the end, so that the test fails.
    end = native_socket.fromfd(client.fileno(), client.family, client.type)
    last_resort = threading.Timer(1, end.shutdown, (native_socket.SHUT_RDWR,))
    last_resort.start()
    data = b"x" * 2_000_000
    waiter = treadle.spawn(*((client.recv, 5) if waits == "recv" else (client.sendall, data)))
    settled()
    assert not waiter.ready()
    assert os.get_blocking(client.fileno())
    last_resort.cancel()
    end.close()
    another.close()
    if waits == "recv":
        server.sendall(b"hello")
        assert waiter.get(timeout=30) == b"hello"
    else:
        received = 0
        while received < len(data):
            received += len(server.recv(65536))
        waiter.get(timeout=30)


def test_clear_text_after_unwrap(pair: Any) -> None:
    client, server = pair
    unwrapping = treadle.spawn(server.unwrap)
    plain = client.unwrap()
    assert unwrapping.get(timeout=30) is server
    assert plain is client
    client.sendall(b"in the clear")
    assert server.recv(100) == b"in the clear"
    waiting = treadle.spawn(server.recv, 100)
    settled()
    client.sendall(b"again")
    assert waiting.get(timeout=30) == b"again"
    with pytest.raises(ValueError, match="No SSL wrapper"):
        client.unwrap()


def test_unwrap_while_another_greenlet_reads(pair: Any) -> None:
    client, server = pair
    reading = treadle.spawn(client.recv, 10)
    settled()
    serving = treadle.spawn(lambda: (server.recv(10), server.unwrap()))
    client.unwrap()
    with pytest.raises(native.SSLZeroReturnError):
        reading.get(timeout=30)
    serving.get(timeout=30)
    treadle.spawn_later(0.01, server.sendall, b"clear")
    assert client.recv(10) == b"clear"


def test_closing_ends_the_waits_of_others(pair: Any) -> None:
    client, _ = pair
    readers = [treadle.spawn(client.recv, 1) for _ in range(3)]
    settled()
    client.close()
    for reader in readers:
        with pytest.raises(OSError, match=r"closed|Bad file descriptor") as caught:
            reader.get(timeout=30)
        assert caught.value.errno == errno.EBADF


def test_shutting_down_ends_the_waits_of_others(pair: Any) -> None:
    client, _ = pair

    def read() -> bool:
        try:
            return bool(client.recv(1) == b"")
        except BrokenPipeError:  # CPython itself raises it with some releases of OpenSSL
            return True

    readers = [treadle.spawn(read) for _ in range(3)]
    settled()
    client.shutdown(socket.SHUT_RDWR)
    assert [reader.get(timeout=30) for reader in readers] == [True, True, True]


def test_the_number_of_a_closed_socket_is_not_used_again(pair: Any) -> None:
    client, server = pair
    reading = treadle.spawn(client.recv, 10)
    settled()
    server.sendall(b"secret")
    number = client.fileno()
    client.close()
    left, right = native_socket.socketpair()
    with left, right:
        assert number in (left.fileno(), right.fileno())
        with pytest.raises(OSError, match=r"closed|Bad file descriptor"):
            reading.get(timeout=30)


# -- many greenlets


def test_readers_take_turns_while_others_write(pair: Any) -> None:
    client, server = pair
    readers = [treadle.spawn(server.recv, 1) for _ in range(4)]
    writers = [treadle.spawn(server.sendall, bytes([65 + number]) * 100_000) for number in range(3)]
    settled()
    client.sendall(b"abcd")
    assert [reader.get(timeout=30) for reader in readers] == [b"a", b"b", b"c", b"d"]
    received = bytearray()
    while len(received) < 300_000:
        received += client.recv(100_000)
    treadle.joinall(writers, timeout=30, raise_error=True)
    assert received == b"A" * 100_000 + b"B" * 100_000 + b"C" * 100_000


def test_a_killed_reader_loses_nothing(pair: Any) -> None:
    client, server = pair
    first, second = treadle.spawn(server.recv, 1), treadle.spawn(server.recv, 1)
    settled()
    client.send(b"a")
    treadle.spawn(first.kill, block=False)
    assert second.get(timeout=30) == b"a" or first.value == b"a"
    third = treadle.spawn(server.recv, 1)
    settled()
    third.kill()
    client.send(b"b")
    assert server.recv(1) == b"b" or second.value == b"b"


@pytest.mark.parametrize("following", [b"y" * 1000, b"z" * 20_000, b"k" * 5000])
def test_a_killed_writer_leaves_whole_records(pair: Any, following: bytes) -> None:
    client, server = pair
    sent = 0
    killed = None
    while killed is None or killed.ready():
        killed = treadle.spawn(client.send, b"k" * 5000)
        settled()
        sent += killed.value or 0
    killed.kill()
    writing = treadle.spawn(client.sendall, following)
    # Sending the same data continues the killed write's record; other data follows that record.
    started = b"" if following.startswith(b"k") else b"k" * 5000
    expected = b"k" * sent + started + following
    received = bytearray()
    while len(received) < len(expected):
        received += server.recv(100_000)
    assert received == expected
    writing.get(timeout=30)


def test_a_writer_killed_in_a_later_record_leaves_whole_records(pair: Any) -> None:
    client, server = pair
    filled = fill(client)
    killed = treadle.spawn(client.sendall, b"k" * 2_000_000)
    settled()
    received = bytearray()
    while len(received) < filled + 100_000:
        received += server.recv(1000)
    settled()
    assert not killed.ready()
    killed.kill()
    writing = treadle.spawn(client.sendall, b"next")
    with treadle.Timeout(10):
        while not received.endswith(b"next"):
            received += server.recv(100_000)
    writing.get(timeout=30)
    assert received.lstrip(b"f").lstrip(b"k") == b"next"


def test_good_bye_after_a_killed_writer(pair: Any) -> None:
    client, server = pair
    fill(client)
    killed = treadle.spawn(client.sendall, b"k" * 2_000_000)
    settled()
    killed.kill()
    leaving = treadle.spawn(client.unwrap)
    received = bytearray()
    while data := server.recv(100_000):
        received += data
    server.unwrap()
    assert leaving.get(timeout=30) is client
    assert set(received.lstrip(b"f")) == {ord("k")}


def test_killing_writers_at_random_leaves_whole_records(pair: Any) -> None:
    client, server = pair
    chance = random.Random(1)
    received = bytearray()
    over = Event()

    def write(number: int) -> None:
        send = client.sendall if number % 2 else client.send
        while not over.ready():
            send(bytes([number]) * chance.choice([10, 3000, 16_384, 40_000]))

    def read() -> None:
        while data := server.recv(chance.choice([100, 20_000, 100_000])):
            received.extend(data)
            treadle.sleep(chance.choice([0, 0.001]))
        server.unwrap()

    reader = treadle.spawn(read)
    writers = [treadle.spawn(write, number) for number in range(6)]
    for _ in range(100):
        treadle.sleep(0.001)
        number = chance.randrange(6)
        writers[number].kill()
        writers[number] = treadle.spawn(write, number)
    over.set()
    treadle.joinall(writers, timeout=20, raise_error=True)
    client.unwrap()
    reader.get(timeout=20)
    assert set(received) == set(range(6))


def test_a_killed_handshake_closes_the_connection(certificates: Certificates) -> None:
    left, right = socket.socketpair()
    shaking = treadle.spawn(certificates.client().wrap_socket, left, server_hostname=HOST)
    settled()
    shaking.kill()
    with right:
        data = b""
        while more := right.recv(10_000):
            data += more
        assert data[0] == 22  # a handshake record, and then the end


def test_a_busy_connection_starves_nobody(pair: Any) -> None:
    client, server = pair
    stop = Event()

    def flood() -> None:
        block = bytes(16_000)
        while not stop.ready():
            client.sendall(block)
        client.unwrap()

    def drain() -> None:
        while server.recv(100_000):
            pass
        server.unwrap()

    busy = [treadle.spawn(flood), treadle.spawn(drain)]
    turns = []
    for _ in range(50):
        treadle.sleep(0)
        turns.append(1)
    stop.set()
    treadle.joinall(busy, timeout=10, raise_error=True)
    assert len(turns) == 50


def test_memory_buffers_need_no_socket(certificates: Certificates) -> None:
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = certificates.client().wrap_bio(here, there, server_hostname=HOST)
    server = certificates.server().wrap_bio(there, here, server_side=True)
    ends = [client, server]
    for _ in range(10):
        for end in ends:
            with contextlib.suppress(native.SSLWantReadError):
                end.do_handshake()
    client.write(b"through memory")
    assert server.read(100) == b"through memory"


# -- the module


def test_the_module_has_the_whole_surface_of_the_standard_one() -> None:
    assert [name for name in dir(native) if not hasattr(ssl, name)] == []
    for make in (ssl.create_default_context, ssl._create_unverified_context):
        assert type(make()) is ssl.SSLContext
    assert ssl.SSLError is native.SSLError


PATCHED_LATE = """
import requests, urllib3, ssl, logging, concurrent.futures
import http.server, sys, threading
from ssl import SSLSocket, SSLContext, create_default_context
class Early(SSLSocket):
    pass
server_context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_context.load_cert_chain(sys.argv[2])
early_context = create_default_context(cafile=sys.argv[1])
own_context = create_default_context(cafile=sys.argv[1])
own_context.sslsocket_class = Early
session = requests.Session()
from treadle import monkey
monkey.patch_all()
assert monkey.is_module_patched("ssl") and monkey.is_object_patched("ssl", "SSLSocket")
import time, treadle, socket

all_here = threading.Barrier(5)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        until = len(ticks) + 11  # others run while the client waits
        while len(ticks) < until:
            time.sleep(0.001)
        if self.path == "/meet":
            all_here.wait(timeout=30)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *arguments):
        pass

class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *arguments):
        if not isinstance(sys.exception(), ConnectionError):  # clients that left
            super().handle_error(*arguments)

server = Server(("127.0.0.1", 0), Handler)
server.socket = server_context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"https://localhost:{server.server_port}/"
ticks = []
def tick():
    while True:
        ticks.append(1)
        time.sleep(0.001)
treadle.spawn(tick)

def with_requests():
    return session.get(url, verify=sys.argv[1]).content
def with_urllib3():
    return urllib3.PoolManager(ca_certs=sys.argv[1]).request("GET", url).data
def with_urllib():
    import urllib.request
    with urllib.request.urlopen(url, context=early_context) as answer:
        return answer.read()
for fetch in (with_requests, with_urllib3, with_urllib):
    assert fetch() == b"hello"
url += "meet"
with concurrent.futures.ThreadPoolExecutor(5) as executor:
    assert [*executor.map(lambda _: with_urllib3(), range(5))] == [b"hello"] * 5
for context in (early_context, own_context):
    with socket.create_connection(("localhost", server.server_port)) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            assert isinstance(connection, SSLSocket)
            assert isinstance(connection, socket.socket)
            assert isinstance(connection, Early) is (context is own_context)
            context.options |= ssl.OP_NO_TICKET
            context.minimum_version = ssl.TLSVersion.TLSv1_2
server.shutdown()
print("fetched")
"""


@pytest.mark.parametrize("first", ["everything", "nothing"])
def test_https_after_patching(
    certificates: Certificates, tmp_path: Path, fresh: Callable[..., str], first: str
) -> None:
    server = tmp_path / "server.pem"
    certificates.certificate.private_key_and_cert_chain_pem.write_to_path(server)
    program = PATCHED_LATE
    if first == "nothing":
        patching = "from treadle import monkey\nmonkey.patch_all()\n"
        program = patching + program.replace(patching, "")
    assert fresh(program, str(certificates.trusted), str(server)) == "fetched\n"


ASYNCIO = """
import sys
from treadle import monkey; monkey.patch_all()
import asyncio, ssl
async def main():
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(sys.argv[2])
    async def shout(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(shout, "127.0.0.1", 0, ssl=server_context)
    port = server.sockets[0].getsockname()[1]
    context = ssl.create_default_context(cafile=sys.argv[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"hello\\n")
    print(await reader.readline())
    writer.close()
    await writer.wait_closed()
    server.close()
asyncio.run(main())
"""


def test_asyncio_goes_on_with_its_own_tls(
    certificates: Certificates, tmp_path: Path, fresh: Callable[..., str]
) -> None:
    server = tmp_path / "server.pem"
    certificates.certificate.private_key_and_cert_chain_pem.write_to_path(server)
    assert fresh(ASYNCIO, str(certificates.trusted), str(server)) == "b'HELLO\\n'\n"
