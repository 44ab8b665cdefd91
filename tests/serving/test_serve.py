"""``treadle serve`` in use: its own process, signals, and clients that send many requests."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded
from hyperframe.frame import GoAwayFrame

import treadle
from treadle import socket as treadle_socket
from treadle.serve.settings import SettingsError, from_environment, parse

#: Run everything, as the tests in tests/proof do; otherwise run a part.
FULL = os.environ.get("PROOF_FULL") == "1"
APPLICATION = """
import gc, os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/wait/"):
        time.sleep(float(path[6:]))
    elif path == "/collected":
        start_response("200 OK", [])
        return [b"%d %d" % (len(gc.get_objects()), gc.get_freeze_count())]
    elif path == "/die":
        os.kill(os.getpid(), 9)
    elif path == "/compute":
        while True:
            pass
    elif path == "/hang":
        from treadle.monkey import get_original
        get_original("time", "sleep")(100)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

def make():
    return app

not_callable = 5

async def asgi(scope, receive, send):
    pass

class Asgi:
    async def __call__(self, scope, receive, send):
        pass
"""


def wait_until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Wait until *holds* returns something true, for so many seconds at most."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come"
        treadle.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Served:
    """A running ``treadle serve``."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        env: dict[str, str] | None = None,
        output: int = subprocess.DEVNULL,
        stderr: int | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        (folder / "site_app.py").write_text(APPLICATION)
        self.errors = folder / "errors.log"
        self.errors.unlink(missing_ok=True)  # left by an earlier server
        command = [
            *prefix,
            sys.executable,
            "-m",
            "treadle",
            "serve",
            "--error-log",
            str(self.errors),
            *flags,
        ]
        whole = {**os.environ, **(env or {})}
        errors = stderr if output == subprocess.DEVNULL else output
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=errors, env=whole
        )
        self.addresses: list[str] = []

    def wait_serving(self) -> "Served":
        """Wait until the server logs that it serves, and note its addresses."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            text = self.errors.read_text() if self.errors.exists() else ""
            found = re.search(r"serving \S+ at (.*), pid", text)
            if found:
                self.addresses = found[1].split(", ")
                return self
            assert self.process.poll() is None, text
            treadle.sleep(0.02)
        raise AssertionError(f"it did not start: {text}")

    def wait_ready(self) -> "Served":
        """Wait until the server has answered a request."""
        self.wait_serving()
        with self.connect() as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        return self

    @property
    def port(self) -> int:
        return int(self.addresses[0].rpartition(":")[2])

    def connect(self) -> Any:
        sock = treadle_socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return sock

    def ask(self, path: str = "/") -> bytes:
        """Return the body of the response to one request, on a connection of its own."""
        with self.connect() as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            parts = []
            while part := sock.recv(65536):
                parts.append(part)
        return b"".join(parts).partition(b"\r\n\r\n")[2]

    def answers(self) -> bool:
        """Return whether a request gets an answer."""
        try:
            return self.ask().isdigit()
        except OSError:
            return False

    def workers(self) -> set[int]:
        """Return the process ids of the supervisor's children."""
        pid = self.process.pid
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def wait_for_error(self, text: str) -> None:
        """Wait until the error log has *text*."""
        try:
            wait_until(lambda: text in self.errors.read_text())
        except AssertionError:
            raise AssertionError(f"no {text!r} in {self.errors.read_text()!r}") from None

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, seconds: float = 20) -> int:
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            treadle.sleep(0.005)
        assert self.process.returncode is not None, "it does not end"
        return self.process.returncode


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Return a function that starts ``treadle serve`` with flags; kill what is left afterwards."""
    started: list[Served] = []

    def start(*flags: str, app: str = "site_app:app", **options: Any) -> Served:
        if "--bind" not in flags and not options.get("env"):
            flags = ("--bind", "127.0.0.1:0", *flags)
        started.append(Served(tmp_path, *flags, app, **options))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGQUIT)
            each.process.wait(10)


class Load:
    """Clients with persistent connections that pause before each request: 500 requests a second.

    No pause is so long that the server, when it stops, closes the connection meanwhile: no server
    can answer what is sent at the same moment.
    """

    def __init__(self, port: int, path: str, clients: int, longest_pause: float) -> None:
        self.port, self.longest_pause = port, longest_pause
        self.request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        self.stopping = False
        self.answered = self.refused = 0
        self.lost: list[str] = []
        self.greenlets = [treadle.spawn(self.client) for _ in range(clients)]

    def client(self) -> None:
        while not self.stopping:
            try:
                sock = treadle_socket.create_connection(("127.0.0.1", self.port), timeout=10)
            except OSError:  # nothing listens, or nothing any more
                self.refused += 1
                treadle.sleep(0.01)
                continue
            with sock:
                self.ask_on(sock)

    def ask_on(self, sock: Any) -> None:
        while not self.stopping:
            treadle.sleep(random.uniform(0, self.longest_pause))
            # Like a client's pool: a connection that has ended meanwhile is not reused.
            sock.settimeout(0)
            try:
                assert sock.recv(1) == b""
                return
            except BlockingIOError:
                sock.settimeout(10)
            except OSError as exc:
                self.lost.append(f"before asking: {exc!r}")
                return
            try:
                sock.sendall(self.request)
                answer = sock.recv(65536)
            except OSError as exc:
                self.lost.append(f"in the middle: {exc!r}")
                return
            if not answer.startswith(b"HTTP/1.1 200"):
                self.lost.append(f"{answer[:60]!r}")
                return
            self.answered += 1
            if b"Connection: close" in answer:
                return

    def stop(self) -> None:
        self.stopping = True
        treadle.joinall(self.greenlets, timeout=10)


class TestSignals:
    @pytest.mark.timeout(900)
    def test_hangup_loses_nothing(self, serve: Callable[..., Served]) -> None:
        here = serve("--workers", "2").wait_ready()
        load = Load(here.port, "/wait/0.02", 25, longest_pause=0.06)
        times = 100 if FULL else 8
        for done in range(1, times + 1):
            treadle.sleep(random.uniform(0.05, 0.3))
            here.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 30
            while here.errors.read_text().count("workers were replaced") < done:
                assert time.monotonic() < deadline, here.errors.read_text()
                treadle.sleep(0.02)
        load.stop()
        assert load.lost == []
        assert load.refused == 0
        assert load.answered > 50 * times
        assert here.end() == 0

    def test_a_replaced_worker_keeps_the_connections_of_active_clients(
        self, serve: Callable[..., Served]
    ) -> None:
        here = serve().wait_ready()
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        with here.connect() as sock, here.connect() as idle:
            idle.sendall(request)
            assert b"Connection: close" not in idle.recv(1000)
            before = here.ask()
            here.process.send_signal(signal.SIGHUP)
            wait_until(lambda: here.ask() != before)
            treadle.sleep(0.3)  # the client of an active connection pauses
            sock.sendall(request)
            answer = sock.recv(1000)
            assert answer.endswith(before)
            assert b"Connection: close" in answer
            assert idle.recv(1) == b""
        here.wait_for_error("the workers were replaced")

    @pytest.mark.timeout(900)
    def test_termination_loses_nothing(self, serve: Callable[..., Served]) -> None:
        idle = serve("--workers", "2").wait_ready()
        began = time.monotonic()
        assert idle.end() == 0
        processes = time.monotonic() - began  # to end two idle workers and their supervisor
        longest = []
        for _ in range(100 if FULL else 5):
            here = serve("--workers", "2").wait_ready()
            load = Load(here.port, "/wait/0.1", 58, longest_pause=0.03)
            treadle.sleep(random.uniform(0.2, 0.6))
            began = time.monotonic()
            assert here.end() == 0
            longest.append(time.monotonic() - began)
            load.stop()
            assert load.lost == []
            assert load.answered > 10
        print(f"ended in {max(longest):.3f} s at most, idle ones in {processes:.3f} s")
        # The strict bound needs an otherwise idle machine.
        assert max(longest) < (0.1 + 0.2 + 2 * processes if FULL else 10)

    def test_a_killed_worker_is_replaced(self, serve: Callable[..., Served]) -> None:
        here = serve("--workers", "2").wait_ready()
        pids = {here.ask() for _ in range(40)}
        assert len(pids) == 2
        victim = int(pids.pop())
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        assert here.ask() in pids  # the other worker keeps serving
        seen = set(pids)
        while len(seen) == 1 and time.monotonic() - began < 30:
            seen.add(here.ask())
            treadle.sleep(0.01)
        assert len(seen) == 2
        assert time.monotonic() - began < (1 if FULL else 30)
        assert "killed by SIGKILL" in here.errors.read_text()

    def test_the_collector_leaves_out_what_was_loaded(self, serve: Callable[..., Served]) -> None:
        here = serve().wait_ready()
        collected, loaded = map(int, here.ask("/collected").split())
        assert collected < 2000 < loaded

    def test_a_worker_that_hangs_is_replaced(self, serve: Callable[..., Served]) -> None:
        here = serve("--timeout", "2").wait_ready()
        before = here.ask()
        with here.connect() as sock:
            sock.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            assert sock.recv(100) == b""  # the worker is killed
        assert here.ask() != before
        assert "hangs since" in here.errors.read_text()

    def test_termination_is_bounded(self, serve: Callable[..., Served]) -> None:
        here = serve("--graceful-timeout", "0.3").wait_ready()
        with here.connect() as sock:
            sock.sendall(b"GET /wait/60 HTTP/1.0\r\n\r\n")
            treadle.sleep(0.1)
            began = time.monotonic()
            assert here.end() == 0
            assert 0.25 < time.monotonic() - began < 30

    @pytest.mark.parametrize("http2", [False, True])
    def test_who_waits_at_the_end_is_told(self, serve: Callable[..., Served], http2: bool) -> None:
        here = serve("--graceful-timeout", "0.5", "--timeout", "0").wait_ready()
        with here.connect() as sock:
            if http2:
                client = H2Connection()
                client.initiate_connection()
                fields = [(":method", "GET"), (":path", "/wait/60"), (":scheme", "http")]
                client.send_headers(1, [*fields, (":authority", "a")], end_stream=True)
                sock.sendall(client.data_to_send())
            else:
                sock.sendall(b"GET /wait/60 HTTP/1.1\r\nHost: a\r\n\r\n")
            treadle.sleep(0.1)
            here.process.send_signal(signal.SIGTERM)
            answer = b""
            while part := sock.recv(65536):
                answer += part
        if http2:
            client._frame_dispatch_table[GoAwayFrame] = lambda frame: ([], [])  # answers follow
            events = client.receive_data(answer)
            assert [each for each in events if isinstance(each, StreamEnded)]
            (head,) = (each for each in events if isinstance(each, ResponseReceived))
            assert (b":status", b"500") in head.headers
        else:
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert b"\r\nConnection: close\r\n" in answer
        assert here.wait() == 0
        assert "leaves with 1 connections" in here.errors.read_text()

    @pytest.mark.parametrize("path", ["/wait/60", "/compute"])
    def test_a_worker_that_is_told_to_stop_has_a_successor_at_once(
        self, serve: Callable[..., Served], path: str
    ) -> None:
        here = serve("--graceful-timeout", "20", "--timeout", "20").wait_ready()
        (old,) = here.workers()
        with here.connect() as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            treadle.sleep(0.1)
            os.kill(old, signal.SIGTERM)
            wait_until(lambda: len(here.workers()) == 2, 10)
            # While the old one computes, the system may still give it connections.
            if path == "/compute":
                os.kill(old, signal.SIGSTOP)
            wait_until(lambda: len(here.workers()) == 2 and "leaves" in here.errors.read_text())
            os.kill(old, signal.SIGKILL)
        here.wait_for_error(f"worker {old} ended: killed by SIGKILL")
        assert int(here.ask()) != old
        assert here.end() == 0

    def test_one_that_computes_at_the_end_is_killed(self, serve: Callable[..., Served]) -> None:
        here = serve("--graceful-timeout", "0.2", "--timeout", "0").wait_ready()
        with here.connect() as sock:
            sock.sendall(b"GET /compute HTTP/1.0\r\n\r\n")
            treadle.sleep(0.1)
            began = time.monotonic()
            assert here.end() == 0
            assert time.monotonic() - began < 15

    def test_a_pause_of_all_processes_is_no_hang(self, serve: Callable[..., Served]) -> None:
        here = serve("--timeout", "0.8").wait_ready()
        (worker,) = here.workers()
        for pid in (worker, here.process.pid):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(1.2)
        for pid in (here.process.pid, worker):
            os.kill(pid, signal.SIGCONT)
        treadle.sleep(0.4)
        assert int(here.ask()) == worker  # though its heart must beat more often than by default
        assert "hangs" not in here.errors.read_text()

    def test_quit_is_at_once(self, serve: Callable[..., Served]) -> None:
        here = serve().wait_ready()
        with here.connect() as sock:
            sock.sendall(b"GET /wait/60 HTTP/1.0\r\n\r\n")
            treadle.sleep(0.1)
            began = time.monotonic()
            assert here.end(signal.SIGQUIT) == 0
            assert time.monotonic() - began < (1 if FULL else 15)  # the graceful timeout is 30 s

    def test_workers_are_replaced_after_so_many_requests(
        self, serve: Callable[..., Served]
    ) -> None:
        here = serve("--max-requests", "5").wait_ready()
        with here.connect() as sock:
            sock.sendall(b"GET /wait/4 HTTP/1.0\r\n\r\n")  # which the first worker answers
            seen: set[bytes] = set()
            wait_until(lambda: seen.add(here.ask()) or len(seen) >= 2, seconds=3.9)
            assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        wait_until(lambda: seen.add(here.ask()) or len(seen) >= 3)
        wait_until(lambda: len(here.workers()) == 1)

    def test_a_reload_that_cannot_load_leaves_the_workers(
        self, serve: Callable[..., Served], tmp_path: Path
    ) -> None:
        here = serve("--workers", "2").wait_ready()
        before = here.workers()
        assert len(before) == 2
        for broken, why in (("def broken(:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError")):
            (tmp_path / "site_app.py").write_text(broken)
            here.process.send_signal(signal.SIGHUP)
            here.wait_for_error(f"the new worker cannot load site_app:app: {why}")
            here.wait_for_error("does not become ready; the old ones stay")
            here.errors.write_text("")
        (tmp_path / "site_app.py").write_text(APPLICATION)
        time.sleep(0.6)  # the time after which a worker that failed is started again
        assert here.workers() == before
        here.process.send_signal(signal.SIGHUP)
        here.wait_for_error("the workers were replaced")
        after = here.workers()
        assert len(after) == 2
        assert not before & after
        assert "is started" not in here.errors.read_text()

    def test_with_reload_a_source_that_was_broken_is_watched_on(
        self, serve: Callable[..., Served], tmp_path: Path
    ) -> None:
        here = serve("--reload").wait_ready()
        time.sleep(0.7)
        for text in ("def broken(:\n", "also broken)\n"):
            (tmp_path / "site_app.py").write_text(text)
            here.wait_for_error("does not become ready; the old ones stay")
            here.errors.write_text("")
        changed = APPLICATION.replace("str(os.getpid()).encode()", "b'changed'")
        (tmp_path / "site_app.py").write_text(changed)
        wait_until(lambda: here.ask() == b"changed")
        wait_until(lambda: len(here.workers()) == 1)
        assert [here.ask() for _ in range(5)] == [b"changed"] * 5

    def test_every_listener_has_a_worker_after_a_reload(self, serve: Callable[..., Served]) -> None:
        here = serve("--workers", "2", "--reuse-port").wait_ready()
        here.process.send_signal(signal.SIGHUP)
        here.wait_for_error("the workers were replaced")
        workers = {str(pid).encode() for pid in here.workers()}
        seen = [here.ask() for _ in range(40)]  # hangs if nobody accepts from a listener
        assert set(seen) == workers

    def test_a_leaving_worker_that_hangs_is_killed(self, serve: Callable[..., Served]) -> None:
        here = serve("--timeout", "1").wait_ready()
        (old,) = here.workers()
        with here.connect() as sock:
            sock.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            here.process.send_signal(signal.SIGHUP)
            here.wait_for_error(f"worker {old} hangs")
        here.wait_for_error("the workers were replaced")
        assert here.ask().decode() in map(str, here.workers())

    @pytest.mark.parametrize("log", ["full", "closed", "unread"])
    def test_a_log_that_cannot_be_written_costs_no_answer(
        self, serve: Callable[..., Served], log: str
    ) -> None:
        read, write = os.pipe()
        flags = ["--error-log", "-", "--access-log", "-"]
        if log == "full":
            flags = ["--error-log", "/dev/full", "--access-log", "/dev/full"]
        address = f"127.0.0.1:{free_port()}"
        here = serve("--bind", address, *flags, output=write)
        here.addresses = [address]
        os.close(write)
        wait_until(here.answers)
        if log == "closed":
            os.close(read)
        path = "/" + "x" * 4000  # as long as to fill a pipe soon
        for _ in range(60):
            assert here.ask(path).isdigit()
        (worker,) = here.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: here.workers() not in (set(), {worker}) and here.answers())
        if log == "unread":
            with contextlib.suppress(BlockingIOError):
                os.set_blocking(read, False)
                while os.read(read, 65536):
                    pass
        assert here.ask(path).isdigit()
        assert here.end() == 0
        if log != "closed":
            os.close(read)

    def test_reload(self, serve: Callable[..., Served], tmp_path: Path) -> None:
        here = serve("--reload").wait_ready()
        assert here.ask().isdigit()
        time.sleep(0.7)
        changed = APPLICATION.replace("str(os.getpid()).encode()", "b'changed'")
        (tmp_path / "site_app.py").write_text(changed)
        deadline = time.monotonic() + 20
        while here.ask() != b"changed":
            assert time.monotonic() < deadline, here.errors.read_text()
            treadle.sleep(0.05)

    def test_logs_are_reopened(self, serve: Callable[..., Served], tmp_path: Path) -> None:
        log = tmp_path / "access.log"
        here = serve("--access-log", str(log), "--access-log-format", "json").wait_ready()
        here.ask("/first")
        log.rename(tmp_path / "old.log")
        here.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 10
        while not log.exists():
            assert time.monotonic() < deadline
            treadle.sleep(0.02)
        here.ask("/second")
        (line,) = log.read_text().splitlines()
        record = json.loads(line)
        assert (record["target"], record["status"]) == ("/second", 200)
        assert "/first" in (tmp_path / "old.log").read_text()


class TestSettings:
    def test_from_everywhere(self, serve: Callable[..., Served], tmp_path: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = tmp_path / "serve.toml"
        config.write_text('workers = 3\nbind = ["127.0.0.1:1"]\nmax-requests = 1000\n')
        env = {"TREADLE_SERVE_CONFIG": str(config), "TREADLE_SERVE_BIND": f"127.0.0.1:{port}"}
        here = serve("--workers", "1", app="site_app:make()", env=env).wait_ready()
        assert here.port == port
        assert len({here.ask() for _ in range(20)}) == 1

    @pytest.mark.parametrize(
        ("flags", "app", "said"),
        [
            (["--workers", "0"], "site_app:app", "workers must be from 1 to 4096, not 0"),
            (["--workers", "99999999999"], "site_app:app", "workers must be from 1 to 4096"),
            (["--workers", "two"], "site_app:app", "workers cannot be 'two'"),
            (["--keep-alive", "-1"], "site_app:app", "keep_alive must not be negative"),
            (["--bind", "nowhere"], "site_app:app", "nowhere"),
            (["--bind", "203.0.113.1:80"], "site_app:app", "cannot listen on 203.0.113.1:80"),
            (["--certfile", "/missing"], "site_app:app", "certfile '/missing'"),
            (["--config", "missing.toml"], "site_app:app", "missing.toml"),
            (["--error-log", "/missing/log"], "site_app:app", "error_log: [Errno 2]"),
            (["--access-log", "/missing/log"], "site_app:app", "access_log: [Errno 2]"),
            (["--pid", "/missing/pid"], "site_app:app", "pid: [Errno 2]"),
            (["--pid", "/dev/null"], "site_app:app", "Invalid argument: '/dev/null'"),
            (["--chdir", "/missing"], "site_app:app", "chdir: [Errno 2]"),
            (["--bind", "127.0.0.1:99999"], "site_app:app", "cannot listen on 127.0.0.1:99999"),
            (["--admin", "nonsense"], "site_app:app", "admin: cannot listen on 'nonsense'"),
            (["--admin", "203.0.113.1:80"], "site_app:app", "admin: cannot listen on 203.0.113.1"),
            ([], "site_app", "MODULE:APPLICATION"),
            ([], "no_such_module:app", "there is no module 'no_such_module'"),
            ([], "site_app:missing", "site_app has no 'missing'"),
            ([], "site_app:not_callable", "not callable"),
            ([], "site_app:asgi", "site_app:asgi is an ASGI application"),
            ([], "site_app:Asgi()", "site_app:Asgi() is an ASGI application"),
            ([], ":app", "MODULE:APPLICATION"),
            ([], "..site_app:app", "MODULE:APPLICATION"),
            (["--bind", "unix:"], "site_app:app", "bind: there is no path in 'unix:'"),
            (["--timeout", "nan"], "site_app:app", "timeout cannot be nan"),
            (["--max-requests", "9" * 20], "site_app:app", "max_requests cannot be 999"),
        ],
    )
    def test_errors_name_the_setting(
        self, tmp_path: Path, flags: list[str], app: str, said: str
    ) -> None:
        (tmp_path / "site_app.py").write_text(APPLICATION)
        bind = [] if "--bind" in flags else ["--bind", "127.0.0.1:0"]
        ended = subprocess.run(
            [sys.executable, "-m", "treadle", "serve", *bind, *flags, app],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode in (2, 3)
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr
        if ended.returncode == 2 and "usage" not in ended.stderr:
            assert len(ended.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("tool = 5", "there is no setting 'tool'"),
            ("[tool.treadle]\nserve = 5", "there is no setting 'tool'"),
            ("bind = [5]", "bind must be a list of str"),
            ("timeout = 1" + "0" * 400, "timeout cannot be 1000"),
            ("app = 'a:b'\nsni = {a = 'x'}", "sni: 'a' must be"),
            ("app = 'a:b'\nsni = {a = []}", "sni: 'a' must be"),
            ("app = '\xff'", "can't decode byte"),
        ],
    )
    def test_mistakes_in_a_file(self, tmp_path: Path, text: str, said: str) -> None:
        path = tmp_path / "serve.toml"
        path.write_text(text, encoding="latin-1")
        with pytest.raises(SettingsError, match=re.escape(said)):
            parse(["--config", str(path)])

    @pytest.mark.parametrize("flags", [["--http2"], []])
    def test_without_h2_there_is_no_http2(
        self, monkeypatch: pytest.MonkeyPatch, flags: list[str]
    ) -> None:
        assert parse(["a:b"]).http2
        monkeypatch.setitem(sys.modules, "h2", None)
        if flags:
            with pytest.raises(SettingsError, match="http2 needs h2"):
                parse([*flags, "a:b"])
        else:
            assert not parse(["a:b"]).http2

    def test_an_unknown_variable(self) -> None:
        with pytest.raises(SettingsError, match="TREADLE_SERVE_WORKER: there is no setting"):
            from_environment({"TREADLE_SERVE_WORKER": "2"})
        assert from_environment({"TREADLE_SERVE_WORKERS": "2", "TREADLE_SERVE_CONFIG": "x"}) == {
            "workers": 2
        }

    def test_help_tells_defaults_and_variables(self) -> None:
        command = [sys.executable, "-m", "treadle", "serve", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        said = " ".join(done.stdout.split())
        assert said.startswith("usage: treadle serve [-h]")
        assert "worker processes (default: 1; TREADLE_SERVE_WORKERS)" in said
        assert "(default: 127.0.0.1:8000; TREADLE_SERVE_BIND)" in said
        assert "(default: none; TREADLE_SERVE_PID)" in said
        assert "(default: on; TREADLE_SERVE_HTTP2)" in said


def test_the_admin_server_s_socket_is_removed(serve: Callable[..., Served], tmp_path: Path) -> None:
    path = tmp_path / "admin"
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        here = serve("--admin", f"unix:{path}").wait_serving()
        assert path.is_socket()
        here.process.send_signal(number)
        here.wait()
    assert not path.exists()


def exposed(text: str) -> dict[str, str]:
    """Return the samples of metrics in Prometheus's text format; check its rules.

    Each metric has HELP, TYPE and samples, in this order and together, and no sample comes twice. A
    histogram has growing buckets, the last of which is its count, and a sum.
    """
    assert text.endswith("\n")
    found: dict[str, str] = {}
    name = kind = ""
    named: set[str] = set()
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in named
            assert line.split(" ", 3)[3]
            named.add(name)
            said, kind = next(lines).rsplit(" ", 1)
            assert said == f"# TYPE {name}"
            assert kind in ("counter", "gauge", "histogram")
            assert (kind == "counter") == name.endswith("_total")
            continue
        sample, labels, value = re.fullmatch(
            r'([a-z_]+)(\{[a-z]+="[^"\\]+"\})? ([0-9.]+)', line
        ).groups()  # type: ignore[union-attr]
        ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        assert sample in {name + end for end in ends}
        assert sample + (labels or "") not in found
        found[sample + (labels or "")] = value
    for name in named:
        buckets = [value for each, value in found.items() if each.startswith(f"{name}_bucket")]
        if buckets:
            assert buckets == sorted(buckets, key=int)
            assert buckets[-1] == found[f"{name}_count"]
            assert f"{name}_sum" in found
        else:
            assert any(each.partition("{")[0] == name for each in found)
    return found


def test_admin(serve: Callable[..., Served]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ("--header-timeout", "1", "--workers", "2", "--admin", f"127.0.0.1:{port}")
    here = serve(*flags).wait_ready()
    with here.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")  # without a Host
        assert sock.recv(1000).startswith(b"HTTP/1.1 400")
    for _ in range(9):
        here.ask()

    def admin(path: str) -> str:
        with treadle_socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            parts = []
            while part := sock.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    with treadle_socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nHo")  # and nothing more: it has the workers' limits
        assert sock.recv(1000).startswith(b"HTTP/1.1 408")
    assert "200 OK" in admin("/livez")
    assert "2 workers serve" in admin("/readyz")
    assert "404 Not Found" in admin("/other")
    metrics = exposed(admin("/metrics").partition("\r\n\r\n")[2])
    assert metrics['treadle_requests_total{code="4xx"}'] == "1"
    assert metrics['treadle_requests_total{code="2xx"}'] == "10"  # one is wait_ready()'s
    assert metrics['treadle_request_seconds_bucket{le="+Inf"}'] == "11"
    assert metrics["treadle_workers"] == "2"
