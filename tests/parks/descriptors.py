"""Places: descriptors, pipes, files, select()."""

import fcntl as stdlib_fcntl
import itertools
import os
import select as stdlib_select
import shutil
import signal as stdlib_signal
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import treadle.fcntl
import treadle.os
import treadle.select
import treadle.selectors
import treadle.signal
from parks.place import Lossy, Place, place
from parks.primitives import for_a_while
from treadle._core.crew import waits
from treadle._core.descriptor import await_ready, wait_for
from treadle._core.pipes import PipeIO, cooperative
from treadle.fileobject import FileObjectPosix, FileObjectThread
from treadle.socket import wait_read, wait_readwrite, wait_write

READ, WRITE = 1, 2
#: What fills a pipe with Linux's usual buffer.
PIPE = 65536


class Pipe(Place):
    """A pipe, from which greenlets read."""

    #: Whether the ends are in non-blocking mode.
    non_blocking = False

    def __init__(self) -> None:
        super().__init__()
        self.reader, self.writer = os.pipe()
        if self.non_blocking:
            os.set_blocking(self.reader, False)
            os.set_blocking(self.writer, False)

    def hand(self, value: bytes) -> None:
        os.write(self.writer, value)

    def end(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class FullPipe(Pipe):
    """A pipe that is full, into which a greenlet writes; all that it holds is taken at once."""

    shared = carries = False

    def __init__(self) -> None:
        super().__init__()
        os.set_blocking(self.reader, False)
        os.write(self.writer, bytes(PIPE))

    def park(self) -> None:
        self.write(b"x" * 5000)
        self.empty()
        os.write(self.writer, bytes(PIPE))

    write: Callable[[bytes], object]

    def empty(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self.reader, PIPE):
                pass

    def hand(self, value: bytes) -> None:
        self.empty()


@place
class OsRead(Pipe):
    covers = ("os.py:_when_ready", "_core/descriptor.pyx:await_ready")

    def park(self) -> object:
        return treadle.os.read(self.reader, 8)


@place
class OsReadv(Pipe):
    covers = ("os.py:_when_ready",)

    def park(self) -> object:
        buffer = bytearray(8)
        treadle.os.readv(self.reader, [buffer])
        return bytes(buffer)


@place
class OsPreadv(Pipe):
    covers = ("os.py:preadv",)

    def park(self) -> object:
        buffer = bytearray(8)
        treadle.os.preadv(self.reader, [buffer], -1)
        return bytes(buffer)


@place
class NbRead(Pipe):
    covers = ("os.py:nb_read", "os.py:_wait_in_hub")
    non_blocking = True

    def park(self) -> object:
        return treadle.os.nb_read(self.reader, 8)


@place
class OsWrite(FullPipe):
    covers = ("os.py:_write_by_pages",)

    def write(self, data: bytes) -> object:
        return treadle.os.write(self.writer, data)


@place
class OsWritev(FullPipe):
    covers = ("os.py:_write_by_pages",)

    def write(self, data: bytes) -> object:
        return treadle.os.writev(self.writer, [data])


@place
class NbWrite(FullPipe):
    covers = ("os.py:nb_write",)
    non_blocking = True

    def write(self, data: bytes) -> object:
        return treadle.os.nb_write(self.writer, data)


@place
class OsSendfile(FullPipe):
    covers = ("os.py:sendfile",)

    def write(self, data: bytes) -> object:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            return treadle.os.sendfile(self.writer, file.fileno(), 0, len(data))


@place
class OsSplice(Pipe):
    covers = ("os.py:splice",)
    ordered = False  # it may yield between the waits for the two pipes

    def __init__(self) -> None:
        super().__init__()
        self.target = os.pipe()

    def park(self) -> object:
        treadle.os.splice(self.reader, self.target[1], 8)
        return os.read(self.target[0], 8)

    def end(self) -> None:
        super().end()
        os.close(self.target[0])
        os.close(self.target[1])


class Eventfd(Place):
    carries = False

    def __init__(self) -> None:
        super().__init__()
        self.fd = os.eventfd(self.first, os.EFD_SEMAPHORE)

    first = 0

    def end(self) -> None:
        os.close(self.fd)


@place
class EventfdRead(Eventfd):
    covers = ("os.py:eventfd_read",)

    def park(self) -> None:
        treadle.os.eventfd_read(self.fd)

    def hand(self, value: bytes) -> None:
        os.eventfd_write(self.fd, 1)


@place
class EventfdWrite(Eventfd):
    covers = ("os.py:eventfd_write",)
    shared = False

    def __init__(self) -> None:
        super().__init__()
        os.eventfd_write(self.fd, 2**64 - 2)

    def park(self) -> None:
        treadle.os.eventfd_write(self.fd, 1)

    def hand(self, value: bytes) -> None:
        os.eventfd_read(self.fd)


# -- waiting only


class Readiness(Pipe):
    """All who wait are told that there is data. Those who find none wait again."""

    def __init__(self) -> None:
        super().__init__()
        os.set_blocking(self.reader, False)

    def park(self) -> object:
        while True:
            self.wait()
            with suppress(BlockingIOError):
                return os.read(self.reader, 8)

    wait: Callable[[], object]


@place
class WaitFor(Readiness):
    covers = ("_core/descriptor.pyx:wait_for", "_core/descriptor.pyx:wait_foreign")

    def wait(self) -> object:
        return wait_for(self.reader, READ)


@place
class AwaitReady(Pipe):
    covers = ("_core/descriptor.pyx:await_ready",)

    def park(self) -> object:
        await_ready(self.reader, READ)
        return os.read(self.reader, 8)


@place
class WaitRead(Readiness):
    covers = ("socket.py:wait_read", "socket.py:_wait")

    def wait(self) -> object:
        return wait_read(self.reader)


@place
class WaitReadwrite(Readiness):
    covers = ("socket.py:wait_readwrite",)
    helped = True

    def wait(self) -> object:
        return wait_readwrite(self.reader)


@place
class WaitWrite(FullPipe):
    covers = ("socket.py:wait_write",)

    def write(self, data: bytes) -> object:
        return wait_write(self.writer)


class Select(Readiness):
    """A second descriptor, which is never ready, is watched as well."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = os.pipe()

    def end(self) -> None:
        super().end()
        os.close(self.idle[0])
        os.close(self.idle[1])


@place
class SelectOne(Select):
    covers = (
        "select.py:_wait_for_one",
        "select.py:_wait_and_ask",
        "select.py:_watching",
        "_core/descriptor.pyx:wait_to_ask",
    )

    def wait(self) -> object:
        return treadle.select.select([self.reader], [], [])


@place
class SelectSome(Select):
    covers = ("select.py:_wait_for_some",)

    def wait(self) -> object:
        return treadle.select.select([self.reader, self.idle[0]], [], [])


@place
class SelectUrgent(Select):
    covers = ("select.py:_wait_for_epoll",)
    ordered = False  # each wait has an epoll descriptor of its own

    def wait(self) -> object:
        return treadle.select.select([self.reader], [], [self.reader])


@place
class PollSome(Select):
    covers = ("select.py:poll",)

    def wait(self) -> object:
        poll = treadle.select.poll()
        poll.register(self.reader, stdlib_select.POLLIN)
        poll.register(self.idle[0], stdlib_select.POLLIN)
        return poll.poll()


@place
class EpollPoll(Select):
    covers = ("select.py:poll", "select.py:wait")
    closed = OSError

    def __init__(self) -> None:
        super().__init__()
        self.epoll = treadle.select.epoll()
        self.epoll.register(self.reader, stdlib_select.EPOLLIN)

    def wait(self) -> object:
        return self.epoll.poll()

    def close(self) -> None:
        self.epoll.close()

    def end(self) -> None:
        self.epoll.close()
        super().end()


@place
class Selector(Select):
    covers = ("select.py:_watching",)
    ordered = False

    def wait(self) -> object:
        with treadle.selectors.DefaultSelector() as selector:
            selector.register(self.reader, stdlib_select.POLLIN)
            return selector.select()


@place
class SelectReady(Readiness):
    """Something is ready at once: others run first."""

    covers = ("select.py:_is_final",)
    yields = busy = True
    carries = keeps = False

    def __init__(self) -> None:
        super().__init__()
        os.write(self.writer, b"ready")

    def hand(self, value: bytes) -> bool:
        return False

    def park(self) -> None:
        for_a_while(lambda: treadle.select.select([self.reader], [], []))


# -- files


@place
class PipeFileRead(Pipe):
    covers = ("_core/pipes.py:readinto",)
    closed = OSError

    def __init__(self) -> None:
        super().__init__()
        self.file = PipeIO(open(self.reader, "rb", buffering=0))

    def park(self) -> object:
        return self.file.read(8)

    def close(self) -> None:
        self.file.close()

    def end(self) -> None:
        self.file.close()
        os.close(self.writer)


@place
class PipeFileWrite(FullPipe):
    covers = ("_core/pipes.py:write",)

    def __init__(self) -> None:
        super().__init__()
        self.file = PipeIO(open(self.writer, "wb", buffering=0))

    def write(self, data: bytes) -> object:
        return self.file.write(data)

    def end(self) -> None:
        self.file.close()
        os.close(self.reader)


@place
class BufferedRead(PipeFileRead):
    """Those who wait take turns at the buffer."""

    def __init__(self) -> None:
        Pipe.__init__(self)
        self.file = cooperative(open(self.reader, "rb"))

    def park(self) -> object:
        return self.file.read1(8)


@place
class BufferedWrite(PipeFileWrite):
    """Those who wait take turns at the buffer."""

    covers = ("_core/pipes.py:_write_part",)

    def __init__(self) -> None:
        FullPipe.__init__(self)
        self.file = cooperative(open(self.writer, "wb"), 2)

    def write(self, data: bytes) -> object:
        return self.file.write(data)


@place
class FileObjectRead(PipeFileRead):
    def __init__(self) -> None:
        Pipe.__init__(self)
        self.file = FileObjectPosix(self.reader, "rb", bufsize=0)


@place
class FileInThread(Lossy):
    covers = ("fileobject.py:run", "fileobject.py:acquire")

    def __init__(self) -> None:
        super().__init__()
        self.reader, self.writer = os.pipe()
        self.file = FileObjectThread(self.reader, "rb", bufsize=0, threadpool=self)

    def apply(self, call: Callable[[], object]) -> object:
        return self.apply_by(waits.apply, call)

    def call(self) -> object:
        return self.file.read(8)

    def hand(self, value: bytes) -> None:
        os.write(self.writer, b"nobody's" * self.calls_left() + value)

    def end(self) -> None:
        os.write(self.writer, b"the end.")
        self.file.close()
        os.close(self.writer)


# -- locks of files

#: A lock of a whole file, and its end: struct flock.
WRITE_LOCK = struct.pack("hhqqi4x", stdlib_fcntl.F_WRLCK, 0, 0, 0, 0)
UNLOCK = struct.pack("hhqqi4x", stdlib_fcntl.F_UNLCK, 0, 0, 0, 0)
SET_LOCK_AND_WAIT = getattr(stdlib_fcntl, "F_OFD_SETLKW", 38)  # named since CPython 3.9


@place
class Flock(Place):
    covers = ("fcntl.py:flock", "fcntl.py:until_free")
    for_all = busy = True
    carries = False

    def __init__(self) -> None:
        super().__init__()
        self.file = tempfile.NamedTemporaryFile()
        self.lock(self.file.fileno())

    def park(self) -> None:
        file = os.open(self.file.name, os.O_RDWR)
        try:
            self.lock(file)
        finally:
            os.close(file)

    def lock(self, file: int) -> None:
        treadle.fcntl.flock(file, stdlib_fcntl.LOCK_EX)

    def hand(self, value: bytes) -> None:
        treadle.fcntl.flock(self.file, stdlib_fcntl.LOCK_UN)

    def end(self) -> None:
        self.file.close()


@place
class OfdLock(Flock):
    """A lock of the file's region, by fcntl()."""

    covers = ("fcntl.py:fcntl",)

    def lock(self, file: int) -> None:
        treadle.fcntl.fcntl(file, SET_LOCK_AND_WAIT, WRITE_LOCK)

    def hand(self, value: bytes) -> None:
        stdlib_fcntl.fcntl(self.file, SET_LOCK_AND_WAIT, UNLOCK)


# -- FIFOs


class Fifo(Place):
    carries = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, "fifo")
        os.mkfifo(self.path)

    def end(self) -> None:
        shutil.rmtree(self.folder)


@place
class FifoOpenForWriting(Fifo):
    covers = ("os.py:open", "fcntl.py:until_free")
    for_all = busy = True

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[int] = []

    def park(self) -> None:
        os.close(treadle.os.open(self.path, os.O_WRONLY))

    def hand(self, value: bytes) -> None:
        self.readers.append(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK))

    def end(self) -> None:
        while self.readers:
            os.close(self.readers.pop())
        super().end()


@place
class FifoOpenForReading(Fifo):
    covers = ("os.py:open", "os.py:_await_writer")
    shared = threads = keeps = False
    busy = True  # it asks again and again
    waiting = False

    def park(self) -> None:
        self.waiting = True
        try:
            os.close(treadle.os.open(self.path, os.O_RDONLY))
        finally:
            self.waiting = False

    def hand(self, value: bytes) -> bool:
        while self.waiting:
            try:
                os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
                return True
            except OSError:  # the thread is about to wait
                time.sleep(0.001)
        return False


# -- signals


class Signal(Place):
    """Signals are the process's: only one greenlet waits for one kind."""

    shared = threads = carries = keeps = False
    numbers = itertools.cycle(range(stdlib_signal.SIGRTMIN + 2, stdlib_signal.SIGRTMIN + 12))
    waiting = False

    def __init__(self) -> None:
        super().__init__()
        self.number = next(self.numbers)
        if threading.current_thread() is threading.main_thread():
            stdlib_signal.signal(self.number, stdlib_signal.SIG_IGN)

    def park(self) -> None:
        self.waiting = True
        try:
            self.wait()
        finally:
            self.waiting = False

    wait: Callable[[], object]

    def hand(self, value: bytes) -> object:
        if not self.waiting:
            return False
        return stdlib_signal.pthread_kill(threading.main_thread().ident, self.number)

    def end(self) -> None:
        stdlib_signal.signal(self.number, stdlib_signal.SIG_DFL)


@place
class Sigwait(Signal):
    covers = ("signal.py:_take",)

    def wait(self) -> object:
        return treadle.signal.sigwait([self.number])


@place
class Pause(Signal):
    """A handled signal ends it. A handler of treadle's own notes that."""

    covers = ("signal.py:pause",)
    for_all = True

    def __init__(self) -> None:
        super().__init__()
        if threading.current_thread() is threading.main_thread():
            treadle.signal.signal(self.number, lambda *_: None)

    def wait(self) -> object:
        return treadle.signal.pause()
