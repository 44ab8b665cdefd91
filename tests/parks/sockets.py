"""Places: sockets and TLS."""

import itertools
import socket as stdlib_socket
import ssl as stdlib_ssl
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import trustme

import treadle
import treadle.ssl
from parks.descriptors import PIPE
from parks.place import Place, place
from parks.primitives import Yield, for_a_while
from treadle._core import sockets as core_sockets
from treadle.socket import socket

#: What a greenlet has received before it waits for the rest; never the same.
_begins = itertools.count(1)


class Sockets(Place):
    """Two ends of a connection: treadle's, and one of the standard library's."""

    closed = OSError
    kind = stdlib_socket.SOCK_STREAM

    def __init__(self) -> None:
        super().__init__()
        mine, self.peer = self.pair()
        self.socket = socket(fileno=mine.detach())
        self.peer.setblocking(False)

    def pair(self) -> tuple[stdlib_socket.socket, stdlib_socket.socket]:
        return stdlib_socket.socketpair(type=self.kind)

    def hand(self, value: bytes) -> None:
        self.peer.send(value)

    def close(self) -> None:
        self.socket.close()

    def end(self) -> None:
        self.socket.close()
        self.peer.close()


@place
class SocketRecv(Sockets):
    covers = (
        "_core/descriptor.pyx:wait_ready",
        "_core/sockets.pyx:receive_some",
        "_core/sockets.pyx:wait_or_time_out",
    )

    def park(self) -> object:
        return self.socket.recv(8)


@place
class SocketRecvWithTimeout(SocketRecv):
    def __init__(self) -> None:
        super().__init__()
        self.socket.settimeout(100)


@place
class SocketRecvInto(Sockets):
    def park(self) -> object:
        buffer = bytearray(8)
        self.socket.recv_into(buffer)
        return bytes(buffer)


@place
class SocketRecvAll(Sockets):
    """Half of the data has come when the wait begins; an ended call leaves it to the next one."""

    shared = False

    @staticmethod
    def pair() -> tuple[stdlib_socket.socket, stdlib_socket.socket]:
        with stdlib_socket.create_server(("127.0.0.1", 0)) as server:
            mine = stdlib_socket.create_connection(server.getsockname())
            return mine, server.accept()[0]

    def park(self) -> object:
        while True:
            self.peer.send(b"<%06d>" % next(_begins))
            data = self.socket.recv(16, stdlib_socket.MSG_WAITALL)
            for part in (data[:8], data[8:]):
                if not part.startswith(b"<"):
                    return part


@place
class SocketRecvfrom(Sockets):
    covers = ("_core/sockets.pyx:call_when_ready",)
    kind = stdlib_socket.SOCK_DGRAM

    def park(self) -> object:
        return self.socket.recvfrom(100)[0]


@place
class SocketRecvmsg(Sockets):
    def park(self) -> object:
        return self.socket.recvmsg(8)[0]


@place
class SocketAccept(Place):
    covers = ("_core/sockets.pyx:call_when_ready",)
    closed = OSError

    def __init__(self) -> None:
        super().__init__()
        self.socket = socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen()
        self.clients: list[stdlib_socket.socket] = []

    def park(self) -> object:
        connection = self.socket.accept()[0]
        with connection:
            return connection.recv(8)

    def hand(self, value: bytes) -> None:
        client = stdlib_socket.create_connection(self.socket.getsockname())
        client.send(value)
        self.clients.append(client)

    def close(self) -> None:
        self.socket.close()

    def end(self) -> None:
        self.socket.close()
        for client in self.clients:
            client.close()


class FullSocket(Sockets):
    """The peer does not read; then it reads all at once."""

    shared = carries = False

    def __init__(self) -> None:
        super().__init__()
        self.fill()

    def fill(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self.socket.send(bytes(PIPE), stdlib_socket.MSG_DONTWAIT)

    def empty(self) -> None:
        with suppress(BlockingIOError):
            while self.peer.recv(PIPE):
                pass

    def park(self) -> None:
        self.send(b"x" * 5000)
        self.empty()
        self.fill()

    send: Callable[[bytes], object]

    def hand(self, value: bytes) -> None:
        self.empty()


@place
class SocketSend(FullSocket):
    covers = ("_core/sockets.pyx:transmit",)

    def send(self, data: bytes) -> object:
        return self.socket.send(data)


@place
class SocketSendall(FullSocket):
    covers = ("_core/sockets.pyx:transmit",)

    def send(self, data: bytes) -> object:
        return self.socket.sendall(data)


@place
class SocketSendmsg(FullSocket):
    covers = ("_core/sockets.pyx:call_when_ready",)

    def send(self, data: bytes) -> object:
        return self.socket.sendmsg([data])


@place
class SocketSendfile(FullSocket):
    covers = ("_core/sockets.pyx:send_file",)

    def send(self, data: bytes) -> object:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            return self.socket.sendfile(file)


@place
class WaitUntilWritable(FullSocket):
    """What connect() does while the connection is being made."""

    covers = ("_core/sockets.pyx:wait_until_writable",)
    keeps = False

    def send(self, data: bytes) -> object:
        self.socket._state.connecting()
        return core_sockets.wait_until_writable(self.socket._state)


@place
class ConnectUnix(Place):
    """The server's queue is full: the greenlet asks again and again."""

    covers = ("socket.py:_connect_waiting",)
    for_all = busy = True
    carries = False

    def __init__(self) -> None:
        super().__init__()
        self.server = stdlib_socket.socket(stdlib_socket.AF_UNIX)
        self.server.bind("")  # Linux chooses a name
        self.server.listen(0)
        self.first = stdlib_socket.socket(stdlib_socket.AF_UNIX)
        self.first.connect(self.server.getsockname())

    def park(self) -> None:
        with socket(stdlib_socket.AF_UNIX) as client:
            client.connect(self.server.getsockname())

    def hand(self, value: bytes) -> None:
        self.server.listen(100)

    def end(self) -> None:
        self.server.close()
        self.first.close()


@place
class ReadOften(Yield):
    """There is always something to read: others run from time to time."""

    covers = ("_core/descriptor.pyx:spend", "_core/descriptor.pyx:let_others_run")
    busy = True

    def park(self) -> None:
        mine, peer = stdlib_socket.socketpair()
        with socket(fileno=mine.detach()) as reader, peer:
            peer.send(b"data")
            for_a_while(lambda: reader.recv(1, stdlib_socket.MSG_PEEK))


@place
class AskOften(Yield):
    """A non-blocking socket is asked again and again."""

    covers = ("_core/descriptor.pyx:ask",)
    busy = True

    def park(self) -> None:
        mine, peer = stdlib_socket.socketpair()
        with socket(fileno=mine.detach()) as reader, peer:
            reader.setblocking(False)

            def ask() -> None:
                with suppress(BlockingIOError):
                    reader.recv(1)

            for_a_while(ask)


# -- TLS


@cache
def contexts() -> tuple[treadle.ssl.SSLContext, stdlib_ssl.SSLContext]:
    """Return a context for treadle's end, the client, and one for the peer."""
    authority = trustme.CA()
    client = treadle.ssl.SSLContext(stdlib_ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    server = stdlib_ssl.SSLContext(stdlib_ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    return client, server


class Tls(Sockets):
    """The peer is moved by hand(), which never waits: it is OpenSSL between two buffers."""

    threads = False  # a thread that ends keeps its turn to read or write, as it keeps a lock

    def __init__(self) -> None:
        super().__init__()
        client, server = contexts()
        self.incoming, self.outgoing = stdlib_ssl.MemoryBIO(), stdlib_ssl.MemoryBIO()
        self.server = server.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.socket = client.wrap_socket(
            self.socket, server_hostname="localhost", do_handshake_on_connect=False
        )
        self.prepare()

    def prepare(self) -> None:
        shaking = treadle.spawn(self.socket.do_handshake)
        while not shaking.ready():
            treadle.sleep(0)
            self.shake()
        shaking.get()

    def shake(self) -> None:
        """Let the peer go on with the handshake as far as it can."""
        self.pump(self.server.do_handshake)

    def pump(self, call: Callable[[], object]) -> None:
        with suppress(BlockingIOError):
            while data := self.peer.recv(PIPE):
                self.incoming.write(data)
        with suppress(stdlib_ssl.SSLWantReadError, stdlib_ssl.SSLSyscallError):
            call()
        if self.outgoing.pending:
            self.peer.send(self.outgoing.read())


@place
class TlsRead(Tls):
    covers = (
        "_core/tls.pyx:read",
        "_core/tls.pyx:wait_for_edge",
        "_core/tls.pyx:wait",
        "_core/tls.pyx:await_turn",
        "_core/turns.pyx:take_in_line",
    )

    def park(self) -> object:
        return self.socket.recv(8)

    def hand(self, value: bytes) -> None:
        self.pump(lambda: self.server.write(value))


@place
class TlsHandshake(Tls):
    covers = ("_core/tls.pyx:complete",)
    shared = carries = False

    def prepare(self) -> None:
        pass

    def park(self) -> None:
        self.socket.do_handshake()

    def hand(self, value: bytes) -> None:
        for _ in range(2):
            self.shake()


@place
class TlsUnwrap(Tls):
    covers = ("_core/tls.pyx:complete", "_core/tls.pyx:begin")
    shared = carries = keeps = False

    def park(self) -> None:
        self.socket.unwrap()

    def hand(self, value: bytes) -> None:
        self.pump(self.server.unwrap)


@place
class TlsWrite(Tls):
    covers = ("_core/tls.pyx:write_now", "_core/tls.pyx:write_record", "_core/tls.pyx:write")
    shared = carries = False

    def __init__(self) -> None:
        super().__init__()
        self.fill()

    def fill(self) -> None:
        self.socket.settimeout(0)
        with suppress(stdlib_ssl.SSLWantWriteError):
            while True:
                self.socket.send(bytes(PIPE))
        self.socket.settimeout(None)

    def empty(self) -> None:
        with suppress(BlockingIOError):
            while self.peer.recv(PIPE):
                pass

    def park(self) -> None:
        self.socket.send(bytes(PIPE))
        self.empty()
        self.fill()

    def hand(self, value: bytes) -> None:
        self.empty()
