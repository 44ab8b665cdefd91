"""The same bytes to treadle's servers and to h11: what each makes of them, in one form.

Servers get the bytes from a socket that exists only in memory, in the pieces that a test chooses.
"""

import io
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import h11

from treadle.http.h1 import BadRequest
from treadle.http.limits import Limits
from treadle.http.policy import Policy
from treadle.pywsgi import WSGIServer
from treadle.socket import socket

from .conftest import Log

ADDRESS = ("192.0.2.1", 1)


class Wire(socket):
    """A socket that receives *pieces*, one at a time, and then the end; the system has none."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = deque(piece for piece in pieces if piece)
        self.sent = bytearray()
        self.is_closed = False

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.popleft()
        if len(piece) > size:
            self.pieces.appendleft(piece[size:])
        return piece[:size]

    def recv_into(self, buffer: Any) -> int:
        piece = self.recv(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def sendall(self, data: Any) -> None:
        assert not self.is_closed
        self.sent += data

    def settimeout(self, seconds: float | None) -> None:
        pass

    def shutdown(self, how: int) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Call:
    """A request as the application got it."""

    method: str
    target: str
    version: str
    fields: dict[str, str]
    expects: bool
    #: Whether the application may change to WebSocket.
    websocket: bool = False
    body: bytes = b""
    #: "" if the body was read to its end, "cut" if the client ended within it, "bad" if it is
    #: malformed, None if the application read less.
    fault: str | None = None

    @property
    def head(self) -> tuple[Any, ...]:
        return self.method, self.target, self.version, self.fields


class Response(NamedTuple):
    """A response as h11 reads it."""

    status: int
    body: bytes
    closes: bool
    continues: int
    complete: bool


class Outcome(NamedTuple):
    """What a server makes of a connection."""

    calls: list[Call]
    responses: list[Response]

    @property
    def refusal(self) -> Response | None:
        """The response to a request that no application saw."""
        return self.responses[-1] if len(self.responses) > len(self.calls) else None

    def whole(self) -> int:
        """Return how many requests were complete, and had a body that did come."""
        for at, call in enumerate(self.calls):
            if call.fault or (call.expects and call.body):
                return at
        return len(self.calls)


class Server:
    """A server with *policy* and *limits* whose applications record their calls."""

    def __init__(self, policy: Policy, limits: Limits) -> None:
        self.calls: list[Call] = []
        self.errors = Log()
        self.server = WSGIServer(("127.0.0.1", 0), self, log=None, error_log=self.errors)
        self.server.policy, self.server.limits = policy, limits
        self.server.update_environ = lambda: None
        self.application: Callable[[Call, Any, Any], Iterable[bytes]] = read_all

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        fields = {name: value for name, value in environ.items() if is_field(name)}
        if "HTTP_TRANSFER_ENCODING" in fields:  # h11 has it in small letters
            fields["HTTP_TRANSFER_ENCODING"] = fields["HTTP_TRANSFER_ENCODING"].lower()
        target = environ["RAW_URI"]
        method, version = environ["REQUEST_METHOD"], environ["SERVER_PROTOCOL"]
        expects = "HTTP_EXPECT" in environ and version == "HTTP/1.1"
        websocket = "wsgi.websocket" in environ
        self.calls.append(Call(method, target, version, fields, expects, websocket))
        return self.application(self.calls[-1], environ["wsgi.input"], start_response)

    def outcome(self, pieces: Iterable[bytes], application: Any = None) -> Outcome:
        """Serve a client that sends *pieces*; *application* by default reads all."""
        self.application = read_all if application is None else application
        self.calls = []
        wire = Wire(pieces)
        self.server.handle(wire, ADDRESS)
        assert wire.is_closed
        assert self.errors == []
        return Outcome(self.calls, parsed(bytes(wire.sent), [call.method for call in self.calls]))


def is_field(name: str) -> bool:
    return name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")


# -- applications


def reading(call: Call, body: Any, *size: int) -> bytes:
    """Read of *body* and note it in *call*; a client that ends early is no error."""
    try:
        data: bytes = body.read(*size)
    except BadRequest:
        call.fault = "bad"
        raise
    except ConnectionResetError:
        call.fault = "cut"
        return b""
    call.body += data
    if not size:
        call.fault = ""
    return data


def read_all(call: Call, body: Any, start_response: Any) -> list[bytes]:
    data = reading(call, body)
    start_response("200 OK", [])
    return [b"%d bytes" % len(data)]


def read_nothing(call: Call, body: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "7")])
    return [b"no", b"thing"]


def read_a_part(call: Call, body: Any, start_response: Any) -> list[bytes]:
    reading(call, body, 3)
    start_response("404 Not Found", [])
    return []


def answer_before(call: Call, body: Any, start_response: Any) -> Iterator[bytes]:
    write = start_response("200 OK", [("X", "y")])
    write(b"before")
    reading(call, body)
    yield b"after"


def read_lines(call: Call, body: Any, start_response: Any) -> Iterator[bytes]:
    try:
        for line in body:
            call.body += line
    except ConnectionResetError:
        call.fault = "cut"
    start_response("500 Oops", [])
    yield b"a"
    yield b""
    yield b"b" * 3000


def say_no_content(call: Call, body: Any, start_response: Any) -> list[bytes]:
    start_response("204 No Content", [("Content-Length", "3")])
    return []


def say_not_modified(call: Call, body: Any, start_response: Any) -> Iterator[bytes]:
    reading(call, body, 1)
    start_response("304 Not Modified", [("Content-Length", "3")])
    yield b""


def say_close(call: Call, body: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Connection", "close")])
    return [b"bye"]


APPLICATIONS = [
    read_nothing,
    read_a_part,
    answer_before,
    read_lines,
    say_no_content,
    say_not_modified,
    say_close,
]

# -- responses


def parsed(sent: bytes, methods: list[str]) -> list[Response]:
    """Return the responses that are *sent*, to requests with *methods* and perhaps one refused."""
    found: list[Response] = []
    while sent:
        refusal = len(found) >= len(methods)
        method = "GET" if refusal else methods[len(found)]
        response, rest = first_response(sent, method)
        if refusal and not response.complete:  # a HEAD that is refused
            response, rest = first_response(sent, "HEAD")
            assert response.complete, sent
        assert not (refusal and rest), f"more responses than requests: {sent!r}"
        assert not (response.closes and rest), f"bytes after the end: {sent!r}"
        found.append(response)
        sent = rest
    return found


def first_response(sent: bytes, method: str) -> tuple[Response, bytes]:
    """Parse the first response that is *sent*; return it, and what follows it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    client.receive_data(b"")
    continues, status, body, closes = 0, 0, b"", False
    while True:
        try:
            event = client.next_event()
        except h11.RemoteProtocolError:
            assert status, f"no response: {sent!r}"
            return Response(status, body, True, continues, False), b""
        if isinstance(event, h11.InformationalResponse):
            assert event.status_code == 100, sent
            continues += 1
        elif isinstance(event, h11.Response):
            check_head(event)
            status = event.status_code
            closes = (b"connection", b"close") in event.headers
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert isinstance(event, h11.EndOfMessage), (event, sent)
            return Response(status, body, closes, continues, True), client.trailing_data[0]


def check_head(head: h11.Response) -> None:
    names = [name for name, _ in head.headers]
    assert len(set(names)) == len(names), head
    assert b"date" in names, head
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1, head
    if head.status_code == 204:
        assert b"content-length" not in names, head
        assert b"transfer-encoding" not in names, head


# -- the reference


@dataclass
class Message:
    """A request as h11 reads it; *end* says how it ends."""

    head: bytes
    event: h11.Request
    #: What was received of the body, with its framing; and the body.
    raw: bytes = b""
    body: bytes = b""
    #: "complete", "cut" if the client ended within the body, "bad" if that is malformed.
    end: str = "complete"
    closes: bool = False


@dataclass
class Reference:
    """What h11 makes of a connection."""

    messages: list[Message] = field(default_factory=list)
    #: What follows the last message.
    rest: bytes = b""
    #: How that ends: "end" if nothing follows, "cut" within a head, "bad" by a malformed head,
    #: "closed" if the last message is the last.
    end: str = "end"


def references(data: bytes) -> Reference:
    """Return what h11 makes of *data*. It keeps no HTTP/1.0 connection: another goes on there."""
    found = Reference(rest=data)
    while found.rest:
        server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        server.receive_data(found.rest)
        server.receive_data(b"")
        while read_message(server, found):
            pass
        last = found.messages[-1] if found.messages else None
        if not (found.end == "closed" and last and kept_by_1_0(last)):
            break
        found.end, last.closes = "end", False
    return found


def kept_by_1_0(message: Message) -> bool:
    fields = [value.lower() for name, value in message.event.headers if name == b"connection"]
    tokens = [each.strip() for value in fields for each in value.split(b",")]
    kept = b"keep-alive" in tokens and b"close" not in tokens
    return message.event.http_version == b"1.0" and kept


def read_message(server: h11.Connection, found: Reference) -> bool:
    """Read one message from *server* into *found*; return whether more may follow."""
    try:
        event = server.next_event()
    except h11.RemoteProtocolError as exc:
        found.end = "cut" if "peer" in str(exc) else "bad"
        return False
    if not isinstance(event, h11.Request):
        found.end = "end" if isinstance(event, h11.ConnectionClosed) else "cut"
        return False
    after = server.trailing_data[0]
    message = Message(found.rest[: len(found.rest) - len(after)], event)
    found.messages.append(message)
    try:
        while not isinstance(event, h11.EndOfMessage):
            event = server.next_event()
            if isinstance(event, h11.Data):
                message.body += event.data
    except h11.RemoteProtocolError as exc:
        message.end = "cut" if "peer" in str(exc) else "bad"
        message.raw, found.rest, found.end = after, b"", "closed"
        return False
    found.rest = server.trailing_data[0]
    message.raw = after[: len(after) - len(found.rest)]
    message.closes = server.their_state is h11.MUST_CLOSE
    server.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
    server.send(h11.EndOfMessage())
    if server.our_state is not h11.DONE or server.their_state is not h11.DONE:
        found.end, message.closes = "closed", True
        return False
    server.start_next_cycle()
    return True


ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*://([^/?]*)(.*)", re.DOTALL | re.IGNORECASE).fullmatch


def expected(message: Message) -> Call:
    """Return *message* as a WSGI application must get it."""
    event = message.event
    target, fields = event.target.decode(), dict[str, str]()
    for name, value in event.headers.raw_items():
        if b"_" in name:
            continue  # it could pass for another
        key = name.decode().upper().replace("-", "_")
        key = key if is_field(key) else f"HTTP_{key}"
        text = value.decode("latin-1")
        joint = "; " if key == "HTTP_COOKIE" else ","
        fields[key] = fields[key] + joint + text if key in fields else text
    if absolute := ABSOLUTE(target):
        fields["HTTP_HOST"], target = absolute[1], absolute[2]
        target = target if target.startswith("/") else "/" + target
    version = f"HTTP/{event.http_version.decode()}"
    fault = {"complete": "", "cut": "cut", "bad": "bad"}[message.end]
    return Call(event.method.decode(), target, version, fields, False, False, message.body, fault)


# -- the comparison


class Difference(NamedTuple):
    """A difference from h11 that is meant, and an example of it."""

    why: str
    #: Whether the difference is about a message: its head, and what follows.
    applies: Callable[[bytes, bytes], Any]
    example: bytes


def in_head(pattern: bytes) -> Callable[[bytes, bytes], Any]:
    search = re.compile(pattern, re.IGNORECASE).search
    return lambda head, raw: search(head)


def in_lines(pattern: bytes) -> Callable[[bytes, bytes], Any]:
    """Return a function that looks in the head and in the trailers."""
    search = re.compile(pattern, re.IGNORECASE).search
    return lambda head, raw: search(head) or search(b"".join(framing(head, raw)[1]))


def in_sizes(pattern: bytes) -> Callable[[bytes, bytes], Any]:
    """Return a function that looks in the lines with the sizes of chunks."""
    search = re.compile(pattern, re.IGNORECASE).search
    return lambda head, raw: any(map(search, framing(head, raw)[0]))


def framing(head: bytes, raw: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the lines of a chunked body with the sizes of chunks, and those with trailers."""
    if not re.search(rb"transfer-encoding:[ \t]*chunked", head, re.IGNORECASE):
        return [], []
    sizes: list[bytes] = []
    lines = io.BytesIO(raw)
    while line := lines.readline():
        sizes.append(line)
        digits = re.match(rb"[0-9a-f]{1,20}", line, re.IGNORECASE)
        size = int(digits[0], 16) if digits else 0
        if not size:
            break
        lines.seek(min(size + 2, len(raw)), io.SEEK_CUR)
    return sizes, lines.readlines()


def has_length_and_coding(head: bytes, raw: bytes) -> bool:
    lower = head.lower()
    return b"\ncontent-length:" in lower and b"\ntransfer-encoding:" in lower


def get(*lines: bytes, target: bytes = b"/", rest: bytes = b"") -> bytes:
    lines = (b"GET " + target + b" HTTP/1.1", b"Host: a", *lines, b"", b"")
    return b"\r\n".join(lines) + rest


CHUNKED = b"Transfer-Encoding: chunked"
_NAME = rb"\w.~!$&'()*+;=%-"
_HOST = rb"([%b]*|\[[:%b]*\])(:\d*)?" % (_NAME, _NAME)
_TOKEN = rb"[!#$%&'*+.^_`|~\w-]"
_QUOTED = rb"\"([^\"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -\xff])*\""
_EXTENSION = rb";[ \t]*%b+(=(%b*|%b))?" % (_TOKEN, _TOKEN, _QUOTED)
_CONTROL = rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"

#: What h11 accepts and treadle refuses.
STRICTER: dict[str, Difference] = {
    "bare line feed": Difference(
        "RFC 9112, 2.2, allows to take it for the end of a line, and servers differ in that",
        in_lines(rb"(?<!\r)\n"),
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    ),
    "folded line": Difference(
        "RFC 9112, 5.2: a server must refuse it, or replace it by blanks",
        in_lines(rb"\n[ \t]"),
        get(b"X: a", b" b"),
    ),
    "control character": Difference(
        "RFC 9110, 5.5: it is not allowed in a value, and not safe",
        in_lines(_CONTROL),
        get(b"X: a\x01"),
    ),
    "repeated length": Difference(
        "RFC 9112, 6.3: a server may refuse it even if the lengths are equal",
        in_head(rb"(?s)\ncontent-length:.*\ncontent-length:|\ncontent-length:[^\n]*,"),
        get(b"Content-Length: 0", b"Content-Length: 0"),
    ),
    "length and coding": Difference(
        "RFC 9112, 6.1: it might be an attempt to smuggle a request",
        has_length_and_coding,
        get(b"Content-Length: 5", CHUNKED, rest=b"0\r\n\r\n"),
    ),
    "long length": Difference(
        "it is beyond the limit, or does not fit 64 bits",
        in_head(rb"\ncontent-length:[ \t]*0*[1-9][0-9]{8}"),
        get(b"Content-Length: 999999999", rest=b"a" * 10),
    ),
    "coding in HTTP/1.0": Difference(
        "RFC 9112, 6.1: its framing is faulty",
        in_head(rb"(?s)HTTP/1\.0\r?(?=\n).*\ntransfer-encoding:"),
        b"GET / HTTP/1.0\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n",
    ),
    "version": Difference(
        "only HTTP/1.0 and HTTP/1.1 are served",
        in_head(rb"\A[^\n]* HTTP/(?!1\.[01]\r?\n)"),
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    ),
    "method": Difference(
        "CONNECT is for proxies, PRI for HTTP/2",
        in_head(rb"\A(CONNECT|PRI) "),
        b"PRI / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "host": Difference(
        "RFC 9112, 3.2: a Host that is none must be refused",
        in_head(rb"\nhost:(?![ \t]*%b[ \t]*\r?\n)" % _HOST),
        b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    ),
    "expectation": Difference(
        "RFC 9110, 10.1.1: 417 is for those that are not 100-continue",
        in_head(rb"\nexpect:(?![ \t]*100-continue[ \t]*\r?\n)"),
        get(b"Expect: x"),
    ),
    "target": Difference(
        "RFC 9112, 3.2: it is in no form that is served",
        in_head(rb"\A(?!(?-i:OPTIONS) \* )[^ ]+ (?!/|[a-z]+://[^ /?])"),
        get(target=b"a"),
    ),
    "fragment": Difference(
        "RFC 9110, 7.1: a target has none",
        in_head(rb"\A[^ ]+ [^ \n]*#"),
        get(target=b"/#a"),
    ),
    "host of the target": Difference(
        "RFC 9112, 3.2: it replaces the Host, and obeys the same rules",
        in_head(rb"\A[^ ]+ \w+://(?!%b[ /?])" % _HOST),
        get(target=b"http://a@b/"),
    ),
    "blank in a chunk's line": Difference(
        "senders must not write it (RFC 9112, 7.1.1), and servers differ in how they read it",
        in_sizes(rb"[ \t](?=(%b|[^\"])*\r\n)" % _QUOTED),
        get(CHUNKED, rest=b"1 \r\na\r\n0\r\n\r\n"),
    ),
    "chunk extension": Difference(
        "RFC 9112, 7.1.1: extensions have names and values of tokens or quoted strings",
        in_sizes(rb"\A[0-9a-f]+(?![0-9a-f]|[ \t]*(%b)*[ \t]*\r\n)" % _EXTENSION),
        get(CHUNKED, rest=b"1;\r\na\r\n0\r\n\r\n"),
    ),
    "framing in a trailer": Difference(
        "RFC 9110, 6.5.1: a sender must not write it, and it might frame the message for others",
        lambda head, raw: re.search(
            rb"(?i)(^|\n)(content-length|transfer-encoding):", b"".join(framing(head, raw)[1])
        ),
        get(CHUNKED, rest=b"0\r\nContent-Length: 3\r\n\r\n"),
    ),
    "tab after the coding": Difference(
        "llhttp takes only spaces there; nobody sends it",
        in_head(rb"\ntransfer-encoding:[^\n]*\t *\r?\n"),
        get(CHUNKED + b"\t", rest=b"0\r\n\r\n"),
    ),
}

#: What h11 refuses and treadle accepts.
LAXER: dict[str, Difference] = {
    "empty line first": Difference(
        "RFC 9112, 2.2: a server should ignore it",
        in_head(rb"\A[\r\n]"),
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "zeros before a chunk size": Difference(
        "they change nothing, however many there are; h11 takes 20 digits",
        in_sizes(rb"\A0[0-9a-f]{20}"),
        get(CHUNKED, rest=b"0" * 20 + b"1\r\na\r\n0\r\n\r\n"),
    ),
    "many blanks": Difference(
        "RFC 9112, 3: they may count as one in the first line, whose parts can have none",
        in_head(rb"\A[^ \n]+( {2,}[^ \n]+ +| [^ \n]+ {2,})HTTP/1"),
        b"GET  /  HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
}
#: Where both accept a request, and its body differs, for treadle.pywsgi only.
OTHER_LIKE_GEVENT: dict[str, Difference] = {
    "upgrade": Difference(
        "as with gevent, the input of a handshake is what follows it",
        in_head(rb"\nupgrade:[ \t]*websocket"),
        get(b"Connection: Upgrade", b"Upgrade: websocket", rest=get()),
    ),
}
#: What h11 refuses, for treadle.pywsgi only.
LAXER_LIKE_GEVENT: dict[str, Difference] = {
    "no host": Difference(
        "gevent serves such requests",
        in_head(rb"(?s)\A((?!\nhost[ \t]*:).)*\Z"),
        b"GET / HTTP/1.1\r\n\r\n",
    ),
}


def compare(reference: Reference, outcome: Outcome, *, like_gevent: bool) -> list[str]:
    """Compare *outcome*, of an application that reads all, with *reference*.

    Returns the names of the differences that explain why they differ; an empty list if they do
    not differ. Raises AssertionError if no difference explains it. What comes after a difference
    is not compared.
    """
    calls, responses, refusal = outcome.calls, outcome.responses, outcome.refusal
    laxer = LAXER | LAXER_LIKE_GEVENT if like_gevent else LAXER
    assert len(responses) - len(calls) in (0, 1), "each request has one response"
    for at, message in enumerate(reference.messages):
        want = expected(message)
        if at == len(calls) or (calls[at].fault == "bad" and message.end == "complete"):
            refused = responses[at] if at < len(responses) else None
            assert refused is not None, f"no response to {message}"
            assert refused.closes, refused
            assert refused.status >= 400, refused
            if message.end == "bad" or cut_line(message):
                return []
            return explained(STRICTER, message.head, message.raw, "refused")
        call = calls[at]
        assert call.head == want.head, f"other than {want}"
        if call.fault == "bad" and cut_line(message):
            return []
        if call.fault != want.fault:
            if message.end == "bad":
                return explained(laxer, message.head, message.raw, "a body that is taken")
            return explained(STRICTER, message.head, message.raw, "a body that is not taken")
        if call.body != want.body and not want.fault:
            other = OTHER_LIKE_GEVENT if like_gevent else {}
            return explained(other, message.head, message.raw, f"another body than {want}")
        if want.fault:
            assert len(calls) == at + 1, f"more after {message}"
            return []
        assert responses[at].status == 200, responses[at]
        if responses[at].closes != message.closes:
            if message.closes:
                return explained(laxer, message.head, message.raw, "kept")
            return explained(STRICTER, message.head, message.raw, "closed")
    more = calls[len(reference.messages) :]
    if more:
        assert reference.end == "bad", f"more requests: {more}"
        return explained(laxer, first_head(reference.rest), b"", f"taken: {more[0]}")
    if reference.end in ("end", "closed"):
        assert refusal is None or not reference.rest.strip(b"\r\n"), f"refused: {refusal}"
    if reference.end == "bad":
        if refusal is None:
            return explained(laxer, first_head(reference.rest), b"", "not refused")
        assert refusal.closes
        assert refusal.status >= 400
    return []


def first_head(data: bytes) -> bytes:
    found = re.match(rb"[\r\n]*.*?\r?\n\r?\n", data, re.DOTALL)
    return found[0] if found else data


def cut_line(message: Message) -> bool:
    """Return whether *message* may end within a line of its body, which h11 has not looked at."""
    chunked = (b"transfer-encoding", b"chunked") in message.event.headers
    return message.end == "cut" and chunked


def explained(known: dict[str, Difference], head: bytes, raw: bytes, what: str) -> list[str]:
    names = [name for name, each in known.items() if each.applies(head, raw)]
    assert names, f"{what}, for which there is no reason: {head!r} {raw!r}"
    return names
