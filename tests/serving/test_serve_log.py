"""The logs of ``treadle serve``: whole lines, and no wait, whatever they are written to."""

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.serve.log import LogFile


@pytest.fixture
def limit() -> Iterator[None]:
    """Lift this process's limit of file sizes after the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_that_was_cut_short_does_not_continue_in_the_next(
    limit: None, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), 1)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for _ in range(2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 7, hard))
        log.write("the first line\n")  # the first seven bytes fit
        log.drain(5)
        log.write("lost as a whole\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        log.write("the next line\n")
    lines = path.read_text().splitlines()
    assert lines.count("the next line") == lines.count("the fir") == 2
    assert all(line.startswith(("the ", "treadle serve: 2 writes to ")) for line in lines), lines


@pytest.mark.parametrize("standard", [True, False], ids=["standard output", "path"])
def test_a_pipe_that_was_opened_while_nobody_read_it_does_not_block(
    standard: bool, tmp_path: Path
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    output = os.open(path, os.O_WRONLY)
    os.close(reader)
    losses: list[None] = []
    log = LogFile("-" if standard else str(path), output, lambda: losses.append(None))
    log.write("nobody reads this\n")
    assert len(losses) == 1
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    line = "x" * 999 + "\n"
    for _ in range(200):  # more than a pipe holds
        log.write(line)
    read = b""
    while read.count(b"x\n") < 200:
        read += os.read(reader, 65536)
        log.drain(0.01)
    assert read.startswith(line.encode() + b"treadle serve: 1 writes to ")
    os.close(reader)
    os.close(output)
