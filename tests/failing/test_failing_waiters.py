"""A refused call must not take anything from the other greenlets that wait for the same thing."""

from collections.abc import Callable

import pytest

from .test_failing_system import BEGIN


@pytest.mark.parametrize("call", ["recv(10)", "recvfrom(10)[0]", "recvmsg(10)[0]"])
def test_the_next_reader_gets_the_data(failing: Callable[..., str], call: str) -> None:
    """The reader that the data woke gets an error: the next one reads the data."""
    name = call.partition("(")[0]
    source = f"""
left, right = socket.socketpair()
readers = [treadle.spawn(lambda: right.{call}) for _ in range(2)]
treadle.sleep(0.01)
with failing("{name}:1:ENOMEM"):
    left.send(b"x")
    assert error_of(readers[0].get, timeout=2) == "ENOMEM"
    assert readers[1].get(timeout=30) == b"x"
others_go_on()
"""
    failing(BEGIN + source, errors=True)


@pytest.mark.parametrize("call", ["send(b'x')", "sendmsg([b'x'])"])
def test_the_next_writer_gets_the_room(failing: Callable[..., str], call: str) -> None:
    """The writer that the room woke gets an error: the next one writes."""
    name = call.partition("(")[0]
    source = f"""
left, right = socket.socketpair()
left.settimeout(0), right.settimeout(0)
def until_blocked(function, *args):
    try:
        while True:
            function(*args)
    except BlockingIOError:
        pass
until_blocked(left.send, bytes(65536))
left.settimeout(None)
writers = [treadle.spawn(lambda: left.{call}) for _ in range(2)]
treadle.sleep(0.01)
with failing("{name}:1:ENOMEM"):
    until_blocked(right.recv, 1 << 20)
    assert error_of(writers[0].get, timeout=2) == "ENOMEM"
    assert writers[1].get(timeout=30) == 1
others_go_on()
"""
    failing(BEGIN + source, errors=True)


@pytest.mark.parametrize("error", ["EMFILE", "ECONNABORTED"])
def test_the_next_acceptor_gets_the_connection(failing: Callable[..., str], error: str) -> None:
    """Two greenlets, or two servers, accept on one socket: one is refused, the other accepts."""
    source = f"""
from treadle.server import StreamServer
listener = socket.create_server(("127.0.0.1", 0))
acceptors = [treadle.spawn(listener.accept) for _ in range(2)]
treadle.sleep(0.01)
with failing("accept4:1:{error}"), socket.create_connection(listener.getsockname()) as client:
    assert error_of(acceptors[0].get, timeout=2) == "{error}"
    acceptors[1].get(timeout=30)[0].close()
servers = [StreamServer(listener, lambda sock, _: echo(sock)) for _ in range(2)]
for server in servers:
    server.start()
treadle.sleep(0.01)
with failing("accept4:1-4:{error}"), socket.create_connection(listener.getsockname()) as client:
    client.settimeout(3)
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    assert failures("accept4") == 4
for server in servers:
    server.stop()
"""
    failing(BEGIN + source, errors=True)


@pytest.mark.parametrize(
    "script",
    ["epoll_create1:1:EMFILE", "eventfd:1:EMFILE", "epoll_ctl:1:ENOSPC", "epoll_ctl:2:ENOSPC"],
)
def test_the_first_watcher_is_refused(failing: Callable[..., str], script: str) -> None:
    """start() leaves nothing open; the next one makes the poller again, and the watcher works."""
    source = f"""
left, right = socket.socketpair()
before = open_files()
watcher, got = treadle.get_hub().loop.io(right.fileno(), 1), []
with failing("{script}"):
    assert error_of(watcher.start, print) == "{script.split(":")[2]}"
assert open_files() == before and not watcher.active
watcher.start(lambda: got.append(right.recv(1)))
left.send(b"x")
others_go_on()
assert got == [b"x"], got
"""
    failing(BEGIN + source)


@pytest.mark.parametrize("error", ["ENOMEM", "ENOSPC"])
def test_a_child_watcher_is_refused(failing: Callable[..., str], error: str) -> None:
    """start() raises the error and leaves no descriptor open; the next start() works."""
    source = f"""
left, right = socket.socketpair()
loop = treadle.get_hub().loop
first = loop.io(left.fileno(), 2)
first.start(first.stop)  # makes the poller of the watchers
treadle.sleep(0.01)
before = open_files()
pid = os.spawnlp(os.P_NOWAIT, "true", "true")
watcher, got = loop.child(pid), []
for _ in range(3):
    with failing("epoll_ctl:1:{error}"):
        assert error_of(watcher.start, print) == "{error}"
    assert open_files() == before and not watcher.active
watcher.start(lambda: got.append(watcher.rstatus))
with treadle.Timeout(3):
    while not got:
        treadle.sleep(0.001)
assert got == [0] and open_files() == before
"""
    failing(BEGIN + source)


RENEWALS = [
    *("epoll_create1:1:EMFILE", "eventfd:1:ENFILE", "pipe2:1:EMFILE"),
    *("epoll_ctl:1:ENOSPC", "epoll_ctl:2:ENOMEM"),
]


@pytest.mark.parametrize("keep", [False, True])
def test_a_child_opens_its_poller_later(failing: Callable[..., str], keep: bool) -> None:
    """Threads and signals wake a forked child, and kept greenlets go on, once it has a poller."""
    source = f"""
import signal
import treadle.os
from treadle.threadpool import ThreadPool
left, right = socket.socketpair()
def in_child():
    got = []
    signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
    treadle.spawn_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
    assert ThreadPool(1).apply(lambda: time.sleep(0.03) or "slept") == "slept"
    assert got == [1]
    if {keep}:
        others_go_on()
        left.send(b"x")
        assert reader.get(timeout=30) == b"x"
    echo_works()
for script in {RENEWALS}:
    reader = treadle.spawn(right.recv, 1)
    treadle.sleep(0.01)
    with failing(script):
        pid = treadle.os.fork({keep})
        if pid == 0:
            code = 1
            try:
                failing("").__enter__()
                with treadle.Timeout(3):
                    in_child()
                code = 0
            finally:
                os._exit(code)
    # Natively: what is sent in the child could be read here, too.
    assert os.waitpid(pid, 0)[1] == 0, script
    reader.kill()
"""
    errors = failing(BEGIN + source, errors=True)
    assert errors.count("OSError") >= len(RENEWALS)


def test_a_kept_wait_is_refused(failing: Callable[..., str]) -> None:
    """In a child that keeps greenlets, a socket is refused: its reader fails, the other one reads.

    The poller's own descriptors are the first two that are registered.
    """
    source = """
import treadle.os
pairs = [socket.socketpair() for _ in range(2)]
readers = [treadle.spawn(error_of, right.recv, 1) for _, right in pairs]
treadle.sleep(0.01)
with failing("epoll_ctl:3:ENOSPC"):
    pid = treadle.os.fork(True)
    if pid == 0:
        code = 1
        try:
            pairs[1][0].send(b"x")
            outcomes = [reader.get(timeout=30) for reader in readers]
            code = 0 if outcomes == ["ENOSPC", None] else 2
        finally:
            os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
treadle.killall(readers)
"""
    failing(BEGIN + source)


def test_the_poller_of_the_watchers_cannot_report(failing: Callable[..., str]) -> None:
    """The error is reported, and the watchers continue."""
    source = """
left, right = socket.socketpair()
watcher, got = treadle.get_hub().loop.io(right.fileno(), 1), []
watcher.start(lambda: got.append(right.recv(1)))
treadle.sleep(0.01)
with failing("epoll_ctl:1:ENOMEM"):
    left.send(b"x")
    others_go_on()
    assert failures("epoll_ctl") == 1 and got == [b"x"], got
left.send(b"y")
others_go_on()
assert got == [b"x", b"y"], got
"""
    errors = failing(BEGIN + source, errors=True)
    assert errors.count("Cannot allocate memory") == 1
    assert "ignored" not in errors
