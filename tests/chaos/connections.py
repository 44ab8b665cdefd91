"""Connections of the clients, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from socket import IPPROTO_TCP, TCP_INFO
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

import treadle
from treadle.event import AsyncResult

from .requests import Answer, Request

#: How long a client waits for anything, in seconds. No event of the script takes as long.
PATIENCE = 30
#: The error code of a stream that the server has not looked at (RFC 9113, 7).
REFUSED_STREAM = 7
#: Where Linux's ``struct tcp_info`` has ``tcpi_last_data_recv``.
_LAST_DATA_RECV = 52


class CutError(Exception):
    """The connection ended before the answer did; *began* says whether a part of it came."""

    def __init__(self, began: bool, why: object) -> None:
        super().__init__(f"{why!r}" + " in the middle of the answer" * began)
        self.began = began


class ReturnedError(Exception):
    """The server has said that it does not answer this request on this connection."""


class UnreadableError(Exception):
    """What came is not HTTP."""


class Connection:
    """What both protocols have in common."""

    PROTOCOL: str

    def __init__(self, sock: Any, opened: float) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock
        self.opened = opened
        self.used = opened  # when the last answer came
        self.worker = 0  # the process id, as its last answer said
        self.answered = 0
        self.ended = False  # it takes no more requests
        self.uses = 0  # for how many more requests it is meant

    def note(self, answer: Answer) -> Answer:
        """Note that *answer* came."""
        self.worker = answer.worker or self.worker
        self.used = time.monotonic() - self._silent()
        self.answered += 1
        return answer

    def _silent(self) -> float:
        """Return for how many seconds nothing has come from the server.

        The system measures that: it does not matter when it lets this process run.
        """
        try:
            info = self.sock.getsockopt(IPPROTO_TCP, TCP_INFO, 56)
        except OSError:
            return 0.0  # it is closed
        milliseconds: int = struct.unpack_from("I", info, _LAST_DATA_RECV)[0]
        return milliseconds / 1000

    def close(self) -> None:
        self.sock.close()


class Http1(Connection):
    """A connection over HTTP/1.1, used by one greenlet at a time."""

    PROTOCOL = "http/1.1"
    open = 0  # requests that wait, while no greenlet uses it

    def __init__(self, sock: Any, opened: float) -> None:
        super().__init__(sock, opened)
        self._buffer = bytearray()

    def usable(self) -> bool:
        """Return whether the server has not ended the connection; as clients' pools do."""
        self.sock.settimeout(0)
        try:
            self.sock.recv(1)
            return False
        except OSError as exc:
            return isinstance(exc, BlockingIOError) or "did not complete" in str(exc)
        finally:
            self.sock.settimeout(PATIENCE)

    def ask(self, requests: list[Request]) -> Iterator[Answer]:
        """Send *requests* at once and yield the answers; the reasons why one lacks are raised."""
        data = b"".join(map(self._encoded, requests))
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise
        except OSError as exc:
            raise CutError(False, exc) from exc
        for _ in requests:
            if self.ended:
                raise ReturnedError
            yield self.note(self._answer())

    def _encoded(self, request: Request) -> bytes:
        head = f"{request.method} {request.path} HTTP/1.1\r\nHost: chaos\r\n"
        if not request.body:
            return head.encode() + b"Content-Length: 0\r\n" * (request.kind == "echo") + b"\r\n"
        if request.number % 2:
            return f"{head}Content-Length: {len(request.body)}\r\n\r\n".encode() + request.body
        half = len(request.body) // 2
        parts = (request.body[:half], request.body[half:], b"")
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in parts)
        return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks

    def _answer(self) -> Answer:
        began = bool(self._buffer)
        try:
            self._fill(lambda: self._buffer.find(b"\r\n\r\n") >= 0)
            head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            self._buffer = bytearray(rest)
            began = True
            status, headers = self._parsed(head)
            self.ended = headers.get("connection", "").lower() == "close"
            return Answer(status, headers, self._body(headers))
        except TimeoutError:
            raise
        except (OSError, EOFError) as exc:
            raise CutError(began or bool(self._buffer), exc) from exc

    def _parsed(self, head: bytes) -> tuple[int, dict[str, str]]:
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        if version != "HTTP/1.1" or not rest[:3].isdigit():
            raise UnreadableError(first)
        return int(rest[:3]), {
            name.lower(): value for name, _, value in (each.partition(": ") for each in lines)
        }

    def _body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return self._take(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            raise UnreadableError(f"a body without a length: {headers}")
        parts: list[bytes] = []
        while True:
            self._fill(lambda: self._buffer.find(b"\r\n") >= 0)
            line, _, rest = bytes(self._buffer).partition(b"\r\n")
            self._buffer = bytearray(rest)
            size = int(line, 16)
            part = self._take(size + 2)
            if part[-2:] != b"\r\n":
                raise UnreadableError(f"a chunk that ends in {part[-2:]!r}")
            if not size:
                return b"".join(parts)
            parts.append(part[:-2])

    def _take(self, size: int) -> bytes:
        self._fill(lambda: len(self._buffer) >= size)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _fill(self, enough: Callable[[], bool]) -> None:
        while not enough():
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("the server closed")
            self._buffer += data


class _Rules(H2Connection):
    """h2's connection, except that answers still come after the server's GOAWAY (RFC 9113, 6.8)."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        event = ConnectionTerminated()
        event.error_code, event.last_stream_id = frame.error_code, frame.last_stream_id
        return [], [event]


class Http2(Connection):
    """A connection over HTTP/2, used by any number of greenlets."""

    PROTOCOL = "h2"

    def __init__(self, sock: Any, opened: float) -> None:
        super().__init__(sock, opened)
        self._h2 = _Rules(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._output = bytearray(self._h2.data_to_send())
        self._heads: dict[int, dict[str, str]] = {}
        self._bodies: dict[int, bytearray] = {}
        self._answers: dict[int, AsyncResult[Answer]] = {}
        self._reader = treadle.spawn(self._read)
        self._writing = False
        self._flush()

    @property
    def open(self) -> int:
        """How many requests wait for their answers."""
        return len(self._answers)

    def ask(self, requests: list[Request]) -> Iterator[Answer]:
        """Send a request and yield its answer; the reason why it lacks is raised."""
        (request,) = requests
        if self.ended:
            raise ReturnedError
        number = self._h2.get_next_available_stream_id()
        fields = [(":method", request.method), (":path", request.path), (":scheme", "http")]
        self._h2.send_headers(
            number, [*fields, (":authority", "chaos")], end_stream=not request.body
        )
        answer: AsyncResult[Answer] = AsyncResult()
        self._answers[number] = answer
        for at in range(0, len(request.body), 16384):
            part = request.body[at : at + 16384]
            while self._h2.local_flow_control_window(number) < len(part) and not answer.ready():
                treadle.sleep(0.002)
            if answer.ready():
                break
            self._h2.send_data(number, part, end_stream=at + len(part) == len(request.body))
            self._flush()
        self._flush()
        yield self.note(answer.get(timeout=PATIENCE))

    def close(self) -> None:
        self.ended = True
        self._reader.kill()
        super().close()

    def _flush(self) -> None:
        self._output += self._h2.data_to_send()
        if self._writing:
            return  # the greenlet that writes takes this too
        self._writing = True
        try:
            while self._output:
                data, self._output = self._output, bytearray()
                self.sock.sendall(data)
        except OSError:
            pass  # the reader meets the end, after what the server has sent before
        finally:
            self._writing = False

    def _read(self) -> None:
        try:
            while True:
                data = self._receive()
                if not data:
                    raise EOFError("the server closed")
                for event in self._h2.receive_data(data):
                    self._hear(event)
                self._flush()
        except Exception as exc:
            self.ended = True
            for number in list(self._answers):
                if isinstance(exc, OSError | EOFError):
                    self._fail(number, CutError(number in self._heads, exc))
                else:
                    self._fail(number, UnreadableError(repr(exc)))
            self.sock.close()

    def _receive(self) -> bytes:
        while True:
            try:
                return bytes(self.sock.recv(65536))
            except TimeoutError:
                continue  # each request has a limit of its own

    def _hear(self, event: Any) -> None:
        if isinstance(event, ResponseReceived):
            self._heads[event.stream_id] = {str(k): str(v) for k, v in event.headers or ()}
            self._bodies[event.stream_id] = bytearray()
        elif isinstance(event, DataReceived):
            self._bodies[event.stream_id] += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            headers = self._heads.pop(event.stream_id)
            body = bytes(self._bodies.pop(event.stream_id))
            answer = self._answers.pop(event.stream_id)
            answer.set(Answer(int(headers[":status"]), headers, body))
        elif isinstance(event, StreamReset):
            if event.error_code == REFUSED_STREAM:
                self._fail(event.stream_id, ReturnedError())
            else:
                self._fail(event.stream_id, UnreadableError(f"reset: {event.error_code}"))
        elif isinstance(event, ConnectionTerminated):
            self._leave(event)

    def _leave(self, event: ConnectionTerminated) -> None:
        self.ended = True
        for number in list(self._answers):
            if event.error_code:
                self._fail(number, UnreadableError(f"GOAWAY {event.error_code}"))
            elif number > (event.last_stream_id or 0):
                self._fail(number, ReturnedError())

    def _fail(self, number: int, error: Exception) -> None:
        self._heads.pop(number, None)
        self._bodies.pop(number, None)
        answer = self._answers.pop(number, None)
        if answer is not None:
            answer.set_exception(error)
