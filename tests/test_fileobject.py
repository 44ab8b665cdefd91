"""treadle.fileobject: files on descriptors and in threads, compared with open()."""

import _thread
import errno
import fcntl
import io
import os
import pty
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import treadle
import treadle.fileobject
import treadle.os
from treadle.fileobject import FileObject, FileObjectBlock, FileObjectPosix, FileObjectThread
from treadle.resolver import NATIVE
from treadle.resolver.thread import Resolver
from treadle.threadpool import ThreadPool

KINDS = [FileObjectPosix, FileObjectThread, FileObjectBlock]


@pytest.mark.parametrize("kind", KINDS)
def test_reads_and_writes_like_open(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with kind(path, "w", encoding="utf-8", newline="") as file:
        assert file.write("gr\u00fcn\r\nzwei\n") == 11
    assert file.closed
    assert path.read_bytes() == "gr\u00fcn\r\nzwei\n".encode()
    with kind(str(path), "r", encoding="utf-8") as file:
        assert list(file) == ["gr\u00fcn\n", "zwei\n"]
    with kind(path, "rb", buffering=0) as file:
        assert file.read(3) == "gr\u00fc".encode()[:3]
        file.seek(0)
        assert file.readline() == "gr\u00fcn\r\n".encode()
    with kind(path, "ab") as file:
        file.write(b"3")
    assert path.read_bytes().endswith(b"\n3")


@pytest.mark.parametrize("kind", [FileObject, FileObjectThread])
def test_others_run_while_a_pipe_is_read(kind: Any) -> None:
    reading, writing = os.pipe()
    with kind(reading, "rb") as reader:
        greenlet = treadle.spawn(reader.readline)
        treadle.sleep(0.02)
        assert not greenlet.ready()
        with kind(writing, "wb", 0) as writer:
            writer.write(b"line\n")
            assert greenlet.get(timeout=30) == b"line\n"
    for fd in (reading, writing):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_full_pipe_is_written_piece_by_piece() -> None:
    reading, writing = os.pipe()
    data = os.urandom(300_000)
    with FileObject(reading, "rb") as reader:
        everything = treadle.spawn(reader.read)
        with FileObject(writing, "wb") as writer:
            writer.write(data)
        assert everything.get(timeout=10) == data


def test_the_descriptor_stays_blocking() -> None:
    reading, writing = os.pipe()
    with FileObject(reading, "rb") as reader, FileObject(writing, "wb") as writer:
        assert os.get_blocking(reader.fileno())
        assert os.get_blocking(writer.fileno())


def test_a_terminal_is_read_by_lines() -> None:
    controller, terminal = pty.openpty()
    with FileObject(terminal, "r") as reader:
        assert reader.isatty()
        greenlet = treadle.spawn(reader.readline)
        treadle.sleep(0.02)
        os.write(controller, b"typed\n")
        assert greenlet.get(timeout=30) == "typed\n"
    os.close(controller)


@pytest.mark.parametrize("kind", KINDS)
def test_closefd_decides_what_stays_open(kind: Any, tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as native:
        kind(native, "wb", closefd=False).close()
        assert not native.closed
        kind(native.fileno(), "wb", close=False).close()
        os.fstat(native.fileno())
        kind(native, "wb").close()
        assert native.closed


@pytest.mark.parametrize("kind", KINDS)
def test_what_open_refuses_is_refused(kind: Any, tmp_path: Path) -> None:
    for args in [(tmp_path / "none",), (tmp_path, "q"), (tmp_path, "rb", 1, None, "utf-8")]:
        with pytest.raises((OSError, ValueError)):
            kind(*args)
    with pytest.raises(TypeError, match="not both"):
        kind(0, buffering=1, bufsize=1)


def test_neither_work_nor_names_nor_pipes_hold_up_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files and children are fast while the hub's pool is full and 50 lookups and pipes wait."""
    release = False

    def stay(*args: Any) -> None:
        while not release:
            time.sleep(0.01)

    monkeypatch.setitem(NATIVE, "getaddrinfo", stay)
    resolver = Resolver()
    pool = treadle.get_hub().threadpool
    with ExitStack() as stack:
        work = [pool.spawn(stay) for _ in range(pool.maxsize)]
        names = [treadle.spawn(resolver.getaddrinfo, f"name{number}", 80) for number in range(50)]
        pipes = [os.pipe() for _ in range(50)]
        readers = [stack.enter_context(FileObjectThread(reading, "rb", 0)) for reading, _ in pipes]
        reads = [treadle.spawn(reader.read, 1) for reader in readers]
        reads += [treadle.spawn(treadle.os.tp_read, reading, 1) for reading, _ in pipes]
        treadle.sleep(0.05)
        with treadle.Timeout(30):  # the others wait until the end
            with FileObjectThread(tmp_path / "file", "w+") as file:
                file.write("text")
                file.seek(0)
                assert file.read() == "text"
            assert treadle.os.system("exit 3") >> 8 == 3
        release = True
        for _, writing in pipes:
            os.write(writing, b"ab")
            os.close(writing)
        treadle.joinall([*names, *reads], raise_error=True)
        treadle.wait(work)


def test_errors_in_threads_are_raised_and_not_reported(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with FileObjectThread(tmp_path / "file", "wb") as file:
        with pytest.raises(OSError, match="read"):
            file.read()
        with pytest.raises(OSError, match="Invalid argument"):
            file.seek(-1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_beneath_can_be_reached(kind: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one\ntwo\n")
    with kind(tmp_path / "file") as file:
        assert file.next() == "one\n"
        assert file.io.readline() == "two\n"
        file.io.close()
        assert file.closed


def test_a_file_says_whose_threads_it_uses(tmp_path: Path) -> None:
    pool = ThreadPool(1)
    with FileObjectThread(tmp_path / "file", "w", threadpool=pool) as file:
        assert file.threadpool is pool
        with file.lock:
            job = treadle.spawn(file.write, "x")
            assert not job.ready()
            job.join(0.01)
            assert not job.ready()
        assert job.get() == 1
    pool.kill()


def test_a_pipe_cannot_be_sought_as_the_system_says() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with pytest.raises(OSError, match="seek") as expected:
        os.lseek(reader, 0, os.SEEK_SET)
    with FileObjectPosix(reader, "r") as file:
        for call in (lambda: file.fileio.seek(0), file.fileio.tell):
            with pytest.raises(OSError, match="seek") as found:
                call()
            assert found.value.args == expected.value.args
        assert not file.seekable()


@pytest.mark.parametrize("newline", [None, "", "\n", "\r\n"])
def test_newlines_are_those_of_open(newline: str | None) -> None:
    reading, writing = os.pipe()
    with FileObject(writing, "w", newline=newline) as file:
        file.write("x\n")
        assert file.io.mode == "w"
    expected = b"x\r\n" if newline == "\r\n" else b"x\n"
    assert os.read(reading, 9) == expected
    os.close(reading)
    reading, writing = os.pipe()
    os.write(writing, b"a\r\nb\r")
    os.close(writing)
    with FileObject(reading, "r", newline=newline) as file:
        found = list(file)
    lines = {None: ["a\n", "b\n"], "\n": ["a\r\n", "b\r"]}.get(newline, ["a\r\n", "b\r"])
    assert found == lines


@pytest.mark.parametrize("data", ["text", "bytes"])
def test_an_unbuffered_pipe_takes_all(data: str) -> None:
    reading, writing = os.pipe()
    everything = treadle.spawn(FileObject(reading, "rb").read)
    with FileObject(writing, "wb", 0) as file:
        if data == "bytes":
            assert file.write(bytes(300_000)) == 300_000
            assert file.write(b"") == 0
        else:
            with io.TextIOWrapper(file.io, write_through=True) as text:
                assert text.write("x" * 300_000) == 300_000
    assert len(everything.get(timeout=30)) == 300_000


def test_a_pipe_that_fails_tells_what_it_took() -> None:
    reading, writing = os.pipe()
    with FileObject(writing, "wb", 0) as file:
        waiting = treadle.spawn(file.write, bytes(300_000))
        treadle.sleep(0)
        treadle.os.close(reading)
        assert 0 < waiting.get(timeout=30) < 300_000
        with pytest.raises(BrokenPipeError):
            file.write(b"x")


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("shared", [True, False], ids=["one file", "two files"])
def test_two_readers_of_a_pipe(blocking: bool, buffering: int, shared: bool) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, blocking)
    one = FileObject(reading, "rb", buffering)
    two = one if shared else FileObject(os.dup(reading), "rb", buffering)
    readers = [treadle.spawn(file.read, 1) for file in (one, two)]
    treadle.sleep(0.01)
    for letter in b"ab":
        os.write(writing, bytes([letter]))
        treadle.sleep(0.01)
    treadle.joinall(readers, timeout=30)
    assert sorted(reader.value for reader in readers) == [b"a", b"b"]
    os.close(writing)
    assert one.read(1) == two.read(1) == b""
    one.close()
    two.close()


def test_two_writers_of_a_buffered_pipe() -> None:
    reading, writing = os.pipe()
    with FileObject(reading, "rb") as reader, FileObject(writing, "wb", 10_000) as writer:
        everything = treadle.spawn(reader.read)
        writers = [treadle.spawn(writer.write, letter * 200_000) for letter in (b"a", b"b")]
        treadle.joinall(writers, timeout=30, raise_error=True)
        writer.close()
        assert everything.get(timeout=30) in {b"a" * 200_000 + b"b" * 200_000}


def test_lines_of_many_writers_of_a_text_file_stay_whole() -> None:
    reading, writing = os.pipe()
    with FileObject(reading, "rb") as reader, FileObject(writing, "w", encoding="utf-8") as writer:

        def write(name: int) -> None:
            for number in range(500):
                writer.write(f"{name}:{number}:{50 * chr(252)}\n")

        everything = treadle.spawn(reader.read)
        treadle.joinall([treadle.spawn(write, name) for name in range(3)], raise_error=True)
        writer.close()
        lines = everything.get(timeout=5).decode().splitlines()
    expected = [f"{name}:{number}:{50 * chr(252)}" for name in range(3) for number in range(500)]
    assert sorted(lines) == sorted(expected)


def test_readers_of_a_text_file_share_its_lines() -> None:
    reading, writing = os.pipe()
    with FileObject(reading, "r") as file:
        readers = [treadle.spawn(file.readline) for _ in range(3)]
        treadle.sleep(0)
        os.write(writing, b"a\nb\nc\n")
        treadle.joinall(readers, timeout=5)
        assert sorted(reader.value for reader in readers) == ["a\n", "b\n", "c\n"]
        waiting = treadle.spawn(file.read)
        treadle.sleep(0)
        file.close()
        with pytest.raises(OSError, match="closed in another greenlet"):
            waiting.get(timeout=5)
    os.close(writing)


def leave_waiting(call: Callable[[], object]) -> None:
    """Let a thread end while a greenlet of it waits in *call*."""

    def run() -> None:
        treadle.spawn(call)
        treadle.sleep(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        treadle.sleep(0.005)


def test_a_thread_that_ends_in_a_buffered_write_gives_its_turn_back() -> None:
    reading, writing = os.pipe()
    with FileObject(reading, "rb", 0) as reader, FileObject(writing, "wb") as writer:
        writer.write(b"accepted before")

        def write() -> None:
            writer.write(b"end")
            writer.flush()

        leave_waiting(lambda: writer.write(bytes(200_000)))
        other = treadle.spawn(write)
        found = b""
        while not found.endswith(b"end"):
            found += treadle.with_timeout(5, reader.read, 65536)
        assert found == b"accepted before" + bytes(200_000) + b"end"
        other.get(timeout=5)


def test_who_waits_for_a_turn_gets_it_when_the_thread_that_has_it_ends() -> None:
    reading, writing = os.pipe()
    with FileObject(reading, "rb") as reader:
        others: list[Any] = []

        def read() -> None:
            main.loop.run_callback_threadsafe(lambda: others.append(treadle.spawn(reader.read, 2)))
            reader.read(2)

        main = treadle.get_hub()
        leave_waiting(read)
        os.write(writing, b"ab")
        assert others[0].get(timeout=5) == b"ab"
    os.close(writing)


def test_a_thread_that_ends_during_a_call_in_a_native_thread_gives_its_turn_back() -> None:
    reading, writing = os.pipe()
    with FileObjectThread(reading, "rb", 0) as reader:
        leave_waiting(lambda: reader.read(1))
        os.write(writing, b"a")
        next_read = treadle.spawn(reader.read, 1)
        treadle.sleep(0.02)
        os.write(writing, b"b")
        assert next_read.get(timeout=5) == b"b"
    os.close(writing)


def test_the_end_of_the_interpreter_does_not_wait_for_a_write_that_was_left() -> None:
    code = """
        import os, treadle
        from treadle.fileobject import FileObject
        reading, writing = os.pipe()
        file = FileObject(writing, "wb")
        treadle.spawn(file.write, bytes(200_000))
        treadle.sleep(0.01)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=20)


def test_lines_are_shared_by_those_who_iterate() -> None:
    reading, writing = os.pipe()
    with FileObject(reading, "rb") as file:
        found: list[bytes] = []
        readers = [treadle.spawn(lambda: found.extend(file.io)) for _ in range(3)]
        for number in range(6):
            os.write(writing, b"%d\n" % number)
            treadle.sleep(0.001)
        os.close(writing)
        treadle.joinall(readers, timeout=30, raise_error=True)
    assert sorted(found) == [b"%d\n" % number for number in range(6)]


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_closing_ends_all_who_read(mode: str) -> None:
    reading, writing = os.pipe()
    file = FileObject(reading, mode)
    readers = [treadle.spawn(file.readline) for _ in range(3)]
    treadle.sleep(0)
    closing = treadle.spawn(file.close)
    treadle.spawn(file.close)
    closing.get(timeout=30)
    treadle.joinall(readers, timeout=30)
    assert {getattr(each.exception, "errno", each.exception) for each in readers} == {errno.EBADF}
    assert file.closed
    os.close(writing)


def test_who_is_interrupted_in_a_buffered_write_repeats_nothing() -> None:
    reading, writing = os.pipe()
    with FileObject(writing, "wb") as file:
        raises = pytest.raises(TimeoutError, match="mine")
        with raises, treadle.Timeout(0.02, TimeoutError("mine")):
            file.write(bytes(range(250)) * 800)
        everything = treadle.spawn(FileObject(reading, "rb").read)
    assert (bytes(range(250)) * 800).startswith(everything.get(timeout=30))


@pytest.mark.parametrize("how", ["killed", "timed out", "in flush()", "thread ended"])
@pytest.mark.parametrize(("width", "count"), [(80, 40), (2500, 1)])
def test_lines_of_others_outlive_who_flushes_them(how: str, width: int, count: int) -> None:
    """A greenlet that flushes the lines of three is stopped."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    file = FileObject(writing, "w", encoding="utf-8")
    reported: list[str] = []

    def write(name: str, count: int) -> None:
        for number in range(count):
            line = f"{name}:{number}:{width * chr(252)}\n"
            file.write(line)
            reported.append(line)

    def flush() -> None:
        write("last", 3)
        with treadle.Timeout(0.01 if how == "timed out" else None, False):
            if how in ("in flush()", "thread ended"):
                file.flush()
            else:
                write("last", 500)

    for name in ("one", "two"):
        treadle.spawn(write, name, count).get()  # in all more than fits the pipe and the buffer
    if how == "thread ended":
        leave_waiting(flush)
    else:
        flushing = treadle.spawn(flush)
        treadle.sleep(0.02)
        flushing.kill()
    everything = treadle.spawn(FileObject(reading, "r", encoding="utf-8").readlines)
    write("after", 1)
    file.close()
    found = everything.get(timeout=5)
    assert [line for line in found if line in reported] == reported
    assert len(found) <= len(reported) + 1  # the last line of the one that was stopped


def test_who_is_interrupted_again_and_again_piles_nothing_up() -> None:
    reading, writing = os.pipe()
    with FileObject(writing, "w") as file:
        for _ in range(40):
            with treadle.Timeout(0.001, False):
                file.write("x" * 8000)
        everything = treadle.spawn(FileObject(reading, "r").read)
    assert len(everything.get(timeout=5)) < 65536 + 4 * 8192


def test_a_text_file_over_a_broken_pipe_closes() -> None:
    reading, writing = os.pipe()
    file = FileObject(writing, "w")
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        file.write("x" * 20_000)
    file.close()


class Slow(FileObjectThread):
    """A file whose ``slow()`` is a call that goes on until :attr:`gate` is open."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gate = _thread.allocate_lock()
        self.gate.acquire()
        self.calls: list[Any] = []

    @property
    def slow(self) -> Any:
        def slow(name: Any = None) -> None:
            self.calls.append(name)
            self.gate.acquire()
            self.calls.append("end")

        return self._in_thread(slow)


def interrupted(call: Any, *args: Any) -> None:
    with pytest.raises(TimeoutError, match="mine"), treadle.Timeout(0.02, TimeoutError("mine")):
        call(*args)


def test_a_call_that_was_given_up_keeps_its_turn(tmp_path: Path) -> None:
    with Slow(tmp_path / "file", "w") as file:
        interrupted(file.slow)
        writing = treadle.spawn(file.write, "x")
        treadle.sleep(0.02)
        assert not writing.ready()
        file.gate.release()
        assert writing.get(timeout=30) == 1
        assert file.calls == [None, "end"]


def test_close_does_not_wait_for_a_call_that_was_given_up(tmp_path: Path) -> None:
    file = Slow(tmp_path / "file", "w")
    file.write("text")
    interrupted(file.slow)
    file.close()
    assert not file.closed
    file.gate.release()
    with pytest.raises(ValueError, match="closed file"):
        file.write("more")
    assert file.closed
    assert (tmp_path / "file").read_text() == "text"


def test_a_call_that_was_given_up_before_it_began_is_not_made(tmp_path: Path) -> None:
    pool = ThreadPool(1)
    gate = _thread.allocate_lock()
    gate.acquire()
    busy = pool.spawn(gate.acquire)
    with FileObjectThread(tmp_path / "file", "w", threadpool=pool) as file:
        interrupted(file.write, "x")
        assert not file.lock.locked()
        gate.release()
        busy.get()
        assert file.write("y") == 1
    assert (tmp_path / "file").read_text() == "y"
    pool.kill()


def test_a_thread_has_done_with_a_descriptor_when_its_greenlet_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = _thread.allocate_lock()
    gate.acquire()

    def write(fd: int, data: bytes) -> int:
        gate.acquire()
        return os.write(fd, data)

    monkeypatch.setattr(treadle.os, "_write", write)
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    treadle.spawn_later(0.05, gate.release)
    interrupted(treadle.os.tp_write, fd, b"x")
    # The process has its lock: another number for the file would have released it when closed.
    other = "import fcntl, sys; f = open(sys.argv[1]); print(f.read()); fcntl.lockf(f, 5)"
    command = [sys.executable, "-c", other, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "x\n"
    assert "BlockingIOError" in done.stderr
    os.close(fd)


def test_a_read_that_was_given_up_takes_nothing() -> None:
    reading, writing = os.pipe()
    interrupted(treadle.os.tp_read, reading, 1)
    os.write(writing, b"x")
    treadle.sleep(0.02)
    assert treadle.os.tp_read(reading, 1) == b"x"
    os.close(reading)
    os.close(writing)


def test_the_first_call_of_a_program_is_answered(fresh: Callable[..., str]) -> None:
    """The thread answers while the hub is being made."""
    source = """
        import time
        from treadle import hub
        from treadle._core.crew import files
        class SlowToMake(hub.Hub):
            def __init__(self, *args):
                time.sleep(0.05)
                super().__init__(*args)
        hub.set_default_hub_class(SlowToMake)
        print(files.apply(len, ("abc",)), type(hub.get_hub()).__name__)
    """
    assert fresh(textwrap.dedent(source)) == "3 SlowToMake\n"


def test_an_exception_between_any_two_lines_of_a_call_leaves_no_lock(tmp_path: Path) -> None:
    class Interruption(Exception):
        pass

    def interrupt_line(number: int) -> Any:
        left = iter(range(number))

        def trace(frame: Any, event: str, arg: object) -> Any:
            is_call = frame.f_code.co_name in ("run", "acquire")
            if not is_call or frame.f_code.co_filename != treadle.fileobject.__file__:
                return None
            if event == "line" and next(left, None) is None:
                raise Interruption
            return trace

        return trace

    done = 0
    file = FileObjectThread(tmp_path / "file", "w")
    for number in range(50):
        before = sys.gettrace()
        sys.settrace(interrupt_line(number))
        try:
            file.write("x")
        except Interruption:
            pass
        else:
            done += 1
        finally:
            sys.settrace(before)
        assert not file.lock.locked()
        assert not file._calls
    assert 0 < done < 50
    file.close()


def test_a_file_whose_buffer_was_detached_closes_as_natively() -> None:
    reading, writing = os.pipe()
    file = FileObjectPosix(writing, "w")
    raw = file.buffer.detach()
    for close in (file.close, file.buffer.close):
        with pytest.raises(ValueError, match="raw stream has been detached"):
            close()
    raw.close()
    os.close(reading)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_block_closes_its_file_completely(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with treadle.CancelScope() as scope, kind(path, "wb") as file:
        file.write(b"x" * 100)
        scope.cancel()
    assert file.closed
    assert path.stat().st_size == 100


def test_a_cancelled_block_flushes_its_pipe_while_it_is_read() -> None:
    reading, writing = os.pipe()
    size = fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ) + 100
    reader = treadle.spawn(lambda: (treadle.sleep(0.01), FileObjectPosix(reading, "rb").read())[1])
    with treadle.CancelScope() as scope, FileObjectPosix(writing, "wb", 2 * size) as file:
        file.write(b"x" * size)
        scope.cancel()
    assert len(reader.get()) == size
