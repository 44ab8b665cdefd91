"""Fixtures that start programs as a user does, and the servers that the programs use."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import servers

APPS = Path(__file__).parent / "apps"


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    """The URL of a Redis server."""
    with servers.redis() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with servers.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def openssh() -> Iterator[servers.SecureShell]:
    """A running OpenSSH server."""
    with servers.openssh() as shell:
        yield shell


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The URL of a web site with slow pages."""
    with servers.site() as url:
        yield url


@pytest.fixture(scope="session")
def fake_mongodb() -> Iterator[str]:
    """The URL of a server that answers MongoDB's driver."""
    with servers.fake_mongodb() as url:
        yield url


class Program:
    """A running program, started in APPS."""

    def __init__(self, command: tuple[str, ...], folder: Path) -> None:
        self.log = folder / "stderr"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*servers.die_with_parent(signal.SIGKILL), *command],
                cwd=APPS,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @property
    def stderr(self) -> str:
        """The text that the program has written to stderr so far."""
        return self.log.read_text()

    def wait_for_port(self, port: int) -> None:
        """Wait until the program accepts connections at *port*."""
        servers.wait_until_listening(self.process, port, self.log)

    def wait_for_stderr(self, text: str) -> None:
        """Wait until the program has written *text* to stderr."""
        deadline = time.monotonic() + servers.START_SECONDS
        while text not in self.stderr:
            assert self.process.poll() is None, self.stderr
            assert time.monotonic() < deadline, self.stderr
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> int:
        """Send the signal *number* and return the exit status."""
        self.process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float = 60) -> int:
        """Wait at most *timeout* seconds and return the exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Program]]:
    """Return a function that starts ``python ARGUMENT ...``.

    A program that still runs after the test is killed, and fails the test.
    """
    started: list[Program] = []

    def launch(*arguments: Any) -> Program:
        command = (sys.executable, *map(str, arguments))
        started.append(Program(command, tmp_path_factory.mktemp("program")))
        return started[-1]

    yield launch
    running = [program for program in started if program.process.poll() is None]
    for program in running:
        program.process.kill()
    for program in started:
        program.process.communicate()
    assert [program.process.args for program in running] == []


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Return a function that runs ``python ARGUMENT ...`` and returns what it printed.

    The function fails the test unless the program ends in time, with exit code 0 and no stderr.
    """

    def run_to_the_end(*arguments: Any, timeout: float = 60) -> str:
        command = [*servers.die_with_parent(signal.SIGKILL), sys.executable, *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=APPS,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    return run_to_the_end
