"""The supervisor of ``treadle serve`` at moments that tests of whole servers do not hit."""

import contextlib
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import treadle
from treadle.serve import place as place_module
from treadle.serve.place import MOST_LEAVING, Child, Place
from treadle.serve.settings import Settings
from treadle.serve.stats import Board
from treadle.serve.supervisor import _refuse

from .test_serve import APPLICATION, Served, serve, wait_until  # noqa: F401
from .test_serve_limits import certificate  # noqa: F401

Serve = Callable[..., Served]


def runs(pid: int) -> bool:
    """Return whether the process *pid* runs."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


class TestPidFile:
    def test_a_server_that_cannot_start_leaves_that_of_another(
        self,
        serve: Serve,  # noqa: F811
        tmp_path: Path,
    ) -> None:
        pid = tmp_path / "pid"
        here = serve("--pid", str(pid)).wait_ready()
        assert pid.read_text() == f"{here.process.pid}\n"
        for bind, said in (
            (here.addresses[0], "Address already in use"),
            ("127.0.0.1:0", f"pid: {pid} is the file of a server that runs"),
        ):
            command = [sys.executable, "-m", "treadle", "serve", "--pid", str(pid), "-b", bind]
            done = subprocess.run(
                [*command, "site_app:app"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
            assert said in done.stderr
            assert pid.read_text() == f"{here.process.pid}\n"
        assert here.end() == 0
        assert not pid.exists()

    def test_one_that_was_left_behind_or_replaced(
        self,
        serve: Serve,  # noqa: F811
        tmp_path: Path,
    ) -> None:
        pid = tmp_path / "pid"
        pid.write_text(f"{os.getpid()}, of a process that is no server\n")
        here = serve("--pid", str(pid)).wait_ready()
        assert pid.read_text() == f"{here.process.pid}\n"
        pid.unlink()
        pid.write_text("another one's\n")
        assert here.end() == 0
        assert pid.read_text() == "another one's\n"


def test_a_worker_whose_supervisor_ends_while_it_loads_ends_too(
    serve: Serve,  # noqa: F811
    tmp_path: Path,
) -> None:
    slow = tmp_path / "slow_app.py"
    slow.write_text("from pathlib import Path\nimport time\nPath('loads').touch()\ntime.sleep(1)\n")
    with slow.open("a") as file:
        file.write(APPLICATION)
    here = serve(app="slow_app:app")
    wait_until((tmp_path / "loads").exists)
    (worker,) = here.workers()
    here.process.kill()
    here.wait()
    wait_until(lambda: not runs(worker), seconds=10)


#: Sends a worker SIGTERM before it has set its handler.
EARLY_TERM = """
import os, signal, sys
from treadle import monkey
from treadle.serve import supervisor
from treadle.serve.settings import parse

class Worker(supervisor.Worker):
    def __init__(self, *args, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(args[-1], signal.SIGTERM)
        super().__init__(*args, **options)

supervisor.Worker = Worker
monkey.patch_all()
sys.path.insert(0, "")
arguments = ["-b", "127.0.0.1:0", "--graceful-timeout", "100", "site_app:app"]
sys.exit(supervisor.Supervisor(parse(arguments)).run())
"""


def test_a_worker_is_told_to_stop_before_it_has_begun(tmp_path: Path) -> None:
    (tmp_path / "site_app.py").write_text(APPLICATION)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", EARLY_TERM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 50  # and not the graceful timeout


def test_a_hang_up_of_the_terminal_costs_no_request(
    serve: Serve,  # noqa: F811
) -> None:
    here = serve("--workers", "2").wait_ready()
    old = here.workers()
    with here.connect() as sock:
        sock.sendall(b"GET /wait/0.3 HTTP/1.0\r\n\r\n")
        time.sleep(0.1)
        for pid in (*old, here.process.pid):
            os.kill(pid, signal.SIGHUP)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    here.wait_for_error("the workers were replaced")
    assert "killed by" not in here.errors.read_text()
    assert not here.workers() & old


def test_a_worker_that_cannot_load_again_is_tried_on(
    serve: Serve,  # noqa: F811
    tmp_path: Path,
) -> None:
    here = serve().wait_ready()
    (worker,) = here.workers()
    (tmp_path / "site_app.py").write_text("def half(")
    os.kill(worker, signal.SIGKILL)
    here.wait_for_error("the new worker cannot load site_app:app: SyntaxError")
    assert "Traceback" not in here.errors.read_text()
    (tmp_path / "site_app.py").write_text(APPLICATION)
    wait_until(here.answers)


def test_a_worker_keeps_no_connection_of_the_admin_server(
    serve: Serve,  # noqa: F811
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "admin")
    here = serve("--admin", f"unix:{path}", "--keep-alive", "1").wait_ready()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(path)
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        (worker,) = here.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: here.workers() - {worker} and here.answers())
        assert sock.recv(1000) == b""  # at the end of the idle time, and not of the worker


class TestUnixSockets:
    def test_that_of_another_server_stays(
        self,
        serve: Serve,  # noqa: F811
        tmp_path: Path,
    ) -> None:
        path = tmp_path / "socket"
        here = serve("--bind", f"unix:{path}").wait_serving()
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            assert here.end() == 0
            assert path.exists()

    def test_one_whose_queue_is_full_is_in_use(self, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as other, contextlib.ExitStack() as stack:
            other.bind(str(path))
            other.listen(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    client = stack.enter_context(socket.socket(socket.AF_UNIX))
                    client.setblocking(False)
                    client.connect(str(path))
            command = [sys.executable, "-m", "treadle", "serve", "-b", f"unix:{path}", "a:b"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
            assert done.returncode == 2
            assert "Address already in use" in done.stderr
            assert path.exists()


def test_a_worker_serves_though_its_logs_cannot_be_opened(
    serve: Serve,  # noqa: F811
    tmp_path: Path,
) -> None:
    access = tmp_path / "access"
    here = serve("--access-log", str(access)).wait_ready()
    (worker,) = here.workers()
    for path in (access, here.errors):
        path.rename(path.with_suffix(".old"))
        path.mkdir()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: here.workers() - {worker} and here.answers())
    for path in (access, here.errors):
        path.rmdir()
    here.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: access.exists() and here.errors.exists())
    wait_until(lambda: here.answers() and access.read_text())
    here.wait_for_error("writes to")


def test_a_lack_of_descriptors_is_said_in_a_line_and_passes(
    serve: Serve,  # noqa: F811
    tmp_path: Path,
) -> None:
    here = serve("--workers", "1").wait_ready()
    (worker,) = here.workers()
    used = max(map(int, os.listdir(f"/proc/{worker}/fd"))) + 4
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used, used))
    kept = [here.connect() for _ in range(8)]
    here.wait_for_error("cannot accept a connection: [Errno 24] Too many open files")
    for sock in kept:
        sock.close()
    assert here.ask().isdigit()
    assert "Traceback" not in here.errors.read_text()


def test_the_admin_server_says_in_a_line_that_it_lacks_descriptors(
    serve: Serve,  # noqa: F811
    tmp_path: Path,
) -> None:
    with (tmp_path / "stderr").open("wb") as stderr:
        here = serve("--admin", "unix:admin", stderr=stderr.fileno()).wait_ready()
    supervisor = here.process.pid
    used = max(map(int, os.listdir(f"/proc/{supervisor}/fd"))) + 1
    hard = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (used, hard))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(tmp_path / "admin"))
        sock.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        here.wait_for_error("cannot accept a connection: [Errno 24] Too many open files")
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (hard, hard))
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.parametrize("sends", [b"", b"GET /livez HTTP/1.1\r\n"])
def test_probes_are_answered_beside_clients_that_do_nothing(
    serve: Serve,  # noqa: F811
    tmp_path: Path,
    sends: bytes,
) -> None:
    here = serve("--admin", "unix:admin").wait_ready()

    def connect(data: bytes) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        sock.connect(str(tmp_path / "admin"))
        with contextlib.suppress(BrokenPipeError):
            sock.sendall(data)
        return sock

    request = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    with contextlib.ExitStack() as kept:
        used = kept.enter_context(connect(request))
        assert used.recv(1000).startswith(b"HTTP/1.1 200")
        for at in range(400):
            kept.enter_context(connect(sends))
            if at % 100 == 0:  # the connection of a probe that comes back is kept
                used.sendall(request)
                assert used.recv(1000).startswith(b"HTTP/1.1 200")
        with connect(request) as probe:
            assert probe.recv(1000).startswith(b"HTTP/1.1 200")
        descriptors = len(os.listdir(f"/proc/{here.process.pid}/fd"))
    assert descriptors < 300


def test_a_shorter_limit_holds_for_the_admin_server_too(
    serve: Serve,  # noqa: F811
    tmp_path: Path,
) -> None:
    serve("--admin", "unix:admin", "--header-timeout", "0.3").wait_ready()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(4)  # its own limit is 5
        sock.connect(str(tmp_path / "admin"))
        sock.sendall(b"GET /livez HTTP/1.1\r\nHo")
        assert sock.recv(1000).startswith(b"HTTP/1.1 408 ")


class TestWhatIsInherited:
    """A parent, a shell or a container may leave a server in any state."""

    def test_ignored_ends_of_children_and_blocked_signals(
        self,
        serve: Serve,  # noqa: F811
    ) -> None:
        program = "import os, sys, signal as s; s.signal(s.SIGCHLD, s.SIG_IGN);"
        program += "s.pthread_sigmask(s.SIG_BLOCK, {s.SIGTERM, s.SIGHUP, s.SIGCHLD});"
        program += "os.execv(sys.argv[1], sys.argv[1:])"
        here = serve(prefix=(sys.executable, "-c", program)).wait_ready()
        (worker,) = here.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: here.workers() - {worker} and here.answers())
        here.process.send_signal(signal.SIGHUP)
        here.wait_for_error("the workers were replaced")
        assert here.end() == 0

    def test_closed_standard_streams(
        self,
        serve: Serve,  # noqa: F811
    ) -> None:
        here = serve(prefix=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")).wait_ready()
        for pid in (here.process.pid, *here.workers()):
            for number in range(3):
                assert os.readlink(f"/proc/{pid}/fd/{number}") == os.devnull

    def test_children_of_the_program_before(
        self,
        serve: Serve,  # noqa: F811
    ) -> None:
        here = serve(prefix=("sh", "-c", 'sleep 0.3 & exec "$@"', "sh")).wait_ready()
        wait_until(lambda: len(here.workers()) == 1)  # a zombie would count
        assert all(map(runs, here.workers()))


#: Forks a child that is told to end, as multiprocessing's terminate() does.
FORKING = """
import os, signal, time

def app(environ, start_response):
    pid = os.fork()
    if not pid:
        time.sleep(60)
        os._exit(0)
    os.kill(pid, getattr(signal, environ["PATH_INFO"][1:]))
    _, status = os.waitpid(pid, 0)
    start_response("200 OK", [])
    return [b"%d %d" % (os.waitstatus_to_exitcode(status), os.getpid())]
"""


def test_a_process_that_a_worker_forks_is_no_worker(
    serve: Serve,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "forking_app.py").write_text(FORKING)
    here = serve(app="forking_app:app").wait_serving()
    (worker,) = here.workers()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        assert here.ask(f"/{number.name}") == b"%d %d" % (-number, worker)
    assert here.workers() == {worker}
    assert "leaves" not in here.errors.read_text()


class TestAHangingWorker:
    """One that its code never lets go on."""

    def load(self, folder: Path, hanging: bool) -> None:
        text = "from pathlib import Path\nimport time\n"
        if hanging:
            text += "Path('hangs').touch()\ntime.sleep(1000)\n"
        (folder / "some_app.py").write_text(text + APPLICATION)

    def test_ends_without_its_supervisor(
        self,
        serve: Serve,  # noqa: F811
    ) -> None:
        here = serve("--graceful-timeout", "0").wait_ready()
        (worker,) = here.workers()
        with here.connect() as sock:
            sock.sendall(b"GET /compute HTTP/1.0\r\n\r\n")
            treadle.sleep(0.2)
            here.process.kill()
            here.wait()
            wait_until(lambda: not runs(worker), seconds=10)

    def test_ends_at_once_while_it_loads(
        self,
        serve: Serve,  # noqa: F811
        tmp_path: Path,
    ) -> None:
        self.load(tmp_path, hanging=True)
        for number in (signal.SIGKILL, signal.SIGTERM):
            here = serve(app="some_app:app")
            wait_until((tmp_path / "hangs").exists)
            (worker,) = here.workers()
            (tmp_path / "hangs").unlink()
            here.process.send_signal(number)
            assert here.wait(seconds=10) in (0, -number)
            wait_until(lambda worker=worker: not runs(worker), seconds=5)  # type: ignore[misc]

    def test_is_replaced_by_the_next_reload_while_it_loads(
        self,
        serve: Serve,  # noqa: F811
        tmp_path: Path,
    ) -> None:
        self.load(tmp_path, hanging=False)
        here = serve(app="some_app:app").wait_ready()
        for replaces in (True, False):  # it replaces one, or none serves
            self.load(tmp_path, hanging=True)
            before = here.workers()
            if replaces:
                here.process.send_signal(signal.SIGHUP)
            else:
                os.kill(*before, signal.SIGKILL)
            wait_until((tmp_path / "hangs").exists)
            (tmp_path / "hangs").unlink()
            self.load(tmp_path, hanging=False)
            before |= here.workers()
            here.process.send_signal(signal.SIGHUP)
            wait_until(lambda before=before: not before & here.workers())  # type: ignore[misc]
            wait_until(lambda: len(here.workers()) == 1 and here.answers())
        here.wait_for_error("it is killed")


def test_it_is_said_why_a_new_worker_ends(
    serve: Serve,  # noqa: F811
    tmp_path: Path,
) -> None:
    here = serve().wait_ready()
    (tmp_path / "site_app.py").write_text("import os\nos._exit(7)\n")
    here.process.send_signal(signal.SIGHUP)
    here.wait_for_error("ended: exit status 7")
    here.wait_for_error("the old ones stay")


def test_a_signal_of_other_servers_does_no_harm(
    serve: Serve,  # noqa: F811
) -> None:
    here = serve().wait_ready()
    here.process.send_signal(signal.SIGUSR2)
    here.wait_for_error("SIGUSR2 does nothing here")
    assert here.answers()


@pytest.mark.parametrize("flag", ["--certfile", "--proxy-protocol"])
def test_a_client_that_does_not_begin_delays_no_end(
    serve: Serve,  # noqa: F811
    certificate: tuple[ssl.SSLContext, Path],  # noqa: F811
    flag: str,
) -> None:
    _, path = certificate
    value = str(path) if flag == "--certfile" else "*"
    here = serve(flag, value, "--header-timeout", "60").wait_serving()
    with here.connect():
        treadle.sleep(0.2)
        began = time.monotonic()
        assert here.end() == 0
        assert time.monotonic() - began < 10


def test_a_system_without_socket_filters() -> None:
    class Listener:
        family = socket.AF_INET

        def setsockopt(self, *args: object) -> None:
            raise OSError(92, "Protocol not available")

    _refuse(Listener())


class FailingSupervisor:
    """Starts workers that end at once, until *works* is true."""

    stopping = works = False
    settings = Settings()

    def __init__(self) -> None:
        self.said: list[str] = []
        self.started: list[Child] = []
        self.board = Board(50)

    def start_worker(self, place: Place) -> Child:
        child = Child(0, self.board.slots[len(self.started)])
        self.started.append(child)
        child.slot["loaded"] = child.slot["ready"] = self.works
        if not self.works:
            child.ended.set()
        return child

    def worker_failed(self, child: Child) -> None:
        pass

    def tell(self, text: str) -> None:
        self.said.append(text)


class TestAWorkerThatLeaves:
    """One that somebody else than the supervisor has told to stop."""

    @pytest.fixture
    def place(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        monkeypatch.setattr(Child, "signal", lambda child, number: None)
        supervisor = FailingSupervisor()
        supervisor.works = True
        place = Place(supervisor, 0)
        life = treadle.spawn(place.run)
        wait_until(place.ready.is_set)
        yield place
        life.kill()
        for child in supervisor.started:
            child.ended.set()

    def leave(self, place: Place) -> None:
        assert place.child is not None
        place.child.slot["ready"] = 0
        place.wake()

    def test_right_after_its_start(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next one waits: all might do so."""
        monkeypatch.setattr(place_module, "FIRST_DELAY", 0.3)
        started = place._supervisor.started
        began = time.monotonic()
        for count in (2, 3):
            self.leave(place)
            wait_until(lambda count=count: len(started) == count)  # type: ignore[misc]
            wait_until(lambda: place.child is started[-1])
        assert time.monotonic() - began > 0.4

    def test_beside_those_before_it(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(place_module, "FIRST_DELAY", 0.0)
        started = place._supervisor.started
        for count in range(2, MOST_LEAVING + 2):
            self.leave(place)
            wait_until(lambda count=count: len(started) == count)  # type: ignore[misc]
            wait_until(lambda: place.child is started[-1])
        self.leave(place)
        treadle.sleep(0.1)
        assert len(started) == MOST_LEAVING + 1  # not any number of them
        started[0].ended.set()
        place.wake()
        wait_until(lambda: len(started) == MOST_LEAVING + 2)

    def test_whose_successor_fails(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(place_module, "FIRST_DELAY", 0.1)
        supervisor = place._supervisor
        place._delay = 0.1
        supervisor.works = False
        self.leave(place)
        wait_until(lambda: len(supervisor.started) == 2)
        supervisor.works = True
        wait_until(lambda: place.child is supervisor.started[-1], seconds=5)
        assert [line for line in supervisor.said if "the new worker 0 ended" in line]


def test_a_reload_starts_a_worker_at_once_though_others_have_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place_module, "FIRST_DELAY", 3600.0)
    supervisor = FailingSupervisor()
    place = Place(supervisor, 0)
    life = treadle.spawn(place.run)
    wait_until(lambda: supervisor.started)
    # What was wrong when the reload began is mended while the worker loads.
    wish = treadle.spawn(place.replace)
    treadle.sleep(0)
    place.retry()
    assert not wish.get(timeout=10)
    assert len(supervisor.started) == 2
    supervisor.works = True
    wish = treadle.spawn(place.replace)
    treadle.sleep(0)
    place.retry()
    assert wish.get(timeout=10)
    assert len(supervisor.started) == 3
    life.kill()


def test_a_reload_that_comes_while_a_worker_loads_is_not_answered_by_it() -> None:
    supervisor = FailingSupervisor()
    supervisor.works = True
    place = Place(supervisor, 0)
    life = treadle.spawn(place.run)
    wait_until(place.ready.is_set)
    supervisor.works = False
    loading = supervisor.start_worker

    def start_slowly(place: Place) -> Child:
        child = loading(place)
        child.ended.clear()
        return child

    supervisor.start_worker = start_slowly  # type: ignore[method-assign]
    supervisor.started[0].ended.set()
    place.wake()
    wait_until(lambda: len(supervisor.started) == 2)
    wish = treadle.spawn(place.replace)
    treadle.sleep(0)
    for name in ("loaded", "ready"):
        supervisor.started[1].slot[name] = 1  # it may have read the old application
    wait_until(lambda: len(supervisor.started) == 3)
    assert not wish.ready()
    life.kill()
    wish.kill()
