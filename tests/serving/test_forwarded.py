"""Headers of trusted proxies: the address, scheme, host and prefix that a client used."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import treadle
from treadle import socket
from treadle.http import forwarded
from treadle.http.forwarded import HEADERS, Forwarded
from treadle.http.proxy import Proxies
from treadle.pywsgi import WSGIServer
from treadle.serve.settings import SettingsError, from_environment, parse

from .conftest import Site, received
from .test_serve import Served, serve  # noqa: F401
from .test_websocket import handshake

Start = Callable[..., Site]

INNER = "10.0.0.2"  # a trusted proxy
BASE = {
    "REMOTE_ADDR": "10.0.0.1",
    "REMOTE_PORT": "7",
    "SCRIPT_NAME": "",
    "HTTP_HOST": "inner:8000",
    "SERVER_NAME": "inner",
    "SERVER_PORT": "8000",
    "wsgi.url_scheme": "http",
}


def applied(given: dict[str, str], trusted: list[str], *headers: str) -> dict[str, str]:
    """Return what the headers *given* change in an environment."""
    fields = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in given.items()}
    environ = {**BASE, **fields}
    Forwarded(Proxies(trusted), headers or HEADERS).apply(environ)
    return {name: value for name, value in environ.items() if {**BASE, **fields}[name] != value}


@pytest.mark.parametrize(
    ("value", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", "0"),
        (" 192.0.2.1 ", "192.0.2.1", "0"),
        ("192.0.2.1:4321", "192.0.2.1", "4321"),
        ("2001:db8::1", "2001:db8::1", "0"),
        ("2001:DB8:0::1", "2001:db8::1", "0"),
        ("[2001:db8::1]", "2001:db8::1", "0"),
        ("[2001:db8::1]:4321", "2001:db8::1", "4321"),
        ("::ffff:192.0.2.1", "192.0.2.1", "0"),
        ("192.0.2.1:99999", "192.0.2.1", "0"),
        ("192.0.2.1:_x", "192.0.2.1", "0"),
        # What a client says itself comes first.
        ("203.0.113.9, 192.0.2.1", "192.0.2.1", "0"),
        ("unknown, 192.0.2.1", "192.0.2.1", "0"),
        (f"203.0.113.9, 192.0.2.1, {INNER}", "192.0.2.1", "0"),
        (f"203.0.113.9,192.0.2.1,{INNER},{INNER}", "192.0.2.1", "0"),
        # All are proxies: the first of them is the client.
        (f"10.1.1.1, {INNER}", "10.1.1.1", "0"),
        # What is no address tells nothing, and nobody who comes before it is believed.
        (f"192.0.2.1, unknown, {INNER}", INNER, "0"),
        (f"192.0.2.1,, {INNER}", INNER, "0"),
    ],
)
def test_the_client(value: str, address: str, port: str) -> None:
    expected = {"REMOTE_ADDR": address, "REMOTE_PORT": port}
    assert applied({"X-Forwarded-For": value}, ["10.0.0.0/8"]) == expected


@pytest.mark.parametrize(
    "value",
    [
        "unknown",
        "_hidden",
        "192.0.2.1,",
        "192.0.2.1, x",
        "fe80::1%lo",
        "[::1",
        "[::1]x",
        "a:80",
        ",",
    ],
)
def test_what_is_no_address(value: str) -> None:
    assert applied({"X-Forwarded-For": value}, ["*"]) == {}


def test_a_client_may_name_thousands(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def parse(text: str) -> Any:
        parsed.append(text)
        return ipaddress.ip_address(text)

    monkeypatch.setattr(forwarded, "ip_address", parse)
    value = ",".join(f"10.0.{i // 250}.{i % 250}" for i in range(5000))
    found = applied({"X-Forwarded-For": value}, ["*"])
    assert 0 < len(parsed) < 200
    assert found["REMOTE_ADDR"] == "10.0.19.150"  # as many proxies as there may be


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("wss", "https"),
        ("https, http", "http"),  # a client says the first itself
        ("javascript", "http"),
        ("", "http"),
    ],
)
def test_the_scheme(value: str, scheme: str) -> None:
    found = applied({"X-Forwarded-Proto": value}, ["*"])
    assert found.get("wsgi.url_scheme", "http") == scheme


def test_each_proxy_adds_to_each_list() -> None:
    found = applied(
        {
            "X-Forwarded-For": f"203.0.113.9, 192.0.2.1, {INNER}",
            "X-Forwarded-Proto": "ftp, https, http",
            "X-Forwarded-Host": "evil.example, shop.example, inner.example",
        },
        ["10.0.0.0/8"],
    )
    assert found["wsgi.url_scheme"] == "https"
    assert found["HTTP_HOST"] == "shop.example"


@pytest.mark.parametrize(
    ("value", "host", "name", "port"),
    [
        ("shop.example", "shop.example", "shop.example", "443"),
        ("shop.example:8443", "shop.example:8443", "shop.example", "8443"),
        ("[2001:db8::1]", "[2001:db8::1]", "[2001:db8::1]", "443"),
        ("[2001:db8::1]:8443", "[2001:db8::1]:8443", "[2001:db8::1]", "8443"),
    ],
)
def test_the_host(value: str, host: str, name: str, port: str) -> None:
    found = applied({"X-Forwarded-Host": value, "X-Forwarded-Proto": "https"}, ["*"])
    assert found == {
        "wsgi.url_scheme": "https",
        "HTTP_HOST": host,
        "SERVER_NAME": name,
        "SERVER_PORT": port,
    }


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "a/b",
        "a\x01",
        "\xe4",
        "a@b",
        "a?b",
        'a"',
        "a#b",
        ":80",
        "a:b",
        "a:1:2",
        "a:65536",
        "[::1",
        "::1]",
        "[::1]a",
        "[[::1]]",
        "a[b]",
    ],
)
def test_what_is_no_host(value: str) -> None:
    assert applied({"X-Forwarded-Host": value}, ["*"]) == {}


@pytest.mark.parametrize(
    ("value", "prefix"),
    [("/shop", "/shop"), ("/shop/", "/shop"), ("/a/b", "/a/b"), ("/x, /y", "/y")],
)
def test_the_prefix(value: str, prefix: str) -> None:
    assert applied({"X-Forwarded-Prefix": value}, ["*"]) == {"SCRIPT_NAME": prefix}


@pytest.mark.parametrize(
    "value", ["//evil.example", "shop", "/", "/a//b", "/a?b", "/a b", "/a\\b", "/\x01"]
)
def test_what_is_no_prefix(value: str) -> None:
    assert applied({"X-Forwarded-Prefix": value}, ["*"]) == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.1", {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "0"}),
        ('For="[2001:db8::1]:47"', {"REMOTE_ADDR": "2001:db8::1", "REMOTE_PORT": "47"}),
        ('for="192.0.2.\\1:80"', {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "80"}),
        ("proto=https", {"wsgi.url_scheme": "https"}),
        (
            'for=203.0.113.9;proto=ftp, for=192.0.2.1;by=_x;proto=https;host="a.example:1", '
            f"for={INNER};proto=http",
            {
                "REMOTE_ADDR": "192.0.2.1",
                "REMOTE_PORT": "0",
                "wsgi.url_scheme": "https",
                "HTTP_HOST": "a.example:1",
                "SERVER_NAME": "a.example",
                "SERVER_PORT": "1",
            },
        ),
        ("for=unknown", {}),
        ("for=_hidden;proto=https", {"wsgi.url_scheme": "https"}),
        ("for", {}),
        ("for=", {}),
        ('for="192.0.2.1', {}),
        ("for=192.0.2.1 proto=https", {}),
        ('for="192.0.2.1, 10.0.0.1"', {}),
        ("for=192.0.2.1;for=192.0.2.2", {}),
        ("\xa0for=192.0.2.1", {}),
        (";for=192.0.2.1;;,", {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "0"}),
        ('for=192.0.2.1;a="b,c"', {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "0"}),
        (f'a="{"b" * 3000}"', {}),
    ],
)
def test_forwarded(value: str, expected: dict[str, str]) -> None:
    assert applied({"Forwarded": value}, ["10.0.0.0/8"]) == expected


@pytest.mark.parametrize(
    "said",
    ["garbage", ",", 'for="', "for=203.0.113.9;", 'for="203.0.113.9, x', "a=b;a=b", '"', "\xe4"],
)
@pytest.mark.parametrize("between", [",", ", ", " ,\t"])
def test_a_client_spoils_nothing_that_a_proxy_says(said: str, between: str) -> None:
    found = applied({"Forwarded": f"{said}{between}for=192.0.2.1;proto=https"}, ["10.0.0.0/8"])
    assert found["REMOTE_ADDR"] == "192.0.2.1"
    assert found["wsgi.url_scheme"] == "https"


def test_a_host_in_quotes_adds_no_entry() -> None:
    # The client's Host, in which the proxy escapes quotes.
    for host in (",for=203.0.113.9", r",for=203.0.113.9;a=\"", r",for=\"203.0.113.9", r"\\,a=b"):
        found = applied({"Forwarded": f'for=192.0.2.1;host="{host}"'}, ["10.0.0.0/8"])
        assert found == {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "0"}


@pytest.mark.parametrize(
    "value",
    ["," * 60000, "for=10.0.0.1," * 4000, 'a="' + r"\a" * 20000, "a=b;" * 10000, '",' * 9000],
)
def test_a_long_list_takes_no_long_time(value: str) -> None:
    for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host"):
        began = time.perf_counter()
        applied({name: value}, ["*"])
        assert time.perf_counter() - began < 0.015


def test_one_kind_of_headers_is_read() -> None:
    both = {"Forwarded": "for=203.0.113.9;host=evil.example", "X-Forwarded-For": "192.0.2.1"}
    expected = {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "0"}
    assert applied(both, ["10.0.0.0/8"]) == expected
    assert applied(both, ["10.0.0.0/8"], "forwarded")["REMOTE_ADDR"] == "203.0.113.9"
    assert applied(both, ["10.0.0.0/8"], "x-forwarded-proto") == {}


def tell(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    told = [environ[name] for name in ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST")]
    if "wsgi.websocket" in environ:
        environ["wsgi.websocket"].send(" ".join(told))
        return []
    start_response("200 OK", [])
    return [" ".join(told).encode()]


SAID = {
    "X-Forwarded-For": "203.0.113.9, 192.0.2.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "shop.example",
}
LINES = tuple(f"{name}: {value}" for name, value in SAID.items())
GET = "\r\n".join(["GET / HTTP/1.1", "Host: a", "Connection: close", *LINES, "", ""]).encode()
TOLD = b"192.0.2.1 https shop.example"


class TestServer:
    @pytest.fixture
    def behind(self, site: Start, monkeypatch: pytest.MonkeyPatch) -> Start:
        """Return a function that starts sites that trust 127.0.0.1 as a proxy."""
        monkeypatch.setattr(WSGIServer, "forwarded", Forwarded(Proxies(["127.0.0.1"])))
        return site

    def test_http1(self, behind: Start) -> None:
        here = behind(tell)
        assert here.exchange(GET).endswith(TOLD)
        assert here.log[0].startswith("192.0.2.1 ")

    def test_each_request_of_a_connection_has_its_client(self, behind: Start) -> None:
        here = behind(tell)
        plain = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        other = GET.replace(b"192.0.2.1", b"192.0.2.2")
        answers = here.exchange(GET.replace(b"Connection: close\r\n", b"") + plain + other)
        found = [part.splitlines()[-1] for part in answers.split(b"HTTP/1.1 200 OK")[1:]]
        assert found == [TOLD, b"127.0.0.1 http a", b"192.0.2.2 https shop.example"]

    def test_http2(self, behind: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(WSGIServer, "http2", True)
        host, port = behind(tell).address
        ask = treadle.get_hub().threadpool.apply
        with httpx.Client(http1=False, http2=True) as client:
            answer = ask(client.get, (f"http://{host}:{port}/",), {"headers": SAID})
        assert answer.http_version == "HTTP/2"
        assert answer.content == TOLD

    def test_websocket(self, behind: Start) -> None:
        with behind(tell).connect() as sock:
            sock.sendall(handshake(*LINES))
            sock.settimeout(30)
            data = b""
            while TOLD not in data:
                more = sock.recv(1000)
                assert more, data
                data += more

    def test_others_are_not_believed(self, site: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(WSGIServer, "forwarded", Forwarded(Proxies(["192.0.2.7", "unix"])))
        assert site(tell).exchange(GET).endswith(b"127.0.0.1 http a")

    def test_on_a_unix_socket(self, site: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(WSGIServer, "forwarded", Forwarded(Proxies(["unix"])))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("")  # a name that the system chooses
            listener.listen()
            here = site(tell, listener=listener)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(listener.getsockname())
                sock.sendall(GET)
                assert received(sock).endswith(TOLD)
            here.server.stop()


class TestSettings:
    def test_nobody_but_unix_sockets_is_trusted(self) -> None:
        found = parse(["a:b"]).forwarded()
        assert found is not None
        assert "" in found.trusted
        assert ("127.0.0.1", 1) not in found.trusted

    def test_lists(self) -> None:
        arguments = [
            "--forwarded-allow-ips",
            "127.0.0.1, ::1",
            "--forwarded-allow-ips",
            "10.0.0.0/8",
        ]
        assert parse([*arguments, "a:b"]).forwarded_allow_ips == ["127.0.0.1", "::1", "10.0.0.0/8"]
        assert parse(["--forwarded-allow-ips", "", "a:b"]).forwarded() is None

    def test_the_variable_of_hosting_platforms(self) -> None:
        found = from_environment({"FORWARDED_ALLOW_IPS": "10.0.0.0/8,unix"})
        assert found == {"forwarded_allow_ips": ["10.0.0.0/8", "unix"]}

    @pytest.mark.parametrize(
        "flags", [("--forwarded-allow-ips", "proxy"), ("--forwarded-headers", "via")]
    )
    def test_what_cannot_be(self, flags: tuple[str, str]) -> None:
        with pytest.raises(SettingsError, match=flags[1]):
            parse([*flags, "a:b"])

    def test_the_command(self, serve: Callable[..., Served], tmp_path: Path) -> None:  # noqa: F811
        log = tmp_path / "access.log"
        flags = ("--forwarded-allow-ips", "127.0.0.1", "--connections-per-address", "1")
        here = serve(*flags, "--access-log", str(log)).wait_serving()
        with here.connect(), here.connect() as sock:  # a proxy's connections are not limited
            sock.sendall(GET)
            assert received(sock).startswith(b"HTTP/1.1 200 ")
        until = time.monotonic() + 10
        while not log.read_text() and time.monotonic() < until:
            treadle.sleep(0.01)  # a line is logged after its response
        assert log.read_text().startswith("192.0.2.1 ")
