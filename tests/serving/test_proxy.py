"""The PROXY protocol: valid headers give the client's address, invalid ones are refused."""

import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

import treadle
from treadle import socket, ssl
from treadle.http.limits import UNBOUNDED
from treadle.http.proxy import BadHeader, Proxies, receive
from treadle.pywsgi import WSGIServer

from .conftest import Site, received

Start = Callable[..., Site]

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TCP4 = bytes([192, 0, 2, 1, 198, 51, 100, 1]) + struct.pack("!HH", 4321, 80)
TCP6 = bytes.fromhex("20010db8" + "0" * 22 + "01") + bytes(16) + struct.pack("!HH", 4321, 443)
V4, V6 = ("192.0.2.1", 4321), ("2001:db8::1", 4321, 0, 0)


def second(command: int, transport: int, rest: bytes, size: int | None = None) -> bytes:
    length = len(rest) if size is None else size
    return SIGNATURE + struct.pack("!BBH", command, transport, length) + rest


#: What a proxy sends, and the client's address; None means the proxy's own address.
GOOD: dict[str, tuple[bytes, Any]] = {
    "1, IPv4": (b"PROXY TCP4 192.0.2.1 198.51.100.1 4321 80\r\n", V4),
    "1, IPv6": (b"PROXY TCP6 2001:db8::1 ::1 4321 80\r\n", V6),
    "1, IPv4 as IPv6": (
        b"PROXY TCP6 ::ffff:192.0.2.1 ::1 4321 80\r\n",
        ("::ffff:192.0.2.1", 4321, 0, 0),
    ),
    "1, port 0": (b"PROXY TCP4 192.0.2.1 198.51.100.1 0 65535\r\n", ("192.0.2.1", 0)),
    "1, the longest": (
        b"PROXY UNKNOWN " + b" ".join([b"f" * 39, b"f" * 39, b"65535", b"65535"]) + b"\r\n",
        None,
    ),
    "1, unknown": (b"PROXY UNKNOWN\r\n", None),
    "1, unknown with more": (b"PROXY UNKNOWN what \r ever\r\n", None),
    "2, IPv4": (second(0x21, 0x11, TCP4), V4),
    "2, IPv6": (second(0x21, 0x21, TCP6), V6),
    "2, with extensions": (second(0x21, 0x11, TCP4 + b"\4\0\3abc\xee\0\0"), V4),
    "2, a Unix socket": (second(0x21, 0x31, b"/path".ljust(216, b"\0")), None),
    "2, its own": (second(0x20, 0x11, TCP4), None),
    "2, its own, nothing": (second(0x20, 0, b""), None),
    "2, unspecified": (second(0x21, 0, b"anything"), None),
}

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.1 4321 80\r\n"
BAD: dict[str, bytes] = {
    "a request": GET,
    "TLS": b"\x16\3\1\2\0\1\0\1\xfc\3\3" + b"x" * 100,
    "lower case": b"proxy TCP4 192.0.2.1 198.51.100.1 4321 80\r\n",
    "no family": b"PROXY 192.0.2.1 198.51.100.1 4321 80\r\n",
    "a datagram's family": b"PROXY UDP4 192.0.2.1 198.51.100.1 4321 80\r\n",
    "two blanks": LINE.replace(b"TCP4 ", b"TCP4  "),
    "a blank at the end": LINE.replace(b"\r", b" \r"),
    "a tab": LINE.replace(b"TCP4 ", b"TCP4\t"),
    "a bare line feed": LINE.replace(b"\r", b"") + b"x" * 100,
    "an address too few": b"PROXY TCP4 192.0.2.1 4321 80\r\n",
    "a word too many": LINE.replace(b"80", b"80 81"),
    "no ports": b"PROXY TCP4 192.0.2.1 198.51.100.1\r\n",
    "an IPv6 address as IPv4": LINE.replace(b"192.0.2.1", b"::1"),
    "an IPv4 address as IPv6": LINE.replace(b"TCP4", b"TCP6"),
    "an address with leading zeros": LINE.replace(b"192.0.2.1", b"192.0.02.1"),
    "an address of three": LINE.replace(b"192.0.2.1", b"192.0.2"),
    "an address beyond 255": LINE.replace(b"192.0.2.1", b"192.0.2.256"),
    "a name": LINE.replace(b"192.0.2.1", b"localhost"),
    "an address not in ASCII": LINE.replace(b"192.0.2.1", b"192.0.2.\xb2"),
    "a bad second address": LINE.replace(b"198.51.100.1", b"198.51.100"),
    "a port with a sign": LINE.replace(b"4321", b"+432"),
    "a negative port": LINE.replace(b"4321", b"-432"),
    "a port with a leading zero": LINE.replace(b"4321", b"04321"),
    "a port beyond 65535": LINE.replace(b"4321", b"65536"),
    "a port in hexadecimal": LINE.replace(b"4321", b"0x1f"),
    "an empty port": LINE.replace(b"4321 ", b" "),
    "a bad second port": LINE.replace(b"80", b"8o"),
    "a line that does not end": b"PROXY UNKNOWN " + b"x" * 1000,
    "a line of 108": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "version 1 in the second's form": second(0x11, 0x11, TCP4),
    "version 3": second(0x31, 0x11, TCP4),
    "an unknown command": second(0x22, 0x11, TCP4),
    "a datagram": second(0x21, 0x12, TCP4),
    "an unknown family": second(0x21, 0x41, TCP4),
    "IPv4, a byte too few": second(0x21, 0x11, TCP4[:-1]),
    "IPv6, a byte too few": second(0x21, 0x21, TCP6[:-1]),
    "IPv6 with addresses of IPv4": second(0x21, 0x21, TCP4),
    "no addresses": second(0x21, 0x11, b""),
    "an extension cut short": second(0x21, 0x11, TCP4 + b"\4\0\4abc"),
    "half an extension": second(0x21, 0x11, TCP4 + b"\4"),
    "too many extensions": second(0x21, 0x11, TCP4 + b"\4\x0f\xff" + b"x" * 4095),
    "a signature with another byte": b"\r\n\r\n\0\r\nQUIT\r" + b"\x21\x11\0\x0c" + TCP4,
    "nothing": b"",
    "half a line": LINE[:20],
    "half a signature": SIGNATURE[:8],
    "half of the second": second(0x21, 0x11, TCP4, 20),
}


def taken(data: bytes, *, slowly: bool = False) -> tuple[Any, bytes]:
    """Return the address that *data* gives, and the bytes that remain to be received."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def send() -> None:
            size = 1 if slowly else 10_000
            for at in range(0, len(data), size):
                theirs.sendall(data[at : at + size])
                treadle.sleep(0)
            theirs.shutdown(socket.SHUT_WR)

        sender = treadle.spawn(send)
        try:
            address = receive(ours, 5)
            return address, received(ours)
        finally:
            sender.kill()


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("case", GOOD)
def test_headers(case: str, slowly: bool) -> None:
    data, address = GOOD[case]
    assert taken(data + GET, slowly=slowly) == (address, GET)


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("case", BAD)
def test_what_is_none(case: str, slowly: bool) -> None:
    with pytest.raises(BadHeader):
        taken(BAD[case], slowly=slowly)


@pytest.mark.parametrize(
    ("allowed", "address", "expected"),
    [
        (["127.0.0.1"], ("127.0.0.1", 1), True),
        (["127.0.0.1"], ("127.0.0.2", 1), False),
        (["10.0.0.0/8", "::1"], ("10.255.0.1", 1), True),
        (["10.0.0.0/8", "::1"], ("::1", 1, 0, 0), True),
        (["10.0.0.0/8", "::1"], ("::2", 1, 0, 0), False),
        (["10.0.0.0/8"], ("::ffff:10.0.0.1", 1, 0, 0), True),
        (["::ffff:10.0.0.0/104"], ("10.0.0.1", 1), True),
        (["::ffff:10.0.0.1"], ("::ffff:10.0.0.1", 1, 0, 0), True),
        (["::/0"], ("10.0.0.1", 1), False),
        (["fe80::/10"], ("fe80::1%lo", 1, 0, 1), True),
        (["10.0.0.0/8"], "", False),
        (["unix"], "", True),
        (["unix"], ("127.0.0.1", 1), False),
        (["*"], ("192.0.2.1", 1), True),
        (["*"], b"", True),
        ([], ("127.0.0.1", 1), False),
    ],
)
def test_who_is_believed(allowed: list[str], address: Any, expected: bool) -> None:
    assert (address in Proxies(allowed)) is expected


@pytest.mark.parametrize("word", ["localhost", "10.0.0.1/8", "10.0.0", ""])
def test_who_cannot_be(word: str) -> None:
    with pytest.raises(ValueError, match=word or "''"):
        Proxies([word])


def tell(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [f"{environ['REMOTE_ADDR']} {environ['REMOTE_PORT']}".encode()]


class TestServer:
    @pytest.fixture
    def behind(self, site: Start, monkeypatch: pytest.MonkeyPatch) -> Start:
        """Return a function that starts sites that trust 127.0.0.1 as a proxy."""
        monkeypatch.setattr(WSGIServer, "proxies", Proxies(["127.0.0.1", "unix"]))
        return site

    @pytest.mark.parametrize("case", GOOD)
    def test_the_address(self, behind: Start, case: str) -> None:
        data, address = GOOD[case]
        here = behind(tell)
        answer = here.exchange(data + GET)
        told = f"{address[0]} {address[1]}" if address else "127.0.0.1 "
        assert answer.partition(b"\r\n\r\n")[2].startswith(told.encode())
        assert here.log[0].startswith(told.split()[0])

    @pytest.mark.parametrize("case", BAD)
    def test_without_a_header_nothing_is_served(self, behind: Start, case: str) -> None:
        here = behind(tell)
        with here.connect() as sock:
            sock.sendall(BAD[case])
            sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):  # the client may send more than is read
                assert received(sock) == b""
        assert here.requests == []
        assert "127.0.0.1" in here.errors[0]

    def test_a_slow_header(self, behind: Start) -> None:
        here = behind(tell, replace(UNBOUNDED, header_time=0.1))
        began = time.monotonic()
        with here.connect() as sock:
            sock.sendall(b"PROXY ")
            assert received(sock) == b""
        assert time.monotonic() - began > 0.09

    def test_others_are_not_believed(self, site: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(WSGIServer, "proxies", Proxies(["192.0.2.1"]))
        here = site(tell)
        assert here.exchange(LINE + GET).startswith(b"HTTP/1.1 400 ")
        assert here.requests == []
        assert b"\r\n\r\n127.0.0.1 " in here.exchange(GET)

    def test_before_tls(self, behind: Start) -> None:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        here = behind(tell, ssl_context=context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        with here.connect() as raw:
            raw.sendall(second(0x21, 0x11, TCP4))
            with trusting.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
                sock.sendall(GET)
                assert received(sock).endswith(b"\r\n\r\n192.0.2.1 4321")

    def test_on_a_unix_socket(self, behind: Start, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            here = behind(tell, listener=listener)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / "socket"))
                sock.sendall(LINE + GET)
                assert received(sock).endswith(b"\r\n\r\n192.0.2.1 4321")
            here.server.stop()
