"""The limits and options of ``treadle serve``, and TLS."""

import ssl as native_ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

import treadle
from treadle import socket, ssl

from .test_serve import Served, serve  # noqa: F401

Serve = Callable[..., Served]


def status(sock: Any) -> bytes:
    sock.settimeout(30)
    answer = bytes(sock.recv(1000))
    return answer[9:12]


def test_connections_of_an_address(serve: Serve) -> None:  # noqa: F811
    here = serve("--connections-per-address", "3").wait_ready()
    treadle.sleep(0.1)  # until the connection of wait_ready() has ended
    kept = [here.connect() for _ in range(3)]
    for sock in kept:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status(sock) == b"200"
    with here.connect() as sock:
        assert status(sock) == b"503"
    kept.pop().close()
    treadle.sleep(0.1)
    assert here.ask().isdigit()
    for sock in kept:
        sock.close()


def test_it_is_strict_where_pywsgi_is_not(serve: Serve) -> None:  # noqa: F811
    here = serve().wait_serving()
    with here.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert status(sock) == b"400"


def test_the_proxy_protocol(serve: Serve, tmp_path: Path) -> None:  # noqa: F811
    log = tmp_path / "access.log"
    flags = ("--proxy-protocol", "127.0.0.0/8", "--connections-per-address", "1")
    here = serve(*flags, "--access-log", str(log)).wait_serving()
    kept = here.connect()
    for name in ("192.0.2.1", "192.0.2.2"):
        with here.connect() as sock:
            sock.sendall(f"PROXY TCP4 {name} 192.0.2.9 1 2\r\n".encode())
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert status(sock) == b"200"
    kept.close()
    until = time.monotonic() + 10
    while log.read_text().count("\n") < 2 and time.monotonic() < until:
        treadle.sleep(0.01)  # a line is logged after its response
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["192.0.2.1", "192.0.2.2"]


def test_connections_in_all(serve: Serve) -> None:  # noqa: F811
    here = serve("--worker-connections", "2").wait_ready()
    treadle.sleep(0.1)
    first, second, third = here.connect(), here.connect(), here.connect()
    for sock in (first, second, third):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status(first) == status(second) == b"200"
    third.settimeout(0.3)
    with pytest.raises(TimeoutError):  # the connection waits to be accepted
        third.recv(100)
    first.close()
    assert status(third) == b"200"
    second.close()
    third.close()


def test_requests_at_once(serve: Serve) -> None:  # noqa: F811
    here = serve("--limit-concurrency", "2", "--queue", "3").wait_ready()
    found = treadle.pool.Group().map(lambda _: ask_status(here, "/wait/0.3"), range(8))
    assert sorted(found) == [b"200"] * 5 + [b"503"] * 3


def ask_status(here: Served, path: str) -> bytes:
    with here.connect() as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return status(sock)


def test_tls(serve: Serve, tmp_path: Path) -> None:  # noqa: F811
    authority = trustme.CA()
    for name in ("one.example", "two.example"):
        certificate = authority.issue_cert(name)
        certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    config = tmp_path / "serve.toml"
    config.write_text(
        f'certfile = "{tmp_path}/one.example.pem"\nheader_timeout = 0.5\n'
        f'[sni]\n"two.example" = ["{tmp_path}/two.example.pem"]\n'
    )
    here = serve("--config", str(config), "--workers", "1").wait_serving()
    port = here.port
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["http/1.1"])
    for name in ("one.example", "two.example"):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=name) as sock,
        ):
            assert sock.selected_alpn_protocol() == "http/1.1"
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert status(sock) == b"200"
    assert treadle.get_hub().threadpool.apply(asked_by_http2, (authority, port)) == ["HTTP/2"] * 3
    # A client that is silent or does not speak TLS is not reported; both are disconnected.
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        assert sock.recv(100) == b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with suppress(ConnectionResetError):
            assert b"200" not in sock.recv(100)
    assert "Traceback" not in here.errors.read_text()
    assert here.end() == 0


def asked_by_http2(authority: trustme.CA, port: int) -> list[str]:
    context = native_ssl.create_default_context()
    context.check_hostname = False  # the client connects by address
    authority.configure_trust(context)
    with httpx.Client(http2=True, verify=context) as client:
        answers = [client.get(f"https://127.0.0.1:{port}/", timeout=10) for _ in range(3)]
    assert all(answer.text.isdigit() for answer in answers)
    return [answer.http_version for answer in answers]


def test_a_unix_socket(serve: Serve, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "socket"
    for _ in range(2):  # the second server finds the socket file of the killed one
        here = serve("--bind", f"unix:{path}").wait_serving()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert status(sock) == b"200"
        here.process.kill()
        here.process.wait()
        treadle.sleep(2)  # its worker notices that the supervisor is gone, and ends
    assert path.exists()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a client's context that trusts a certificate, and the file of that."""
    authority = trustme.CA()
    path = tmp_path / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context, path


def test_an_idle_connection_over_tls_ends_with_a_notification(
    serve: Serve,  # noqa: F811
    certificate: tuple[ssl.SSLContext, Path],
) -> None:
    context, path = certificate
    here = serve("--certfile", str(path)).wait_serving()
    with context.wrap_socket(
        here.connect(), server_hostname="127.0.0.1", suppress_ragged_eofs=False
    ) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status(sock) == b"200"
        assert here.end() == 0
        assert sock.recv(100) == b""


def test_connections_of_an_address_over_tls(
    serve: Serve,  # noqa: F811
    certificate: tuple[ssl.SSLContext, Path],
) -> None:
    context, path = certificate
    here = serve("--certfile", str(path), "--connections-per-address", "1").wait_serving()
    with context.wrap_socket(here.connect(), server_hostname="127.0.0.1") as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status(sock) == b"200"
        with here.connect() as other, pytest.raises(ssl.SSLError, match="internal error"):
            context.wrap_socket(other, server_hostname="127.0.0.1")


def test_an_encrypted_key_is_said_in_a_line(serve: Serve, tmp_path: Path) -> None:  # noqa: F811
    made = trustme.CA().issue_cert("127.0.0.1")
    plain = serialization.load_pem_private_key(made.private_key_pem.bytes(), None)
    key = tmp_path / "key.pem"
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
    here = serve("--certfile", str(certificate), "--keyfile", str(key))
    assert here.wait() == 3
    assert here.errors.read_text().splitlines() == [
        "treadle serve: keyfile: the key is encrypted, and nobody is asked for its password"
    ]
