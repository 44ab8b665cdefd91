"""Patched standard input, descriptors and file locks, on real pipes and terminals."""

import errno
import fcntl
import os
import pty
import select
import socket
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import treadle
import treadle.fcntl
import treadle.os

#: Counts the turns of another greenlet while the body waits, and tells when it had enough of them.
PATCHED = """
import os, sys
from treadle import monkey; monkey.patch_all(sys={sys})
import treadle
count = 0
def tick():
    global count
    while True:
        treadle.sleep(0.002)
        count += 1
        if count == 6:
            os.write(2, b"ticked\\n")
treadle.spawn(tick)
treadle.sleep(0)
print("begin", flush=True)
{body}
print(count > 5, *map(repr, got))
"""
READS = {
    "readline": "got = [sys.stdin.readline()]",
    "iteration": "got = [next(sys.stdin)]",
    "buffer": "got = [sys.stdin.buffer.readline()]",
    "raw": "got = [sys.stdin.buffer.raw.read(100)]",
    "read1": "got = [sys.stdin.buffer.read1()]",
    "os.read": "import os; got = [os.read(0, 100)]",
    "input": "got = [input('? ')]",
}


def program(body: str, sys: bool = True) -> list[Any]:
    source = PATCHED.format(sys=sys, body=textwrap.dedent(body))
    return [__import__("sys").executable, "-c", source]


def on_pipes(command: list[Any]) -> Any:
    """Start the program *command* on pipes, and return it when others have run while it waits."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == b"begin\n"
    assert select.select([process.stderr], [], [], 20)[0], "nobody ran while it waits"
    assert process.stderr.readline() == b"ticked\n"
    return process


@pytest.mark.parametrize(
    ("read", "with_sys"), [*((read, False) for read in READS), ("input", True)]
)
def test_others_run_while_a_pipe_is_standard_input(read: str, with_sys: bool) -> None:
    command = program(READS[read], with_sys)
    with on_pipes(command) as process:
        if read == "input":
            assert process.stdout.read(2) == b"? "
        process.stdin.write(b"line\n")
        process.stdin.flush()
        line = "b'line\\n'" if read in ("buffer", "raw", "read1", "os.read") else "'line\\n'"
        expected = "True " + ("'line'" if read == "input" else line) + "\n"
        assert process.stdout.read().decode() == expected


def test_all_of_a_pipe_is_read() -> None:
    command = program("got = [len(sys.stdin.read()), sys.stdin.read(), sys.stdin.readline()]")
    with on_pipes(command) as process:
        for _ in range(3):
            time.sleep(0.05)
            process.stdin.write(b"x" * 100_000)
            process.stdin.flush()
        process.stdin.close()
        assert process.stdout.read() == b"True 300000 '' ''\n"


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[Any]) -> None:
        self.unread = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(command[0], command)

    def read_until(self, text: str) -> str:
        while text not in self.unread:
            assert select.select([self.fd], [], [], 20)[0], self.unread
            self.unread += os.read(self.fd, 1000).decode()
        seen, _, self.unread = self.unread.partition(text)
        return seen + text

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self) -> int:
        """Read until the program ends, or hang up; return the program's wait status."""
        with suppress(OSError):  # the program has closed its side of the terminal
            while select.select([self.fd], [], [], 20)[0]:
                os.read(self.fd, 1000)
        os.close(self.fd)
        return os.waitpid(self.pid, 0)[1]


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    made = []

    def start(*args: Any) -> Terminal:
        made.append(Terminal(program(*args)))
        return made[-1]

    yield start
    assert [each.end() for each in made] == [0] * len(made)


@pytest.mark.parametrize("read", READS)
def test_others_run_while_a_terminal_is_standard_input(
    terminal: Callable[..., Terminal], read: str
) -> None:
    started = terminal(READS[read])
    seen = started.read_until("? " if read == "input" else "begin")
    started.type("lin")
    if "ticked" not in seen:
        started.read_until("ticked")
    started.type("X\x7fe\n")  # the terminal itself handles the backspace
    assert "True " in started.read_until("line'" if read == "input" else "line\\n'")


def test_input_tells_the_end_and_its_hooks(terminal: Callable[..., Terminal]) -> None:
    body = """
        heard = []
        sys.addaudithook(lambda name, args: name.startswith('builtins.input') and
                         heard.append((name, args)))
        got = [input(7), input(), heard]
        try: input('end? ')
        except EOFError as exc: got.append(exc)
        try: input(1, 2)
        except TypeError as exc: got.append('refused')
    """
    started = terminal(body)
    started.read_until("7")
    time.sleep(0.1)
    started.type("one\n")
    started.type("\n")
    started.read_until("end? ")
    started.type("\x04")
    seen = started.read_until("'refused'")
    assert "'one' ''" in seen
    assert "('builtins.input', (7,)), ('builtins.input/result', ('one',))" in seen
    assert "EOFError('EOF when reading a line')" in seen


def test_control_c_interrupts_input(terminal: Callable[..., Terminal]) -> None:
    started = terminal("try: input('? ')\nexcept KeyboardInterrupt: got = ['interrupted']")
    started.read_until("? ")
    time.sleep(0.1)
    started.type("\x03")
    started.read_until("'interrupted'")


def test_what_was_read_before_patching_is_not_lost() -> None:
    source = """
        import sys
        first = sys.stdin.readline()
        from treadle import monkey; monkey.patch_all(sys=True)
        print([first, sys.stdin.readline(), input(), sys.stdin is sys.__stdin__])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        input="1\n2\n3\n",
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.stdout, done.stderr) == ("['1\\n', '2\\n', '3', True]\n", "")


@pytest.mark.parametrize("kind", ["file", "null", "closed", "object"])
def test_other_standard_inputs_are_left_as_they_are(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text\n")
    source = """
        import io, sys
        if sys.argv[1] == "object": sys.stdin = io.StringIO("text\\n")
        from treadle import monkey; monkey.patch_all(sys=True)
        try: print([input()])
        except (EOFError, RuntimeError) as exc: print(str(exc).removeprefix("input(): "))
    """
    command = [sys.executable, "-c", textwrap.dedent(source), kind]
    if kind == "closed":
        command = ["sh", "-c", 'exec "$@" <&-', "-", *command]
    with open(tmp_path / "file" if kind == "file" else os.devnull) as stdin:
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=20)
    expected = {"null": "EOF when reading a line", "closed": "lost sys.stdin"}
    assert (done.stdout, done.stderr) == (expected.get(kind, "['text']") + "\n", "")


def test_two_greenlets_read_standard_input() -> None:
    command = program("""
        got = sorted(each.get() for each in [treadle.spawn(sys.stdin.readline) for _ in range(2)])
        got += sorted(
            each.get() for each in [treadle.spawn(sys.stdin.buffer.readline) for _ in range(2)]
        )
    """)
    with on_pipes(command) as process:
        for number in range(4):
            time.sleep(0.05)
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
        assert process.stdout.read() == rb"True '0\n' '1\n' b'2\n' b'3\n'" + b"\n"


@pytest.mark.parametrize(
    "ways",
    [
        ("sys.stdin.readline()", "sys.stdin.readline()"),
        ("next(sys.stdin, '')", "next(sys.stdin, '')"),
        ("sys.stdin.readline()", "next(sys.stdin, '')"),
        ("sys.stdin.read(5)", "next(sys.stdin, '')"),
        ("''.join(sys.stdin.readlines())", "sys.stdin.read(5)", "sys.stdin.read()"),
        ("sys.stdin.buffer.read1(500).decode()", "sys.stdin.readline()", "sys.stdin.read(5)"),
    ],
)
def test_greenlets_that_share_standard_input_lose_nothing(ways: tuple[str, ...]) -> None:
    """Each takes a while with what it has read, and the lines come three at a time."""
    command = program(f"""
        parts = []
        def read(way):
            while part := eval(way):
                parts.append(part)
                treadle.sleep(0.015)
        readers = [treadle.spawn(read, way) for way in 2 * {ways!r}]
        treadle.joinall(readers, raise_error=True)
        whole = sorted("".join(parts).splitlines())
        got = [whole if "read1" not in {ways!r}[0] else sorted("".join(parts))]
    """)
    lines = "".join(f"{number:4}\n" for number in range(30))
    with on_pipes(command) as process:
        for begin in range(0, len(lines), 17):
            process.stdin.write(lines[begin : begin + 17].encode())
            process.stdin.flush()
            for _ in range(100):
                time.sleep(0.001)
                if fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)) == bytes(4):
                    break  # one of them has taken it
        process.stdin.close()
        expected = sorted(lines if "read1" in ways[0] else lines.splitlines())
        assert process.stdout.read().decode() == f"True {expected!r}\n"


# -- descriptors


def ends(kind: str) -> tuple[int, int]:
    if kind == "pipe":
        return os.pipe()
    if kind == "terminal":
        controller, terminal = pty.openpty()
        return terminal, controller
    one, other = socket.socketpair()
    return one.detach(), other.detach()


@pytest.mark.parametrize("kind", ["pipe", "terminal", "socket"])
def test_reading_a_blocking_descriptor_lets_others_run(kind: str) -> None:
    reading, writing = ends(kind)
    treadle.sleep(0)  # from here on the thread has a hub, with other greenlets to run
    treadle.spawn_later(0.02, os.write, writing, b"line\n")
    assert treadle.os.read(reading, 100) == b"line\n"
    assert os.get_blocking(reading)
    treadle.os.close(writing)
    if kind != "terminal":
        assert treadle.os.read(reading, 100) == b""
    treadle.os.close(reading)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_writing_a_full_descriptor_lets_others_run(kind: str) -> None:
    reading, writing = ends(kind)
    data = os.urandom(500_000)
    sent = treadle.spawn(treadle.os.write, writing, data)
    got = b""
    while len(got) < len(data):
        got += treadle.os.read(reading, 10_000)
    assert got == data
    assert sent.get(timeout=30) == len(data)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("error", [TimeoutError("mine"), BrokenPipeError(32, "mine")])
def test_what_ends_a_long_write_is_raised(error: OSError) -> None:
    reading, writing = os.pipe()
    with pytest.raises(type(error), match="mine"), treadle.Timeout(0.02, error):
        treadle.os.write(writing, bytes(1_000_000))
    os.close(reading)
    os.close(writing)


def test_each_of_several_readers_gets_a_piece() -> None:
    reading, writing = os.pipe()
    readers = [treadle.spawn(treadle.os.read, reading, 1) for _ in range(5)]
    treadle.sleep(0.01)
    for number in range(5):
        os.write(writing, b"%d" % number)
        treadle.sleep(0.01)
    treadle.joinall(readers, timeout=30)
    assert sorted(reader.value for reader in readers) == [b"0", b"1", b"2", b"3", b"4"]
    os.close(reading)
    os.close(writing)


def test_a_reader_that_never_waits_starves_nobody() -> None:
    beats: list[float] = []

    def beat() -> None:
        while True:
            treadle.sleep(0.001)
            beats.append(time.monotonic())

    heart = treadle.spawn(beat)
    with open(os.devnull, "rb") as null, open(os.devnull, "wb") as sink:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            treadle.os.read(null.fileno(), 100)
            treadle.os.write(sink.fileno(), b"x")
    heart.kill()
    assert len(beats) > 20


def test_nb_read_and_tp_read_are_gevents() -> None:
    reading, writing = os.pipe()
    assert treadle.os.make_nonblocking(reading) is True
    assert treadle.os.make_nonblocking(reading) is None
    treadle.spawn_later(0.01, treadle.os.tp_write, writing, b"ab")
    assert treadle.os.nb_read(reading, 1) == b"a"
    assert treadle.os.nb_read(reading, 9) == b"b"
    os.set_blocking(reading, True)
    treadle.spawn_later(0.01, os.write, writing, b"c")
    assert treadle.os.tp_read(reading, 1) == b"c"
    treadle.os.make_nonblocking(writing)
    while True:
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    treadle.spawn_later(0.01, treadle.os.read, reading, 10_000)
    assert treadle.os.nb_write(writing, b"y" * 5000) in range(1, 5001)
    os.close(reading)
    os.close(writing)


# -- locks of files

LOCKS = [treadle.fcntl.flock, treadle.fcntl.lockf]
WRITE_LOCK = struct.pack("hhqqhh", fcntl.F_WRLCK, 0, 0, 0, 0, 0)
#: Ways to wait for a lock of a file.
WAITING_LOCKS: dict[str, Callable[[Any], object]] = {
    "flock": lambda file: treadle.fcntl.flock(file, fcntl.LOCK_EX),
    "lockf": lambda file: treadle.fcntl.lockf(file, fcntl.LOCK_EX),
    "F_SETLKW": lambda file: treadle.fcntl.fcntl(file, fcntl.F_SETLKW, WRITE_LOCK),
    "F_OFD_SETLKW": lambda file: treadle.fcntl.fcntl(file, fcntl.F_OFD_SETLKW, WRITE_LOCK),
    "os.lockf": lambda file: treadle.os.lockf(number_of(file), os.F_LOCK, 0),
}


def number_of(file: Any) -> int:
    return file if isinstance(file, int) else file.fileno()  # type: ignore[no-any-return]


def native_of(lock: Any) -> str:
    """Return the name of the function of fcntl whose locks exclude those of *lock*."""
    name = getattr(lock, "__name__", lock)
    return name if name == "flock" else "lockf"


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[[Any], subprocess.Popen[str]]]:
    """Return a function that starts a process that locks the file until it is told to end."""
    started = []

    def start(lock: Any) -> subprocess.Popen[str]:
        (tmp_path / "file").write_bytes(b"content")
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "file"), native_of(lock)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in started:
        release(process)


def release(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.close()
    process.__exit__(None, None, None)


@pytest.mark.parametrize("lock", LOCKS)
def test_who_waits_for_a_lock_lets_others_run(lock: Any, holder: Any, tmp_path: Path) -> None:
    process = holder(lock)
    with open(tmp_path / "file", "r+b") as file:
        with pytest.raises(BlockingIOError):
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        waiting = treadle.spawn(lock, file, fcntl.LOCK_EX)
        treadle.sleep(0.05)
        assert not waiting.ready()
        release(process)
        assert waiting.get(timeout=10) is None
        lock(file, fcntl.LOCK_UN)


@pytest.mark.parametrize("lock", LOCKS)
def test_who_gives_up_waiting_does_not_get_the_lock(lock: Any, holder: Any, tmp_path: Path) -> None:
    process = holder(lock)
    with open(tmp_path / "file", "r+b") as file:
        with pytest.raises(treadle.Timeout), treadle.Timeout(0.05):
            lock(file, fcntl.LOCK_EX)
        release(process)
        treadle.sleep(0.06)  # longer than between two attempts
        holder(lock)  # otherwise this would block forever


@pytest.mark.parametrize("lock", WAITING_LOCKS)
def test_who_tries_again_has_the_lock(lock: Any, holder: Any, tmp_path: Path) -> None:
    process = holder(lock)
    with open(tmp_path / "file", "r+b") as file:
        for _ in range(3):
            with treadle.Timeout(0.01, False):
                WAITING_LOCKS[lock](file)
        waiting = treadle.spawn(WAITING_LOCKS[lock], file)
        treadle.sleep(0.01)
        assert not waiting.ready()
        release(process)
        waiting.get(timeout=10)
        treadle.sleep(0.06)
        lock_by = [sys.executable, "-c", HOLDER.replace("LOCK_EX", "LOCK_EX | fcntl.LOCK_NB")]
        found = subprocess.run(
            [*lock_by, str(tmp_path / "file"), native_of(lock)], capture_output=True, text=True
        )
        assert "BlockingIOError" in found.stderr


@pytest.mark.parametrize("lock", WAITING_LOCKS)
def test_no_other_file_is_locked_after_the_descriptor_was_closed(
    lock: Any, holder: Any, tmp_path: Path
) -> None:
    process = holder(lock)
    fd = os.open(tmp_path / "file", os.O_RDWR)
    waiting = treadle.spawn(WAITING_LOCKS[lock], fd)
    treadle.sleep(0)
    os.close(fd)
    (tmp_path / "other").touch()
    assert os.open(tmp_path / "other", os.O_RDWR) == fd
    release(process)
    waiting.join(timeout=10)
    assert getattr(waiting.exception, "errno", None) == errno.EBADF
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "other"), native_of(lock)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    assert done.stdout == b"locked\n"
    os.close(fd)


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_refuse_what_the_standard_ones_refuse(lock: Any, tmp_path: Path) -> None:
    native = getattr(fcntl, lock.__name__)
    with open(tmp_path / "file", "wb") as file:
        for args in [(-1, fcntl.LOCK_EX), (file, "x"), (object(), 1), (file,), (file, 0)]:
            with pytest.raises(Exception) as expected:  # noqa: PT011
                native(*args)
            with pytest.raises(expected.type) as raised:
                lock(*args)
            if len(args) == 2:
                assert str(raised.value) == str(expected.value)
