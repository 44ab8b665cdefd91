"""HTTP/2: what applications and clients receive, and what clients may not do."""

import contextlib
import gc
import os
import shutil
import ssl as native_ssl
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from socket import SHUT_WR
from typing import Any

import httpx
import pytest
import trustme
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

import treadle
from treadle import ssl
from treadle.event import Event
from treadle.http.connection import end_connections
from treadle.http.http2 import Connection
from treadle.http.limits import UNBOUNDED, Limits
from treadle.http.policy import LIKE_GEVENT
from treadle.pywsgi import WSGIServer

from .conftest import Site, received

Start = Callable[..., Site]
Headers = list[tuple[str, str]]


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    data = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
    return [data]


def answering(*body: bytes, status: str = "200 OK", headers: Any = ()) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, list(headers))
        return list(body)

    return application


@pytest.fixture
def http2(site: Start, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return a function that starts sites that speak HTTP/2."""
    monkeypatch.setattr(WSGIServer, "http2", True)
    return site


def head(method: str = "GET", path: str = "/", *more: tuple[str, str]) -> Headers:
    known = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "a")]
    given = {name for name, _ in more}
    return [*(each for each in known if each[0] not in given), *more]


class Client:
    """A connection, and what it receives on each stream; it does not validate what it sends."""

    def __init__(
        self, here: Site, *, window: int | None = None, trusted: trustme.CA | None = None
    ) -> None:
        """With *trusted* the client speaks TLS."""
        config = H2Configuration(
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            header_encoding="latin-1",
        )
        self.h2 = H2Connection(config)
        if window is not None:
            values = {SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.h2.local_settings = Settings(client=True, initial_values=values)
        self.sock = here.connect()
        if trusted is not None:
            context = ssl.create_default_context()
            trusted.configure_trust(context)
            context.set_alpn_protocols(["h2"])
            self.sock = context.wrap_socket(self.sock, server_hostname="127.0.0.1")
        self.credit = True
        self.closed = False
        self.headers: dict[int, Headers] = {}
        self.interim: dict[int, list[Headers]] = defaultdict(list)
        self.body: dict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.goaway: int | None = None
        self.pings = 0
        self.h2.initiate_connection()
        self.send()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.sock.close()

    def send(self, *frames: Any) -> None:
        """Send h2's pending data, then *frames*."""
        data = self.h2.data_to_send() + b"".join(frame.serialize() for frame in frames)
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)

    def ask(self, headers: Headers | None = None, body: bytes | None = None, id: int = 0) -> int:
        """Open a stream and return its id; the request ends here only if *body* is None."""
        id = id or self.h2.get_next_available_stream_id()
        self.h2.send_headers(id, headers or head(), end_stream=body is None)
        if body:
            self.h2.send_data(id, body)
        self.send()
        return id

    def finish(self, id: int, body: bytes = b"") -> None:
        """Send *body* and end the sending side of a stream."""
        self.h2.send_data(id, body, end_stream=True)
        self.send()

    def hear(self) -> bool:
        """Process the next data received; return False if the connection has ended."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self.sock.recv(65536)
        if not data:
            self.closed = True
            return False
        for event in self.h2.receive_data(data):
            if isinstance(event, events.ResponseReceived):
                self.headers[event.stream_id] = event.headers  # type: ignore[assignment]
            elif isinstance(event, events.InformationalResponseReceived):
                self.interim[event.stream_id].append(event.headers)  # type: ignore[arg-type]
            elif isinstance(event, events.DataReceived):
                self.body[event.stream_id] += event.data
                if self.credit and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, events.StreamReset):
                self.reset[event.stream_id] = event.error_code
            elif isinstance(event, events.ConnectionTerminated):
                self.goaway = event.error_code
            elif isinstance(event, events.PingAckReceived):
                self.pings += 1
        self.send()
        return True

    def until(self, done: Callable[[], Any]) -> None:
        """Process received data until *done* returns true or the connection ends."""
        while not done() and self.hear():
            pass

    def answer(self, id: int) -> tuple[str, dict[str, str], bytes]:
        """Return the status, headers and body of a stream's response."""
        self.until(lambda: id in self.ended or id in self.reset)
        headers = dict(self.headers[id])
        return headers.pop(":status"), headers, bytes(self.body[id])


def until_stuck(here: Site) -> Connection:
    """Wait until the only client takes no more of what is sent to it; return the connection."""
    with treadle.Timeout(5):
        while not here.server.connections:
            treadle.sleep(0)
        (served,) = here.server.connections
        sent = -1
        while sent != served._sent or not served._output:
            sent = served._sent
            treadle.sleep(0.03)
    return served  # type: ignore[no-any-return]


class TestAnswers:
    def test_environ(self, http2: Start) -> None:
        here = http2(answering(b"abc"))
        more = (("x-one", "1"), ("cookie", "a=b"), ("cookie", "c=d"), ("x-one", "2"))
        with Client(here) as client:
            id = client.ask(head("GET", "/a%20b?c=d", *more, ("x_hidden", "1")))
            status, headers, body = client.answer(id)
        assert (status, body) == ("200", b"abc")
        assert headers.keys() == {"content-length", "date"}
        (environ,) = here.requests
        expected = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/a b",
            "QUERY_STRING": "c=d",
            "SERVER_PROTOCOL": "HTTP/2",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "a",
            "HTTP_X_ONE": "1,2",
            "HTTP_COOKIE": "a=b; c=d",
            "wsgi.url_scheme": "http",
        }
        assert {key: environ[key] for key in expected} == expected
        assert not any("HIDDEN" in key for key in environ)
        assert '"GET /a%20b?c=d HTTP/2" 200 3 ' in here.log[0]

    def test_the_padding_of_nothing_uses_credit_too(self, http2: Start) -> None:
        with Client(http2(echo)) as client:
            client.answer(client.ask())
            (served,) = (
                each for each in gc.get_objects() if isinstance(each, Connection) and not each._lost
            )
            before = served._unread
            id = client.ask(head("POST"), body=b"")
            client.h2.send_data(id, b"", end_stream=True, pad_length=255)
            client.send()
            client.until(lambda: id in client.ended)
            assert served._unread - before == 256

    def test_streams_are_served_side_by_side(self, http2: Start) -> None:
        first, second = Event(), Event()

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            if environ["PATH_INFO"] == "/1":
                first.set()
                assert second.wait(5)
            else:
                assert first.wait(5)
                second.set()
            start_response("200 OK", [])
            return [environ["PATH_INFO"].encode()]

        with Client(http2(application)) as client:
            ids = [client.ask(head("GET", path)) for path in ("/1", "/2")]
            assert [client.answer(id)[2] for id in ids] == [b"/1", b"/2"]

    def test_each_part_is_sent_when_it_is_there(self, http2: Start) -> None:
        event = Event()

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"first"
            event.wait(10)
            yield b"second"

        with Client(http2(application)) as client:
            id = client.ask()
            client.until(lambda: client.body[id])
            assert client.body[id] == b"first"
            event.set()
            _, headers, body = client.answer(id)
            assert body == b"firstsecond"
            assert headers.keys() == {"date"}

    @pytest.mark.parametrize(
        ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Same")]
    )
    def test_without_a_body(self, http2: Start, method: str, status: str) -> None:
        with Client(http2(answering(b"abc", status=status))) as client:
            found, headers, body = client.answer(client.ask(head(method)))
            assert (found, body) == (status[:3], b"")
            assert headers.get("content-length") == ("3" if method == "HEAD" else None)

    def test_the_connections_headers_are_left_out(self, http2: Start) -> None:
        given = [
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("Keep-Alive", "1"),
            ("Upgrade", "x"),
            ("X-A", "\xe9"),
            ("Set-Cookie", "a"),
            ("Set-Cookie", "b"),
        ]
        with Client(http2(answering(headers=given))) as client:
            id = client.ask()
            client.answer(id)
            names = [name for name, _ in client.headers[id]]
            assert names == [
                ":status",
                "x-a",
                "set-cookie",
                "set-cookie",
                "content-length",
                "date",
            ]
            assert ("x-a", "\xe9") in client.headers[id]
            assert client.answer(client.ask())[0] == "200"  # the connection stays usable

    def test_interim_answers(self, http2: Start) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            environ["wsgi.early_hints"]([("Link", "</a.css>")])
            data = environ["wsgi.input"].read()
            start_response("200 OK", [])
            return [data]

        with Client(http2(application)) as client:
            id = client.ask(head("POST", "/", ("expect", "100-continue")), b"")
            client.until(lambda: len(client.interim[id]) == 2)
            expected = [[(":status", "103"), ("link", "</a.css>")], [(":status", "100")]]
            assert client.interim[id] == expected
            client.finish(id, b"abc")
            assert client.answer(id)[2] == b"abc"

    def test_a_file(self, http2: Start, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"x" * 200_000)

        def application(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"]((tmp_path / "file").open("rb"))

        with Client(http2(application)) as client:
            assert client.answer(client.ask())[2] == b"x" * 200_000

    def test_limits_that_are_turned_off(self, http2: Start) -> None:
        limits = Limits(header_size=sys.maxsize, header_count=sys.maxsize)
        with Client(http2(answering(b"hello"), limits)) as client:
            headers = head("GET", "/", *((f"x-{number}", "1" * 100) for number in range(300)))
            assert client.answer(client.ask(headers))[2] == b"hello"

    def test_trailers_of_a_request(self, http2: Start) -> None:
        trailers: list[Any] = []

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            body = environ["wsgi.input"].read()
            trailers.extend(start_response.__self__.request.trailers)
            start_response("200 OK", [])
            return [body]

        with Client(http2(application)) as client:
            id = client.ask(head("POST"), b"abc")
            client.h2.send_headers(id, [("x-sum", "1")], end_stream=True)
            client.send()
            assert client.answer(id)[2] == b"abc"
        assert trailers == [(b"x-sum", b"1")]


def endless(ended: Event) -> Callable[[Any, Any], Iterator[bytes]]:
    """Return an application whose response never ends by itself; then *ended* is set."""

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 100_000
        finally:
            ended.set()

    return application


class TestFlow:
    def test_large_bodies_both_ways(self, http2: Start) -> None:
        data = os.urandom(3_000_000)
        with Client(http2(echo)) as client:
            id = client.ask(head("POST"), b"")
            at = 0
            while at < len(data):
                room = min(client.h2.local_flow_control_window(id), 16384)
                if room:
                    client.h2.send_data(id, data[at : at + room])
                    at += room
                    client.send()
                else:
                    assert client.hear()
            client.finish(id)
            assert client.answer(id)[2] == data

    def test_a_body_that_is_not_read_stays_with_the_client(self, http2: Start) -> None:
        go = Event()

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            if environ["PATH_INFO"] == "/stuck":
                go.wait(10)
            return echo(environ, start_response)

        with Client(http2(application)) as client:
            client.hear()
            stuck = client.ask(head("POST", "/stuck"), b"")
            for _ in range(3):
                client.h2.send_data(stuck, b"x" * 16384)
            client.h2.send_data(stuck, b"x" * 16383)
            client.send()
            # The bodies of other streams are still read.
            other = client.ask(head("POST"), b"")
            client.finish(other, b"y" * 10_000)
            assert client.answer(other)[2] == b"y" * 10_000
            assert client.h2.local_flow_control_window(stuck) == 0
            go.set()
            client.until(lambda: client.h2.local_flow_control_window(stuck) > 100_000)
            client.finish(stuck, b"z")
            assert client.answer(stuck)[2] == b"x" * 65535 + b"z"

    def test_an_answer_waits_for_the_window(self, http2: Start) -> None:
        with Client(http2(answering(b"x" * 50_000)), window=1000) as client:
            client.credit = False
            id = client.ask()
            client.until(lambda: len(client.body[id]) == 1000)
            other = client.ask()
            client.until(lambda: len(client.body[other]) == 1000)
            client.h2.increment_flow_control_window(60_000, id)
            client.send()
            assert client.answer(id)[2] == b"x" * 50_000
            # Then the windows of all streams and of the connection grow.
            client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 60_000})
            client.h2.increment_flow_control_window(200_000)
            client.send()
            assert client.answer(other)[2] == b"x" * 50_000

    def test_an_answer_whose_window_became_negative(self, http2: Start) -> None:
        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"abc"
            shrunk.wait(5)

        shrunk = Event()
        with Client(http2(application), window=10) as client:
            client.credit = False
            id = client.ask()
            client.until(lambda: client.body[id])
            client.send(SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}))
            treadle.sleep(0.05)
            shrunk.set()  # what ends the answer has no data, and needs no window
            client.until(lambda: id in client.ended)
            assert (id in client.ended, client.body[id]) == (True, b"abc")

    def test_a_client_that_gives_credit_in_small_steps(self, http2: Start) -> None:
        size, step = 12_000_000, 4096
        with Client(http2(answering(b"a" * size)), window=step) as client:
            client.credit = False
            id, given = client.ask(), 0
            while id not in client.ended:
                assert client.hear(), client.goaway
                while given + step <= len(client.body[id]):
                    given += step
                    client.h2.increment_flow_control_window(step)
                    client.h2.increment_flow_control_window(step, id)
                client.send()
            assert len(client.body[id]) == size

    @pytest.mark.parametrize("thrown", [treadle.Timeout, ConnectionError, treadle.GreenletExit])
    @pytest.mark.parametrize("tls", [False, True])
    def test_a_write_that_is_cut_ends_its_stream_alone(
        self,
        http2: Start,
        secure: Callable[[Any], Site],
        authority: trustme.CA,
        tls: bool,
        thrown: type[BaseException],
    ) -> None:
        writers: list[Any] = []
        raised: list[type[BaseException]] = []
        cut = Event()

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            write = start_response("200 OK", [])
            if environ["PATH_INFO"] != "/cut":
                for number in range(3):
                    yield b"%d" % number * 300_000
                return
            writers.append(treadle.getcurrent())
            try:
                write(b"a" * 50_000_000)
            except BaseException as exc:
                raised.append(type(exc))
            cut.set()
            yield b"no continuation"

        here = (secure if tls else http2)(application)
        with Client(here, window=2**31 - 1, trusted=authority if tls else None) as client:
            client.h2.increment_flow_control_window(2**30)
            others = [client.ask(head("GET", "/before"))]
            victim = client.ask(head("GET", "/cut"))
            others.append(client.ask(head("GET", "/beside")))
            until_stuck(here)
            writers[0].kill(thrown(), block=False)
            assert cut.wait(5)
            others.append(client.ask(head("GET", "/after")))
            for id in others:
                expected = b"".join(b"%d" % number * 300_000 for number in range(3))
                assert client.answer(id)[2] == expected
            client.until(lambda: victim in client.reset)
            assert client.reset[victim] == ErrorCodes.INTERNAL_ERROR
            assert set(client.body[victim]) <= set(b"a")
            assert raised == [thrown]
            assert client.answer(client.ask(head("GET", "/later")))[2] == expected

    def test_a_kill_after_the_last_part_cuts_nothing(self, http2: Start) -> None:
        writers: list[Any] = []

        def application(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            if environ["PATH_INFO"] == "/small":
                writers.append(treadle.getcurrent())
                return [b"whole"]
            return [b"a" * 50_000_000]

        here = http2(application)
        with Client(here, window=2**31 - 1) as client:
            client.h2.increment_flow_control_window(2**30)
            large = client.ask()
            until_stuck(here)
            small = client.ask(head("GET", "/small"))
            until_stuck(here)
            (writer,) = writers
            assert not writer.dead
            writer.kill()
            assert client.answer(small)[2] == b"whole"
            assert len(client.answer(large)[2]) == 50_000_000

    def test_answers_that_are_cut_do_not_pile_up(self, http2: Start) -> None:
        cut = [0]

        def application(environ: Any, start_response: Any) -> list[bytes]:
            write = start_response("200 OK", [])
            try:
                with treadle.Timeout(None if environ["PATH_INFO"] == "/stuck" else 0.01):
                    write(b"a" * 30_000_000)
            except treadle.Timeout:
                cut[0] += 1
            return []

        here = http2(application)
        with Client(here, window=2**31 - 1) as client:
            client.h2.increment_flow_control_window(2**31 - 1 - 65535)
            client.ask(head("GET", "/stuck"))
            served = until_stuck(here)
            ids = []
            for number in range(40):
                ids.append(client.ask())
                with treadle.Timeout(0.05, False):
                    while cut[0] <= number:
                        treadle.sleep(0.005)
            assert cut[0] < 40  # the others are not heard
            assert len(served._output) < 2_000_000
            for id in ids:
                client.until(lambda: id in client.reset or id in client.ended)  # noqa: B023
            assert client.answer(client.ask(head("HEAD")))[0] == "200"

    def test_a_child_process_sends_nothing(self, http2: Start) -> None:
        told, tell = os.pipe()

        def application(environ: Any, start_response: Any) -> list[bytes]:
            write = start_response("200 OK", [])
            if environ["PATH_INFO"] == "/fork":
                pid = treadle.os.fork()
                if not pid:
                    found = "nothing"
                    try:
                        write(b"of the child" * 10_000)
                    except OSError as exc:
                        found = type(exc).__name__
                    except BaseException as exc:
                        found = repr(exc)
                    os.write(tell, found.encode())
                    os._exit(0)
                treadle.os.waitpid(pid, 0)
            return [b"a" * 1_000_000]

        with Client(http2(application), window=2**31 - 1) as client:
            client.h2.increment_flow_control_window(2**30)
            large = client.ask()
            forked = client.ask(head("GET", "/fork"))
            for id in (large, forked):
                assert client.answer(id)[2] == b"a" * 1_000_000
        assert os.read(told, 100) == b"ConnectionAbortedError"
        os.close(told)
        os.close(tell)

    def test_a_window_that_does_not_open(self, http2: Start) -> None:
        here = http2(answering(b"x" * 50_000), replace(UNBOUNDED, write_time=0.1))
        with Client(here, window=1000) as client:
            client.credit = False
            id = client.ask()
            client.until(lambda: id in client.reset)
            assert len(client.body[id]) == 1000
            assert client.answer(client.ask(head("HEAD")))[0] == "200"
        assert here.errors == []

    def test_a_client_that_does_not_read(self, http2: Start) -> None:
        ended = Event()

        here = http2(endless(ended), replace(UNBOUNDED, write_time=0.1))
        with Client(here, window=(1 << 31) - 1) as client:
            client.h2.increment_flow_control_window((1 << 31) - 65536)
            client.ask()
            assert ended.wait(5)

    def test_a_client_that_sends_and_does_not_read(
        self, secure: Callable[[Any], Site], authority: trustme.CA
    ) -> None:
        ended = Event()

        here = secure(endless(ended))
        here.server.limits = replace(UNBOUNDED, write_time=0.1)
        with Client(here, window=(1 << 31) - 1, trusted=authority) as client:
            client.h2.increment_flow_control_window((1 << 31) - 65536)
            id = client.ask()
            deadline = time.monotonic() + 5
            while not ended.ready() and time.monotonic() < deadline:
                client.send(PriorityFrame(id))  # it asks for no answer
                treadle.sleep(0.03)
            assert ended.ready()

    def test_a_body_nobody_reads(self, http2: Start) -> None:
        with Client(http2(answering(b"abc"))) as client:
            id = client.ask(head("POST"), b"x" * 1000)
            assert client.answer(id)[2] == b"abc"
            client.until(lambda: id in client.reset)
            assert client.reset[id] == ErrorCodes.NO_ERROR
            assert client.answer(client.ask())[2] == b"abc"


class TestErrors:
    def test_an_exception_is_500(self, http2: Start) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> Any:
            if environ["PATH_INFO"] == "/later":
                return later(start_response)
            raise KeyError("missing")

        def later(start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"abc"
            raise KeyError("missing")

        here = http2(application)
        with Client(here) as client:
            status, _, body = client.answer(client.ask())
            assert (status, body) == ("500", b"Internal Server Error")
            id = client.ask(head("GET", "/later"))
            client.until(lambda: id in client.reset)
            assert client.reset[id] == ErrorCodes.INTERNAL_ERROR
        assert len(here.errors) == 2

    @pytest.mark.parametrize("length", ["2", "5"])
    def test_a_body_that_is_not_as_long_as_it_says(self, http2: Start, length: str) -> None:
        here = http2(answering(b"abc", headers=[("Content-Length", length)]))
        with Client(here) as client:
            id = client.ask()
            client.until(lambda: id in client.reset or id in client.ended)
            assert (id in client.reset) == (length == "5")
        assert "Content-Length" in here.errors[0]

    def test_an_answer_of_the_1xx_kind(self, http2: Start) -> None:
        here = http2(answering(status="101 Switching Protocols"))
        with Client(here) as client:
            assert client.answer(client.ask())[0] == "500"

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ([(":method", "CONNECT"), (":authority", "a:1")], "501"),
            (head("G ET"), "400"),
            (head("GET", "http://a/"), "400"),
            (head("GET", "*"), "400"),
            (head("GET", "/a#b"), "400"),
            (head("GET", "/a b"), "400"),
            (head("GET", "/a HTTP/1.1\tb"), "400"),
            (head("GET", "/a\x7fb"), "400"),
            (head("GET", "/", (":authority", "a/b")), "400"),
            (head("GET", "/", (":authority", "a,b")), "400"),
            (head("GET", "/", ("expect", "200-maybe")), "417"),
            (head("GET", "/" + "a" * 2000), "414"),
            (head("GET", "/", *[("x", "y")] * 21), "431"),
            (head("GET", "/", ("x", "y" * 4000)), "431"),
            (head("POST", "/", ("content-length", "10001")), "413"),
            (head("GET", "/", ("content-length", "3")), "400"),  # and no body follows
        ],
    )
    def test_bad_requests(self, http2: Start, headers: Headers, status: str) -> None:
        limits = Limits(request_line=2000, header_count=20, header_size=4000, body_size=10_000)
        here = http2(echo, limits)
        with Client(here) as client:
            id = client.ask(headers, b"" if status == "413" else None)
            assert client.answer(id)[0] == status
            assert here.requests == []
            assert client.answer(client.ask())[0] == "200"

    @pytest.mark.parametrize(
        "headers",
        [
            [("X", "upper case")],
            [("x y", "a")],
            [("", "a")],
            [("x", "a\r\nb")],
            [("x", "a\0")],
            [("connection", "close")],
            [("transfer-encoding", "chunked")],
            [("te", "gzip")],
            [("upgrade", "websocket")],
            [(":status", "200")],
            [(":unknown", "a")],
            [(":path", "/"), (":path", "/")],
            [(":path", "")],
            [("x", "y"), (":late", "a")],
            [("host", "b")],
            [("content-length", "x")],
            [("content-length", "1"), ("content-length", "2")],
            [("content-length", "+0")],
        ],
    )
    def test_malformed_requests(self, http2: Start, headers: Headers) -> None:
        here = http2(answering(b"abc"))
        with Client(here) as client:
            id = client.ask(head("GET", "/", *headers))
            client.until(lambda: client.closed or id in client.reset or id in client.headers)
            refused = dict(client.headers.get(id, [])).get(":status") == "400"
            assert refused or client.goaway or client.reset
        assert here.requests == []

    def test_no_authority(self, http2: Start) -> None:
        with Client(http2(answering())) as client:
            headers = [each for each in head() if each[0] != ":authority"]
            client.ask(headers)
            client.until(lambda: client.closed or client.headers)
            assert client.goaway or client.headers[1][0] == (":status", "400")

    @pytest.mark.parametrize("sent", [2, 5])
    def test_a_body_of_another_length(self, http2: Start, sent: int) -> None:
        here = http2(echo)
        with Client(here) as client:
            id = client.ask(head("POST", "/", ("content-length", "3")), b"")
            client.finish(id, b"x" * sent)
            client.until(lambda: client.closed or id in client.headers)
            assert client.goaway == ErrorCodes.PROTOCOL_ERROR
            assert id not in client.headers

    def test_a_body_that_is_too_long(self, http2: Start) -> None:
        with Client(http2(echo, replace(UNBOUNDED, body_size=1000))) as client:
            id = client.ask(head("POST"), b"x" * 1001)
            assert client.answer(id)[0] == "413"

    def test_a_slow_body(self, http2: Start) -> None:
        here = http2(echo, replace(UNBOUNDED, body_time=0.1))
        with Client(here) as client:
            id = client.ask(head("POST"), b"abc")
            assert client.answer(id)[0] == "408"

    def test_nobody_answers_upon_the_socket(self, http2: Start) -> None:
        here = http2(lambda environ, start_response: [], policy=LIKE_GEVENT)
        with Client(here) as client:
            status, _, _ = client.answer(client.ask())
        assert status == "500"

    def test_a_stream_that_is_reset(self, http2: Start) -> None:
        seen: list[BaseException] = []
        done = Event()

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            try:
                environ["wsgi.input"].read()
            except OSError as exc:
                seen.append(exc)
                done.set()
                raise
            return answering()(environ, start_response)  # type: ignore[no-any-return]

        here = http2(application)
        with Client(here) as client:
            id = client.ask(head("POST"), b"abc")
            treadle.sleep(0.01)
            client.h2.reset_stream(id, ErrorCodes.CANCEL)
            client.send()
            assert done.wait(5)
            assert isinstance(seen[0], ConnectionResetError)
            assert client.answer(client.ask(head("HEAD")))[0] == "200"
        assert here.errors == []

    def test_a_stream_that_is_reset_while_a_part_is_sent(
        self, http2: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flush = Connection._flush
        answering = []

        def reset_meanwhile(self: Any) -> None:
            flush(self)
            if treadle.getcurrent() in answering:
                client.h2.reset_stream(1, ErrorCodes.CANCEL)
                client.ask(head("HEAD"))  # lets h2 forget the other one
                while len(here.requests) < 2:
                    treadle.sleep(0)

        def application(environ: Any, start_response: Any) -> list[bytes]:
            if environ["REQUEST_METHOD"] == "GET":
                answering.append(treadle.getcurrent())
            start_response("200 OK", [])
            return [b"a" * 1000]

        here = http2(application)
        with Client(here, window=100) as client:
            client.hear()
            monkeypatch.setattr(Connection, "_flush", reset_meanwhile)
            client.ask()
            with treadle.Timeout(2):
                while len(here.log) < 2:
                    treadle.sleep(0.001)
        assert here.errors == []

    def test_a_client_that_leaves(self, http2: Start) -> None:
        seen: list[BaseException] = []
        done = Event()

        def application(environ: dict[str, Any], start_response: Any) -> Any:
            try:
                environ["wsgi.input"].read()
            except OSError as exc:
                seen.append(exc)
                raise
            finally:
                done.set()

        here = http2(application)
        with Client(here) as client:
            client.ask(head("POST"), b"abc")
            treadle.sleep(0.01)
        assert done.wait(5)
        assert isinstance(seen[0], ConnectionResetError)
        assert here.errors == []


class TestAbuse:
    """Each kind of abuse ends the connection quickly."""

    def ended(self, here: Site, *frames: Any, times: int = 1) -> int | None:
        with Client(here) as client:
            client.hear()
            data = b"".join(frame.serialize() for frame in frames) * times
            spawned = treadle.spawn(client.sock.sendall, data)
            spawned.link_exception(lambda greenlet: None)
            try:
                client.until(lambda: client.closed)
            except ProtocolError:
                pytest.fail("the server sent what it must not")
            spawned.kill()
            return client.goaway

    def test_pings(self, http2: Start) -> None:
        assert self.ended(http2(echo), PingFrame(0, b"x" * 8), times=10_000) == (
            ErrorCodes.ENHANCE_YOUR_CALM
        )

    def test_settings(self, http2: Start) -> None:
        frame = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 70_000})
        other = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 70_001})
        found = self.ended(http2(echo), frame, other, times=5_000)
        assert found == ErrorCodes.ENHANCE_YOUR_CALM

    def test_priorities(self, http2: Start) -> None:
        found = self.ended(http2(echo), PriorityFrame(1, depends_on=3), times=10_000)
        assert found == ErrorCodes.ENHANCE_YOUR_CALM

    def test_resets_of_a_closed_stream(self, http2: Start) -> None:
        with Client(http2(answering(b"abc"))) as client:
            id = client.ask()
            client.answer(id)
            client.send(*[RstStreamFrame(id)] * 10_000)
            client.until(lambda: client.closed)
            assert client.goaway == ErrorCodes.ENHANCE_YOUR_CALM

    def test_bodies_on_their_way_when_their_streams_were_reset(self, http2: Start) -> None:
        """They count as nothing: the client could not know. What exceeds its credit counts."""
        here = http2(answering(b"refused", status="401 Unauthorized"))
        with Client(here) as client:
            client.hear()
            ids = [client.ask(head("POST"), b"") for _ in range(5)]
            client.until(lambda: len(client.reset) == 5)
            for id in ids:
                client.send(*[DataFrame(id, b"x" * 100)] * 600)
            assert client.answer(client.ask())[2] == b"refused"
            client.send(*[DataFrame(ids[0], b"x" * 100)] * 4000)
            client.until(lambda: client.closed)
            assert client.goaway == ErrorCodes.ENHANCE_YOUR_CALM

    def test_empty_data(self, http2: Start) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            with contextlib.suppress(OSError):
                environ["wsgi.input"].read()
            return answering()(environ, start_response)  # type: ignore[no-any-return]

        with Client(http2(application)) as client:
            id = client.ask(head("POST"), b"")
            client.send(*[DataFrame(id)] * 10_000)
            client.until(lambda: client.closed)
            assert client.goaway == ErrorCodes.ENHANCE_YOUR_CALM

    def test_rapid_reset(self, http2: Start) -> None:
        running, most = [0], [0]

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            running[0] += 1
            most[0] = max(most[0], running[0])
            treadle.sleep(0.02)
            running[0] -= 1
            return answering(b"abc")(environ, start_response)  # type: ignore[no-any-return]

        here = http2(application, replace(Limits(), streams=20))
        with Client(here) as client:
            for _ in range(2000):
                id = client.h2.get_next_available_stream_id()
                client.h2.send_headers(id, head(), end_stream=True)
                client.h2.reset_stream(id, ErrorCodes.CANCEL)
            client.send()
            client.until(lambda: client.closed)
            assert client.goaway == ErrorCodes.ENHANCE_YOUR_CALM
        assert most[0] <= 20

    def test_too_many_streams(self, http2: Start) -> None:
        go = Event()

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            go.wait(10)
            return answering(b"abc")(environ, start_response)  # type: ignore[no-any-return]

        here = http2(application, replace(UNBOUNDED, streams=5))
        with Client(here) as client:
            client.hear()
            assert client.h2.remote_settings.max_concurrent_streams == 5
            ids = [client.ask() for _ in range(5)]
            for id in ids:  # a stream that is reset counts while its application runs
                client.h2.reset_stream(id, ErrorCodes.CANCEL)
            refused = client.ask()
            client.until(lambda: refused in client.reset)
            assert client.reset[refused] == ErrorCodes.REFUSED_STREAM
            go.set()
            treadle.sleep(0.01)
            assert client.answer(client.ask())[2] == b"abc"

    def test_too_many_streams_at_once(self, http2: Start) -> None:
        go = Event()

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            go.wait(10)
            return answering(b"abc")(environ, start_response)  # type: ignore[no-any-return]

        here = http2(application)
        with Client(here) as client:  # it does not know the limit yet
            ids = [client.ask() for _ in range(140)]
            client.until(lambda: len(client.reset) == 40)
            assert client.reset == dict.fromkeys(ids[100:], ErrorCodes.REFUSED_STREAM)
            go.set()
            assert [client.answer(id)[2] for id in ids[:100]] == [b"abc"] * 100
            assert client.answer(client.ask())[2] == b"abc"

    def test_too_many_streams_again_and_again(self, http2: Start) -> None:
        go = Event()

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            go.wait(10)
            return answering(b"abc")(environ, start_response)  # type: ignore[no-any-return]

        with Client(http2(application, replace(UNBOUNDED, streams=1))) as client:
            client.hear()
            for number in range(400):
                block = b"\x82\x86\x84\x01\x01a"  # GET http://a/
                client.send(HeadersFrame(2 * number + 1, block, flags=["END_HEADERS"]))
            # h2's client does not know these streams, so the test parses the frames itself.
            found = frames(received(client.sock))
            assert (GOAWAY, ErrorCodes.ENHANCE_YOUR_CALM) in [
                (kind, int.from_bytes(payload[4:8], "big")) for kind, payload in found
            ]
            go.set()

    def test_as_many_streams_as_allowed(self, http2: Start) -> None:
        """A stream that the client has the answer of does not count any more."""
        with Client(http2(answering(b"abc"), replace(UNBOUNDED, streams=8))) as client:
            client.hear()
            asked = {client.ask() for _ in range(8)}
            while len(asked) < 400:
                before = len(client.ended)
                client.until(lambda: len(client.ended) > before or client.reset)  # noqa: B023
                assert client.reset == {}
                asked |= {client.ask() for _ in range(len(client.ended) - before)}

    def test_an_answer_that_is_complete_does_not_count(self, http2: Start) -> None:
        """Its greenlet may end later than the client opens the next stream."""
        go = Event()

        class Slow(list[bytes]):
            def close(self) -> None:
                go.wait(10)

        def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Length", "3")])
            return Slow([b"abc"])  # type: ignore[return-value]

        with Client(http2(application, replace(UNBOUNDED, streams=2))) as client:
            client.hear()
            for _ in range(4):
                assert client.answer(client.ask())[2] == b"abc"
            refused = client.ask()  # else greenlets would pile up
            client.until(lambda: refused in client.reset)
            assert client.reset == {refused: ErrorCodes.REFUSED_STREAM}
            go.set()
            treadle.sleep(0.01)
            assert client.answer(client.ask())[2] == b"abc"

    def test_continuations_without_end(self, http2: Start) -> None:
        begin = HeadersFrame(1, b"\0\1x\1y")
        rest = b"\0\0\4\x09\0\0\0\0\1\0\1x\1"[:13]
        with Client(http2(echo)) as client:
            spawned = treadle.spawn(client.sock.sendall, begin.serialize() + rest * 100_000)
            spawned.link_exception(lambda greenlet: None)
            client.until(lambda: client.closed)
            spawned.kill()
            assert client.goaway is not None

    def test_a_header_bomb(self, http2: Start) -> None:
        # A long value in HPACK's dynamic table, which is then referenced many times.
        long = b"x" * 3000
        block = b"\x40\1x\x7f" + b"\xb9\x16" + long + b"\xbe" * 13000
        assert len(long) == 0x7F + 0x39 + (0x16 << 7)
        found = self.ended(http2(echo), HeadersFrame(1, block, flags=["END_HEADERS"]))
        assert found == ErrorCodes.ENHANCE_YOUR_CALM

    @pytest.mark.parametrize(
        "frame",
        [
            DataFrame(1, b"x"),
            HeadersFrame(2, b"", flags=["END_HEADERS"]),
            WindowUpdateFrame(0, window_increment=(1 << 31) - 1),
            RstStreamFrame(1),
            SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 31}),
            SettingsFrame(0, settings={SettingsFrame.MAX_FRAME_SIZE: 1}),
        ],
    )
    def test_frames_that_break_the_rules(self, http2: Start, frame: Any) -> None:
        assert self.ended(http2(echo), frame)

    @pytest.mark.parametrize(
        "raw",
        [
            b"\0\0\4\x08\0\0\0\0\0\0\0\0\0",  # a window increment of 0
            b"\0\0\7\x06\0\0\0\0\0" + b"x" * 7,  # a ping that is too short
            b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 20_000,  # a frame longer than the agreed maximum
            b"\0\0\1\0\x08\0\0\0\1\xff",  # more padding than payload
            b"\0\0\5\4\0\0\0\0\0" + b"x" * 5,  # settings of an invalid length
            b"\0\0\4\1\4\0\0\0\1\xff\xff\xff\xff",  # invalid HPACK
        ],
    )
    def test_bytes_that_break_the_rules(self, http2: Start, raw: bytes) -> None:
        with Client(http2(echo)) as client:
            client.hear()
            client.sock.sendall(raw)
            client.until(lambda: client.closed)
            assert client.goaway

    def test_idle(self, http2: Start) -> None:
        here = http2(answering(b"abc"), replace(UNBOUNDED, idle_time=0.2))
        began = time.monotonic()
        with Client(here) as client:
            while not client.closed:  # pings do not keep the connection open
                client.send(PingFrame(0, b"x" * 8))
                with contextlib.suppress(TimeoutError):
                    client.sock.settimeout(0.02)
                    client.hear()
                time.sleep(0.02)  # too many pings too quickly count as abuse
            assert client.goaway == ErrorCodes.NO_ERROR
        assert time.monotonic() - began > 0.19

    def test_half_a_preface(self, http2: Start) -> None:
        here = http2(answering(b"abc"), replace(UNBOUNDED, header_time=0.1))
        with here.connect() as sock:
            sock.sendall(b"PRI * HTT")
            began = time.monotonic()
            received(sock)
            assert time.monotonic() - began < 9  # the client waits for 10 s
        assert here.exchange(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").startswith(b"HTTP/1.1 ")
        assert here.requests == []


DATA, GOAWAY = 0, 7
ANY_STREAM = b"\x7f\xff\xff\xff"


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return the kinds and payloads of the frames in *data*."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        found.append((data[3], data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def end(server: WSGIServer, **options: Any) -> treadle.Greenlet[None]:
    """Begin to end the connections of *server*; return the greenlet that does it."""
    server.stopping = True
    deadline = time.monotonic() + 10
    return treadle.spawn(
        end_connections, [server], lambda: len(server.connections), deadline, **options
    )


class TestEnd:
    def test_the_clients_goaway(self, http2: Start) -> None:
        go = Event()

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            body = environ["wsgi.input"].read()
            go.wait(10)
            return answering(body)(environ, start_response)  # type: ignore[no-any-return]

        with Client(http2(application)) as client:
            id = client.ask(head("POST"), b"abc")
            client.send(GoAwayFrame(0))
            client.finish(id, b"def")
            treadle.sleep(0.01)
            go.set()
            assert client.answer(id)[2] == b"abcdef"
            client.until(lambda: client.closed)

    def test_a_stream_whose_greenlet_is_killed_before_it_runs(
        self, http2: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = Connection._open

        def killed(self: Any, event: Any) -> bool:
            opened(self, event)
            self.abandon()
            return True

        here = http2(answering(b"abc"), replace(Limits(), streams=1))
        with Client(here) as client:
            client.hear()
            monkeypatch.setattr(Connection, "_open", killed)
            id = client.ask()
            client.until(lambda: client.reset)
            assert client.reset == {id: ErrorCodes.REFUSED_STREAM}
            monkeypatch.undo()
            (served,) = here.server.connections
            assert served.idle
            assert client.answer(client.ask())[2] == b"abc"

    @pytest.mark.parametrize("name", ["_write", "_end_when_taken"])
    def test_a_greenlet_of_the_connection_that_is_killed(
        self, http2: Start, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        here = http2(answering(b"abc"))
        with Client(here) as client, treadle.Timeout(2):
            assert client.answer(client.ask())[2] == b"abc"
            (served,) = here.server.connections
            spawn = served._greenlets.spawn

            def spawn_killed(call: Any) -> Any:
                greenlet = spawn(call)
                if call.__name__ == name:
                    greenlet.kill(block=False)
                    monkeypatch.undo()
                return greenlet

            monkeypatch.setattr(served._greenlets, "spawn", spawn_killed)
            id = client.ask()
            if name == "_write":
                client.until(lambda: client.closed)
                assert id not in client.ended
            else:
                assert client.answer(id)[2] == b"abc"
                end(here.server, patience=0.01)
                client.until(lambda: client.closed)

    def test_the_servers(self, http2: Start) -> None:
        go = Event()

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            go.wait(10)
            return answering(b"abc")(environ, start_response)  # type: ignore[no-any-return]

        here = http2(application)
        with Client(here) as client:
            first, second = client.ask(), client.ask()
            treadle.sleep(0.01)
            ending = end(here.server)
            treadle.sleep(0.2)
            go.set()
            # h2's client ignores frames after a GOAWAY, so the test parses the frames itself.
            found = frames(received(client.sock))
        assert [payload for kind, payload in found if kind == DATA] == [b"abc", b"abc"]
        last = [payload[:4] for kind, payload in found if kind == GOAWAY]
        assert last == [ANY_STREAM, second.to_bytes(4, "big")]
        assert first < second
        ending.get(timeout=30)

    def test_a_client_is_told_between_its_requests(self, http2: Start) -> None:
        go = Event()

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            go.wait(10)
            return answering(b"abc")(environ, start_response)  # type: ignore[no-any-return]

        here = http2(application)
        with Client(here) as busy, Client(here) as idle:
            busy.ask()
            treadle.sleep(0.01)
            ending = end(here.server, patience=5)
            idle.until(lambda: idle.goaway is not None)
            go.set()
            data = b""
            while b"\xff\xff\xff" not in data:
                data += busy.sock.recv(65536)
            kinds = [kind for kind, _ in frames(data)]
            assert kinds.index(DATA) < kinds.index(GOAWAY)
            # What was on its way is answered.
            last = busy.ask()
            data = busy.sock.recv(65536)
            assert (DATA, b"abc") in frames(data)
            assert last.to_bytes(4, "big") in data
            busy.sock.shutdown(SHUT_WR)
            idle.sock.shutdown(SHUT_WR)
        ending.get(timeout=30)

    def test_the_servers_between_two_requests(self, http2: Start) -> None:
        with Client(http2(answering(b"abc"))) as client:
            assert client.answer(client.ask())[2] == b"abc"
            found = [each for each in gc.get_objects() if type(each) is Connection]
            (here,) = [each for each in found if each.socket.fileno() >= 0]
            assert here.idle
            here.stop()
            client.until(lambda: client.closed)
            assert client.goaway == ErrorCodes.NO_ERROR

    def test_one_after_the_other(self, http2: Start) -> None:
        with Client(http2(answering(b"abc"))) as client:
            for _ in range(300):
                assert client.answer(client.ask())[2] == b"abc"


def test_http1_goes_on(http2: Start) -> None:
    here = http2(answering(b"abc"))
    with here.connect() as sock:
        for byte in b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n":
            sock.sendall(bytes([byte]))
            treadle.sleep(0)
        assert received(sock).endswith(b"\r\n\r\nabc")


def test_a_server_without_h2_does_not_start(http2: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)
    monkeypatch.delitem(sys.modules, "treadle.http.http2")
    with pytest.raises(ImportError, match="HTTP/2 needs h2"):
        http2(answering(b"hello"))


def test_without_it_there_is_none(site: Start) -> None:
    here = site(answering(b"abc"))
    assert here.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 505 ")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(http2: Start, authority: trustme.CA) -> Callable[[Any], Site]:
    """Return a function that starts sites with TLS that offer h2."""

    def start(application: Any) -> Site:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return http2(application, ssl_context=context)

    return start


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_tls_ends_with_a_notification(
    secure: Callable[[Any], Site], authority: trustme.CA, protocol: str
) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"abc"

    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols([protocol])
    here = secure(application)
    first = b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n and more"
    for data in first if protocol == "http/1.1" else [b"no preface" * 10]:
        with context.wrap_socket(
            here.connect(), server_hostname="127.0.0.1", suppress_ragged_eofs=False
        ) as sock:
            sock.sendall(data)
            answer = received(sock)  # SSLEOFError if it ends without
            assert answer.endswith(b"abc") == (protocol == "http/1.1")


class TestClients:
    def test_httpx(self, secure: Callable[[Any], Site], authority: trustme.CA) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            if environ["PATH_INFO"] == "/large":
                start_response("200 OK", [])
                return [b"x" * 5_000_000]
            return echo(environ, start_response)

        here = secure(application)
        base = f"https://127.0.0.1:{here.address[1]}"

        def converse() -> None:
            verify = native_ssl.create_default_context()
            authority.configure_trust(verify)
            with httpx.Client(http2=True, verify=verify) as client:
                answer = client.get(base + "/a")
                assert answer.http_version == "HTTP/2"
                assert answer.headers["x-path"] == "/a"
                assert client.post(base, content=b"y" * 2_000_000).content == b"y" * 2_000_000
                assert client.get(base + "/large").content == b"x" * 5_000_000
                assert client.head(base + "/a").content == b""
            with httpx.Client(http2=False, verify=verify) as client:
                assert client.get(base).http_version == "HTTP/1.1"

        treadle.get_hub().threadpool.apply(converse)
        schemes = {(each["wsgi.url_scheme"], each["SERVER_PROTOCOL"]) for each in here.requests}
        assert schemes == {("https", "HTTP/2"), ("https", "HTTP/1.1")}
        assert here.errors == []

    def curl(self, *arguments: str) -> str:
        command = ["curl", "-ksS", "-m", "10", "-w", " %{http_version} %{http_code}\n", *arguments]
        run = treadle.get_hub().threadpool.apply(
            lambda: subprocess.run(command, capture_output=True, text=True)
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    @pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
    @pytest.mark.parametrize("way", ["--http2", "--http2-prior-knowledge", "--http1.1"])
    def test_curl(self, http2: Start, way: str) -> None:
        url = f"http://127.0.0.1:{http2(echo).address[1]}/a"
        version = "2" if "prior" in way else "1.1"
        assert self.curl(way, "-d", "x=y", url) == f"x=y {version} 200\n"

    @pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
    @pytest.mark.parametrize("together", [(), ("-Z",)])
    def test_curl_with_tls(self, secure: Callable[[Any], Site], together: tuple[str, ...]) -> None:
        here = secure(echo)
        url = f"https://127.0.0.1:{here.address[1]}/[1-20]"
        assert self.curl(*together, "--http2", url) == " 2 200\n" * 20
        assert len(here.requests) == 20
