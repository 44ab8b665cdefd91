"""WebSockets: all strict cases of the protocol as raw frames, real clients, and the API."""

import os
import random
import struct
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

import treadle
from treadle.event import Event
from treadle.exceptions import ConcurrentObjectUseError
from treadle.http.limits import UNBOUNDED
from treadle.websocket import WebSocket, WebSocketError, application

from .conftest import Site, received

Start = Callable[..., Site]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = b64encode(b"0123456789abcdef").decode()
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def handshake(*lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    given = {line.partition(":")[0].lower() for line in lines}
    wanted = [
        "Host: a",
        "Connection: keep-alive, Upgrade",
        "Upgrade: WebSocket",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
    ]
    kept = [line for line in wanted if line.partition(":")[0].lower() not in given]
    every = [*kept, *(line for line in lines if not line.endswith(": -"))]
    return "\r\n".join([f"{method} /chat?a=b HTTP/{version}", *every, "", ""]).encode()


def frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True
) -> bytes:
    size, masked = len(data), 0x80 if mask else 0
    if size < 126:
        length = bytes([masked | size])
    elif size < 1 << 16:
        length = bytes([masked | 126]) + struct.pack("!H", size)
    else:
        length = bytes([masked | 127]) + struct.pack("!Q", size)
    head = bytes([fin << 7 | rsv << 4 | opcode]) + length
    if not mask:
        return head + data
    key = os.urandom(4)
    pad = (key * (size // 4 + 1))[:size]
    hidden = int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")
    return head + key + hidden.to_bytes(size, "big")


def closing(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return the first byte and payload of each frame of a server; none is masked or cut short."""
    found, at = [], 0
    while at < len(data):
        first, size = data[at], data[at + 1]
        at += 2
        assert size < 128, "a server masks nothing"
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        assert at + size <= len(data)
        found.append((first, bytes(data[at : at + size])))
        at += size
    return found


def said(data: bytes) -> list[Any]:
    """Return frames as the tests write them: text, bytes, (name, payload), or a close's code."""
    kinds: dict[int, Any] = {
        TEXT: bytes.decode,
        BINARY: bytes,
        PING: lambda data: ("ping", data),
        PONG: lambda data: ("pong", data),
        CLOSE: lambda data: int.from_bytes(data[:2], "big") if data else None,
    }
    return [kinds[first & 15](payload) for first, payload in frames(data)]


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    ws = environ["wsgi.websocket"]
    for message in ws:
        ws.send(message)
    return []


def upgraded(sock: Any) -> bytes:
    """Read the response to a handshake, and none of the data that follows it."""
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += sock.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return bytes(answer)


def exchange(here: Site, *parts: bytes, lines: tuple[str, ...] = ()) -> bytes:
    """Send the frames in *parts* and return what the server sends until it closes."""
    with here.connect() as sock:
        sock.sendall(handshake(*lines))
        upgraded(sock)
        for part in parts:
            sock.sendall(part)
            treadle.sleep(0.001)
        return received(sock)


BYE = closing()
UTF8 = "\u03ba\u1f79\u03c3\u03bc\u03b5-\U0001f680".encode()

#: What the client sends, and what it receives.
TABLE: dict[str, tuple[bytes, list[Any]]] = {
    "empty text": (frame(TEXT) + BYE, ["", 1000]),
    "text": (frame(TEXT, b"abc") + BYE, ["abc", 1000]),
    "bytes": (frame(BINARY, b"\0\xff") + BYE, [b"\0\xff", 1000]),
    "125 bytes": (frame(TEXT, b"*" * 125) + BYE, ["*" * 125, 1000]),
    "126 bytes": (frame(TEXT, b"*" * 126) + BYE, ["*" * 126, 1000]),
    "65535 bytes": (frame(BINARY, b"*" * 65535) + BYE, [b"*" * 65535, 1000]),
    "65536 bytes": (frame(BINARY, b"*" * 65536) + BYE, [b"*" * 65536, 1000]),
    "several at once": (frame(TEXT, b"1") + frame(TEXT, b"2") + BYE, ["1", "2", 1000]),
    # Control frames
    "ping": (frame(PING) + BYE, [("pong", b""), 1000]),
    "ping with a payload": (frame(PING, b"\0\xffa") + BYE, [("pong", b"\0\xffa"), 1000]),
    "ping of 125": (frame(PING, b"x" * 125) + BYE, [("pong", b"x" * 125), 1000]),
    "ping of 126": (frame(PING, b"x" * 126), [1002]),
    "many pings": (
        b"".join(frame(PING, b"%d" % i) for i in range(10)) + BYE,
        [*(("pong", b"%d" % i) for i in range(10)), 1000],
    ),
    "a pong nobody asked for": (frame(PONG, b"x") + frame(TEXT, b"a") + BYE, ["a", 1000]),
    "ping in parts": (frame(PING, b"a", fin=False), [1002]),
    "pong in parts": (frame(PONG, b"a", fin=False), [1002]),
    "close in parts": (frame(CLOSE, fin=False), [1002]),
    # Reserved bits, opcodes, masks
    **{f"reserved bits {rsv}": (frame(TEXT, b"a", rsv=rsv), [1002]) for rsv in range(1, 8)},
    **{f"ping, reserved bits {rsv}": (frame(PING, rsv=rsv), [1002]) for rsv in range(1, 8)},
    "close with a reserved bit": (frame(CLOSE, b"\3\xe8", rsv=4), [1002]),
    "reserved bit after a good one": (frame(TEXT, b"a") + frame(TEXT, rsv=2), ["a", 1002]),
    **{f"opcode {op}": (frame(op, b"a"), [1002]) for op in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "no mask": (frame(TEXT, b"a", mask=False), [1002]),
    "ping without a mask": (frame(PING, mask=False), [1002]),
    # Fragments
    "two fragments": (frame(TEXT, b"a", fin=False) + frame(0, b"b") + BYE, ["ab", 1000]),
    "bytes in fragments": (frame(BINARY, b"a", fin=False) + frame(0, b"b") + BYE, [b"ab", 1000]),
    "empty fragments": (
        frame(TEXT, fin=False) + frame(0, fin=False) + frame(0) + BYE,
        ["", 1000],
    ),
    "empty fragments about one": (
        frame(TEXT, fin=False) + frame(0, b"x", fin=False) + frame(0) + BYE,
        ["x", 1000],
    ),
    "many fragments": (
        frame(TEXT, fin=False) + frame(0, b"x", fin=False) * 500 + frame(0, b"y") + BYE,
        ["x" * 500 + "y", 1000],
    ),
    "ping between fragments": (
        frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(0, b"b") + BYE,
        [("pong", b"p"), "ab", 1000],
    ),
    "pings between fragments": (
        frame(TEXT, b"a", fin=False)
        + frame(PING, b"1")
        + frame(0, b"b", fin=False)
        + frame(PING, b"2")
        + frame(0, b"c")
        + BYE,
        [("pong", b"1"), ("pong", b"2"), "abc", 1000],
    ),
    "close between fragments": (frame(TEXT, b"a", fin=False) + BYE, [1000]),
    "nothing to continue": (frame(0, b"a"), [1002]),
    "nothing to continue, not final": (frame(0, b"a", fin=False), [1002]),
    "continued after the end": (frame(TEXT, b"a") + frame(0, b"b"), ["a", 1002]),
    "text within text": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), [1002]),
    "bytes within text": (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"), [1002]),
    # UTF-8
    "text beyond ASCII": (frame(TEXT, UTF8) + BYE, [UTF8.decode(), 1000]),
    "text in single bytes": (
        frame(TEXT, UTF8[:1], fin=False)
        + b"".join(frame(0, UTF8[i : i + 1], fin=False) for i in range(1, len(UTF8)))
        + frame(0)
        + BYE,
        [UTF8.decode(), 1000],
    ),
    "invalid text": (frame(TEXT, b"\xce\xba\xed\xa0\x80edited"), [1007]),
    "invalid text, noticed at once": (frame(TEXT, b"\xff", fin=False), [1007]),
    "invalid text over two fragments": (
        frame(TEXT, b"\xf4", fin=False) + frame(0, b"\x90", fin=False),
        [1007],
    ),
    "text that ends within a character": (frame(TEXT, UTF8[:-1]), [1007]),
    "fragments that end within a character": (
        frame(TEXT, b"a", fin=False) + frame(0, UTF8[:1]),
        [1007],
    ),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), [1007]),
    "overlong": (frame(TEXT, b"\xc0\xaf"), [1007]),
    "beyond Unicode": (frame(TEXT, b"\xf4\x90\x80\x80"), [1007]),
    "five bytes": (frame(TEXT, b"\xf8\x88\x80\x80\x80"), [1007]),
    "the largest character": (frame(TEXT, b"\xf4\x8f\xbf\xbf") + BYE, ["\U0010ffff", 1000]),
    "a nul": (frame(TEXT, b"\0") + BYE, ["\0", 1000]),
    "bytes need not be UTF-8": (frame(BINARY, b"\xff") + BYE, [b"\xff", 1000]),
    # Close
    "close without a code": (closing(None), [None]),
    "close with a reason": (closing(1000, b"x" * 123), [1000]),
    "close of one byte": (frame(CLOSE, b"\3"), [1002]),
    "close of 126": (frame(CLOSE, b"\3\xe8" + b"x" * 124), [1002]),
    "close with an invalid reason": (closing(1000, b"\xff"), [1007]),
    **{
        f"close {code}": (closing(code), [code])
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    },
    **{
        f"close {code}": (closing(code), [1002])
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "text after close": (BYE + frame(TEXT, b"late"), [1000]),
    "ping after close": (BYE + frame(PING), [1000]),
    "close twice": (BYE + closing(1001), [1000]),
    # Lengths
    "16 bits where 7 do": (b"\x81\xfe\0\1" + b"\0" * 4 + b"a", [1002]),
    "64 bits where 16 do": (b"\x81\xff" + struct.pack("!Q", 1) + b"\0" * 4 + b"a", [1002]),
    "64 bits, all set": (b"\x81\xff" + b"\xff" * 8 + b"\0" * 4, [1002]),
}


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
@pytest.mark.parametrize(
    ("case", "lines"),
    [
        pytest.param(case, lines, id=f"{case}, {'deflate' if lines else 'plain'}")
        for case in TABLE
        for lines in ((), (DEFLATE,))
        if not lines or case != "reserved bits 4"  # with deflate, it marks a compressed message
    ],
)
def test_table(site: Start, case: str, pieces: str, lines: tuple[str, ...]) -> None:
    sent, expected = TABLE[case]
    if pieces == "whole" or len(sent) > 2000:
        parts = [sent]
    else:
        parts = [sent[i : i + 1] for i in range(len(sent))]
    here = site(echo)
    with here.connect() as sock:
        sock.sendall(handshake(*lines))
        upgraded(sock)
        for part in parts:
            sock.sendall(part)
            treadle.sleep(0)
        answer = received(sock)
    if lines:
        answer = inflated(answer)
    assert said(answer) == expected
    assert here.errors == []


def inflated(data: bytes) -> bytes:
    """Return a server's frames with their payload decompressed."""
    reading = zlib.decompressobj(-15)
    plain = b""
    for first, payload in frames(data):
        if first & 0x40:
            payload = reading.decompress(payload + b"\0\0\xff\xff")
        plain += frame(first & 15, payload, mask=False)
    return plain


class TestHandshake:
    def test_the_answer(self, site: Start) -> None:
        with site(echo).connect() as sock:
            # The example of RFC 6455, 1.2
            sock.sendall(handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
            answer = upgraded(sock)
        assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
        assert b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" in answer
        assert b"Transfer-Encoding" not in answer
        assert b"Content-Length" not in answer

    def test_frames_right_after_it(self, site: Start) -> None:
        with site(echo).connect() as sock:
            sock.sendall(handshake() + frame(TEXT, b"a") + BYE)
            upgraded(sock)
            assert said(received(sock)) == ["a", 1000]

    @pytest.mark.parametrize(
        "line",
        [
            "Sec-WebSocket-Version: 8",
            "Sec-WebSocket-Version: -",
            "Sec-WebSocket-Key: -",
            "Sec-WebSocket-Key: abc",
            f"Sec-WebSocket-Key: {KEY[:-4]}",
            f"Sec-WebSocket-Key: {KEY}, {KEY}",
            "Connection: close",
            "Upgrade: -",
            "Upgrade: websockets",
            "Content-Length: 3",
        ],
    )
    def test_what_is_none(self, site: Start, line: str) -> None:
        here = site(application(lambda ws: pytest.fail("it was accepted")))
        body = b"abc" if "Length" in line else b""
        lines = [line] if "Connection" in line else ["Connection: close, Upgrade", line]
        answer = here.exchange(handshake(*lines) + body)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 ")), answer
        if "Version" in line:
            assert b"426 Upgrade Required\r\n" in answer
            assert b"Sec-WebSocket-Version: 13\r\n" in answer
        assert here.errors == []

    @pytest.mark.parametrize("options", [{"method": "POST"}, {"version": "1.0"}])
    def test_what_is_none_either(self, site: Start, options: Any) -> None:
        here = site(application(lambda ws: pytest.fail("it was accepted")))
        with here.connect() as sock:
            sock.sendall(handshake(**options))
            assert sock.recv(20).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 "))

    def test_an_application_may_refuse(self, site: Start) -> None:
        def refuse(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            assert isinstance(environ["wsgi.websocket"], WebSocket)
            start_response("403 Forbidden", [])
            return [b"no"]

        with site(refuse).connect() as sock:
            sock.sendall(handshake())
            assert sock.recv(1000).startswith(b"HTTP/1.1 403 ")
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            # The second request has no WebSocket: KeyError.
            assert received(sock).startswith(b"HTTP/1.1 500 ")

    def test_subprotocols_and_origins(self, site: Start) -> None:
        @application(subprotocols=("b", "c"), origins=("https://a",))
        def tell(ws: WebSocket) -> None:
            ws.send(f"{ws.subprotocol} {ws.path} {ws.origin} {ws.protocol} {ws.version}")

        here = site(tell)
        offer = "Sec-WebSocket-Protocol: a, c, b"
        answer = exchange(here, BYE, lines=(offer, "Origin: https://a"))
        assert said(answer) == ["c /chat https://a a, c, b 13", 1000]
        assert said(exchange(here, BYE)) == ["None /chat None None 13", 1000]
        answer = here.exchange(handshake("Origin: https://b", "Connection: Upgrade, close"))
        assert answer.startswith(b"HTTP/1.1 403 ")

    def test_a_subprotocol_that_is_not_offered(self, site: Start) -> None:
        here = site(lambda environ, start: environ["wsgi.websocket"].accept("x"))
        assert here.exchange(handshake()).startswith(b"HTTP/1.1 500 ")
        assert "ValueError: the client does not offer the subprotocol 'x'" in here.errors[0]

    def test_frameworks_answer_afterwards(self, site: Start) -> None:
        def framework(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            environ["wsgi.websocket"].send("a")
            start_response("200 OK", [("Content-Length", "2")])
            return [b"OK"]

        here = site(framework)
        assert said(exchange(here, BYE)) == ["a", 1000]
        assert here.errors == []
        assert '"GET /chat?a=b HTTP/1.1" 101 ' in here.log[0]


#: Parameters of an offer, and of the response; None if the offer is declined.
OFFERS = {
    "": "server_max_window_bits=12",
    "server_no_context_takeover": "server_no_context_takeover; server_max_window_bits=12",
    "client_no_context_takeover": "client_no_context_takeover; server_max_window_bits=12",
    "client_max_window_bits": "client_max_window_bits=12; server_max_window_bits=12",
    "client_max_window_bits=9": "client_max_window_bits=9; server_max_window_bits=12",
    "client_max_window_bits=8": "client_max_window_bits=8; server_max_window_bits=12",
    "server_max_window_bits=9": "server_max_window_bits=9",
    'server_max_window_bits="10"': "server_max_window_bits=10",
    "server_max_window_bits=15": "server_max_window_bits=12",
    "client_max_window_bits=15; server_no_context_takeover; client_no_context_takeover": (
        "client_max_window_bits=12; server_no_context_takeover; "
        "client_no_context_takeover; server_max_window_bits=12"
    ),
    "server_max_window_bits=8": None,  # zlib does not support it
    "server_max_window_bits": None,
    "server_max_window_bits=7": None,
    "server_max_window_bits=16": None,
    "server_max_window_bits=010": None,
    "server_max_window_bits=x": None,
    "client_max_window_bits=0": None,
    "client_max_window_bits=": None,
    "server_no_context_takeover=1": None,
    "client_no_context_takeover; client_no_context_takeover": None,
    "unknown": None,
}


class TestDeflate:
    @pytest.mark.parametrize("fragments", [1, 40])
    def test_a_message_that_inflates_to_much_holds_nobody_up(
        self, site: Start, fragments: int
    ) -> None:
        turns = 0

        def count() -> None:
            nonlocal turns
            while True:
                treadle.sleep(0)
                turns += 1

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            counting = treadle.spawn(count)
            ws = environ["wsgi.websocket"]
            message = ws.receive()
            counting.kill()
            ws.send(str(len(message)))
            return []

        squeeze = zlib.compressobj(9, wbits=-12)
        data = squeeze.compress(bytes(15 << 20)) + squeeze.flush(zlib.Z_SYNC_FLUSH)[:-4]
        step = -(-len(data) // fragments)
        parts = [data[at : at + step] for at in range(0, len(data), step)]
        sent = [
            frame(0 if at else BINARY, part, fin=part is parts[-1], rsv=0 if at else 4)
            for at, part in enumerate(parts)
        ]
        with site(application).connect() as sock:
            sock.sendall(handshake(DEFLATE))
            upgraded(sock)
            sock.sendall(b"".join(sent))
            assert str(15 << 20).encode() in sock.recv(1000)
        assert turns > 30

    @pytest.mark.parametrize("offer", OFFERS)
    def test_offers(self, site: Start, offer: str) -> None:
        header = f"{DEFLATE}; {offer}" if offer else DEFLATE
        agreed = OFFERS[offer]
        messages = [b"abc" * 1000, b"abc" * 1000, b"", os.urandom(3000), b"x" * 100_000]
        with site(echo).connect() as sock:
            sock.sendall(handshake(header))
            answer = upgraded(sock).decode()
            if agreed is None:
                assert "Sec-WebSocket-Extensions" not in answer
                sock.sendall(frame(TEXT, b"a") + BYE)
                assert said(received(sock)) == ["a", 1000]
                return
            assert f"{DEFLATE}; {agreed}\r\n" in answer
            bits = int(agreed.partition("client_max_window_bits=")[2].partition(";")[0] or 15)
            writing = zlib.compressobj(wbits=-max(bits, 9))
            for message in messages:
                if "client_no" in agreed:
                    writing = zlib.compressobj(wbits=-max(bits, 9))
                data = writing.compress(message) + writing.flush(zlib.Z_SYNC_FLUSH)
                sock.sendall(frame(BINARY, data[:-4], rsv=4))
            sock.sendall(BYE)
            answers = frames(received(sock))
        server_bits = int(agreed.partition("server_max_window_bits=")[2].partition(";")[0])
        reading = zlib.decompressobj(-server_bits)
        for message, (first, payload) in zip(messages, answers[:-1], strict=True):
            if "server_no" in agreed:
                reading = zlib.decompressobj(-server_bits)
            compressed = len(message) >= 64
            assert first == (0x82 | (0x40 if compressed else 0))
            found = reading.decompress(payload + b"\0\0\xff\xff") if compressed else payload
            assert found == message
        assert answers[-1] == (0x88, b"\3\xe8")

    def test_the_first_good_offer(self, site: Start) -> None:
        offers = (
            "x-other, permessage-deflate; unknown, permessage-deflate; server_max_window_bits=9"
        )
        with site(echo).connect() as sock:
            sock.sendall(handshake(f"Sec-WebSocket-Extensions: {offers}"))
            assert b"permessage-deflate; server_max_window_bits=9\r\n" in upgraded(sock)

    def compressed(self, data: bytes) -> bytes:
        writing = zlib.compressobj(wbits=-15)
        return (writing.compress(data) + writing.flush(zlib.Z_SYNC_FLUSH))[:-4]

    @pytest.mark.parametrize("between", [b"", frame(PING, b"p")])
    def test_fragments(self, site: Start, between: bytes) -> None:
        data = self.compressed(b"abc" * 100)
        sent = frame(TEXT, data[:3], fin=False, rsv=4) + between
        sent += frame(0, fin=False) + frame(0, data[3:]) + frame(TEXT, b"plain") + BYE
        answer = inflated(exchange(site(echo), sent, lines=(DEFLATE,)))
        assert [each for each in said(answer) if each != ("pong", b"p")] == [
            "abc" * 100,
            "plain",
            1000,
        ]

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (frame(0, b"a", rsv=4), 1002),
            (frame(TEXT, b"a", fin=False) + frame(0, b"a", rsv=4), 1002),
            (frame(PING, rsv=4), 1002),
            (frame(TEXT, b"a", rsv=6), 1002),
            (frame(TEXT, b"\xff\xff\xff", rsv=4), 1007),
        ],
    )
    def test_what_is_wrong(self, site: Start, sent: bytes, code: int) -> None:
        assert said(exchange(site(echo), sent, lines=(DEFLATE,))) == [code]

    def test_invalid_text_compressed(self, site: Start) -> None:
        sent = frame(TEXT, self.compressed(b"\xff"), rsv=4)
        assert said(exchange(site(echo), sent, lines=(DEFLATE,))) == [1007]

    def test_a_block_that_says_it_is_the_last(self, site: Start) -> None:
        # The example of RFC 7692, 7.2.3.5, then another message
        sent = frame(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=4)
        sent += frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=4) + BYE
        assert said(exchange(site(echo), sent, lines=(DEFLATE,))) == ["Hello", "Hello", 1000]

    def test_a_bomb(self, site: Start) -> None:
        here = site(echo, replace(UNBOUNDED, message_size=100_000))
        bomb = self.compressed(b"\0" * 20_000_000)
        sizes: list[int] = []
        native = zlib.decompressobj

        class Watching:
            def __init__(self, bits: int) -> None:
                self.object = native(bits)

            def decompress(self, data: bytes, most: int) -> bytes:
                found = self.object.decompress(data, most)
                sizes.append(len(found))
                return found

            def __getattr__(self, name: str) -> Any:
                return getattr(self.object, name)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zlib, "decompressobj", Watching)
            sent = frame(BINARY, bomb, rsv=4)
            assert said(exchange(here, sent, lines=(DEFLATE,))) == [1009]
        assert sum(sizes) <= 100_001


class TestLimits:
    def test_a_long_message(self, site: Start) -> None:
        here = site(echo, replace(UNBOUNDED, message_size=1000))
        good = frame(TEXT, b"x" * 1000)
        assert said(exchange(here, good + BYE)) == ["x" * 1000, 1000]
        assert said(exchange(here, frame(TEXT, b"x" * 1001))) == [1009]
        parts = frame(TEXT, b"x" * 600, fin=False) + frame(0, b"x" * 600)
        assert said(exchange(here, parts)) == [1009]
        # The server does not wait for the rest of the frame.
        assert said(exchange(here, b"\x82\xff" + struct.pack("!Q", 1 << 40) + b"x" * 2000)) == [
            1009
        ]

    def test_a_silent_client_is_pinged_and_given_up(self, site: Start) -> None:
        seen: list[Any] = []

        def serve(ws: WebSocket) -> None:
            seen.append(ws.receive())
            seen.append(ws.close_code)

        here = site(application(serve), replace(UNBOUNDED, ping_time=0.1))
        began = time.monotonic()
        assert said(exchange(here)) == [("ping", b"")]
        assert time.monotonic() - began > 0.19
        assert seen == [None, 1006]
        assert here.errors == []

    def test_a_client_that_answers_pings_stays(self, site: Start) -> None:
        here = site(echo, replace(UNBOUNDED, ping_time=0.1))
        host, port = here.address

        def stay() -> bytes | str:
            with connect(f"ws://{host}:{port}/", ping_interval=None) as client:
                time.sleep(0.5)
                client.send("still here")
                return client.recv()

        assert treadle.get_hub().threadpool.apply(stay) == "still here"

    def test_a_client_that_does_not_read(self, site: Start) -> None:
        ended: list[BaseException] = []
        done = Event()

        def serve(ws: WebSocket) -> None:
            try:
                while True:
                    ws.send(b"x" * 1_000_000)
            except WebSocketError as exc:
                ended.append(exc)
                raise
            finally:
                done.set()

        here = site(application(serve), replace(UNBOUNDED, write_time=0.1))
        with here.connect() as sock:
            sock.sendall(handshake())
            assert done.wait(5)
        assert ended[0].code == 1006  # type: ignore[attr-defined]
        treadle.sleep(0.05)
        assert here.errors == []

    def test_nothing_is_read_that_is_not_asked_for(self, site: Start) -> None:
        go, done = Event(), Event()

        def serve(ws: WebSocket) -> None:
            ws.accept()
            go.wait(10)
            assert ws.receive() is None  # the client closes within the message
            done.set()

        with site(application(serve)).connect() as sock:
            sock.sendall(handshake())
            upgraded(sock)
            sock.settimeout(0.3)
            message = frame(BINARY, b"x" * 20_000_000)
            with pytest.raises(TimeoutError):
                sock.sendall(message)
            go.set()
        assert done.wait(10)
        treadle.sleep(0.01)

    def test_a_flood_of_pings_leaves_others_their_turn(self, site: Start) -> None:
        turns: list[int] = []
        ticks = 0

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            ws = environ["wsgi.websocket"]
            while ws.receive() is not None:
                turns.append(ticks)
            return []

        def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                treadle.sleep(0)

        here = site(application)
        many = frame(TEXT, b"a") + frame(PING) * 6000
        with here.connect() as sock:
            sock.sendall(handshake())
            upgraded(sock)
            ticker = treadle.spawn(tick)
            sock.sendall(many + frame(TEXT, b"b") + BYE)
            received(sock)
            ticker.kill()
        assert turns[1] - turns[0] > 80


class TestUse:
    def closed_with(self, site: Start, serve: Callable[[WebSocket], None], *sent: bytes) -> Any:
        return said(exchange(site(application(serve)), *sent))

    def test_return_closes(self, site: Start) -> None:
        assert self.closed_with(site, lambda ws: None, BYE) == [1000]

    def test_an_exception_closes_with_1011(self, site: Start) -> None:
        def serve(ws: WebSocket) -> None:
            raise KeyError("missing")

        here = site(application(serve))
        assert said(exchange(here, BYE)) == [1011]
        assert "KeyError: 'missing'" in here.errors[0]

    def test_close(self, site: Start) -> None:
        seen: list[Any] = []

        def serve(ws: WebSocket) -> None:
            for code in (999, 1004, 1005, 1006, 1015, 1016, 2999, 5000):
                with pytest.raises(ValueError, match="code of a close"):
                    ws.close(code)
            with pytest.raises(ValueError, match="123 bytes"):
                ws.close(1000, "\u20ac" * 42)
            ws.close(3001, b"because")
            ws.close(3002)
            with pytest.raises(WebSocketError, match="3001 because"):
                ws.send("late")
            seen.extend([ws.closed, ws.receive(), ws.receive(), repr(ws)])

        answer = exchange(site(application(serve)), frame(TEXT, b"ignored"), closing(3001))
        assert frames(answer) == [(0x88, struct.pack("!H", 3001) + b"because")]
        assert seen == [True, None, None, "<WebSocket /chat closed 3001>"]

    @pytest.mark.parametrize("chatty", [False, True])
    def test_a_close_by_another_greenlet_ends_a_receive(self, site: Start, chatty: bool) -> None:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            ws = environ["wsgi.websocket"]
            treadle.spawn_later(0.05, ws.close, 4001, "expired")
            got.extend(ws)
            ended.set()
            return []

        got: list[Any] = []
        ended = Event()
        with site(app).connect() as sock:
            sock.sendall(handshake())
            upgraded(sock)
            began = time.monotonic()
            while not ended.is_set() and time.monotonic() < began + 60:
                if chatty:  # and never says that it has seen the close
                    with suppress(OSError):
                        sock.sendall(frame(PING))
                treadle.sleep(0.001)
        assert ended.is_set()
        assert 1 < time.monotonic() - began < 30
        assert got == []

    def test_text_that_cannot_be_sent_sends_no_part(self, site: Start) -> None:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            ws = environ["wsgi.websocket"]
            with pytest.raises(UnicodeEncodeError):
                ws.send("x" * 1_000_000 + "\ud800")
            ws.send("next")
            return []

        assert said(exchange(site(app), closing())) == ["next", 1000]

    def test_a_handle_of_a_request_that_is_over_is_dead(self, site: Start) -> None:
        kept: list[WebSocket] = []

        def app(environ: Any, start_response: Any) -> list[bytes]:
            kept.append(environ["wsgi.websocket"])
            start_response("404 Not Found", [])
            return []

        here = site(app)
        with here.connect() as sock:
            sock.sendall(handshake())
            assert sock.recv(1000).startswith(b"HTTP/1.1 404")
            for use in (kept[0].accept, kept[0].receive, lambda: kept[0].send("x")):
                with pytest.raises(WebSocketError):
                    use()
            kept[0].close()

    def test_the_clients_close(self, site: Start) -> None:
        seen: list[Any] = []

        def serve(ws: WebSocket) -> None:
            seen.extend([ws.receive(), ws.close_code, ws.close_reason, ws.closed])
            ws.send("late")

        here = site(application(serve))
        assert said(exchange(here, closing(4000, b"why"))) == [4000]
        assert seen == [None, 4000, "why", True]
        assert here.errors == []  # a client's behaviour is not an error of the application

    def test_a_client_that_is_gone(self, site: Start) -> None:
        done = Event()
        seen: list[Any] = []

        def serve(ws: WebSocket) -> None:
            seen.extend([ws.receive(), ws.close_code])
            done.set()

        here = site(application(serve))
        with here.connect() as sock:
            sock.sendall(handshake() + frame(TEXT, b"cut short")[:-1])
            upgraded(sock)
        assert done.wait(5)
        assert seen == [None, 1006]

    def test_one_receives_and_many_send(self, site: Start) -> None:
        def serve(ws: WebSocket) -> None:
            def send(letter: str) -> None:
                for _ in range(20):
                    ws.send(letter * 600_000)

            reader = treadle.spawn(ws.receive)
            treadle.sleep(0)
            with pytest.raises(ConcurrentObjectUseError):
                ws.receive()
            treadle.joinall([treadle.spawn(send, letter) for letter in "abc"], raise_error=True)
            ws.send(f"read {reader.get()}")

        host, port = site(application(serve)).address

        def read() -> list[Any]:
            with connect(f"ws://{host}:{port}/", compression=None, max_size=None) as client:
                client.send("x")
                return list(client)

        *messages, last = treadle.get_hub().threadpool.apply(read)
        assert last == "read x"
        assert sorted({(message[0], len(set(message)), len(message)) for message in messages}) == [
            (letter, 1, 600_000) for letter in "abc"
        ]
        assert len(messages) == 60

    def test_a_child_of_a_fork_while_another_greenlet_uses_it(self, site: Start) -> None:
        told, tell = os.pipe()
        message = "x" * 20_000_000
        forked = Event()

        def use(ws: WebSocket) -> str:
            """Return what came of each use, in a process without the greenlets that used it."""
            found = []
            with treadle.Timeout(2, False):
                for call in (lambda: ws.send("of the child"), ws.ping, ws.close, ws.receive):
                    try:
                        found.append(repr(call()))
                    except WebSocketError as exc:
                        found.append(str(exc.code))
            return " ".join(found)

        def serve(ws: WebSocket) -> None:
            reader, writer = treadle.spawn(ws.receive), treadle.spawn(ws.send, message)
            treadle.sleep(0.05)
            pid = treadle.os.fork()
            if not pid:
                os.write(tell, use(ws).encode())
                os._exit(0)
            treadle.os.waitpid(pid, 0)
            forked.set()
            writer.get()
            ws.send(f"read {reader.get()}")

        with site(application(serve), UNBOUNDED).connect() as sock:
            sock.sendall(handshake())
            assert forked.wait(5)
            sock.sendall(frame(TEXT, b"on") + BYE)
            upgraded(sock)
            *parts, last, _ = (payload for _, payload in frames(received(sock)))
        assert os.read(told, 1000) == b"1006 1006 None None"
        assert (b"".join(parts), last) == (message.encode(), b"read on")
        os.close(told)
        os.close(tell)

    @pytest.mark.parametrize("call", ["send", "ping", "receive"])
    def test_a_call_that_interrupts_another_one_of_its_greenlet(
        self, site: Start, call: str
    ) -> None:
        raised: list[type[BaseException]] = []

        def serve(ws: WebSocket) -> None:
            native = ws.accept() or ws._socket

            class Interrupted:
                """What a signal handler does at the worst moment."""

                def __getattr__(self, name: str) -> Any:
                    if name in ("sendall", "recv") and not raised:
                        try:
                            getattr(ws, call)(*["late"] * (call == "send"))
                        except BaseException as exc:
                            raised.append(type(exc))
                    return getattr(native, name)

            ws._socket = Interrupted()
            if call == "receive":
                assert ws.receive() == "a"
            else:
                ws.send("whole")

        found = exchange(site(application(serve)), frame(TEXT, b"a") + BYE)
        assert raised == [ConcurrentObjectUseError]
        assert said(found) == [*["whole"] * (call != "receive"), 1000]

    def test_a_timeout_in_receive_loses_nothing(self, site: Start) -> None:
        def serve(ws: WebSocket) -> None:
            found = []
            while len(found) < 3:
                with treadle.Timeout(0.01, False):
                    found.append(ws.receive())
            ws.send("".join(found))

        def slowly() -> Iterator[bytes]:
            for byte in frame(TEXT, b"a") + frame(TEXT, b"b") + frame(TEXT, b"c") + BYE:
                treadle.sleep(0.004)
                yield bytes([byte])

        assert self.closed_with(site, serve, *slowly()) == ["abc", 1000]

    def test_a_timeout_in_receive_is_raised_whatever_its_class(self, site: Start) -> None:
        found: list[str] = []

        def serve(ws: WebSocket) -> None:
            for error in (TimeoutError("mine"), ConnectionError("mine")):
                try:
                    with treadle.Timeout(0.02, error):
                        ws.receive()
                except OSError as exc:
                    found.append(str(exc))
            ws.send("open")

        here = site(application(serve), replace(UNBOUNDED, ping_time=5))
        assert said(exchange(here, BYE[:0]))[:1] == ["open"]
        assert found == ["mine", "mine"]

    def test_kinds_of_messages(self, site: Start) -> None:
        def serve(ws: WebSocket) -> None:
            ws.send("a")
            ws.send(b"a")
            ws.send(bytearray(b"b"))
            ws.send(memoryview(b"c"))
            ws.send("d", binary=True)
            ws.send(b"e", binary=False)
            ws.ping(b"f")
            with pytest.raises(ValueError, match="125"):
                ws.ping(b"f" * 126)

        expected = ["a", b"a", b"b", b"c", b"d", "e", ("ping", b"f"), 1000]
        assert self.closed_with(site, serve, BYE) == expected

    def test_a_server_that_stops(self, site: Start) -> None:
        here = site(echo)
        native = here.server.handler_class
        handlers: list[Any] = []

        def noted(*arguments: Any) -> Any:
            handlers.append(native(*arguments))
            return handlers[-1]

        here.server.handler_class = noted
        with here.connect() as sock, here.connect() as idle:
            sock.sendall(handshake() + frame(TEXT, b"a"))
            upgraded(sock)
            here.server.stopping = True
            for handler in handlers:
                handler.stop()
            assert received(idle) == b""
            sock.sendall(closing(1001))
            assert said(received(sock)) == ["a", 1001]
        assert here.errors == []

    def test_others_end_with_the_application(self, site: Start) -> None:
        ended: list[Any] = []

        def serve(ws: WebSocket) -> None:
            treadle.spawn(lambda: ended.append(ws.receive()))
            treadle.sleep(0)

        assert self.closed_with(site, serve, frame(TEXT, b""), BYE) == [1000]
        treadle.sleep(0.01)
        assert ended in ([None], [""])


class TestClient:
    """Tests with the client of the ``websockets`` library."""

    @pytest.mark.parametrize("compression", [None, "deflate"])
    def test_messages(self, site: Start, compression: Any) -> None:
        host, port = site(echo).address
        numbers = random.Random(1)
        messages: list[Any] = ["", b"", "text", "\U0001f680" * 1000, b"bytes", "x" * 3_000_000]
        messages += [numbers.randbytes(size) for size in (1, 125, 126, 65535, 65536, 2_000_000)]
        messages += [[b"in ", b"frag", b"ments"], ["a", "", "b"]]

        def converse() -> list[Any]:
            found: list[Any] = []
            url = f"ws://{host}:{port}/"
            with connect(url, compression=compression, max_size=None) as client:
                for message in messages:
                    client.send(message)
                    found.append(client.recv())
                client.ping().wait(5)
            assert (client.close_code, client.close_reason) == (1000, "")
            return found

        found = treadle.get_hub().threadpool.apply(converse)
        assert found[:-2] == messages[:-2]
        assert found[-2:] == [b"in fragments", "ab"]

    @pytest.mark.parametrize("takeover", [False, True])
    @pytest.mark.parametrize("bits", [9, 12, 15])
    def test_compressing_otherwise(self, site: Start, takeover: bool, bits: int) -> None:
        host, port = site(echo).address
        factory = ClientPerMessageDeflateFactory(
            server_no_context_takeover=takeover,
            client_no_context_takeover=takeover,
            server_max_window_bits=bits,
            client_max_window_bits=bits,
        )

        def converse() -> list[Any]:
            with connect(f"ws://{host}:{port}/", extensions=[factory], compression=None) as client:
                return [(client.send("ab" * size), client.recv())[1] for size in (10, 100, 10_000)]

        found = treadle.get_hub().threadpool.apply(converse)
        assert found == ["ab" * size for size in (10, 100, 10_000)]

    def test_a_refusal_and_a_close(self, site: Start) -> None:
        @application(origins=["https://good"])
        def serve(ws: WebSocket) -> None:
            ws.close(4001, "enough")

        host, port = site(serve).address

        def converse() -> tuple[int, int, str]:
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://{host}:{port}/", origin="https://bad")  # type: ignore[arg-type]
            with connect(f"ws://{host}:{port}/") as client, pytest.raises(ConnectionClosed) as end:
                client.recv()
            assert end.value.rcvd is not None
            return refused.value.response.status_code, end.value.rcvd.code, end.value.rcvd.reason

        assert treadle.get_hub().threadpool.apply(converse) == (403, 4001, "enough")
