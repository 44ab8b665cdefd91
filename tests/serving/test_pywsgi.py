"""pywsgi does as gevent's server does where programs rely on it and HTTP permits it safely."""

import errno
import io
import socket as native
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import treadle
from treadle.http.policy import LIKE_GEVENT, STRICT
from treadle.pywsgi import WSGIHandler, WSGISecureEnviron, WSGIServer
from treadle.serve.admin import AdminServer
from treadle.serve.worker import WorkerServer

from .conftest import Site, received
from .test_bad_requests import CHUNKED, LIMITS, SECOND, TABLE, get, hello, post

Start = Callable[..., Site]
LAST = b"Connection: close"
UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket")


@pytest.fixture
def like_gevent(site: Start) -> Start:
    def start(application: Any, **options: Any) -> Site:
        return site(application, policy=LIKE_GEVENT, **options)

    return start


def test_who_has_which_policy() -> None:
    assert WSGIServer.policy is LIKE_GEVENT
    assert {AdminServer.policy, WorkerServer.policy} == {STRICT}


#: The entries of TABLE that LIKE_GEVENT accepts.
SERVED = {"no host"}


@pytest.mark.parametrize("name", [name for name in TABLE if name not in SERVED])
def test_what_is_no_request_is_none_here(like_gevent: Start, name: str) -> None:
    data, status = TABLE[name]
    here = like_gevent(hello, limits=LIMITS)
    answer = here.exchange(data + SECOND, end=True)
    # The application may answer before the server finds that the body is malformed.
    allowed = {status, 200} if data.startswith(CHUNKED) else {status}
    assert int(answer.split(b" ", 2)[1]) in allowed, answer
    if status != 200:
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"\r\nConnection: close\r\n" in answer
        assert not any("HTTP_X_SECOND" in environ for environ in here.requests)
        assert here.errors == []


def test_a_host_may_be_left_out(like_gevent: Start) -> None:
    here = like_gevent(hello)
    assert here.exchange(get(LAST, host=b"")).startswith(b"HTTP/1.1 200 ")
    assert "HTTP_HOST" not in here.requests[0]


def reading(size: int) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        data = environ["wsgi.input"].read(size)
        start_response("200 OK", [])
        return [data]

    return application


class TestMalformedBodies:
    BODY = CHUNKED + b"5\r\nabcde\r\nnonsense\r\n"

    def test_what_came_before_is_served(self, like_gevent: Start) -> None:
        answer = like_gevent(reading(5)).exchange(self.BODY + SECOND)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\nConnection: close\r\n\r\nabcde")

    def test_who_reads_further_fails(self, like_gevent: Start) -> None:
        here = like_gevent(reading(6))
        answer = here.exchange(self.BODY + SECOND)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1") == 1
        assert here.errors == []


class TestLostClients:
    @staticmethod
    def lost(here: Site, data: bytes) -> None:
        with here.connect() as sock:
            sock.sendall(data)
        until = time.monotonic() + 10
        while not here.log and time.monotonic() < until:
            treadle.sleep(0.001)
        assert len(here.log) == 1

    @pytest.mark.parametrize(
        "data", [CHUNKED + b"5\r\nabc", post(b"Content-Length: 5", body=b"abc")]
    )
    def test_one_that_ends_within_its_body_is_reported(
        self, like_gevent: Start, site: Start, data: bytes
    ) -> None:
        here = like_gevent(reading(5))
        self.lost(here, data)
        assert "unexpected end of file" in here.errors[0]
        here = site(reading(5))  # with the strict policy
        self.lost(here, data)
        assert here.errors == []

    @pytest.mark.parametrize("ignored", [(errno.ECONNRESET,), ()])
    def test_one_that_resets_is_not_unless_the_handler_says_so(
        self, like_gevent: Start, ignored: tuple[int, ...]
    ) -> None:
        class Handler(WSGIHandler):
            ignored_socket_errors = ignored

        here = like_gevent(reading(5), handler_class=Handler)
        with here.connect() as sock:
            sock.sendall(post(b"Content-Length: 5", body=b"abc"))
            while not here.requests:
                treadle.sleep(0.001)
            sock.setsockopt(native.SOL_SOCKET, native.SO_LINGER, struct.pack("ii", 1, 0))
        until = time.monotonic() + 10
        while not here.log and time.monotonic() < until:
            treadle.sleep(0.001)
        assert len(here.log) == 1
        assert len(here.errors) == 1 - len(ignored)

    def test_whom_nobody_read_from_is_not_reported(self, like_gevent: Start) -> None:
        here = like_gevent(hello)
        self.lost(here, CHUNKED + b"5\r\nabc")
        assert here.errors == []


class TestContinue:
    def test_it_comes_though_the_body_came_with_the_head(self, like_gevent: Start) -> None:
        request = post(LAST, b"Content-Length: 3", b"Expect: 100-continue", body=b"abc")
        answer = like_gevent(reading(3)).exchange(request)
        first, _, rest = answer.partition(b"\r\n\r\n")
        assert first == b"HTTP/1.1 100 Continue"
        assert rest.startswith(b"HTTP/1.1 200 ")
        assert rest.endswith(b"\r\n\r\nabc")

    def test_it_comes_once(self, like_gevent: Start) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            stream = environ["wsgi.input"]
            parts = [stream.read(1), stream.readline(1), stream.read1(1), stream.read()]
            start_response("200 OK", [])
            return parts

        with like_gevent(application).connect() as sock:
            sock.sendall(post(LAST, b"Content-Length: 6", b"Expect: 100-continue"))
            assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(b"abcdef")
            answer = received(sock)
        assert answer.endswith(b"\r\n\r\nabcdef")
        assert b"100 Continue" not in answer

    def test_not_for_who_reads_nothing(self, like_gevent: Start) -> None:
        request = post(LAST, b"Content-Length: 3", b"Expect: 100-continue", body=b"abc")
        assert like_gevent(hello).exchange(request).startswith(b"HTTP/1.1 200 ")


def returning(status: str, result: Any) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, [])
        return result

    return application


def writing(status: str, data: Any) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, [])(data)
        return []

    return application


class TestForbiddenBodies:
    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    @pytest.mark.parametrize("how", [returning, writing])
    def test_a_body_is_an_error(
        self, like_gevent: Start, how: Callable[..., Any], status: str
    ) -> None:
        class Oops(AssertionError):
            pass

        class Handler(WSGIHandler):
            ApplicationError = Oops

            def handle_error(self, typ: Any, value: Any, tb: Any) -> None:
                failures.append(typ)
                super().handle_error(typ, value, tb)

        failures: list[Any] = []
        data = b"body" if how is writing else [b"body"]
        answer = like_gevent(how(status, data), handler_class=Handler).exchange(get())
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert failures == [Oops]

    @pytest.mark.parametrize("result", [[], [b""], [b"", b""]])
    def test_an_empty_one_is_none(self, like_gevent: Start, result: Any) -> None:
        here = like_gevent(returning("304 Not Modified", result))
        answer = here.exchange(get() + get(LAST))
        assert answer.count(b"HTTP/1.1 304 ") == 2
        assert here.errors == []


class TestEmptyAnswers:
    @staticmethod
    def nothing(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b""

    def test_an_iterator_of_nothing_has_no_chunks(self, like_gevent: Start) -> None:
        answer = like_gevent(self.nothing).exchange(get() + get(LAST))
        assert answer.count(b"\r\nTransfer-Encoding: chunked\r\n") == 2
        assert answer.count(b"\r\n\r\n0\r\n\r\n") == 2

    def test_an_old_client_sees_the_end(self, like_gevent: Start) -> None:
        request = get(b"Connection: keep-alive").replace(b"1.1", b"1.0")
        answer = like_gevent(self.nothing).exchange(request)
        assert answer.endswith(b"\r\nConnection: close\r\n\r\n")

    @pytest.mark.parametrize("result", [[], (), [b""], iter([])])
    def test_who_never_starts_a_response(self, like_gevent: Start, result: Any) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> Any:
            return result

        here = like_gevent(application)
        assert here.exchange(get() + get()) == b""
        assert len(here.requests) == 1
        assert here.errors == []

    def test_who_never_starts_one_but_has_a_body(self, like_gevent: Start) -> None:
        here = like_gevent(lambda environ, start_response: [b"body"])
        assert here.exchange(get()).startswith(b"HTTP/1.1 500 ")


class TestUpgrades:
    def test_the_input_is_what_the_client_sends_then(self, like_gevent: Start) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            assert environ["wsgi.input_terminated"] is False
            stream = environ["wsgi.input"]
            sock = stream.raw._sock  # simple_websocket finds the socket this way
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            sock.sendall(stream.readline())
            sock.sendall(stream.read(4))
            return []

        here = like_gevent(application)
        with here.connect() as sock:
            sock.sendall(get(*UPGRADE) + b"first\nse")
            head = sock.recv(1000)
            sock.sendall(b"cond")
            assert head + received(sock) == (b"HTTP/1.1 101 Switching Protocols\r\n\r\nfirst\nseco")
        assert here.errors == []

    @pytest.mark.parametrize("line", UPGRADE)
    def test_half_a_request_for_it_leaves_the_input(self, like_gevent: Start, line: bytes) -> None:
        seen = []

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            seen.append(environ["wsgi.input_terminated"])
            start_response("200 OK", [])
            return [environ["wsgi.input"].read()]

        request = post(b"Content-Length: 3", line, body=b"abc")
        answer = like_gevent(application).exchange(request + get(LAST))
        assert answer.count(b"HTTP/1.1 200 ") == 2
        assert b"\r\n\r\nabcHTTP/1.1" in answer
        assert seen == [False, True]

    def test_another_protocol_is_not_changed_to(self, like_gevent: Start) -> None:
        request = post(
            b"Content-Length: 3", b"Connection: Upgrade, X", b"Upgrade: h2c", body=b"abc"
        )
        here = like_gevent(reading(3))
        assert here.exchange(request + get(LAST)).count(b"HTTP/1.1 200 ") == 2
        assert here.requests[0]["wsgi.input_terminated"] is True


class TestRequestLines:
    class Greeted(WSGIHandler):
        """Read a line before each request, as a proxy may send it, and answer "knock" itself."""

        def read_requestline(self) -> Any:
            line = self.rfile.readline()
            if line == b"knock\n":
                self.socket.sendall(b"who is there?")
                return None
            if not line.startswith(b"from "):
                self.log_error("no greeting in %r", line)
                return None
            self.client_address = (line.split()[1].decode(), 0)
            return self.rfile.readline()

    def test_a_line_before_each_request(self, like_gevent: Start) -> None:
        here = like_gevent(reading(3), handler_class=self.Greeted)
        with here.connect() as sock:
            sock.sendall(b"from me\n" + post(b"Content-Length: 3", body=b"abc"))
            assert sock.recv(1000).endswith(b"\r\n\r\nabc")
            sock.sendall(b"from you\n" + post(b"Content-Length: 3", LAST))
            sock.sendall(b"def")
            assert received(sock).endswith(b"\r\n\r\ndef")
        assert [line.split()[0] for line in here.log] == ["me", "you"]

    def test_a_byte_at_a_time(self, like_gevent: Start) -> None:
        here = like_gevent(reading(3), handler_class=self.Greeted)
        with here.connect() as sock:
            sock.setsockopt(native.IPPROTO_TCP, native.TCP_NODELAY, 1)
            for byte in b"from me\n" + post(b"Content-Length: 3", LAST, body=b"abc"):
                sock.sendall(bytes([byte]))
            assert received(sock).endswith(b"\r\n\r\nabc")

    def test_nothing_ends_the_connection(self, like_gevent: Start) -> None:
        here = like_gevent(hello, handler_class=self.Greeted)
        assert here.exchange(b"knock\n") == b"who is there?"
        assert here.exchange(get(LAST)) == b""
        assert here.requests == []
        assert "no greeting in b'GET / HTTP/1.1" in here.errors[0]

    def test_text_and_the_method_of_the_class_itself(self, like_gevent: Start) -> None:
        class Plain(WSGIHandler):
            def read_requestline(self) -> Any:
                line = super().read_requestline()
                lines.append(line)
                return line

        lines: list[Any] = []
        answer = like_gevent(hello, handler_class=Plain).exchange(get(LAST))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert lines == ["GET / HTTP/1.1\r\n"]

    def test_who_does_not_override_it_is_not_asked(self) -> None:
        assert not WSGIHandler.reads_requestlines
        assert self.Greeted.reads_requestlines
        assert not type("Other", (WSGIHandler,), {}).reads_requestlines


class TestWhatSplitsAnAnswer:
    @pytest.mark.parametrize(
        ("status", "headers", "place"),
        [
            ("200 OK\r\nX: y", [], "status"),
            ("200 OK", [("X\ny", "a")], "header name"),
            ("200 OK", [("X", "a\r\nY: b")], "header value"),
        ],
    )
    def test_it_is_told_as_gevent_tells_it(
        self, like_gevent: Start, status: str, headers: Any, place: str
    ) -> None:
        raised: list[Exception] = []

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            with pytest.raises(ValueError, match=f"newline in {place}") as caught:
                start_response(status, headers)
            raised.append(caught.value)
            start_response("200 OK", [])
            return []

        assert like_gevent(application).exchange(get(LAST)).startswith(b"HTTP/1.1 200 ")
        assert raised[0].args[1] in (status, *(headers or [()])[0])

    @pytest.mark.parametrize("value", [b"bytes", "\u20ac", 5])
    def test_what_is_no_latin_1_text_is_a_unicode_error(
        self, like_gevent: Start, value: Any
    ) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            with pytest.raises(UnicodeError):
                start_response("200 OK", [("X", value)])
            start_response("200 OK", [])
            return []

        assert like_gevent(application).exchange(get(LAST)).startswith(b"HTTP/1.1 200 ")


class TestReports:
    @staticmethod
    def failing(environ: Any, start_response: Any) -> Any:
        raise KeyError("what went wrong")

    @pytest.fixture
    def report(self, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
        stream = io.StringIO()
        monkeypatch.setattr(treadle.get_hub(), "exception_stream", stream)
        return stream

    def test_secrets_are_hidden(self, like_gevent: Start, report: io.StringIO) -> None:
        here = like_gevent(self.failing)
        assert here.exchange(get(b"Authorization: key", LAST)).startswith(b"HTTP/1.1 500 ")
        assert "what went wrong" in report.getvalue()
        assert "(hidden keys: " in report.getvalue()
        assert "AUTHORIZATION" not in report.getvalue()

    def test_by_a_class_of_the_servers(self, like_gevent: Start, report: io.StringIO) -> None:
        class Telling(WSGISecureEnviron):
            whitelist_keys = ("HTTP_X_SHOWN",)

        here = like_gevent(self.failing)
        here.server.secure_environ_class = Telling
        here.exchange(get(b"X-Shown: 7", LAST))
        assert "{'HTTP_X_SHOWN': '7', (hidden keys: " in report.getvalue()


def test_a_handler_reads_the_headers(like_gevent: Start) -> None:
    class Handler(WSGIHandler):
        def format_request(self) -> str:
            shown = (
                self.headers["x-forwarded-for"],
                self.headers.get_all("X-Two"),
                self.headers["No"],
            )
            return repr(shown)

    here = like_gevent(hello, handler_class=Handler)
    here.exchange(get(b"X-Forwarded-For: 192.0.2.1", b"X-Two: a", b"X-Two: b", LAST))
    assert here.log[-1].strip() == "('192.0.2.1', ['a', 'b'], None)"
