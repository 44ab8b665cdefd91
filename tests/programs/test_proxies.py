"""``treadle serve`` behind nginx and HAProxy: it knows the client, and no request is lost."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from websockets.sync.client import connect

from treadle import ssl

from . import servers
from .conftest import Program

#: The client's address, from which it connects to the proxy.
CLIENT = "127.0.0.2"
SPOOF = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "ftp"}
TRUST = ("--forwarded-allow-ips", "127.0.0.1")
TELL = """
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $upgrade_or_nothing;
"""
NGINX = """
    map $http_upgrade $upgrade_or_nothing {{ default upgrade; '' ''; }}
    upstream treadle {{ server {upstream}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port} {listen};
        {tls}
        client_max_body_size 0;
        location / {{ proxy_pass http://treadle; {options} }}
    }}
"""
HAPROXY = """
frontend clients
 bind 127.0.0.1:{port} {listen}
 default_backend treadle
backend treadle
 {options}
 server one {upstream}
"""
HAPROXY_TELLS = """
 option forwardfor
 http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
"""


class Way(NamedTuple):
    """How a proxy speaks to the server."""

    proxy: Callable[[int, str], AbstractContextManager[None]]
    text: str
    #: What the server's address is followed by.
    server: str = ""
    options: str = ""
    flags: tuple[str, ...] = TRUST
    protocol: str = "HTTP/1.1"
    #: Whether clients speak TLS to the proxy.
    tls: bool = False
    #: Whether the proxy speaks to a Unix socket of the server.
    unix: bool = False
    websocket: bool = True
    tells_scheme: bool = True


KEEP = "proxy_http_version 1.1;" + TELL
WAYS = {
    "nginx": Way(servers.nginx, NGINX, options=KEEP),
    "nginx, a connection for each request": Way(
        servers.nginx, NGINX, options=TELL, protocol="HTTP/1.0", websocket=False
    ),
    "nginx, TLS": Way(servers.nginx, NGINX, options=KEEP, tls=True),
    "nginx, Unix socket": Way(servers.nginx, NGINX, options=KEEP, flags=(), unix=True),
    "haproxy": Way(servers.haproxy, HAPROXY, options=HAPROXY_TELLS),
    "haproxy, TLS": Way(servers.haproxy, HAPROXY, options=HAPROXY_TELLS, tls=True),
    "haproxy, HTTP/2": Way(
        servers.haproxy,
        HAPROXY,
        "proto h2",
        HAPROXY_TELLS,
        protocol="HTTP/2",
        websocket=False,
    ),
    "haproxy, PROXY 1": Way(
        servers.haproxy,
        HAPROXY,
        "send-proxy",
        flags=("--proxy-protocol", "127.0.0.1"),
        tells_scheme=False,
    ),
    "haproxy, PROXY 2 and HTTP/2": Way(
        servers.haproxy,
        HAPROXY,
        "proto h2 send-proxy-v2",
        flags=("--proxy-protocol", "127.0.0.1"),
        protocol="HTTP/2",
        websocket=False,
        tells_scheme=False,
    ),
}


class Behind:
    """A server of apps/proxied.py behind a proxy at :attr:`port`."""

    def __init__(self, way: Way, server: Program, port: int, context: Any) -> None:
        self.way, self.server, self.port, self.context = way, server, port, context

    @contextmanager
    def client(self) -> Iterator[HTTPConnection]:
        where: Any = {"timeout": 20, "source_address": (CLIENT, 0)}
        if self.way.tls:
            client = HTTPSConnection("127.0.0.1", self.port, context=self.context, **where)
        else:
            client = HTTPConnection("127.0.0.1", self.port, **where)
        with closing(client):
            yield client


@pytest.fixture(params=WAYS)
def behind(
    request: pytest.FixtureRequest, start: Callable[..., Program], tmp_path: Path
) -> Iterator[Behind]:
    way = WAYS[request.param]
    upstream = f"127.0.0.1:{servers.free_port()}"
    if way.unix:
        upstream = f"unix:{tmp_path}/socket"
    port = servers.free_port()
    authority, pem = trustme.CA(), tmp_path / "proxy.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    listen = tls = ""
    if way.tls:
        listen = "ssl" if way.proxy is servers.nginx else f"ssl crt {pem}"
        tls = f"ssl_certificate {pem}; ssl_certificate_key {pem};"
    command = ("-m", "treadle", "serve", "--workers", "2", "--bind", upstream)
    server = start(*command, *way.flags, "proxied:application")
    server.wait_for_stderr("serving")
    text = way.text.format(
        port=port,
        listen=listen,
        tls=tls,
        upstream=f"{upstream} {way.server}",
        options=way.options,
    )
    with way.proxy(port, text):
        yield Behind(way, server, port, context)
    assert server.stop() == 0


def test_the_client_is_known(behind: Behind) -> None:
    https = behind.way.tls and behind.way.tells_scheme
    with behind.client() as client:
        for at in range(20):
            client.request("GET", f"/{at}?a=b", headers={**SPOOF, "Host": "shop.example:81"})
            answer = client.getresponse()
            assert answer.status == 200
            assert json.loads(answer.read()) == {
                "REMOTE_ADDR": CLIENT,
                "wsgi.url_scheme": "https" if https else "http",
                "HTTP_HOST": "shop.example:81",
                "SCRIPT_NAME": "",
                "PATH_INFO": f"/{at}",
                "SERVER_PROTOCOL": behind.way.protocol,
            }


def test_bodies_come_back(behind: Behind) -> None:
    with behind.client() as client:
        for size in (0, 1, 1_000_000, 3, 5_000_000):
            body = bytes(range(256)) * (size // 256) + bytes(size % 256)
            client.request("POST", "/", body=body)
            assert client.getresponse().read() == body
        chunks = [b"in ", b"chunks" * 100_000]
        client.request("POST", "/", body=iter(chunks), encode_chunked=True)
        assert client.getresponse().read() == b"".join(chunks)


def test_a_websocket(behind: Behind) -> None:
    if not behind.way.websocket:
        pytest.skip("this proxy speaks no WebSocket to the server this way")
    scheme, context = ("wss", behind.context) if behind.way.tls else ("ws", None)
    url = f"{scheme}://127.0.0.1:{behind.port}/chat"
    with connect(url, ssl=context, source_address=(CLIENT, 0)) as websocket:
        assert json.loads(websocket.recv())["REMOTE_ADDR"] == CLIENT
        for message in ("text", b"bytes", "long" * 100_000):
            websocket.send(message)
            assert websocket.recv() == message


def test_a_reload_loses_nothing(behind: Behind) -> None:
    wrong: list[Any] = []
    answered = 0
    stopping = threading.Event()

    def ask() -> None:
        nonlocal answered
        with behind.client() as client:
            while not stopping.is_set():
                client.request("GET", "/")
                answer = client.getresponse()
                body = answer.read()
                if answer.status != 200 or CLIENT.encode() not in body:
                    wrong.append((answer.status, body))
                answered += 1
                time.sleep(0.01)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for done in range(1, 4):
            time.sleep(0.3)
            behind.server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 30
            while behind.server.stderr.count("the workers were replaced") < done:
                assert time.monotonic() < deadline, behind.server.stderr
                time.sleep(0.02)
    finally:
        stopping.set()
        for client in clients:
            client.join()
    assert wrong == []
    assert answered > 100
