"""gunicorn with treadle's worker, compared with its own gevent worker on the alias."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from websockets.sync.client import connect as open_websocket

from .conftest import APPS, Program
from .servers import HOST, free_port

WORKER = ("-m", "gunicorn", "-k", "treadle.gunicorn.Worker")
#: The other ways to start gunicorn.
NAMED = ("-m", "treadle", "run", "-m", "gunicorn", "-k", "treadle")
GEVENT = ("-m", "treadle", "run", "--gevent", "-m", "gunicorn", "-k", "gevent")
COMMANDS = [
    pytest.param(WORKER, id="treadle"),
    pytest.param(NAMED, id="treadle run"),
    pytest.param(GEVENT, id="gevent"),
]


class Site:
    """A running gunicorn and its port."""

    def __init__(self, program: Program, port: int) -> None:
        self.program, self.port = program, port

    def get(self, path: str, **headers: str) -> str:
        """Return the body of the page at *path*, which must exist."""
        with self.connect() as connection:
            return connection.get(path, **headers)

    def connect(self) -> "Client":
        return Client(HOST, self.port, timeout=30)

    def raw(self, data: bytes) -> bytes:
        """Send *data* and return all that is received until the connection ends."""
        with socket.create_connection((HOST, self.port), timeout=30) as sock:
            sock.sendall(data)
            return received(sock)

    def status(self, data: bytes) -> str:
        """Return the status of the response to *data*."""
        return self.raw(data).split(b" ", 2)[1].decode()

    def pid(self) -> int:
        """Return the process id of the worker that serves the request."""
        return int(self.get("/pid"))

    def master_tells(self, number: int) -> None:
        self.program.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> str:
        """Stop gunicorn, which must exit with status 0, and return its stderr."""
        assert self.program.stop(number) == 0, self.program.stderr
        return self.program.stderr


class Client(HTTPConnection):
    """A connection that ``with`` closes."""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, **headers: str) -> str:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.request("GET", path, headers=names)
        answer = self.getresponse()
        body = answer.read().decode()
        assert answer.status == 200, body
        return body


def received(sock: Any) -> bytes:
    """Receive until the peer closes, and return everything."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def eventually(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until *condition* returns true; fail after *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)


Gunicorn = Callable[..., Site]


@pytest.fixture
def gunicorn(start: Callable[..., Program]) -> Iterator[Gunicorn]:
    """Return a function that starts sites on free ports; they log warnings and errors only."""

    def launch(*options: object, command: tuple[str, ...] = WORKER, app: str = "app") -> Site:
        port = free_port()
        program = start(
            *command,
            *("--bind", f"{HOST}:{port}", "--log-level", "warning", "--no-control-socket"),
            *options,
            f"flask_site:{app}",
        )
        program.wait_for_port(port)
        return Site(program, port)

    return launch


@pytest.mark.parametrize("command", COMMANDS)
def test_fifty_waits_at_once(gunicorn: Gunicorn, command: tuple[str, ...]) -> None:
    site = gunicorn(command=command)
    assert site.get("/") == "hello"
    began = time.monotonic()
    with ThreadPoolExecutor(50) as pool:
        pages = list(pool.map(site.get, ["/wait/0.2"] * 50))
    seconds = time.monotonic() - began
    assert pages == ["waited"] * 50
    assert seconds < 3  # 10 one after the other
    assert site.end() == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_sent_comes_back(gunicorn: Gunicorn, command: tuple[str, ...]) -> None:
    site = gunicorn(command=command)
    with site.connect() as connection:
        for body in (b"", b"short", os.urandom(3 << 20)):
            connection.request("POST", "/echo", body=body)
            assert connection.getresponse().read() == body
        connection.request("POST", "/echo", body=iter([b"in ", b"chunks"]), encode_chunked=True)
        assert connection.getresponse().read() == b"in chunks"
        assert connection.get("/stream") == "0\n1\n2\n"
    assert site.end() == ""


def test_the_environment_is_that_of_gunicorns_own_worker(gunicorn: Gunicorn) -> None:
    requests: list[tuple[str, dict[str, str]]] = [
        ("/environ?a=b%20c", {}),
        ("/en%76iron", {"Cookie": "a=b", "X-Forwarded-Proto": "https", "Content-Type": "a/b"}),
        ("/environ", {"X-Forwarded-Proto": "http", "X_Dropped": "1"}),
        ("/under/environ", {"SCRIPT_NAME": "/under"}),
    ]
    seen: list[list[dict[str, Any]]] = []
    for command in (WORKER, GEVENT):
        site = gunicorn(command=command)
        pages = []
        for target, headers in requests:
            with site.connect() as connection:
                connection.request("GET", target, headers={**headers, "Host": "shop:80"})
                page = json.loads(connection.getresponse().read())
                del page["SERVER_PORT"], page["REMOTE_PORT"]
                pages.append(page)
        seen.append(pages)
        assert site.end() == ""
    ours, theirs = seen
    for treadle_has, gunicorn_has in zip(ours, theirs, strict=True):
        assert gunicorn_has.items() <= treadle_has.items()
        assert set(treadle_has) - set(gunicorn_has) == {"GATEWAY_INTERFACE", "REQUEST_URI"}


@pytest.mark.parametrize("command", [WORKER, GEVENT])
def test_untrusted_clients_cannot_set_the_scheme(
    gunicorn: Gunicorn, command: tuple[str, ...]
) -> None:
    site = gunicorn("--forwarded-allow-ips", "10.0.0.1", command=command)
    environ = json.loads(site.get("/environ", X_Forwarded_Proto="https", SCRIPT_NAME="/environ"))
    assert environ["wsgi.url_scheme"] == "http"
    assert site.end() == ""


@pytest.mark.parametrize("command", [WORKER, GEVENT])
def test_blanks_after_a_forwarded_value(gunicorn: Gunicorn, command: tuple[str, ...]) -> None:
    site = gunicorn(command=command)
    environ = json.loads(site.get("/environ", **{"X-Forwarded-Proto": "https \t"}))
    assert environ["wsgi.url_scheme"] == "https"
    assert site.end() == ""


BAD = {
    "a long line": (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "414"),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 30 + b"\r\n", "431"),
    "a long header": (b"GET / HTTP/1.1\r\nHost: a\r\nb: " + b"c" * 1100 + b"\r\n\r\n", "431"),
    "a contradiction": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n",
        "400",
    ),
    "no request": (b"\x16\x03\x01\r\n\r\n", "400"),
}


@pytest.mark.parametrize("command", [WORKER, GEVENT])
def test_limits(gunicorn: Gunicorn, command: tuple[str, ...]) -> None:
    site = gunicorn(
        *("--limit-request-line", 2000, "--limit-request-fields", 20),
        *("--limit-request-field_size", 1000),
        command=command,
    )
    assert {name: site.status(data) for name, (data, _) in BAD.items()} == {
        name: status for name, (_, status) in BAD.items()
    }
    lines = site.end().splitlines()
    assert len(lines) == len(BAD)
    assert all("Invalid request from ip=127.0.0.1" in line for line in lines)


def test_it_is_strict_where_pywsgi_is_not(gunicorn: Gunicorn) -> None:
    site = gunicorn()
    assert site.status(b"GET / HTTP/1.1\r\n\r\n") == "400"
    assert "Invalid request from ip=127.0.0.1" in site.end()


@pytest.mark.parametrize("command", [WORKER, GEVENT])
def test_connections_are_kept_as_long_as_keepalive_says(
    gunicorn: Gunicorn, command: tuple[str, ...]
) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for keepalive in (0, 1):
        site = gunicorn("--keep-alive", keepalive, command=command)
        began = time.monotonic()
        assert site.raw(request).endswith(b"hello")
        assert time.monotonic() - began >= keepalive - 0.1
        assert site.end() == ""


def test_the_log_has_gunicorns_format(gunicorn: Gunicorn, tmp_path: Path) -> None:
    log = tmp_path / "access"
    style = "%(m)s %(U)s %(q)s %(s)s %(B)s %({x-a}i)s %({content-type}o)s %({wsgi.url_scheme}e)s"
    site = gunicorn("--access-logfile", log, "--access-logformat", style)
    site.get("/environ?a=b", X_A="yes")
    with site.connect() as connection:
        connection.request("GET", "/missing")
        assert connection.getresponse().status == 404
    eventually(lambda: log.read_text().count("\n") == 2)
    first, second = log.read_text().splitlines()
    assert re.fullmatch(r"GET /environ a=b 200 \d+ yes application/json http", first)
    assert re.fullmatch(r"GET /missing  404 207 - text/html; charset=utf-8 http", second)
    log.rename(tmp_path / "old")
    site.master_tells(signal.SIGUSR1)
    eventually(log.exists)
    eventually(lambda: site.get("/") and log.read_text())
    assert site.end() == ""


def test_errors_of_the_application_are_logged(gunicorn: Gunicorn) -> None:
    site = gunicorn()
    assert site.status(b"GET /exit HTTP/1.1\r\nHost: a\r\n\r\n") == "500"
    assert site.get("/") == "hello"
    errors = site.end()
    assert "[ERROR] Error handling request GET /exit" in errors
    assert "SystemExit: 5" in errors


def test_hooks(gunicorn: Gunicorn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "hooks"
    monkeypatch.setenv("HOOKS_LOG", str(log))
    site = gunicorn("--config", APPS / "hooks.py")
    site.get("/", X_Say="hi")
    assert site.end(signal.SIGINT) == ""
    assert log.read_text().splitlines() == [
        "post_worker_init",
        "pre_request GET / hi",
        "post_request / 200 OK 5",
        "worker_int",
        "worker_exit",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_request_that_is_under_way_is_answered(
    gunicorn: Gunicorn, command: tuple[str, ...]
) -> None:
    site = gunicorn(command=command)
    with site.connect() as idle, ThreadPoolExecutor() as pool:
        idle.get("/")
        page = pool.submit(site.raw, b"GET /wait/1.0 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.5)
        assert site.end() == ""
        head, _, body = page.result().partition(b"\r\n\r\n")
        assert body == b"waited"
        assert command is GEVENT or b"\r\nConnection: close" in head


def test_what_takes_too_long_is_cut_off(gunicorn: Gunicorn) -> None:
    site = gunicorn("--graceful-timeout", 1)
    with ThreadPoolExecutor() as pool:
        page = pool.submit(site.raw, b"GET /wait/30.0 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.5)
        began = time.monotonic()
        site.end()  # either the worker, which answers, or the arbiter may time out first
        assert time.monotonic() - began < 10
        if not isinstance(page.exception(), ConnectionResetError):
            assert page.result() == b"" or page.result().startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_reload_by_signal(gunicorn: Gunicorn, preload: list[str]) -> None:
    site = gunicorn(*preload)
    before = site.pid()
    site.master_tells(signal.SIGHUP)
    eventually(lambda: site.pid() != before)
    assert site.get("/") == "hello"
    assert site.end() == ""


def test_reload_of_changed_sources(start: Callable[..., Program], tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    text = (
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'%s']\n"
    )
    module.write_text(text % "old")
    port = free_port()
    options = ["--bind", f"{HOST}:{port}", "--log-level", "error", "--no-control-socket"]
    program = start(*WORKER, *options, "--reload", "--chdir", tmp_path, "changing:app")
    program.wait_for_port(port)
    site = Site(program, port)
    assert site.get("/") == "old"
    time.sleep(1.1)  # modification times of sources are compared, and cached, by the second
    module.write_text(text % "new")
    eventually(lambda: site.get("/") == "new")
    assert site.end() == ""


def test_workers_are_replaced_after_so_many_requests(gunicorn: Gunicorn) -> None:
    # gunicorn's own gevent worker may lose a request then: it needs a closed socket's address.
    site = gunicorn("--max-requests", 5)
    for _ in range(3):
        workers = [site.pid() for _ in range(5)]
        assert workers == [workers[0]] * 5
    assert site.pid() != workers[0]
    assert site.end() == ""


def test_a_worker_that_hangs_is_replaced(
    gunicorn: Gunicorn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKS_LOG", str(tmp_path / "hooks"))
    site = gunicorn("--timeout", 2, "--config", APPS / "hooks.py")
    before = int(site.get("/pid", X_Say="hi"))
    with ThreadPoolExecutor() as pool:
        hung = pool.submit(site.raw, b"GET /hang HTTP/1.1\r\nHost: a\r\nX-Say: hi\r\n\r\n")
        eventually(lambda: "WORKER TIMEOUT" in site.program.stderr)
        assert hung.result() == b""
    assert int(site.get("/pid", X_Say="hi")) != before
    assert "worker_abort" in (tmp_path / "hooks").read_text()
    site.end()


def test_no_more_connections_than_allowed(gunicorn: Gunicorn) -> None:
    site = gunicorn("--worker-connections", 2)
    with site.connect() as first, site.connect() as second, ThreadPoolExecutor() as pool:
        first.get("/")
        second.get("/")
        third = pool.submit(site.get, "/")
        time.sleep(0.3)
        assert not third.done()
        first.close()
        assert third.result() == "hello"
    assert site.end() == ""


def test_several_addresses_and_unix_sockets(gunicorn: Gunicorn, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    other = free_port()
    site = gunicorn("--bind", f"unix:{path}", "--bind", f"{HOST}:{other}", "--workers", 2)
    with Client(HOST, other, timeout=30) as connection:
        assert connection.get("/") == "hello"
    for name, port in (("shop", "443"), ("shop:81", "81")):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            head = f"GET /environ HTTP/1.0\r\nHost: {name}\r\nX-Forwarded-Proto: https\r\n\r\n"
            sock.sendall(head.encode())
            environ = json.loads(received(sock).partition(b"\r\n\r\n")[2])
        assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("shop", port)
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("", "https")
    assert site.end() == ""
    assert not path.exists()


def test_the_proxy_protocol(gunicorn: Gunicorn) -> None:
    site = gunicorn("--proxy-protocol", "auto")
    answer = site.raw(
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n"
        b"GET /environ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    environ = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("1.2.3.4", "1111")
    assert all("refused a connection" in line for line in site.end().splitlines())


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[trustme.CA, Path]:
    authority = trustme.CA()
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(tmp_path / "site.pem")
    return authority, tmp_path / "site.pem"


def test_tls(gunicorn: Gunicorn, certificates: tuple[trustme.CA, Path]) -> None:
    authority, chain = certificates
    site = gunicorn("--certfile", chain, "--keyfile", chain)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        socket.create_connection((HOST, site.port), timeout=30) as sock,
        context.wrap_socket(sock, server_hostname=HOST) as secure,
    ):
        secure.sendall(b"GET /environ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        environ = json.loads(received(secure).partition(b"\r\n\r\n")[2])
    assert environ["wsgi.url_scheme"] == "https"
    with pytest.raises(ConnectionResetError):
        site.raw(b"GET / HTTP/1.1\r\n\r\n")
    (line,) = site.end().splitlines()
    assert "Invalid request from ip=127.0.0.1" in line


def test_http2(gunicorn: Gunicorn, certificates: tuple[trustme.CA, Path]) -> None:
    authority, chain = certificates
    site = gunicorn("--certfile", chain, "--keyfile", chain, "--http-protocols", "h2,h1")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with httpx.Client(http2=True, verify=context) as client:
        answer = client.get(f"https://{HOST}:{site.port}/environ")
    assert answer.http_version == "HTTP/2"
    assert answer.json()["SERVER_PROTOCOL"] == "HTTP/2"
    assert site.end() == ""


@pytest.mark.parametrize("path", ["/treadle", "/simple"])
def test_websockets(gunicorn: Gunicorn, path: str) -> None:
    site = gunicorn("--keep-alive", 1, app="sockets")
    with open_websocket(f"ws://{HOST}:{site.port}{path}") as client:
        for message in ("hello", b"bytes"):
            client.send(message)
            assert client.recv(timeout=30) == message
        time.sleep(1.5)  # longer than the time that an idle connection stays open
        client.send("still there")
        assert client.recv(timeout=30) == "still there"
    assert site.end() == ""


def test_settings_that_are_not_followed_are_named(gunicorn: Gunicorn) -> None:
    site = gunicorn("--no-sendfile", "--strip-header-spaces")
    first, second, *_ = [line for line in site.end().splitlines() if "treadle" in line]
    assert first.endswith("treadle's worker does not follow the setting sendfile")
    assert second.endswith("treadle's worker does not follow the setting strip_header_spaces")


def test_another_protocol_is_refused(start: Callable[..., Program]) -> None:
    program = start(*WORKER, "--bind", f"{HOST}:0", "--protocol", "uwsgi", "flask_site:app")
    assert program.wait() == 1
    assert "treadle's worker serves HTTP, not the protocol 'uwsgi'" in program.stderr


def test_the_command_itself(start: Callable[..., Program]) -> None:
    command = shutil.which("gunicorn", path=os.path.dirname(os.sys.executable))
    port = free_port()
    options = ["--bind", f"{HOST}:{port}", "--log-level", "warning", "--no-control-socket"]
    program = start("-m", "treadle", "run", command, "-k", "treadle", *options, "flask_site:app")
    program.wait_for_port(port)
    site = Site(program, port)
    assert site.get("/") == "hello"
    assert site.end() == ""
