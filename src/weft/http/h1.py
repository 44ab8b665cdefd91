"""HTTP/1.1 as a server reads it: bytes in, requests out, no I/O.

llhttp parses, strictly: bare line feeds, folded lines, control characters, conflicting or odd
lengths and bad chunks are its errors. What it lets pass and a server must not is in
:data:`RULES`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

try:
    from httptools import (
        HttpParserError,
        HttpParserUpgrade,
        HttpRequestParser,
    )
except ImportError as exc:
    raise ImportError("weft's HTTP server needs httptools: pip install 'weft[serve]'") from exc

from weft.http.limits import Limits

__all__ = ["BadRequest", "Request", "RequestReader"]

#: Methods that llhttp knows and that are for proxies and for other versions.
_NOT_SERVED = frozenset({"CONNECT", "PRI"})
#: RFC 3986's characters of a host and a port, but the comma, which would be between two of them.
_HOST = re.compile(r"[A-Za-z0-9\-._~!$&'()*+;=%:\[\]]*").fullmatch


class BadRequest(Exception):
    """A request that is answered with *status*, without asking the application; then closed."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


class Request:
    """One request: its head, and as much of its body as has come and not been taken."""

    __slots__ = (
        "body",
        "body_size",
        "chunked",
        "complete",
        "expects_continue",
        "fields",
        "headers",
        "keep_alive",
        "length",
        "method",
        "target",
        "trailers",
        "upgrade",
        "version",
    )

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.version = ""
        #: As they came, in order.
        self.headers: list[tuple[bytes, bytes]] = []
        #: The same as RFC 3875 names them ("HTTP_HOST"); what comes several times is joined, and
        #: a name with an underscore, which could pass for another's, is left out.
        self.fields: dict[str, str] = {}
        self.trailers: list[tuple[bytes, bytes]] = []
        #: Whether the body has come to its end.
        self.complete = False
        self.keep_alive = False
        self.chunked = False
        #: The body's length, where the head says it.
        self.length: int | None = None
        self.expects_continue = False
        #: The protocol that the client would like to change to, in lower case.
        self.upgrade = ""
        self.body: deque[bytes] = deque()
        #: How much of the body has come.
        self.body_size = 0


def _line(request: Request) -> str | None:
    if request.version not in ("1.1", "1.0"):
        return "505 HTTP Version Not Supported"
    if request.method in _NOT_SERVED:
        return "501 Not Implemented"
    return "400 Bad Request" if b"#" in request.target else None


def _has_host(request: Request) -> str | None:
    good = "HTTP_HOST" in request.fields or request.version == "1.0"
    return None if good else "400 Bad Request"


def _host(request: Request) -> str | None:
    return None if _HOST(request.fields["HTTP_HOST"]) else "400 Bad Request"


def _coding(request: Request) -> str | None:
    if request.version == "1.0":
        return "400 Bad Request"
    chunked = request.fields["HTTP_TRANSFER_ENCODING"].lower() == "chunked"
    return None if chunked else "501 Not Implemented"


def _expectation(request: Request) -> str | None:
    good = request.fields["HTTP_EXPECT"].lower() == "100-continue"
    return None if good else "417 Expectation Failed"


#: Beyond llhttp's. Which field it is about, if one; what would be wrong; what returns the status
#: that is answered then, or None.
RULES: tuple[tuple[str | None, str, Callable[[Request], str | None]], ...] = (
    (None, "a version or a method that is not served, or a target with a fragment", _line),
    (None, "HTTP/1.1 without a Host", _has_host),
    ("HTTP_HOST", "a Host that is not one, or more than one", _host),
    ("HTTP_TRANSFER_ENCODING", "a coding that is not just chunked, or in HTTP/1.0", _coding),
    ("HTTP_EXPECT", "an expectation other than 100-continue", _expectation),
)

#: Header names as they come -> names of RFC 3875; None is left out.
_VARIABLES: dict[bytes, str | None] = {
    b"Content-Length": "CONTENT_LENGTH",
    b"Content-Type": "CONTENT_TYPE",
}
_MANY_NAMES = 4096


def variable(name: bytes) -> str | None:
    """What RFC 3875 calls the header *name*; None where two headers could be meant."""
    if name in _VARIABLES:
        return _VARIABLES[name]
    key: str | None = name.decode("latin-1").upper().replace("-", "_")
    if b"_" in name:
        key = None
    elif key not in ("CONTENT_LENGTH", "CONTENT_TYPE"):
        key = f"HTTP_{key}"
    if len(_VARIABLES) < _MANY_NAMES:
        _VARIABLES[name] = key
    return key


class RequestReader:
    """Makes requests of the bytes of one connection."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        #: Those whose head is complete; of the last one perhaps not all of the body has come.
        self.ready: deque[Request] = deque()
        #: What is wrong with what came after the last of `ready`, or in its body; nothing more
        #: is read then.
        self.error: BadRequest | None = None
        #: Whether a request has begun whose head is not complete.
        self.in_head = False
        #: What follows a request that asks for another protocol; None where none does.
        self.rest: bytes | None = None
        self._request = Request()  # the one that is being read, or was last
        self._resuming = False
        self._head_size = 0  # as far as the parser has told of it
        self._fed = 0  # bytes since the head began that is not complete
        self._parser = HttpRequestParser(self)

    def feed(self, data: bytes) -> None:
        """Take what the client sent."""
        if self.error is not None or self.rest is not None:
            if self.rest is not None:
                self.rest += data
            return
        if self.in_head:
            self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
        except HttpParserError as exc:
            cause = exc.__context__
            self.error = (
                cause if isinstance(cause, BadRequest) else BadRequest("400 Bad Request", str(exc))
            )
        if self.error is None and self.in_head and self._fed > self.limits.header_size:
            self.error = _too_large()

    def resume(self) -> None:
        """Stay with HTTP/1.1 after a request asked for another protocol, and read its body.

        llhttp takes such a message to end with its head. Another one is told what it has to know
        of that head, and goes on with what followed.
        """
        request, rest = self._request, self.rest
        if rest is None:
            return
        framing = b""
        if request.chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        elif request.length is not None:
            framing = b"Content-Length: %d\r\n" % request.length
        if not request.keep_alive:
            framing += b"Connection: close\r\n"
        request.complete, self.rest, self._resuming = False, None, True
        self._parser = HttpRequestParser(self)
        self.feed(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        self.feed(rest)

    # -- what the parser calls

    def on_message_begin(self) -> None:
        if not self._resuming:
            self._request = Request()
            self.in_head = True
            self._head_size = self._fed = 0

    def on_url(self, url: bytes) -> None:
        if self._resuming:
            return
        request = self._request
        request.target += url
        if len(request.target) > self.limits.request_line:
            raise BadRequest("414 URI Too Long", f"longer than {self.limits.request_line} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._resuming:
            return
        request = self._request
        value = value.rstrip(b" \t")
        self._head_size += len(name) + len(value) + 4
        if not self.in_head:
            request.trailers.append((name, value))
            count = len(request.trailers)
        else:
            request.headers.append((name, value))
            count = len(request.headers)
            key = _VARIABLES.get(name) or variable(name)
            if key is not None:
                text = value.decode("latin-1")
                if key in request.fields:
                    joint = "; " if key == "HTTP_COOKIE" else ","
                    text = request.fields[key] + joint + text
                request.fields[key] = text
        if self._head_size > self.limits.header_size or count > self.limits.header_count:
            raise _too_large()

    def on_headers_complete(self) -> None:
        if self._resuming:
            self._resuming = False
            return
        request, parser = self._request, self._parser
        request.method = parser.get_method().decode("ascii")
        request.version = parser.get_http_version()
        fields = request.fields
        for field, wrong, status_of in RULES:
            if field is None or field in fields:
                status = status_of(request)
                if status is not None:
                    raise BadRequest(status, wrong)
        request.keep_alive = parser.should_keep_alive()
        request.chunked = "HTTP_TRANSFER_ENCODING" in fields
        if "CONTENT_LENGTH" in fields:
            request.length = int(fields["CONTENT_LENGTH"])
            self._check_size(request.length)
        request.expects_continue = "HTTP_EXPECT" in fields and request.version == "1.1"
        if parser.should_upgrade():
            request.upgrade = fields.get("HTTP_UPGRADE", "").lower()
        self.in_head = False
        self._head_size = 0
        self.ready.append(request)

    def on_body(self, data: bytes) -> None:
        request = self._request
        request.body_size += len(data)
        self._check_size(request.body_size)
        request.body.append(data)

    def on_message_complete(self) -> None:
        self._request.complete = True

    def _check_size(self, size: int) -> None:
        limit = self.limits.body_size
        if limit is not None and size > limit:
            raise BadRequest("413 Content Too Large", f"the body is longer than {limit} bytes")


def _too_large() -> BadRequest:
    return BadRequest("431 Request Header Fields Too Large", "too many headers, or too long ones")
