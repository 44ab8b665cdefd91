"""Calls of the standard library that wait: others run meanwhile, and the results are its own."""

import errno
import fcntl
import inspect
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import treadle
import treadle.fcntl
import treadle.os
import treadle.select
import treadle.socket
from treadle._core.pipes import cooperative

BIG = os.urandom(500_000)


@pytest.fixture
def others() -> Iterator[None]:
    """Fail a test in which another greenlet could not run for long."""
    beats = [time_without_queue()]

    def beat() -> None:
        while True:
            treadle.sleep(0.002)
            beats.append(time_without_queue())

    heart = treadle.spawn(beat)
    treadle.sleep(0)
    yield
    heart.kill()
    beats.append(time_without_queue())
    assert max(later - before for before, later in pairwise(beats)) < 0.25


def time_without_queue() -> float:
    """Return a time that stands still while this thread waits for a processor."""
    waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    return time.monotonic() - waited / 1e9


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """The descriptor of a file that contains BIG."""
    (tmp_path / "file").write_bytes(BIG)
    fd = os.open(tmp_path / "file", os.O_RDWR)
    yield fd
    os.close(fd)


def drain(fd: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += treadle.os.read(fd, 60_000)
    return found


def read_by(call: Callable[..., int], *place: int) -> Callable[[int], bytes]:
    def read(fd: int) -> bytes:
        buffers = [bytearray(3), bytearray(9)]
        size = call(fd, buffers, *place)
        return b"".join(buffers)[:size]

    return read


@pytest.mark.parametrize(
    "read",
    [
        read_by(treadle.os.readv),
        read_by(treadle.os.preadv, -1),
        read_by(treadle.os.preadv, -1, 0),
        lambda fd: treadle.os.tp_read(fd, 12),
    ],
    ids=["readv", "preadv", "preadv with flags", "tp_read"],
)
@pytest.mark.usefixtures("others")
def test_reading(read: Callable[[int], bytes], pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    treadle.spawn_later(0.02, os.write, writing, b"hello")
    assert read(reading) == b"hello"
    os.set_blocking(reading, False)
    with pytest.raises(BlockingIOError):
        read(reading)


@pytest.mark.parametrize(
    "write",
    [
        lambda fd, data: treadle.os.writev(fd, [data[:10], b"", memoryview(data)[10:]]),
        lambda fd, data: treadle.os.pwritev(fd, [data], -1),
        lambda fd, data: treadle.os.write(fd, bytearray(data)),
        treadle.os.tp_write,
    ],
    ids=["writev", "pwritev", "write", "tp_write"],
)
@pytest.mark.usefixtures("others")
def test_writing(write: Callable[[int, bytes], int], pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    written = treadle.spawn(write, writing, BIG)
    assert drain(reading, len(BIG)) == BIG
    assert written.get(timeout=30) == len(BIG)
    assert write(writing, b"x" * 11) == 11


def test_regular_files_have_their_places(file: int) -> None:
    assert treadle.os.pwritev(file, [b"a" * 5000, b"b"], 7) == 5001
    buffer = bytearray(3)
    assert treadle.os.preadv(file, [buffer], 5006) == 3
    assert buffer == b"ab" + BIG[5008:5009]
    assert treadle.os.preadv(file, [buffer], -1) == 3
    assert treadle.os.preadv(file, [buffer], -1, os.RWF_NOWAIT | os.RWF_HIPRI) == 3
    assert os.lseek(file, 0, os.SEEK_CUR) == 6


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="there are no eventfds")
@pytest.mark.usefixtures("others")
def test_eventfds() -> None:
    fd = os.eventfd(0)
    treadle.spawn_later(0.02, treadle.os.eventfd_write, fd, 2**64 - 2)
    assert treadle.os.eventfd_read(fd) == 2**64 - 2
    treadle.os.eventfd_write(fd, 2**64 - 2)
    treadle.spawn_later(0.02, treadle.os.eventfd_read, fd)
    treadle.os.eventfd_write(fd, 1)
    assert treadle.os.eventfd_read(fd) == 1
    os.close(fd)


# -- copying


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("offset", [None, 1000])
@pytest.mark.usefixtures("others")
def test_sendfile(kind: str, offset: int | None, file: int) -> None:
    if kind == "pipe":
        reading, writing = os.pipe()
    else:
        reading, writing = (end.detach() for end in socket.socketpair())
    rest = BIG[offset or 0 :]
    sent = treadle.spawn(treadle.os.sendfile, writing, file, offset, 2 * len(BIG))
    assert drain(reading, len(rest)) == rest
    assert sent.get(timeout=30) == len(rest)
    assert os.lseek(file, 0, os.SEEK_CUR) == (len(BIG) if offset is None else 0)
    assert treadle.os.sendfile(writing, file, len(BIG), 9) == 0
    os.set_blocking(writing, False)
    treadle.os.sendfile(writing, file, 0, len(BIG))
    with pytest.raises(BlockingIOError):
        treadle.os.sendfile(writing, file, 0, len(BIG))
    os.close(reading)
    os.set_blocking(writing, True)
    with pytest.raises(BrokenPipeError):
        treadle.os.sendfile(writing, file, 0, 9)
    os.close(writing)


@pytest.mark.parametrize("call", [treadle.os.sendfile, treadle.os.copy_file_range])
def test_copying_a_file(call: Any, tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(BIG * 30)
    source = os.open(tmp_path / "from", os.O_RDONLY)
    target = os.open(tmp_path / "to", os.O_RDWR | os.O_CREAT)
    arguments = (target, source, 0) if call is treadle.os.sendfile else (source, target)
    turns = treadle.get_hub().turns
    assert call(*arguments, len(BIG) * 31) == len(BIG) * 30
    assert treadle.get_hub().turns > turns
    assert (tmp_path / "to").read_bytes() == BIG * 30
    if call is treadle.os.copy_file_range:
        assert call(source, target, 2 << 20, 5, 7) == 2 << 20
        assert os.pread(target, 9, 7) == BIG[5:14]
    os.close(source)
    os.close(target)
    with pytest.raises(OSError, match="Bad file"):
        call(*arguments, 2 << 20)


@pytest.mark.usefixtures("others")
def test_splice(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    last, first = os.pipe()

    def relay() -> int:
        done = 0
        while size := treadle.os.splice(reading, first, 1 << 20):
            done += size
            if done == len(BIG):
                break
        return done

    relaying = treadle.spawn(relay)
    writer = treadle.spawn(treadle.os.write, writing, BIG)
    assert drain(last, len(BIG)) == BIG
    assert relaying.get(timeout=30) == writer.get() == len(BIG)
    with pytest.raises(BlockingIOError):
        treadle.os.splice(reading, first, 1, flags=os.SPLICE_F_NONBLOCK)
    os.set_blocking(reading, False)
    with pytest.raises(BlockingIOError):
        treadle.os.splice(reading, first, 1)
    os.close(first)
    os.close(last)


@pytest.mark.parametrize("call", ["write", "writev", "sendfile"])
@pytest.mark.usefixtures("others")
def test_a_socket_of_treadles_without_a_timeout_waits(call: str, file: int) -> None:
    left, right = treadle.socket.socketpair()
    with left, right:
        fd = left.fileno()
        arguments: tuple[Any, ...] = {
            "write": (fd, BIG),
            "writev": (fd, [BIG[:9], BIG[9:]]),
            "sendfile": (fd, file, 0, len(BIG)),
        }[call]
        writer = treadle.spawn(getattr(treadle.os, call), *arguments)
        assert drain(right.fileno(), len(BIG)) == BIG
        assert writer.get(timeout=30) == len(BIG)
        left.settimeout(0)  # the program's own wish
        getattr(treadle.os, call)(*arguments)
        with pytest.raises(BlockingIOError):
            getattr(treadle.os, call)(*arguments)


@pytest.mark.parametrize("call", ["write", "writev", "file"])
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
@pytest.mark.parametrize("module", [socket, treadle.socket], ids=["standard", "treadle"])
def test_messages_stay_whole(module: Any, kind: int, call: str) -> None:
    left, right = module.socketpair(socket.AF_UNIX, kind)
    message = BIG[:9000]
    with left, right:
        fd = left.fileno()
        if call == "file":
            with cooperative(open(fd, "wb", buffering=0, closefd=False)) as writer:
                assert writer.write(message) == 9000
        elif call == "write":
            assert treadle.os.write(fd, message) == 9000
        else:
            assert treadle.os.writev(fd, [message[:5000], message[5000:]]) == 9000
        assert right.recv(20_000) == message


@pytest.mark.parametrize("module", [socket, treadle.socket], ids=["standard", "treadle"])
@pytest.mark.usefixtures("others")
def test_splice_into_a_socket_that_is_nearly_full(module: Any, pipe: tuple[int, int]) -> None:
    left, right = module.socketpair()
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 1 << 20)  # type: ignore[attr-defined]
    os.write(pipe[1], BIG)
    # If the thread blocks, the end of the connection ends that, and the test fails.
    copy = socket.fromfd(right.fileno(), right.family, right.type)
    last_resort = threading.Timer(1, copy.shutdown, (socket.SHUT_RDWR,))
    last_resort.start()

    def move() -> None:
        done = 0
        while done < len(BIG):
            done += treadle.os.splice(pipe[0], left.fileno(), len(BIG))

    with left, right, copy:
        moving = treadle.spawn(move)
        treadle.sleep(0.02)
        assert not moving.ready()
        last_resort.cancel()
        assert drain(right.fileno(), len(BIG)) == BIG
        moving.get(timeout=30)


@pytest.mark.parametrize("waits", [True, False])
def test_a_pipe_that_the_program_made_non_blocking(pipe: tuple[int, int], waits: bool) -> None:
    for fd in pipe:
        os.set_blocking(fd, waits)
    reader = cooperative(io.FileIO(pipe[0], "rb", closefd=False))
    writer = cooperative(io.FileIO(pipe[1], "wb", closefd=False))
    reading = treadle.spawn(reader.read, 9)
    treadle.sleep(0.01)
    assert reading.ready() is not waits
    if waits:
        assert writer.write(b"x") == 1
        assert reading.get(timeout=30) == b"x"
    else:
        assert reading.get() is None
        assert 0 < writer.write(BIG) < len(BIG)
        assert writer.write(BIG) is None


# -- FIFOs


def test_a_fifo_that_is_removed_becomes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    opening = treadle.spawn(treadle.os.open, path, flags)
    treadle.sleep(0.01)
    path.unlink()
    opening.join(timeout=30)
    assert isinstance(opening.exception, FileNotFoundError)
    assert not path.exists()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def opened(path: Path, flags: int) -> int:
    return treadle.os.open(path, flags)


@pytest.mark.usefixtures("others")
def test_either_end_of_a_fifo_may_come_first(fifo: Path) -> None:
    for first, second in ((os.O_RDONLY, os.O_WRONLY), (os.O_WRONLY, os.O_RDONLY)):
        waiting = treadle.spawn(opened, fifo, first)
        treadle.sleep(0.02)
        assert not waiting.ready()
        ends = [opened(fifo, second), waiting.get(timeout=30)]
        assert [os.get_blocking(end) for end in ends] == [True, True]
        assert [os.get_inheritable(end) for end in ends] == [False, False]
        for fd in ends:
            os.close(fd)
    with pytest.raises(FileExistsError):
        opened(fifo, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with pytest.raises(NotADirectoryError):
        opened(fifo, os.O_DIRECTORY)
    with pytest.raises(OSError, match="No such device") as raised:
        opened(fifo, os.O_WRONLY | os.O_NONBLOCK)
    assert raised.value.errno == errno.ENXIO


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_who_gives_up_opening_is_nobodys_other_end(fifo: Path, flags: int) -> None:
    treadle.get_hub()  # creates the hub's descriptors before they are counted
    before = len(os.listdir("/proc/self/fd"))
    for pause in (0, 0.02):
        waiting = treadle.spawn(opened, fifo, flags)
        treadle.sleep(pause)
        waiting.kill()
    treadle.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(OSError, match="No such device"):  # there is no reader
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    other = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(other, 1) == b""  # there is no writer
    os.close(other)


def test_who_gives_up_opening_does_not_disturb_others(fifo: Path) -> None:
    others = [treadle.spawn(opened, fifo, os.O_RDONLY) for _ in range(2)]
    waiting = treadle.spawn(opened, fifo, os.O_RDONLY)
    treadle.sleep(0.05)
    waiting.kill()
    treadle.sleep(0.05)
    assert not any(other.ready() for other in others)
    ends = [opened(fifo, os.O_WRONLY), *(other.get(timeout=30) for other in others)]
    os.write(ends[0], b"ab")
    assert [os.read(end, 1) for end in ends[1:]] == [b"a", b"b"]
    for fd in ends:
        os.close(fd)


def test_who_gives_up_opening_is_no_writer_for_other_processes(fifo: Path) -> None:
    with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as cat:
        waiting = treadle.spawn(opened, fifo, os.O_RDONLY)
        treadle.sleep(0.1)
        waiting.kill()
        treadle.sleep(0.1)
        assert cat.poll() is None
        with fifo.open("wb", buffering=0) as writer:
            writer.write(b"data")
        assert cat.stdout is not None
        assert cat.stdout.read() == b"data"


def test_who_gives_up_opening_in_another_directory_is_no_reader(
    fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fifo.parent)
    waiting = treadle.spawn(opened, Path(fifo.name), os.O_RDONLY)
    treadle.sleep(0.02)
    monkeypatch.chdir("/")
    waiting.kill()
    treadle.sleep(0.02)
    with pytest.raises(OSError, match="No such device"):
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)


@pytest.mark.parametrize("keep", [False, True])
def test_a_forked_child_reads_no_fifo_for_its_parents_greenlets(
    fresh: Callable[..., str], fifo: Path, keep: bool
) -> None:
    fresh(
        """
import os, sys, treadle, treadle.os
path, keep = sys.argv[1], sys.argv[2] == "True"
waiting = treadle.spawn(treadle.os.open, path, os.O_RDONLY)
treadle.sleep(0.01)
before = len(os.listdir("/proc/self/fd"))
pid = treadle.os.fork(keep=keep)
if pid == 0:
    os._exit(before - len(os.listdir("/proc/self/fd")))
assert os.waitstatus_to_exitcode(treadle.os.waitpid(pid, 0)[1]) == (0 if keep else 1)
os.close(os.open(path, os.O_WRONLY))
os.close(waiting.get(timeout=30))
""",
        str(fifo),
        str(keep),
    )


def test_who_waits_for_a_writer_uses_no_thread_and_takes_no_data(fifo: Path) -> None:
    threads = len(os.listdir("/proc/self/task"))
    waiting = [treadle.spawn(opened, fifo, os.O_RDONLY) for _ in range(3)]
    treadle.sleep(0.01)
    assert len(os.listdir("/proc/self/task")) == threads
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"data")
    os.close(writer)
    ends = [each.get(timeout=30) for each in waiting]
    assert [os.read(end, 10) for end in ends] == [b"data", b"", b""]
    for end in ends:
        os.close(end)


def test_the_rest_is_opened_as_by_the_system(tmp_path: Path) -> None:
    fd = treadle.os.open(tmp_path / "new", os.O_WRONLY | os.O_CREAT, 0o600)
    os.close(fd)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    place = os.open(tmp_path, os.O_DIRECTORY)
    os.close(treadle.os.open("new", os.O_RDONLY, dir_fd=place))
    os.close(place)
    for arguments in [(tmp_path / "none", 0), ("a\0b", 0), (None, 0), ("x",), ("x", "y")]:
        with pytest.raises(Exception) as expected:  # noqa: PT011
            os.open(*arguments)
        with pytest.raises(expected.type):
            treadle.os.open(*arguments)


PATCHED = "from treadle import monkey; monkey.patch_all(); import os, threading\n"


def test_patched_open_of_a_fifo(fresh: Callable[..., str], fifo: Path) -> None:
    source = """
        path, got = sys.argv[1], []
        def reader():
            with open(path, newline="") as file:
                got.append(file.read())
        def writer():
            with open(pathlib.Path(path), "w", newline="\\r\\n") as file:
                file.write("hello\\n")
        threads = [threading.Thread(target=each) for each in (reader, writer)]
        for each in threads: each.start()
        for each in threads: each.join()
        print(got)
    """
    imports = "import sys, pathlib\n"
    assert fresh(PATCHED + imports + inspect.cleandoc(source), str(fifo)) == "['hello\\r\\n']\n"


def test_patched_open_of_descriptors(fresh: Callable[..., str]) -> None:
    source = """
        import io, pty, socket
        def pair(): return [end.detach() for end in socket.socketpair()]
        for ends in (os.pipe, pty.openpty, pair):
            reading, writing = ends()
            for opener in (open, io.open, os.fdopen):
                with opener(reading, "rb", closefd=False) as file:
                    threading.Timer(0.02, os.write, (writing, b"ab\\n")).start()
                    print(file.readline().strip(), type(file.raw).__name__)
            os.close(reading); os.close(writing)
        for path in (__file__, os.devnull):
            with open(path, "rb") as file: print(type(file) is io.BufferedReader)
        with open("any", "rb", opener=lambda path, flags: os.pipe()[0]) as file:
            print(type(file.raw).__name__)
        with os.popen("sleep 0.05; echo x") as file: print(file.read())
        print(os.open in os.supports_dir_fd)
    """
    found = fresh(PATCHED + f"__file__ = {__file__!r}\n" + inspect.cleandoc(source))
    lines = ["b'ab' PipeIO"] * 9 + ["True"] * 2 + ["PipeIO", "x", "", "True"]
    assert found.splitlines() == lines


def test_patched_open_refuses_what_open_refuses(fresh: Callable[..., str], tmp_path: Path) -> None:
    source = """
        import _io
        cases = [(), (None,), ("", "r"), ("x\\0",), ("none",), (99,), (".",), (0, "zz"), (0, 5),
                 (0, "rb", -1, "utf-8"), (1.5,), ("x", "r", -1, None, None, "z")]
        for case in cases:
            found = []
            for function in (_io.open, open):
                try: function(*case)
                except Exception as exc: found.append(type(exc))
            assert len(found) == 2 and found[0] is found[1], (case, found)
    """
    assert fresh(PATCHED + inspect.cleandoc(source)) == ""


def test_the_encoding_warning_names_the_callers_line(tmp_path: Path) -> None:
    import subprocess

    program = tmp_path / "program.py"
    program.write_text(PATCHED + "open(__file__).close()\n")
    command = [sys.executable, "-X", "warn_default_encoding", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert f"{program}:2: EncodingWarning" in done.stderr


# -- nothing was forgotten


#: Functions whose native version may wait for another process or thread, with an empty thread pool.
WAITING = {
    "os": {
        *("copy_file_range", "eventfd_read", "eventfd_write", "lockf", "open", "preadv", "pwritev"),
        *("read", "readv", "sendfile", "splice", "system", "wait", "wait3", "wait4", "waitid"),
        *("waitpid", "write", "writev"),
    },
    "fcntl": {"fcntl", "flock", "lockf"},
}


@pytest.mark.parametrize("name", WAITING)
def test_signatures_are_the_standard_ones(name: str) -> None:
    ours, native = (vars(treadle)[name], sys.modules[name])
    assert set(ours.__implements__) >= WAITING[name]
    for function in sorted(WAITING[name]):
        if not hasattr(native, function):
            continue
        try:
            expected = inspect.signature(getattr(native, function))
        except ValueError:
            continue
        found = inspect.signature(getattr(ours, function))
        assert [(p.name, p.kind) for p in found.parameters.values()] == [
            (p.name, p.kind) for p in expected.parameters.values()
        ], function


def test_a_thread_without_a_hub_calls_the_system(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    found: list[Any] = []

    def run() -> None:
        found.append(treadle.os.readv(reading, [bytearray(2)]))
        found.append(treadle.fcntl.fcntl(reading, fcntl.F_GETFD))
        found.append(treadle.os.sendfile(writing, file, 0, 2))

    file = os.open(__file__, os.O_RDONLY)
    os.write(writing, b"ab")
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    os.close(file)
    assert found == [2, fcntl.FD_CLOEXEC, 2]


def test_the_page_names_all_that_is_patched(root: Path) -> None:
    page = (root / "docs" / "blocking.md").read_text()
    for module in (treadle.os, treadle.fcntl, treadle.select):
        for name in module.__implements__:
            assert re.search(rf"\b{name}\b", page), name
