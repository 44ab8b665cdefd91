"""What a WSGI application receives, what a client receives, and where a request ends."""

import asyncio
import gzip
import http.client
import io
import os
import re
import signal
import socket as native
import sys
import time
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

import treadle
import treadle.os
from treadle.event import Event
from treadle.http.limits import UNBOUNDED, Limits

from .conftest import Site, received

Start = Callable[..., Site]


def answering(*body: bytes, status: str = "200 OK", headers: Any = ()) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, list(headers))
        return list(body)

    return application


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    data = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
    return [data]


def get(path: str = "/", *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: a", *lines, "", ""]).encode("latin-1")


def post(body: bytes, *lines: str, path: str = "/") -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


LAST = "Connection: close"

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux joins parts")
#: Where the kernel's struct tcp_info has these numbers of 32 bits.
NOTSENT_BYTES, DATA_SEGS_IN = 144, 152


def tcp_info(sock: Any, at: int) -> int:
    info = sock.getsockopt(native.IPPROTO_TCP, native.TCP_INFO, at + 4)
    return int.from_bytes(info[at:], sys.byteorder)


def listener() -> treadle.socket.socket:
    """Return a socket that listens, and whose connections do not wait for acknowledgements."""
    sock = treadle.socket.socket()
    sock.setsockopt(native.IPPROTO_TCP, native.TCP_NODELAY, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


def split(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return a response's status line, headers and body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


class TestAnswers:
    def test_a_list_gets_its_length(self, site: Start) -> None:
        status, headers, body = split(site(answering(b"ab", b"c")).exchange(get("/", LAST)))
        assert status == "HTTP/1.1 200 OK"
        assert (headers["Content-Length"], headers["Connection"]) == ("3", "close")
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", headers["Date"])
        assert body == b"abc"

    def test_an_iterator_comes_in_chunks(self, site: Start) -> None:
        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"first"
            yield b""
            yield b"second"

        here = site(application)
        _, headers, body = split(here.exchange(get("/", LAST)))
        assert headers["Transfer-Encoding"] == "chunked"
        assert body == b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"
        _, headers, body = split(here.exchange(get(version="1.0")))
        assert "Transfer-Encoding" not in headers
        assert (headers["Connection"], body) == ("close", b"firstsecond")

    def test_each_part_is_sent_when_it_is_there(self, site: Start) -> None:
        event = Event()

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"first"
            event.wait(10)
            yield b"second"

        with site(application).connect() as sock:
            sock.sendall(get("/", LAST))
            assert sock.recv(1000).endswith(b"5\r\nfirst\r\n")
            event.set()
            assert received(sock) == b"6\r\nsecond\r\n0\r\n\r\n"

    @linux
    def test_parts_that_come_at_once_share_packets(self, site: Start) -> None:
        parts = [b"%d" % number for number in range(400)]

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            return iter(parts)

        with site(application, listener=listener()).connect() as sock:
            sock.sendall(get("/", LAST))
            body = split(received(sock))[2]
            packets = tcp_info(sock, DATA_SEGS_IN)
        assert body == b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
        assert packets < len(parts) / 10

    @linux
    def test_no_part_is_held_back_while_the_application_waits(self, site: Start) -> None:
        held: list[int] = []
        left: list[int] = []

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            sock = start_response.__self__.socket
            for _ in range(9):
                yield from (b"a", b"b", b"c", b"d")
                held.append(tcp_info(sock, NOTSENT_BYTES))
                treadle.sleep(0)
                left.append(tcp_info(sock, NOTSENT_BYTES))

        _, _, body = split(site(application, listener=listener()).exchange(get("/", LAST)))
        assert body == b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n" * 9 + b"0\r\n\r\n"
        assert any(held)
        assert not any(left)

    @linux
    def test_no_part_is_held_back_while_others_compute(self, site: Start) -> None:
        left: list[int] = []

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            sock = start_response.__self__.socket
            for _ in range(9):
                # It is ready before anything is held back.
                treadle.spawn(lambda: left.append(tcp_info(sock, NOTSENT_BYTES)))
                yield from (b"a", b"b", b"c", b"d")
                treadle.sleep(0)

        site(application, listener=listener()).exchange(get("/", LAST))
        assert left == [0] * 9

    @linux
    @pytest.mark.parametrize("ends", [True, False])
    def test_a_thread_that_writes_leaves_no_part_held_back(self, site: Start, ends: bool) -> None:
        left: list[int] = []
        ended = Event()

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            write = start_response("200 OK", [])
            sock = start_response.__self__.socket
            go_on = allocate_lock()
            go_on.acquire()

            def write_parts() -> None:
                for part in (b"a", b"b", b"c", b"d"):
                    write(part)
                left.append(tcp_info(sock, NOTSENT_BYTES))
                ended.set()
                if not ends:  # its hub, if it has one, does not run meanwhile
                    go_on.acquire()

            start_new_thread(write_parts, ())
            ended.wait()
            yield from (b"a", b"b", b"c", b"d")
            treadle.sleep(0)
            left.append(tcp_info(sock, NOTSENT_BYTES))
            go_on.release()

        _, _, body = split(site(application, listener=listener()).exchange(get("/", LAST)))
        assert body == b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n" * 2 + b"0\r\n\r\n"
        assert left == [0, 0]

    @linux
    def test_a_child_that_goes_on_leaves_no_part_held_back(self, site: Start) -> None:
        reader, writer = os.pipe()

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            sock = start_response.__self__.socket
            yield from (b"a", b"b", b"c", b"d")
            pid = treadle.os.fork()
            if pid == 0:
                yield from (b"a", b"b", b"c", b"d")
                treadle.sleep(0)
                os.write(writer, b"%d" % tcp_info(sock, NOTSENT_BYTES))
                os._exit(0)
            treadle.os.waitpid(pid, 0)

        site(application, listener=listener()).exchange(get("/", LAST))
        assert os.read(reader, 9) == b"0"
        os.close(reader)
        os.close(writer)

    @pytest.mark.parametrize("given", [True, False])
    def test_no_part_waits_for_an_acknowledgement(self, site: Start, given: bool) -> None:
        found: list[int] = []

        def application(environ: Any, start_response: Any) -> list[bytes]:
            sock = start_response.__self__.socket
            found.append(sock.getsockopt(native.IPPROTO_TCP, native.TCP_NODELAY))
            start_response("200 OK", [])
            return []

        if given:
            own = treadle.socket.create_server(("127.0.0.1", 0))
            site(application, listener=own).exchange(get("/", LAST))
        else:
            site(application).exchange(get("/", LAST))
        assert found[0]

    @linux
    def test_the_last_bytes_of_a_length_are_not_held_back(self, site: Start) -> None:
        left: list[int] = []

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Length", "50")])
            yield from [b"x"] * 50
            left.append(tcp_info(start_response.__self__.socket, NOTSENT_BYTES))

        assert (
            split(site(application, listener=listener()).exchange(get("/", LAST)))[2] == b"x" * 50
        )
        assert left == [0]

    def test_write(self, site: Start) -> None:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            write = start_response("200 OK", [("Content-Length", "6")])
            write(b"abc")
            return [b"def"]

        assert site(application).exchange(get("/", LAST)).endswith(b"\r\n\r\nabcdef")

    def test_write_of_nothing_sends_the_head(self, site: Start) -> None:
        event = Event()

        def application(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Length", "3")])("")
            event.wait()
            return [b"abc"]

        with site(application).connect() as sock:
            sock.sendall(get("/", LAST))
            assert sock.recv(1000).endswith(b"\r\n\r\n")
            event.set()
            assert received(sock) == b"abc"

    def test_head_has_the_headers_alone(self, site: Start) -> None:
        request = get("/", LAST).replace(b"GET", b"HEAD")
        _, headers, body = split(site(answering(b"abc")).exchange(request))
        assert (headers["Content-Length"], body) == ("3", b"")
        told = answering(headers=[("Content-Length", "1000")])
        _, headers, body = split(site(told).exchange(request))
        assert (headers["Content-Length"], body) == ("1000", b"")

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_answers_without_a_body(self, site: Start, status: str) -> None:
        here = site(answering(b"ignored", status=status))
        answer = here.exchange(get() + get("/", LAST))
        assert answer.count(b"HTTP/1.1 " + status[:3].encode()) == 2
        assert b"ignored" not in answer
        assert b"Content-Length" not in answer
        assert b"Transfer-Encoding" not in answer

    def test_the_connections_headers_are_the_servers(self, site: Start) -> None:
        given = [("Transfer-Encoding", "chunked"), ("Keep-Alive", "1"), ("X-A", "b")]
        _, headers, body = split(site(answering(b"abc", headers=given)).exchange(get("/", LAST)))
        assert headers.keys() == {"X-A", "Content-Length", "Date", "Connection"}
        assert body == b"abc"

    def test_what_is_derived_from_str_and_bytes_serves_as_well(self, site: Start) -> None:
        class Text(str):
            """A string class like that with which frameworks mark safe HTML."""

        class Data(bytes):
            """A bytes class for bodies."""

        def application(environ: Any, start_response: Any) -> Any:
            start_response(Text("200 OK"), [(Text("X-\xc4".encode().hex()), Text("\xe4"))])
            whole = [Data(b"abc")]
            return whole if environ["PATH_INFO"] == "/whole" else iter(whole)

        here = site(application)
        for path, body in (("/whole", b"abc"), ("/parts", b"3\r\nabc\r\n0\r\n\r\n")):
            status, headers, found = split(here.exchange(get(path, LAST)))
            assert (status, found) == ("HTTP/1.1 200 OK", body)
            assert headers["582dc384"] == "\xe4"

    def test_an_application_can_end_the_connection(self, site: Start) -> None:
        here = site(answering(b"abc", headers=[("Connection", "close")]))
        assert here.exchange(get() + get()).count(b"HTTP/1.1") == 1

    def test_early_hints(self, site: Start) -> None:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
            start_response("200 OK", [])
            return [b"abc"]

        answer = site(application).exchange(get("/", LAST))
        first = (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
        )
        assert answer.startswith(first)

    def test_a_file_is_sent_by_the_system(self, site: Start, tmp_path: Path) -> None:
        content = os.urandom(3_000_000)
        path = tmp_path / "film"
        path.write_bytes(content)
        opened: list[Any] = []

        def application(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            opened.append(path.open("rb"))
            opened[-1].seek(1_000_000)
            return environ["wsgi.file_wrapper"](opened[-1])

        _status, headers, body = split(site(application).exchange(get("/", LAST)))
        assert headers["Content-Length"] == "2000000"
        assert body == content[1_000_000:]
        assert opened[0].closed

    def test_a_file_that_becomes_shorter_is_logged_with_what_was_sent(
        self, site: Start, tmp_path: Path
    ) -> None:
        path = tmp_path / "film"
        path.write_bytes(b"x" * 8_000_000)  # more than the system's buffers take

        def application(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"](path.open("rb"))

        here = site(application)
        with here.connect() as sock:
            sock.sendall(get("/"))
            head = sock.recv(100)
            os.truncate(path, 1)
            _head, _, body = (head + received(sock)).partition(b"\r\n\r\n")
        assert f'" 200 {len(body)} ' in here.log[0]
        assert f"lacks {8_000_000 - len(body)} bytes" in here.errors[0]

    def test_a_compressed_file_is_sent_as_its_read_gives_it(
        self, site: Start, tmp_path: Path
    ) -> None:
        path = tmp_path / "film.gz"
        with gzip.open(path, "wb") as file:
            file.write(b"abc" * 1000)

        def application(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "3000")])
            return environ["wsgi.file_wrapper"](gzip.open(path))

        assert split(site(application).exchange(get("/", LAST)))[2] == b"abc" * 1000

    @linux
    @pytest.mark.parametrize("buffering", [-1, 0])
    @pytest.mark.parametrize(
        "path", ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"]
    )
    def test_a_file_whose_size_is_not_true_is_read(
        self, site: Start, path: str, buffering: int
    ) -> None:
        if not os.access(path, os.R_OK):
            pytest.skip(f"there is no {path}")

        def application(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"](open(path, "rb", buffering=buffering))

        here = site(application)
        content = Path(path).read_bytes()
        assert split(here.exchange(get(version="1.0")))[2] == content
        body = split(here.exchange(get("/", LAST)))[2]
        assert body == b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)

    def test_a_file_that_cannot_be_read_is_500(self, site: Start, tmp_path: Path) -> None:
        (tmp_path / "film").write_bytes(b"abc")

        def application(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            file = io.FileIO(os.open(tmp_path / "film", os.O_WRONLY), "w")
            return environ["wsgi.file_wrapper"](file)

        here = site(application)
        assert split(here.exchange(get()))[0] == "HTTP/1.1 500 Internal Server Error"
        assert "not open for reading" in here.errors[0]

    def test_a_kind_of_file_wrapper_is_asked_for_its_parts(
        self, site: Start, tmp_path: Path
    ) -> None:
        (tmp_path / "film").write_bytes(b"abc")

        def application(environ: Any, start_response: Any) -> Any:
            class Loud(environ["wsgi.file_wrapper"]):  # type: ignore[misc]
                def __next__(self) -> bytes:
                    return bytes(super().__next__().upper())

            start_response("200 OK", [])
            return Loud((tmp_path / "film").open("rb"))

        assert split(site(application).exchange(get(version="1.0")))[2] == b"ABC"

    def test_something_like_a_file(self, site: Start) -> None:
        def application(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "6")])
            return environ["wsgi.file_wrapper"](io.BytesIO(b"abcdef"), 4)

        assert site(application).exchange(get("/", LAST)).endswith(b"\r\n\r\nabcdef")

    def test_a_large_answer(self, site: Start) -> None:
        data = os.urandom(5_000_000)
        assert site(answering(data)).exchange(get("/", LAST)).endswith(b"\r\n\r\n" + data)

    def test_close_is_called(self, site: Start) -> None:
        closed: list[bool] = []

        class Body:
            def __iter__(self) -> Iterator[bytes]:
                yield b"abc"
                raise RuntimeError("in the middle")

            def close(self) -> None:
                closed.append(True)

        def application(environ: Any, start_response: Any) -> Body:
            start_response("200 OK", [])
            return Body()

        here = site(application)
        answer = here.exchange(get())
        assert answer.endswith(b"3\r\nabc\r\n")  # no last chunk, so the client notices
        assert closed == [True]
        assert "RuntimeError: in the middle" in here.errors[0]


class TestErrors:
    def test_a_body_that_the_connection_ends_is_not_taken_for_whole(self, site: Start) -> None:
        class Body:
            def __iter__(self) -> Iterator[bytes]:
                yield b"abc"
                if here.requests[-1]["PATH_INFO"] == "/fails":
                    raise RuntimeError("in the middle")

            def close(self) -> None:
                if here.requests[-1]["PATH_INFO"] == "/fails-later":
                    raise RuntimeError("after the end")

        def application(environ: Any, start_response: Any) -> Body:
            start_response("200 OK", [])
            return Body()

        here = site(application)
        for path in ("/", "/fails-later"):
            assert here.exchange(get(path, version="1.0")).endswith(b"\r\n\r\nabc")
        with pytest.raises(ConnectionResetError):
            here.exchange(get("/fails", version="1.0"))
        assert [error.count("RuntimeError") > 0 for error in here.errors] == [True, True]

    def test_an_exception_is_500(self, site: Start) -> None:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            raise KeyError("missing")

        here = site(application)
        status, headers, body = split(here.exchange(get() + get()))
        assert status == "HTTP/1.1 500 Internal Server Error"
        assert headers["Connection"] == "close"
        assert "missing" not in body.decode()
        assert "KeyError: 'missing'" in here.errors[0]

    @pytest.mark.parametrize("began", [False, True])
    @pytest.mark.parametrize(
        "error",
        [
            SystemExit(3),
            KeyboardInterrupt(),
            GeneratorExit(),
            asyncio.CancelledError(),
            treadle.Timeout(1),
            treadle.GreenletExit(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_whatever_leaves_an_application_gets_an_answer(
        self, site: Start, error: BaseException, began: bool
    ) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a worker
        try:
            self.answers_in_spite_of(error, site, began)
        finally:
            signal.signal(signal.SIGINT, before)

    def answers_in_spite_of(self, error: BaseException, site: Start, began: bool) -> None:
        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            if began:
                yield b"abc"
            if environ["PATH_INFO"] == "/bad":
                raise error

        here = site(application)
        with here.connect() as sock:
            sock.sendall(get("/other"))
            answer = here.exchange(get("/bad"))
            assert answer.startswith(b"HTTP/1.1 200" if began else b"HTTP/1.1 500")
            assert not answer.endswith(b"0\r\n\r\n")  # as if the body were whole
            assert len(here.errors) == (0 if isinstance(error, treadle.GreenletExit) else 1)
            assert sock.recv(1000).startswith(b"HTTP/1.1 200")
            sock.sendall(get("/other"))  # others are served on, on their connections too
            assert sock.recv(1000).startswith(b"HTTP/1.1 200")

    def test_a_log_that_fails_costs_no_answer(self, site: Start) -> None:
        class Broken:
            def write(self, text: str) -> None:
                raise OSError(28, "No space left on device")

        here = site(answering(b"abc"), log=Broken(), error_log=Broken())
        assert here.exchange(get() + get("/", LAST)).count(b"200 OK") == 2
        here = site(lambda environ, start: 1 / 0, log=Broken(), error_log=Broken())
        assert here.exchange(get()).startswith(b"HTTP/1.1 500 ")

    @pytest.mark.parametrize("length", [False, True])
    def test_a_write_that_is_cut_ends_the_connection(self, site: Start, length: bool) -> None:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            if environ["PATH_INFO"] != "/large":
                start_response("200 OK", [])
                return [b"next"]
            headers = [("Content-Length", str(size))] if length else []
            write = start_response("200 OK", headers)
            for _ in range(2):
                try:
                    with treadle.Timeout(0.05):
                        write(b"a" * size)
                except (treadle.Timeout, OSError) as exc:
                    errors.append(type(exc))
            return []

        errors: list[type] = []
        size = 20_000_000
        here = site(application)
        with here.connect() as sock:
            sock.sendall(get("/large") + get())
            treadle.sleep(0.2)
            answer = b""
            try:
                while part := sock.recv(65536):
                    answer += part
            except ConnectionResetError:
                answer += b"(reset)"
        assert errors == [treadle.Timeout, ConnectionAbortedError]
        assert answer.endswith(b"(reset)")
        assert b"next" not in answer

    def test_an_answer_before_the_end_reaches_a_client_that_sends_on(self, site: Start) -> None:
        size = 3_000_000
        here = site(answering(b"a" * size))
        with here.connect() as sock:
            sock.sendall(get("/", LAST) + get() * 1000)
            treadle.sleep(0.05)
            assert len(split(received(sock))[2]) == size

    def test_start_response_again_with_exc_info(self, site: Start) -> None:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("X-First", "1")])
            try:
                raise ValueError
            except ValueError:
                start_response("503 Later", [("X-Second", "1")], sys.exc_info())
            return [b"sorry"]

        status, headers, _ = split(site(application).exchange(get("/", LAST)))
        assert status == "HTTP/1.1 503 Later"
        assert "X-First" not in headers
        assert "X-Second" in headers

    @pytest.mark.parametrize(
        ("status", "headers", "body"),
        [
            ("200", [], [b""]),
            (b"200 OK", [], [b""]),
            ("20 OK", [], [b""]),
            ("200 OK\r\nX: y", [], [b""]),
            ("200 OK", [("X", "a\r\nSet-Cookie: b")], [b""]),
            ("200 OK", [("X", "a\nb")], [b""]),
            ("200 OK", [("X", "a\0b")], [b""]),
            ("200 OK", [("X", "a\x1bb")], [b""]),
            ("200 OK", [("X", "a\x7fb")], [b""]),
            ("200 OK", [("X Y", "a")], [b""]),
            ("200 OK", [("X\r\nY", "a")], [b""]),
            ("200 OK", [("", "a")], [b""]),
            ("200 OK", [("X", 5)], [b""]),
            ("200 OK", [(b"X", "a")], [b""]),
            ("200 OK", [("Content-Length", "-1")], [b""]),
            ("200 OK", [("Content-Length", "1"), ("Content-Length", "2")], [b"a"]),
            ("200 OK", [("X", "\u20ac")], [b""]),
            ("200 OK", [], ["text"]),
            ("200 OK", [], None),
        ],
    )
    def test_what_an_application_must_not_say(
        self, site: Start, status: Any, headers: Any, body: Any
    ) -> None:
        def application(environ: Any, start_response: Any) -> Any:
            start_response(status, headers)
            return body

        here = site(application)
        answer = here.exchange(get())
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"Set-Cookie" not in answer
        assert len(here.errors) == 1

    def test_start_response_twice_and_never(self, site: Start) -> None:
        def twice(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            start_response("200 OK", [])
            return []

        assert site(twice).exchange(get()).startswith(b"HTTP/1.1 500 ")
        assert site(lambda environ, start: [b"x"]).exchange(get()).startswith(b"HTTP/1.1 500 ")

    @pytest.mark.parametrize("parts", [[b"abc", b"def"], [b"abcdef"], [b"abcde", b"f", b"g"]])
    def test_what_a_body_has_too_much_is_not_sent(self, site: Start, parts: list[bytes]) -> None:
        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Length", "5")])
            yield from parts

        here = site(application)
        assert here.exchange(get() + get()).endswith(b"\r\n\r\nabcde")
        assert len(here.errors) == 1
        assert "its Content-Length says 5" in here.errors[0]

    def test_a_body_that_is_not_as_long_as_it_says(self, site: Start) -> None:
        here = site(answering(b"abc", headers=[("Content-Length", "5")]))
        assert here.exchange(get() + get()).endswith(b"\r\n\r\nabc")
        assert "Content-Length" in here.errors[0]
        here = site(answering(b"abcdef", headers=[("Content-Length", "5")]))
        assert here.exchange(get() + get()).endswith(b"\r\n\r\nabcde")
        assert "Content-Length" in here.errors[0]


class TestRequests:
    def test_environ(self, site: Start) -> None:
        here = site(answering(b""))
        here.exchange(
            get(
                "/a%20b%C3%A4/c?d=%20&e",
                "X-One: 1",
                "X-One: 2",
                "Cookie: a=b",
                "cookie: c=d",
                "Content-Type: text/plain",
                "X_Hidden: 1",
                "Empty:",
                "Padded: \t x \t",
                LAST,
            )
        )
        (environ,) = here.requests
        expected = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a b\xc3\xa4/c",
            "QUERY_STRING": "d=%20&e",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_PORT": str(here.address[1]),
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "a",
            "HTTP_X_ONE": "1,2",
            "HTTP_COOKIE": "a=b; c=d",
            "CONTENT_TYPE": "text/plain",
            "HTTP_EMPTY": "",
            "HTTP_PADDED": "x",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.run_once": False,
        }
        assert {key: environ[key] for key in expected} == expected
        assert not any("HIDDEN" in key for key in environ)
        assert all(type(value) is str for key, value in environ.items() if key.isupper())

    @pytest.mark.parametrize(
        ("target", "path", "query", "host"),
        [
            ("http://b:80/c?d", "/c", "d", "b:80"),
            ("http://b", "/", "", "b"),
            ("http://b?c=/", "/", "c=/", "b"),
            ("//b/c", "//b/c", "", "a"),
            ("/?", "/", "", "a"),
            ("/c?d?e", "/c", "d?e", "a"),
        ],
    )
    def test_targets(self, site: Start, target: str, path: str, query: str, host: str) -> None:
        here = site(answering(b""))
        here.exchange(get(target, LAST))
        (environ,) = here.requests
        found = environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_HOST"]
        assert found == (path, query, host)

    def test_options_of_the_server(self, site: Start) -> None:
        here = site(answering(b""))
        here.exchange(get("*", LAST).replace(b"GET", b"OPTIONS"))
        assert here.requests[0]["PATH_INFO"] == "*"

    def test_the_validator_is_content(self, site: Start) -> None:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            body = environ["wsgi.input"].read(10)
            environ["wsgi.errors"].write("")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [body]

        here = site(validator(application))
        for request in (post(b"abc", LAST), get("/?a=b", LAST)):
            assert here.exchange(request).startswith(b"HTTP/1.1 200 OK")
        assert [error for error in here.errors if error] == []

    def test_the_application_s_own_time_limit_is_no_error_of_the_client(self, site: Start) -> None:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            try:
                with treadle.Timeout(0.05, TimeoutError("mine")):
                    environ["wsgi.input"].read()
            except TimeoutError as exc:
                start_response("200 OK", [("Connection", "close")])
                return [str(exc).encode(), environ["wsgi.input"].read(3)]
            raise AssertionError

        with site(application).connect() as sock:
            request = post(b"abc", LAST)
            sock.sendall(request[:-3])
            treadle.sleep(0.15)
            sock.sendall(request[-3:])
            assert received(sock).endswith(b"mineabc")

    @pytest.mark.parametrize("one_by_one", [False, True])
    def test_pipelining(self, site: Start, one_by_one: bool) -> None:
        chunked = (
            b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nTrailer: GET / HTTP/1.1\r\n\r\n"
        )
        data = b"\r\n" + get("/1") + chunked + post(b"GET / HTTP/1.1\r\n\r\n", path="/3")
        data += get("/4", LAST) + get("/5")
        here = site(echo)
        with here.connect() as sock:
            if one_by_one:
                for at in range(len(data)):
                    sock.sendall(data[at : at + 1])
                    treadle.sleep(0)
            else:
                sock.sendall(data)
            answer = received(sock)
        assert re.findall(rb"X-Path: (.*)\r\n", answer) == [b"/1", b"/2", b"/3", b"/4"]
        assert re.split(rb"(?:^|\r\n\r\n)", answer)[0] == b""
        bodies = re.findall(rb"\r\n\r\n(.*?)(?=HTTP/1.1 200|$)", answer, re.DOTALL)
        assert bodies == [b"", b"abcdefg", b"GET / HTTP/1.1\r\n\r\n", b""]

    def test_http_1_0(self, site: Start) -> None:
        here = site(answering(b"abc"))
        assert here.exchange(get(version="1.0")).count(b"Connection: close") == 1
        kept = get("/", "Connection: keep-alive", version="1.0")
        answer = here.exchange(kept + get(version="1.0"))
        assert answer.count(b"Connection: keep-alive") == answer.count(b"Connection: close") == 1

    def test_a_body_nobody_reads_is_skipped(self, site: Start) -> None:
        here = site(answering(b"abc"))
        answer = here.exchange(post(b"x" * 100_000) + get("/", LAST))
        assert answer.count(b"200 OK") == 2

    def test_a_long_body_nobody_reads_ends_the_connection(self, site: Start) -> None:
        here = site(answering(b"abc"))
        answer = here.exchange(post(b"x" * 3_000_000) + get("/", LAST))
        assert answer.count(b"200 OK") == 1
        assert b"Connection: close" in answer

    @pytest.mark.parametrize("length", [False, True])
    def test_reading(self, site: Start, length: bool) -> None:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            file = environ["wsgi.input"]
            parts = [file.readline(), file.read(3), file.readline(2), file.readline()]
            parts += [file.read(0), *file.readlines(3), next(file), file.read(), file.read(1)]
            buffer = bytearray(2)
            assert file.readinto(buffer) == 0
            assert file.readline() == b"" == file.read1()
            start_response("200 OK", [])
            return [b"|".join(parts)]

        body = b"one\nabcdefgh\nxx\nyy\nzz\nrest"
        if length:
            request = post(body, LAST)
        else:
            chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
            request = (
                b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" + chunks
            )
        with site(application).connect() as sock:
            for at in range(0, len(request), 7):
                sock.sendall(request[at : at + 7])
                treadle.sleep(0)
            answer = received(sock)
        assert answer.endswith(b"\r\n\r\none\n|abc|de|fgh\n||xx\n|yy\n|zz\nrest|"), answer

    def test_continue_is_sent_when_the_body_is_wanted(self, site: Start) -> None:
        here = site(echo)
        with here.connect() as sock:
            head, _, body = post(b"abc", "Expect: 100-continue", LAST).partition(b"\r\n\r\n")
            sock.sendall(head + b"\r\n\r\n")
            assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(body)
            assert received(sock).endswith(b"\r\n\r\nabc")

    def test_without_continue_the_connection_ends(self, site: Start) -> None:
        here = site(answering(b"no", status="401 Who are you"))
        head = post(b"abc", "Expect: 100-continue").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        answer = here.exchange(head)
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert answer.count(b"HTTP/1.1") == 1
        assert b"Connection: close" in answer

    def test_no_continue_after_the_answer_has_begun(self, site: Start) -> None:
        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"begun"
            yield environ["wsgi.input"].read()

        body = b"abc"
        head = post(body, "Expect: 100-continue").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        here = site(application)
        with here.connect() as sock:
            sock.sendall(head)
            answer = sock.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200 ")
            sock.sendall(body)
            assert b"100 Continue" not in answer + received(sock)

    def test_a_body_in_tiny_chunks(self, site: Start) -> None:
        """Reading costs time and memory in proportion to the body, not to its chunks."""

        def application(environ: Any, start_response: Any) -> list[bytes]:
            file, size = environ["wsgi.input"], int(environ["PATH_INFO"][1:])
            treadle.sleep(0.1)  # all of it has come
            before = time.process_time()
            count = sum(1 for _ in iter(lambda: file.readline(size), b""))
            start_response("200 OK", [])
            return [b"%d %f" % (count, time.process_time() - before)]

        here = site(application)
        chunks = b"2\r\nab\r\n" * 30_000 + b"0\r\n\r\n"
        for size in (1, 7, 60_000):
            head = [f"POST /{size} HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", LAST, "", ""]
            answer = here.exchange("\r\n".join(head).encode() + chunks)
            count, seconds = split(answer)[2].split()
            assert int(count) == -(-60_000 // size)
            assert float(seconds) < 2  # some 20 if each looks at all chunks

    def test_no_continue_after_the_body_has_come(self, site: Start) -> None:
        answer = site(echo).exchange(post(b"abc", "Expect: 100-continue", LAST))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"abc")

    @pytest.mark.parametrize("body", [b"", b"abc"])
    def test_another_protocol_is_not_taken(self, site: Start, body: bytes) -> None:
        upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA")
        answer = site(echo).exchange(post(body, *upgrade) + get("/2", LAST))
        assert answer.count(b"200 OK") == 2
        assert b"X-Path: /2" in answer
        assert body in answer

    def test_a_websocket_nobody_takes(self, site: Start) -> None:
        upgrade = get("/1", "Connection: Upgrade", "Upgrade: websocket")
        answer = site(echo).exchange(upgrade + get("/2", LAST))
        assert re.findall(rb"X-Path: (.*)\r\n", answer) == [b"/1", b"/2"]

    def test_a_client_that_leaves_in_the_middle(self, site: Start) -> None:
        seen: list[Exception] = []

        def application(environ: Any, start_response: Any) -> list[bytes]:
            try:
                environ["wsgi.input"].read()
            except OSError as exc:
                seen.append(exc)
                raise
            return []

        here = site(application)
        assert here.exchange(post(b"abc")[:-1], end=True) == b""
        assert "end of file" in str(seen[0])
        assert here.errors == []

    def test_contexts_do_not_leak(self, site: Start) -> None:
        variable: ContextVar[str] = ContextVar("variable", default="none")

        def application(environ: Any, start_response: Any) -> list[bytes]:
            found = variable.get()
            variable.set("set")
            start_response("200 OK", [("X-Path", found)])
            return []

        answer = site(application).exchange(get() + get("/", LAST))
        assert re.findall(rb"X-Path: (.*)\r\n", answer) == [b"none", b"none"]


class TestLimits:
    def limited(self, site: Start, **limits: Any) -> Site:
        return site(echo, replace(UNBOUNDED, **limits))

    def timed(self, here: Site, data: bytes) -> tuple[bytes, float]:
        began = time.monotonic()
        answer = here.exchange(data)
        return answer, time.monotonic() - began

    def test_idle(self, site: Start) -> None:
        answer, seconds = self.timed(self.limited(site, idle_time=0.1), b"")
        assert answer == b""
        assert seconds > 0.09
        answer, seconds = self.timed(self.limited(site, idle_time=0.1), get())
        assert answer.count(b"200 OK") == 1
        assert seconds > 0.09

    def test_empty_lines_are_no_head(self, site: Start) -> None:
        here = self.limited(site, header_time=0.2)
        began = time.monotonic()
        with here.connect() as sock:
            try:
                while time.monotonic() < began + 60:
                    sock.sendall(b"\r\n")
                    treadle.sleep(0.02)
            except OSError:
                pass
        assert time.monotonic() - began < 30

    def test_a_slow_head(self, site: Start) -> None:
        here = self.limited(site, header_time=0.2)
        began = time.monotonic()
        with here.connect() as sock:
            for byte in get()[:-1]:
                sock.sendall(bytes([byte]))
                treadle.sleep(0.02)
                if time.monotonic() - began > 0.4:
                    break
            answer = received(sock)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert here.requests == []

    def test_a_slow_body(self, site: Start) -> None:
        answer, seconds = self.timed(self.limited(site, body_time=0.1), post(b"abc")[:-1])
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert seconds > 0.09

    def test_a_client_that_does_not_read(self, site: Start) -> None:
        ended = Event()

        def application(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            try:
                while True:
                    yield b"x" * 100_000
            finally:
                ended.set()

        here = site(application, replace(UNBOUNDED, write_time=0.1))
        with here.connect() as sock:
            sock.sendall(get())
            assert ended.wait(5)

    def test_defaults_are_bounded(self) -> None:
        limits = Limits()
        assert None not in (limits.body_size, limits.header_time, limits.body_time)
        assert None not in (limits.idle_time, limits.write_time, limits.connections)


def test_a_standard_client(site: Start) -> None:
    here = site(echo)
    hub = treadle.get_hub()

    def ask() -> list[bytes]:
        client = http.client.HTTPConnection(*here.address, timeout=10)
        found = []
        for body in (b"abc", b"", b"x" * 1_000_000, iter([b"1", b"22"])):
            client.request("POST", "/", body=body)
            found.append(client.getresponse().read())
        client.close()
        return found

    assert hub.threadpool.apply(ask) == [b"abc", b"", b"x" * 1_000_000, b"122"]


def test_the_log(site: Start) -> None:
    here = site(answering(b"abc"))
    here.exchange(get("/x?y", LAST))
    (line,) = here.log
    pattern = r'127.0.0.1 - - \[\d{4}-\d\d-\d\d [\d:]{8}\] "GET /x\?y HTTP/1.1" 200 3 \d\.\d{6}\n'
    assert re.fullmatch(pattern, line)


def test_what_is_kept_of_a_finished_request_is_dead(site: Callable[..., Site]) -> None:
    kept: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        errors: list[str] = []
        if environ["PATH_INFO"] == "/2":
            for step in (
                partial(kept[0], "200 OK", []),
                partial(kept[1], b"evil"),
                kept[2].read,
                partial(kept[3], [("Link", "evil")]),
            ):
                try:
                    step()
                except (AssertionError, OSError) as exc:
                    errors.append(str(exc))
        else:
            kept.extend([start_response, write])
            kept.extend([environ["wsgi.input"], environ["wsgi.early_hints"]])
        yield b"<"
        yield str(errors).encode()
        yield b">"

    here = site(app)
    first = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    second = b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    third = b"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answers = here.exchange(first + second + third)
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"HTTP/1.1") == 3
    assert answers.count(b"the request is over") == 3
    assert b"evil" not in answers
    with pytest.raises(AssertionError, match="the request is over"):
        kept[1](b"evil")


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_an_interim_status_is_no_response(site: Callable[..., Site], status: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, [])
        return [b""]

    here = site(app)
    answer = here.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.count(b"HTTP/1.1 500") == answer.count(b"HTTP/1.1") == 1
    assert "interim" in "".join(here.errors)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_body_that_is_not_sent_has_no_length_in_the_log(
    site: Callable[..., Site], parts: int
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(f"{environ['QUERY_STRING'] or 200} X", [])
        return [b"body"] if parts == 1 else iter([b"bo", b"dy"])

    here = site(app)
    for line in ("HEAD / ", "GET /?304 ", "GET /?204 ", "GET / "):
        here.exchange(f"{line}HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert [line.split('" ')[1].split()[1] for line in here.log] == ["-", "-", "-", "4"]
