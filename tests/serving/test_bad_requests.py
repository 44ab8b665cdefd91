"""Malformed and ambiguous requests are answered with a 4xx or 5xx and a close, not passed on."""

from collections.abc import Callable
from contextlib import suppress
from socket import SHUT_WR
from typing import Any

import pytest

import treadle
from treadle.http.limits import Limits

from .conftest import Site, received

HOST = b"Host: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def get(*lines: bytes, host: bytes = HOST) -> bytes:
    return b"GET / HTTP/1.1\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return get(*lines).replace(b"GET", b"POST", 1) + body


#: A second request, which must not be served after any entry of TABLE.
SECOND = get(b"X-Second: 1")
LIMITS = Limits(
    request_line=2000, header_count=20, header_size=4000, trailer_size=3000, body_size=10_000
)

#: What is sent, and the status of the response.
TABLE: dict[str, tuple[bytes, int]] = {
    "length and coding": (
        post(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        400,
    ),
    "coding and length": (
        post(b"Transfer-Encoding: chunked", b"Content-Length: 3", body=b"0\r\n\r\n"),
        400,
    ),
    "two lengths alike": (post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), 400),
    "two lengths": (post(b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"), 400),
    "a list of lengths": (post(b"Content-Length: 3, 3", body=b"abc"), 400),
    "length with a sign": (post(b"Content-Length: +3", body=b"abc"), 400),
    "negative length": (post(b"Content-Length: -3", body=b"abc"), 400),
    "hexadecimal length": (post(b"Content-Length: 0x3", body=b"abc"), 400),
    "length with an underscore": (post(b"Content-Length: 1_0", body=b"abc"), 400),
    "length in other digits": (post("Content-Length: \u0663".encode(), body=b"abc"), 400),
    "empty length": (post(b"Content-Length:", body=b"abc"), 400),
    "two numbers": (post(b"Content-Length: 3 4", body=b"abc"), 400),
    "length beyond 64 bits": (post(b"Content-Length: 99999999999999999999999"), 400),
    "length beyond the limit": (post(b"Content-Length: 10001"), 413),
    "unknown coding": (post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 501),
    "coding identity": (post(b"Transfer-Encoding: identity", body=b"abc"), 501),
    "coding before chunked": (post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 501),
    "chunked twice": (post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), 400),
    "two codings": (
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
        400,
    ),
    "coding after a control character": (
        post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
        400,
    ),
    "coding with an underscore is none": (post(b"Transfer_Encoding: chunked"), 200),
    "coding in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunk size not a number": (CHUNKED + b"Z\r\nabc\r\n0\r\n\r\n", 400),
    "chunk size with 0x": (CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", 400),
    "chunk size with a sign": (CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", 400),
    "chunk size with a space": (CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", 400),
    "chunk size beyond 64 bits": (CHUNKED + b"ffffffffffffffffff\r\nabc", 400),
    "no chunk size": (CHUNKED + b"\r\nabc", 400),
    "chunk size with a bare line feed": (CHUNKED + b"3\nabc\r\n0\r\n\r\n", 400),
    "chunk with a bare line feed": (CHUNKED + b"3\r\nabc\n0\r\n\r\n", 400),
    "chunk extension with a bare line feed": (CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n", 400),
    "chunk longer than it says": (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400),
    "chunks beyond the limit": (CHUNKED + b"2711\r\n" + b"x" * 10_001 + b"\r\n0\r\n\r\n", 413),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a bare line feed": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "a bare line feed at the end": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    "a bare carriage return": (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    "NUL in a value": (get(b"X: a\0b"), 400),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "NUL in a name": (get(b"X\0: b"), 400),
    "a control character": (get(b"X: a\x01b"), 400),
    "folded line": (get(b"X: b", b" c"), 400),
    "folded first line": (b"GET / HTTP/1.1\r\n X: b\r\nHost: a\r\n\r\n", 400),
    "space before the colon": (get(b"X : b"), 400),
    "no name": (get(b": b"), 400),
    "no colon": (get(b"X"), 400),
    "name not ASCII": (get(b"X\xff: b"), 400),
    "no host": (get(host=b""), 400),
    "two hosts": (get(host=b"Host: a\r\nHost: b\r\n"), 400),
    "two hosts in one": (get(host=b"Host: a,b\r\n"), 400),
    "host with a space": (get(host=b"Host: a b\r\n"), 400),
    "host with a path": (get(host=b"Host: a/b\r\n"), 400),
    "host with an at sign": (get(host=b"Host: b@a\r\n"), 400),
    "host with a port that is none": (get(host=b"Host: a:b\r\n"), 400),
    "host with two ports": (get(host=b"Host: a:1:2\r\n"), 400),
    "host with a bracket": (get(host=b"Host: [::1\r\n"), 400),
    "host with another after brackets": (get(host=b"Host: [::1]a\r\n"), 400),
    "host with brackets within": (get(host=b"Host: a[b]\r\n"), 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505),
    "HTTP/0.9 by name": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "half a version": (b"GET / HTTP/1\r\nHost: a\r\n\r\n", 400),
    "version in small letters": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "something after the version": (b"GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", 400),
    "method with a parenthesis": (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "method not ASCII": (b"G\xc4T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no method": (b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "method beyond the limit": (b"F" * 2001 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "method alone": (b"FOO\r\n\r\n", 400),
    "tabs": (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "PRI": (b"PRI / HTTP/1.0\r\n\r\n", 501),
    "relative target": (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute target without a host": (b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an asterisk for a path": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an asterisk with a path": (b"OPTIONS */a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute target with two hosts": (b"GET http://a,b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute target with two ports": (b"GET http://a:1:2/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute target with a user": (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "target not ASCII": ("GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "target beyond the limit": (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a header beyond the limit": (get(b"X: " + b"a" * 4000), 431),
    "headers beyond the limit": (get(*(b"X: " + b"a" * 300 for _ in range(14))), 431),
    "too many headers": (get(*(b"X: a" for _ in range(20))), 431),
    "a header without an end": (b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000, 431),
    "a name without an end": (b"GET / HTTP/1.1\r\n" + b"a" * 100_000, 431),
    "a target without an end": (b"GET /" + b"a" * 100_000, 414),
    "a trailer without an end": (CHUNKED + b"0\r\nX: " + b"a" * 4000, 431),
    "trailers beyond the limit": (CHUNKED + b"0\r\nX: " + b"a" * 4000 + b"\r\n\r\n", 431),
    "an extension without an end": (CHUNKED + b"3;" + b"a" * 4000, 400),
    "an extension beyond the limit": (CHUNKED + b"1;a=" + b"a" * 3000 + b"\r\nx\r\n", 400),
    "many short extensions": (
        CHUNKED + (b"1;" + b"a" * 40 + b"\r\nx\r\n") * 100 + b"0\r\n\r\n",
        200,
    ),
    "another expectation": (post(b"Expect: the-unexpected", b"Content-Length: 0"), 417),
}


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


@pytest.mark.parametrize("name", TABLE)
def test_sent_at_once(site: Callable[..., Site], name: str) -> None:
    data, status = TABLE[name]
    here = site(hello, LIMITS)
    answer = here.exchange(data + SECOND, end=True)
    assert int(answer.split(b" ", 2)[1]) == status, answer
    if status != 200:
        check_refusal(here, answer)
        assert here.requests == []


@pytest.mark.parametrize("name", TABLE)
def test_sent_in_pieces(site: Callable[..., Site], name: str) -> None:
    data, status = TABLE[name]
    here = site(hello, LIMITS)
    answer = in_pieces(here, data + SECOND)
    # The application may have answered before the malformed part of the body came.
    allowed = {status, 200} if data.startswith(CHUNKED) else {status}
    assert int(answer.split(b" ", 2)[1]) in allowed, answer
    if status != 200:
        assert not any("HTTP_X_SECOND" in environ for environ in here.requests)
        if not answer.startswith(b"HTTP/1.1 200"):
            check_refusal(here, answer)


def check_refusal(here: Site, answer: bytes) -> None:
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert here.errors == []


def in_pieces(here: Site, data: bytes) -> bytes:
    """Send the first 600 bytes one at a time, then the rest, and return the answer."""
    with here.connect() as sock:
        with suppress(OSError):  # the server may have answered and closed already
            for at in range(min(len(data), 600)):
                sock.sendall(data[at : at + 1])
                treadle.sleep(0)
            sock.sendall(data[600:])
            sock.shutdown(SHUT_WR)
        return received(sock)


@pytest.mark.parametrize("cut", range(1, len(get(b"X: y"))))
def test_a_truncated_head_is_not_passed_on(site: Callable[..., Site], cut: int) -> None:
    here = site(hello)
    assert here.exchange(get(b"X: y")[:cut], end=True) == b""
    assert here.requests == []


def tell(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"<{environ['REQUEST_METHOD']} {environ['PATH_INFO']} ".encode() + body + b">"]


def test_any_token_is_a_method(site: Callable[..., Site]) -> None:
    methods = ["FOO", "get", "GETX", "GE", "G", "POSTAL", "PUT", "DESCRIBE", "QUERY", "PRIX", "-1~"]
    methods += ["GET", "M-SEARCH", "X" * 300, "!#$%&'*+-.^_`|~", "POST", "foo"]
    data, expected = b"", []
    for at, method in enumerate(methods):
        head = f"{method} /{at} HTTP/1.1\r\nHost: a\r\n"
        chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        data += (head + ("Content-Length: 3\r\n\r\nabc" if at % 2 else chunked)).encode()
        expected.append(f"<{method} /{at} abc>".encode())
    here = site(tell)
    for answers in (here.exchange(data, end=True), in_pieces(here, data)):
        found = [line[: line.index(b">") + 1] for line in answers.split(b"\r\n\r\n")[1:]]
        assert found == expected
    assert [environ["REQUEST_METHOD"] for environ in here.requests] == 2 * methods


def test_a_token_that_grows_for_ever_is_refused(site: Callable[..., Site]) -> None:
    here = site(hello, LIMITS)
    assert here.exchange(b"F" * 100_000).startswith(b"HTTP/1.1 501")
    here = site(hello, Limits(header_time=0.1))
    with here.connect() as sock:
        sock.sendall(b"FO")
        assert received(sock).startswith(b"HTTP/1.1 408")
    assert '"FO" 408' in here.log[-1]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (get(b"Content-Length: 10001"), "GET / HTTP/1.1"),
        (b"FOO /a HTTP/1.1\r\nX: " + b"a" * 4000 + b"\r\n\r\n", "FOO /a HTTP/1.1"),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "GET /" + "a" * 2000),
        (b"GET /a HTTP/1.1\r\n\r\n", "GET /a HTTP/1.1"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:80 HTTP/1.1"),
        (b"G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n", "G"),
        (b"\x16\x03\x01\x02\x00\x01", ""),
    ],
)
def test_a_refusal_is_logged_and_answered_for_its_own_request(
    site: Callable[..., Site], data: bytes, line: str
) -> None:
    here = site(hello, LIMITS)
    answer = here.exchange(b"HEAD /before HTTP/1.1\r\nHost: a\r\n\r\n" + data)
    head, _, body = answer.partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in head
    assert body  # though the request before was a HEAD
    before, refused = here.log
    assert '"HEAD /before HTTP/1.1" 200' in before
    assert f'"{line}" {head[9:12].decode()} {len(body)} 0.' in refused


def no_content(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("204 No Content", [])
    return []


@pytest.mark.parametrize("host", [b"a", b"a:", b"a:80", b"[::1]", b"[::1]:80", b"[v1.a]", b"a_b"])
def test_hosts_that_are_served(site: Callable[..., Site], host: bytes) -> None:
    here = site(no_content)
    request = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
    assert here.exchange(request).startswith(b"HTTP/1.1 204 ")
