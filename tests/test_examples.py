"""The examples, and the programs written for gevent, run as a user runs them."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, SEEDS = ROOT / "examples", ROOT / "tests" / "seeds"
TREADLE_RUN = [sys.executable, "-m", "treadle", "run"]
TURNS = ["A0", "B0", "C0", "A1", "B1", "C1", "A2", "B2", "C2"]


def output(*command: object) -> str:
    ended = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=100, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def example(name: str, *args: object) -> str:
    return output(sys.executable, EXAMPLES / name, *args)


def patched_example(name: str, *args: object) -> str:
    return output(*TREADLE_RUN, EXAMPLES / name, *args)


def seed(name: str, *args: object) -> str:
    return output(*TREADLE_RUN, "--gevent", SEEDS / name, *args)


@contextmanager
def server(*command: object) -> Iterator[tuple[int, int]]:
    """Start a child that prints its port; yield port and process id, and end the child."""
    child = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout
    assert child.stderr
    try:
        yield int(child.stdout.readline()), child.pid
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        child.stderr.close()


SLOW_SITE = """
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(1)
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)
    def log_message(self, *args): pass
site = ThreadingHTTPServer(("127.0.0.1", 0), Page)
print(site.server_port, flush=True)
site.serve_forever()
"""


@pytest.fixture
def pages() -> Iterator[list[str]]:
    with server(sys.executable, "-c", SLOW_SITE) as (port, _):
        yield [f"http://127.0.0.1:{port}/{number}" for number in range(5)]


def seconds_in(text: str) -> float:
    return float(re.findall(r"(\d+\.\d+)", text)[-1])


class TestExamples:
    def test_producer_consumer(self) -> None:
        lines = example("producer_consumer.py").splitlines()
        assert lines[:3] == [
            "producer: made 1",
            "consumer: got 1",
            "producer: consumer says 200 OK",
        ]
        assert len(lines) == 15

    def test_switching(self) -> None:
        assert example("switching.py").splitlines() == [
            "egon eats 1",
            "egon plays 1",
            "egon eats 2",
            "egon plays 2",
        ]

    def test_in_sequence(self) -> None:
        expected = [f"{name} {step}" for name in "ABC" for step in range(3)]
        assert example("in_sequence.py").splitlines() == expected

    def test_in_turns(self) -> None:
        expected = [f"{name} {step}" for step in range(3) for name in "ABC"]
        assert example("in_turns.py").splitlines() == expected

    def test_join_and_value(self) -> None:
        assert example("join_and_value.py").splitlines() == [
            "one: 9",
            "ended in time: 4",
            "values: [0, 1, 4, 9] None",
        ]

    def test_patched_sleep(self) -> None:
        text = patched_example("patched_sleep.py")
        assert text.split()[:9] == TURNS
        assert 3.0 <= seconds_in(text) < 4.5

    def test_sync_async(self) -> None:
        text = patched_example("sync_async.py")
        one_by_one, all_at_once = map(float, re.findall(r": (\d+\.\d) s", text))
        assert one_by_one >= 1.0
        assert 0.1 <= all_at_once < 0.5
        assert text.count("done") == 20

    @pytest.mark.parametrize("name", ["crawler.py", "crawler_requests.py"])
    def test_crawlers(self, name: str, pages: list[str]) -> None:
        started = time.monotonic()
        lines = patched_example(name, *pages).splitlines()
        elapsed = time.monotonic() - started
        assert sorted(lines) == [f"1000 bytes from {url}" for url in pages]
        assert elapsed < 4.5  # one by one, the site alone would take 5 s

    def test_500_clients_of_the_server(self) -> None:
        with server(sys.executable, EXAMPLES / "shout_server.py") as (port, pid):
            assert_serves_500(port, pid, lambda *load: example("shout_clients.py", port, *load))

    def test_thread_names(self) -> None:
        lines = patched_example("thread_names.py").splitlines()
        assert re.match(r"Dummy-\d+$", lines[0])
        assert lines[2:] == ["worker", "MainThread"]


def assert_serves_500(port: int, pid: int, ask: Callable[[int, int], str]) -> None:
    def descriptors() -> set[str]:
        return set(os.listdir(f"/proc/{pid}/fd"))

    assert ask(1, 1) == "1 right replies\n"  # creates the server's poller, which stays
    time.sleep(0.2)
    before = descriptors()
    assert ask(500, 100) == "50000 right replies\n"
    assert "\nThreads:\t1\n" in Path(f"/proc/{pid}/status").read_text()
    deadline = time.monotonic() + 10
    while descriptors() != before and time.monotonic() < deadline:
        time.sleep(0.05)  # the last clients are still disconnecting
    assert descriptors() == before


class TestProgramsForGevent:
    def test_sequence(self) -> None:
        assert seed("sequence.py").split() == list("01234") * 3

    def test_alternate(self) -> None:
        assert seed("alternate.py").split()[1::2] == list("000111222")

    def test_monkey_sleep(self) -> None:
        text = seed("monkey_sleep.py")
        assert text.split()[:9] == TURNS
        assert 3.0 <= seconds_in(text) < 4.5

    def test_eat_play(self) -> None:
        expected = ["eat food 1", "play 1", "play 2", "eat food 2", "main"]
        assert seed("eat_play.py").splitlines() == expected

    def test_foo_bar(self) -> None:
        lines = seed("foo_bar.py").splitlines()
        assert lines[:4] == [
            "running in foo",
            "switch to bar",
            "switch to foo again",
            "switch to bar again",
        ]
        assert 0.5 <= float(lines[4]) < 1.0

    def test_synchronous(self) -> None:
        lines = seed("synchronous.py").splitlines()
        tasks = [f"Task {number} done" for number in range(10)]
        assert lines[:-1] == ["Synchronous:", *tasks, "Asynchronous:", *tasks]
        assert 0.5 <= float(lines[-1]) < 1.5

    @pytest.mark.parametrize("name", ["crawl_requests.py", "crawl_urllib.py"])
    def test_crawlers(self, name: str, pages: list[str]) -> None:
        text = seed(name, *pages)
        assert text.count("GET: ") == 5
        assert text.count("1000 bytes received from ") == 5
        assert 1.0 <= seconds_in(text.splitlines()[-1]) < 3.0

    def test_500_clients_of_the_server(self) -> None:
        with server(*TREADLE_RUN, "--gevent", SEEDS / "server.py") as (port, pid):
            assert_serves_500(port, pid, lambda *load: seed("clients.py", port, *load))

    def test_names(self) -> None:
        first, second = seed("names.py").split()
        assert re.match(r"Dummy-\d+$", first)
        assert re.match(r"Dummy-\d+$", second)
        assert first != second
