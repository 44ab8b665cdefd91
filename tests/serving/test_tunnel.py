"""WebSockets over HTTP/2 (RFC 8441)."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

import treadle
from treadle.event import Event
from treadle.http.limits import UNBOUNDED, Limits
from treadle.http.policy import LIKE_GEVENT
from treadle.websocket import WebSocketError, application

from .conftest import Site
from .test_http2 import Client, Headers, answering, end, head, http2  # noqa: F401
from .test_websocket import (
    BINARY,
    BYE,
    CLOSE,
    DEFLATE,
    PING,
    TABLE,
    TEXT,
    frame,
    frames,
    inflated,
    said,
)
from .test_websocket import echo as echo_messages

Start = Callable[..., Site]


def connect(*more: tuple[str, str], path: str = "/chat?a=b") -> Headers:
    given = {name for name, _ in more}
    wanted = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
    kept = [each for each in wanted if each[0] not in given]
    asked = [*kept, *((name, value) for name, value in more if value != "-")]
    asked.sort(key=lambda field: not field[0].startswith(":"))
    return head("CONNECT", path, *asked)


def opened(client: Client, *more: tuple[str, str]) -> int:
    """Open a WebSocket and return its stream's id."""
    id = client.ask(connect(*more), body=b"")
    client.until(lambda: client.headers.get(id))
    assert client.headers[id][0] == (":status", "200"), client.headers[id]
    return id


def tell(client: Client, id: int, data: bytes) -> None:
    """Send *data* on a stream as the server's credit allows."""
    while data:
        room = min(client.h2.local_flow_control_window(id), client.h2.max_outbound_frame_size)
        if room <= 0:
            assert client.hear()
            continue
        client.h2.send_data(id, data[:room])
        client.send()
        data = data[room:]


def echoing_after(go: Event) -> Any:
    """Return an application that accepts its WebSocket when *go* is set."""

    def late(environ: Any, start_response: Any) -> list[bytes]:
        go.wait(5)
        return echo_messages(environ, start_response)

    return late


def stay_open(client: Client) -> None:
    """Let *client* hear what comes after a GOAWAY, which h2 refuses (against RFC 9113, 6.8)."""

    def take(frame: GoAwayFrame) -> Any:
        event = ConnectionTerminated()
        event.error_code = frame.error_code
        return [], [event]

    client.h2._frame_dispatch_table[GoAwayFrame] = take


@pytest.mark.parametrize(
    ("case", "way"),
    [
        (case, way)
        for case in TABLE
        for way in ("whole", "deflate", "bytes")
        if way != "deflate" or case != "reserved bits 4"  # it marks a compressed message
    ],
)
def test_table(http2: Start, case: str, way: str) -> None:  # noqa: F811
    sent, expected = TABLE[case]
    step = len(sent) if way != "bytes" or len(sent) > 2000 else 1
    name, _, value = DEFLATE.lower().partition(": ")
    here = http2(echo_messages)
    with Client(here) as client:
        id = opened(client, *([(name, value)] if way == "deflate" else []))
        for at in range(0, len(sent), step):
            tell(client, id, sent[at : at + step])
        client.until(lambda: id in client.ended or id in client.reset)
        answer = client.body[id]
        assert said(inflated(answer) if way == "deflate" else answer) == expected
        # The stream is over for both ends, and the connection goes on.
        assert client.reset.get(id, ErrorCodes.NO_ERROR) == ErrorCodes.NO_ERROR
        assert client.answer(client.ask(head("GET", "/none")))[0] == "500"
    assert ["KeyError" in each for each in here.errors] == [True]


class TestHandshake:
    def test_what_the_application_sees(self, http2: Start) -> None:  # noqa: F811
        here = http2(application(lambda ws: ws.send(ws.environ["wsgi.input"].read().hex())))
        with Client(here) as client:
            id = opened(client, ("origin", "https://example.org"))
            client.until(lambda: client.body[id])
            assert client.h2.remote_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1
            names = {name for name, _ in client.headers[id]}
            assert names == {":status", "date"}
        (environ,) = here.requests
        expected = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/chat",
            "QUERY_STRING": "a=b",
            "SERVER_PROTOCOL": "HTTP/2",
            "HTTP_CONNECTION": "Upgrade",
            "HTTP_UPGRADE": "websocket",
            "HTTP_HOST": "a",
            "HTTP_ORIGIN": "https://example.org",
            "wsgi.websocket_version": "13",
        }
        assert {key: environ[key] for key in expected} == expected

    def test_a_subprotocol_and_headers(self, http2: Start) -> None:  # noqa: F811
        def choosing(environ: Any, start_response: Any) -> list[bytes]:
            environ["wsgi.websocket"].accept("b", [("X-More", "1")])
            return []

        with Client(http2(choosing)) as client:
            id = opened(client, ("sec-websocket-protocol", "a, b"))
            headers = dict(client.headers[id])
            assert (headers["sec-websocket-protocol"], headers["x-more"]) == ("b", "1")

    @pytest.mark.parametrize("body", [[], [b"a page"]])
    @pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
    def test_an_application_that_knows_none(
        self,
        http2: Start,  # noqa: F811
        status: str,
        body: list[bytes],
    ) -> None:
        # 2xx would mean that the client has its WebSocket.
        here = http2(answering(*body, status=status))
        with Client(here) as client:
            found, _, _ = client.answer(client.ask(connect(), body=b""))
            assert found == "501"
            assert client.answer(client.ask())[0] == status[:3]
        assert '"GET /chat?a=b HTTP/2" 501 ' in here.log[0]
        assert here.errors == []

    @pytest.mark.parametrize("status", ["404 Not Found", "302 Found", "403 Forbidden"])
    def test_a_refusal(self, http2: Start, status: str) -> None:  # noqa: F811
        with Client(http2(answering(b"no", status=status))) as client:
            found, _, body = client.answer(client.ask(connect(), body=b""))
            assert (found, body) == (status[:3], b"no")

    @pytest.mark.parametrize("version", ["8", "-"])
    def test_another_version(self, http2: Start, version: str) -> None:  # noqa: F811
        here = http2(application(lambda ws: pytest.fail("it was accepted")))
        with Client(here) as client:
            id = client.ask(connect(("sec-websocket-version", version)), body=b"")
            status, headers, _ = client.answer(id)
            assert (status, headers["sec-websocket-version"]) == ("426", "13")
            assert "upgrade" not in headers
        assert here.errors == []

    def test_another_protocol(self, http2: Start) -> None:  # noqa: F811
        with Client(http2(echo_messages)) as client:
            id = client.ask(connect((":protocol", "connect-udp")), body=b"")
            assert client.answer(id)[0] == "501"

    def test_the_case_of_the_protocol(self, http2: Start) -> None:  # noqa: F811
        with Client(http2(echo_messages)) as client:
            opened(client, (":protocol", "WebSocket"))

    @pytest.mark.parametrize("length", ["0", "5"])
    def test_a_tunnel_has_no_length(self, http2: Start, length: str) -> None:  # noqa: F811
        with Client(http2(echo_messages)) as client:
            assert client.answer(client.ask(connect(("content-length", length))))[0] == "400"

    def test_only_frames_are_sent(self, http2: Start) -> None:  # noqa: F811
        def confused(environ: Any, start_response: Any) -> list[bytes]:
            environ["wsgi.websocket"].accept(None, [("Content-Length", "5")])
            start_response("200 OK", [])(b"no frame")
            return [b"none either"]

        here = http2(confused)
        with Client(here) as client:
            id = opened(client)
            assert "content-length" not in dict(client.headers[id])
            tell(client, id, BYE)
            client.until(lambda: id in client.ended)
            assert said(client.body[id]) == [1000]
        assert here.errors == []

    def test_a_client_that_is_gone_before(self, http2: Start) -> None:  # noqa: F811
        go = Event()
        here = http2(echoing_after(go))
        with Client(here) as client:
            id = client.ask(connect(), body=b"")
            while not here.requests:
                treadle.sleep(0)
            client.h2.reset_stream(id, ErrorCodes.CANCEL)
            client.h2.ping(b"01234567")
            client.send()
            client.until(lambda: client.pings)
            go.set()
            assert client.answer(client.ask(head("GET", "/none")))[0] == "500"
        assert ["KeyError" in each for each in here.errors] == [True]

    def test_a_server_that_hands_its_sockets_out(self, http2: Start) -> None:  # noqa: F811
        with Client(http2(echo_messages, policy=LIKE_GEVENT)) as client:
            client.until(lambda: client.h2.remote_settings.max_frame_size)
            client.hear()
            assert client.h2.remote_settings.enable_connect_protocol == 0
            id = client.ask(connect(), body=b"")
            assert client.answer(id)[0] == "501"


class TestStreams:
    def test_requests_and_websockets_share_a_connection(self, http2: Start) -> None:  # noqa: F811
        def mixed(environ: Any, start_response: Any) -> list[bytes]:
            if "wsgi.websocket" in environ:
                return echo_messages(environ, start_response)
            start_response("200 OK", [])
            return [b"page"]

        with Client(http2(mixed)) as client:
            ids = [opened(client) for _ in range(10)]
            for number, id in enumerate(ids):
                tell(client, id, frame(TEXT, b"%d" % number))
            assert client.answer(client.ask())[2] == b"page"
            client.until(lambda: all(client.body[id] for id in ids))
            for id in ids:
                tell(client, id, BYE)
            client.until(lambda: client.ended.issuperset(ids))
            assert [said(client.body[id]) for id in ids] == [[str(i), 1000] for i in range(10)]

    def test_long_messages_need_credit_in_both_directions(self, http2: Start) -> None:  # noqa: F811
        message = bytes(range(256)) * 8000  # 2 MB, many windows
        with Client(http2(echo_messages, UNBOUNDED)) as client:
            id = opened(client)
            tell(client, id, frame(BINARY, message) + BYE)
            client.until(lambda: id in client.ended)
            *parts, (last, _) = frames(client.body[id])
            assert b"".join(payload for _, payload in parts) == message
            assert last & 15 == CLOSE

    def test_a_client_that_is_not_heard_has_bounded_credit(self, http2: Start) -> None:  # noqa: F811
        go = Event()
        here = http2(application(lambda ws: go.wait(10)))
        with Client(here) as client:
            id = client.ask(connect(), body=b"")
            client.until(lambda: client.headers.get(id))
            sent = 0
            while (room := client.h2.local_flow_control_window(id)) > 0:
                client.h2.send_data(id, bytes(min(room, client.h2.max_outbound_frame_size)))
                sent += min(room, client.h2.max_outbound_frame_size)
                client.send()
                assert sent <= 65535
            treadle.sleep(0.05)
            client.h2.ping(b"01234567")
            client.send()
            client.until(lambda: client.pings)
            assert client.h2.local_flow_control_window(id) == 0
            go.set()

    def test_a_body_limit_is_none_of_a_websockets(self, http2: Start) -> None:  # noqa: F811
        with Client(http2(echo_messages, Limits(body_size=10))) as client:
            id = opened(client)
            tell(client, id, frame(TEXT, b"x" * 100) + BYE)
            client.until(lambda: id in client.ended)
            assert said(client.body[id]) == ["x" * 100, 1000]

    @pytest.mark.parametrize("way", ["reset", "end", "trailers", "close"])
    def test_a_client_that_goes_away(self, http2: Start, way: str) -> None:  # noqa: F811
        codes: list[Any] = []
        left = Event()

        def waiting(ws: Any) -> None:
            codes.append(ws.receive())
            codes.append(ws.close_code)
            with pytest.raises(WebSocketError):
                ws.send("late")
            left.set()

        here = http2(application(waiting), replace(UNBOUNDED, header_count=5))
        with Client(here) as client:
            id = opened(client)
            if way == "trailers":
                many = [(f"x-{at}", "1") for at in range(9)]
                client.h2.send_headers(id, many, end_stream=True)
                client.send()
            elif way == "reset":
                client.h2.reset_stream(id, ErrorCodes.CANCEL)
                client.send()
            elif way == "end":
                client.finish(id)
            else:
                client.sock.close()
            assert left.wait(5)
        assert codes == [None, 1006]
        treadle.sleep(0.01)
        assert here.errors == []

    def test_a_cut_frame_ends_its_stream_alone(self, http2: Start) -> None:  # noqa: F811
        ended = Event()

        def cut(ws: Any) -> None:
            with pytest.raises(treadle.Timeout), treadle.Timeout(0.05):
                ws.send(b"x" * 10_000_000)
            with pytest.raises(WebSocketError):
                ws.send("more")
            ended.set()

        with Client(http2(application(cut), UNBOUNDED)) as client:
            client.credit = False
            id = opened(client)
            client.until(lambda: id in client.reset)
            assert ended.wait(5)
            assert client.reset[id] == ErrorCodes.CANCEL
            second = opened(client)
            assert second not in client.reset

    def test_a_client_that_reads_nothing(self, http2: Start) -> None:  # noqa: F811
        took: list[float] = []
        got = Event()

        def mixed(environ: Any, start_response: Any) -> list[bytes]:
            ws = environ["wsgi.websocket"]
            if environ["PATH_INFO"] == "/big":
                ws.send(bytes(50_000_000))
                return []
            assert ws.receive() == "go"  # although a sender holds the connection
            began = time.monotonic()
            with pytest.raises(treadle.Timeout), treadle.Timeout(0.05):
                ws.send("small")
            took.append(time.monotonic() - began)
            got.set()
            return []

        with Client(http2(mixed, UNBOUNDED)) as client:
            client.h2.increment_flow_control_window(1 << 30)
            client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
            client.send()
            small = client.ask(connect(path="/small"), body=b"")
            client.until(lambda: client.headers.get(small))
            client.ask(connect(path="/big"), body=b"")
            treadle.sleep(0.2)
            client.h2.ping(b"01234567")  # whose answer waits
            client.send()
            treadle.sleep(0.02)
            tell(client, small, frame(TEXT, b"go"))
            assert got.wait(3)
        assert took[0] < 1

    def test_who_keeps_a_websocket(self, http2: Start) -> None:  # noqa: F811
        kept: list[Any] = []
        with Client(http2(application(kept.append))) as client:
            id = opened(client)
            tell(client, id, BYE)
            client.until(lambda: id in client.ended)
        assert kept[0].receive() is None
        with pytest.raises(WebSocketError):
            kept[0].send("late")

    def test_an_application_that_fails(self, http2: Start) -> None:  # noqa: F811
        def failing(ws: Any) -> None:
            ws.send("one")
            raise KeyError("missing")

        here = http2(application(failing))
        with Client(here) as client:
            id = opened(client)
            client.until(lambda: len(client.body[id]) > 5)
            tell(client, id, BYE)
            client.until(lambda: id in client.ended)
            assert said(client.body[id]) == ["one", 1011]
        assert len(here.errors) == 1

    def test_a_stop_says_1001(self, http2: Start) -> None:  # noqa: F811
        here = http2(echo_messages)
        with Client(here) as client:
            stay_open(client)
            id = opened(client)
            ending = end(here.server)
            client.until(lambda: client.body[id])
            assert said(client.body[id]) == [1001]
            tell(client, id, BYE)
            client.until(lambda: client.closed)
            assert (id in client.ended, client.goaway) == (True, ErrorCodes.NO_ERROR)
            ending.get(timeout=5)

    def test_a_stop_before_it_is_accepted(self, http2: Start) -> None:  # noqa: F811
        go = Event()
        here = http2(echoing_after(go))
        with Client(here) as client:
            stay_open(client)
            id = client.ask(connect(), body=b"")
            while not here.requests:
                treadle.sleep(0)
            ending = end(here.server)
            client.until(lambda: client.goaway is not None)
            go.set()
            client.until(lambda: client.body[id])
            assert said(client.body[id]) == [1001]
            tell(client, id, BYE)
            client.until(lambda: client.closed)
            ending.get(timeout=5)

    def test_a_silent_client_is_pinged_and_given_up(self, http2: Start) -> None:  # noqa: F811
        with Client(http2(echo_messages, replace(UNBOUNDED, ping_time=0.05))) as client:
            id = opened(client)
            client.until(lambda: id in client.reset)
            assert client.body[id] == frame(PING, mask=False)
            assert client.reset[id] == ErrorCodes.CANCEL
