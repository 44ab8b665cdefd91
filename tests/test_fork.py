"""Children of a busy process: what runs in them, and what starting them costs."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

BEGIN = """
from treadle import monkey; monkey.patch_all()
import os, socket, subprocess, sys, threading, time, treadle, _thread
def in_child(function, fork=os.fork, **how):
    "Exit code of a forked child that calls `function`."
    pid = fork(**how)
    if pid == 0:
        code = 1
        try:
            code = function() or 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
native_fork, native_waitpid = monkey.get_original("os", ["fork", "waitpid"])
"""

SCRIPTS = {
    "kept greenlets go on in the child, and in the parent as if nothing was": """
left, right = socket.socketpair()
lock, event, got = threading.Lock(), threading.Event(), []
lock.acquire()
def wait_for(what, function):
    function()
    got.append(what)
treadle.spawn(wait_for, "time", lambda: time.sleep(0.02))
treadle.spawn(wait_for, "data", lambda: right.recv(1))
treadle.spawn(wait_for, "lock", lock.acquire)
treadle.spawn(wait_for, "event", event.wait)
time.sleep(0)
def all_go_on():
    left.send(b"x"); lock.release(); event.set()
    time.sleep(0.05)
    return sorted(got) == ["data", "event", "lock", "time"]
pid = treadle.fork(keep=True)
if pid == 0:
    os._exit(0 if all_go_on() else 1)
# Natively: what is sent in the child would be read here, too.
assert native_waitpid(pid, 0)[1] == 0
time.sleep(0.05)
assert got == ["time"], got
assert all_go_on()
""",
    "timers of greenlets that are left behind go, the caller's stay": """
hub = treadle.get_hub()
def hold(ref):
    with treadle.Timeout(60, ref=ref):
        treadle.sleep(60)
others = [treadle.spawn(hold, True), treadle.spawn(hold, False), treadle.spawn_later(60, print)]
others += [treadle.spawn(treadle.sleep, 60, ref=False), treadle.spawn(hub.join, 60)]
watchers = [hub.loop.timer(60, ref=ref) for ref in (True, False)]
for watcher in watchers: watcher.start(print)
treadle.sleep(0)
own = [treadle.Timeout(60, ref=ref) for ref in (True, False)]
for timeout in own: timeout.start()
def only_ours():
    assert (hub.timer_count(), hub.unref_timers) == (2, 1), (hub.timer_count(), hub.unref_timers)
    for timeout in own: timeout.cancel()
    assert (hub.timer_count(), hub.unref_timers) == (0, 0)
    began = time.monotonic()
    assert hub.join(timeout=60) and time.monotonic() - began < 20
assert in_child(only_ours) == 0
assert hub.timer_count() == 11, hub.timer_count()
""",
    "a wait goes on in a child that its signal handler forks": """
import signal
for wait in [lambda: time.sleep(0.2) or 1, lambda: left.recv(1) == b"x"]:
    left, right = socket.socketpair()
    children = []
    def fork(*_):
        children.append(os.fork())
        if children[0]:
            treadle.spawn_later(0.1, right.send, b"xx")  # a byte for each of the two
    signal.signal(signal.SIGALRM, fork)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    hub = treadle.get_hub()
    right_answer = wait() and hub.refs == hub.unref_timers == 0
    if children[0] == 0:
        os._exit(0 if right_answer else 1)
    assert right_answer
    assert native_waitpid(children[0], 0)[1] == 0
""",
    "a fork takes time in proportion to the number of timers": """
def hold():
    timeouts = [treadle.Timeout.start_new(1000 + number) for number in range(count)]
    time.sleep(1000)
count = 200_000
holder = treadle.spawn(hold)
time.sleep(0)
hub = treadle.get_hub()
def only_ours():
    assert hub.timer_count() == 0
before = sum(os.times()[:4])
assert in_child(only_ours) == 0
seconds = sum(os.times()[:4]) - before
assert seconds < 2, seconds  # 0.05 of processor time, 10 and more if each timer is looked for
""",
    "a child without its main greenlet ends, whatever handles signals": """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
children = []
def fail_in_child():
    children.append(native_fork())
    if children[0] == 0:
        sys.stderr = open(os.devnull, "w")
        raise ValueError
treadle.spawn(fail_in_child).join()
with treadle.Timeout(30):
    while native_waitpid(children[0], os.WNOHANG) == (0, 0):
        time.sleep(0.01)
""",
    "a wake-up that came before a signal handler forked is there in the child": """
import signal
from treadle.event import Event
event, queue = Event(), treadle.queue.Queue()
for wake, wait in [(event.set, lambda: event.wait(5)), (lambda: queue.put(1), queue.get),
                   (lambda: treadle.spawn_later(0.05, int), lambda: hub.join() or True)]:
    children, hub = [], treadle.get_hub()
    def fork(*_):
        wake()
        children.append(native_fork())
    signal.signal(signal.SIGALRM, fork)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    treadle.spawn_later(0.3, int)  # keeps Hub.join() waiting
    woken = wait()
    if children[0] == 0:
        os._exit(0 if woken else 1)
    assert woken
    with treadle.Timeout(30):
        while (ended := native_waitpid(children[0], os.WNOHANG)) == (0, 0):
            time.sleep(0.01)
    assert ended[1] == 0
""",
    "main goes on in a child that a signal handler or callback forks, whoever polls": """
import signal
hub, children, ended_late = treadle.get_hub(), [], []
def fork(*_):
    children.append(os.fork())
    if treadle.getcurrent() is not hub:
        time.sleep(0.01)  # what the handler waits for goes on in the child, too
def poll():
    time.sleep(0.08)  # until then this greenlet is the last to wait, so it polls
    ended_late.append(os.getpid())
def by_greenlet(): treadle.spawn_later(0.01, poll)
def by_thread(): threading.Thread(target=lambda: [time.sleep(0.01), poll()], daemon=True).start()
def by_hub():
    watcher = hub.loop.prepare(ref=False)
    watcher.start(int)
    return watcher
def as_callback():
    signal.setitimer(signal.ITIMER_REAL, 0)
    hub.loop.run_callback(lambda: children.append(os.fork()))
signal.signal(signal.SIGALRM, fork)
left, right = socket.socketpair()
right.settimeout(0.15)
def receive():
    try: right.recv(1)
    except TimeoutError: return True
for host in by_greenlet, by_thread, by_hub, as_callback:
    for wait in (lambda: time.sleep(0.12) or True), receive:
        signal.setitimer(signal.ITIMER_REAL, 0.04)
        held = host()
        right_answer = wait() and hub.refs == 0
        if children[-1] == 0:
            assert threading.current_thread() is threading.main_thread()
            assert threading.enumerate() == [threading.main_thread()]
            assert os.getpid() not in ended_late
            os._exit(42 if right_answer else 1)
        assert right_answer
        assert os.waitstatus_to_exitcode(native_waitpid(children[-1], 0)[1]) == 42, host
assert ended_late and set(ended_late) == {os.getpid()}
""",
    "a child whose greenlet forked it ends with the status that the greenlet gives": """
import signal
def status(end):
    codes = []
    def fork():
        pid = os.fork()
        if pid == 0:
            end()
            os.kill(os.getpid(), signal.SIGKILL)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    treadle.spawn(fork).join()
    return codes
def interrupted(exc):
    def handle(*_): raise exc
    def wait():
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        time.sleep(0.3)
    return wait
assert status(lambda: sys.exit(7)) == [7]
assert status(sys.exit) == [0]
assert status(interrupted(SystemExit(5))) == [5]
sys.stderr = open(os.devnull, "w")
assert status(lambda: sys.exit("why")) == [1]
assert status(interrupted(KeyboardInterrupt())) == [128 + signal.SIGINT]
def end_first(exc):
    # Another greenlet of the child goes on alone, until the signal comes.
    def end():
        treadle.spawn(interrupted(exc))
        treadle.getcurrent().throw(treadle.GreenletExit)
    return end
assert status(end_first(SystemExit(6))) == [6]
assert status(end_first(ValueError())) == [1]
lock = threading.Lock(); lock.acquire()
def catch():
    try:
        lock.acquire()
    except treadle.exceptions.LoopExit:
        treadle.getcurrent().throw(treadle.GreenletExit)
assert status(lock.acquire) == [1]
assert status(catch) == [0]
treadle.spawn = lambda f: threading.Thread(target=f).start() or threading.enumerate()[-1]
assert status(lock.acquire) == [1]
""",
    "kept threads are threads in the child": """
stop = threading.Event()
names = []
def work():
    stop.wait()
    names.append(threading.current_thread().name)
threads = [threading.Thread(target=work, name=f"t{n}", daemon=n == 0) for n in range(3)]
for thread in threads: thread.start()
def all_go_on():
    assert [thread.is_alive() for thread in threads] == [True] * 3
    assert set(threading.enumerate()) == {threading.main_thread(), *threads}
    assert _thread._count() == 3
    stop.set()
    for thread in threads: thread.join()
    assert not any(thread.is_alive() for thread in threads)
    assert threading.enumerate() == [threading.main_thread()] and _thread._count() == 0
    assert names == ["t0", "t1", "t2"]
assert in_child(all_go_on, keep=True) == 0
pid = os.fork(keep=True)
if pid == 0:
    treadle.spawn_later(0.05, stop.set)
    sys.exit(5)  # once the threads that are no daemons have ended
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
assert all_go_on() is None
""",
    "threads that are not kept have ended in the child": """
stop = threading.Event()
threads = [threading.Thread(target=stop.wait, daemon=n == 0) for n in range(3)]
for thread in threads: thread.start()
def all_ended():
    assert not any(thread.is_alive() for thread in threads)
    for thread in threads: thread.join()
    assert threading.enumerate() == [threading.main_thread()] and _thread._count() == 0
    started = threading.Thread(target=print, args=["child"])
    started.start(); started.join()
assert in_child(all_ended) == 0
pid = os.fork()
if pid == 0:
    sys.exit(4)  # waits for nobody
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
assert all(thread.is_alive() for thread in threads)
stop.set()
for thread in threads: thread.join()
""",
    "a buffer in whose middle a greenlet waits can be used in the child": """
import io, signal
from treadle.fileobject import FileObjectPosix, FileObjectThread
signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.alarm(20)
def native_child(function):
    "As in_child(), but no greenlet of the parent runs meanwhile."
    pid = native_fork()
    if pid == 0:
        signal.alarm(5)
        code = 1
        try:
            code = function() or 0
        finally:
            os._exit(code)
    return native_waitpid(pid, 0)[1]
for make in [os.fdopen, FileObjectPosix, FileObjectThread]:
    for mode, data, line in [("b", b"x" * 300_000, b"b\\n"), ("", "x" * 300_000, "b\\n")]:
        reader, writer = os.pipe()
        file = make(reader, "r" + mode)
        waiter = treadle.spawn(file.readline)
        time.sleep(0.02)
        assert native_child(file.close) == 0, file
        def read_on():
            if make is not FileObjectThread:  # with that, a thread of the parent takes the data
                os.write(writer, b"b\\nc\\n")
                assert file.readline() == line
            file.close()
        assert native_child(read_on) == 0, file
        os.write(writer, b"a\\nb\\n")
        assert waiter.get(timeout=30) == ("a\\n" if mode == "" else b"a\\n")
        assert native_child(lambda: file.readline() != line) == 0  # from the buffer
        assert file.readline() == line
        file.close(); os.close(writer)

        reader, writer = os.pipe()
        file = make(writer, "w" + mode)
        waiter = treadle.spawn(lambda: (file.write(data), file.flush()))
        time.sleep(0.02)
        assert native_child(file.close) == 0, file
        got = 0
        while got < 300_000:
            got += len(os.read(reader, 100_000))
        waiter.get(timeout=30)
        file.close()
        assert os.read(reader, 1) == b""
        os.close(reader)
""",
    "a child closes standard input, from which the parent reads": """
import multiprocessing
reader, writer = os.pipe()
os.dup2(reader, 0)
def iterate():
    for line in sys.stdin.buffer:
        return line
for read in [sys.stdin.readline, iterate]:
    waiter = treadle.spawn(read)
    time.sleep(0.02)
    assert in_child(sys.stdin.close) == 0
    process = multiprocessing.get_context("fork").Process(target=print)
    process.start(); process.join()
    assert process.exitcode == 0
    def read_on():
        os.dup2(second_reader, 0)
        assert sys.stdin.readline() == "child\\n"
    second_reader, second_writer = os.pipe()
    os.write(second_writer, b"child\\n")
    assert in_child(read_on) == 0
    os.write(writer, b"parent\\n")
    assert waiter.get(timeout=30) in ("parent\\n", b"parent\\n")
def fail():
    try:
        sys.stdin.readline()
    except OSError as exc:
        return exc.errno
waiters = [treadle.spawn(fail) for _ in range(2)]
time.sleep(0.02)
sys.stdin.close()
assert [waiter.get(timeout=30) for waiter in waiters] == [9, 9]
""",
    "a handler that forks in the middle of a buffer's read leaves the buffer to its greenlet": """
import signal
reader, writer = os.pipe()
file = os.fdopen(reader, "rb")
children = []
def fork(*_):
    children.append(os.fork())
    if children[0]:  # the two share the pipe: nothing runs here until the child has read
        children.append(native_waitpid(children[0], 0)[1])
    os.write(writer, b"late")
    time.sleep(0.01)
signal.signal(signal.SIGALRM, fork)
os.write(writer, b"early")
signal.setitimer(signal.ITIMER_REAL, 0.05)
data = file.read(9)
if children[0] == 0:
    os._exit(data != b"earlylate")
assert (data, children[1]) == (b"earlylate", 0), (data, children)
""",
    "what a greenlet was given and has not taken is free in a child that has it not": """
import queue
for lock in [threading.Lock(), threading.RLock(), threading.Semaphore()]:
    lock.acquire()
    waiter = treadle.spawn(lock.acquire)
    time.sleep(0)
    lock.release()
    assert in_child(lambda: not lock.acquire(timeout=0.2)) == 0, lock
    assert waiter.get(timeout=30)
items = queue.SimpleQueue()
waiter = treadle.spawn(items.get)
time.sleep(0)
items.put("item")
assert in_child(lambda: items.get(timeout=0.2) != "item") == 0
assert waiter.get(timeout=30) == "item"
""",
    "who asks to keep greenlets asks for itself": """
ran, codes = [], []
def yield_now(): time.sleep(0.001)
os.register_at_fork(before=yield_now, after_in_parent=yield_now, after_in_child=yield_now)
def tick():
    while True:
        time.sleep(0.0005)
        ran.append(os.getpid())
def others_go_on():
    time.sleep(0.01)
    return os.getpid() in ran
def fork_too():
    codes.append(in_child(others_go_on, native_fork))
    codes.append(subprocess.run(["true"], preexec_fn=others_go_on).returncode)
treadle.spawn(tick)
for n in range(10):
    beside = [treadle.spawn(fork_too) for _ in range(3)]
    assert in_child(others_go_on, keep=True) == 1
    treadle.joinall(beside, raise_error=True)
assert codes == [0] * 60, codes
assert set(ran) == {os.getpid()}
""",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_fork(script: str, fresh: Callable[..., str]) -> None:
    fresh("import warnings; warnings.simplefilter('ignore')\n" + BEGIN + SCRIPTS[script])


TLS = """
import contextlib, random, ssl
folder, me = sys.argv[1], os.getpid()
server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_context.load_cert_chain(folder + "/certificate.pem")
client_context = ssl.create_default_context(cafile=folder + "/authority.pem")
seen_read, seen_write = os.pipe()

def here():
    "Note who runs a greenlet of the parent's elsewhere."
    if os.getpid() != me:
        os.write(seen_write, b"%d " % os.getpid())

def echo(sock):
    # The peer ends without a close notification. Newer versions of OpenSSL answer that with an
    # alert, which a Unix socket does not take any more.
    with (
        contextlib.suppress(BrokenPipeError),
        server_context.wrap_socket(sock, server_side=True) as tls,
    ):
        while data := tls.recv(65536):
            here()
            tls.sendall(data)
            here()

done, exchanged, started = False, [0] * 50, []

def exchange(number, sock):
    numbers = random.Random(number)
    with client_context.wrap_socket(sock, server_hostname="localhost") as tls:
        while not done:
            message = numbers.randbytes(numbers.choice([1, 100, 20_000]))
            here()
            tls.sendall(message)
            answer = b""
            while len(answer) < len(message):
                answer += tls.recv(65536)
                here()
            assert answer == message
            exchanged[number] += 1
            time.sleep(0.001)

def hook(): time.sleep(0.002)
os.register_at_fork(before=hook, after_in_parent=hook, after_in_child=hook)

def nothing(): time.sleep(0.002)

def forks():
    assert in_child(nothing) == 0
def opens():
    assert subprocess.run(["true"]).returncode == 0
def opens_with_hook():
    assert subprocess.run(["true"], preexec_fn=nothing).returncode == 0
def forks_natively():
    assert in_child(nothing, native_fork) == 0

pairs = [socket.socketpair() for _ in range(50)]
greenlets = [treadle.spawn(echo, left) for left, _ in pairs]
greenlets += [treadle.spawn(exchange, number, right) for number, (_, right) in enumerate(pairs)]
while min(exchanged) == 0:
    time.sleep(0.01)
before = exchanged[:]
kinds = [forks, opens, opens_with_hook, forks_natively]
children = [treadle.spawn(kinds[number % 4]) for number in range(200)]
treadle.joinall(children, raise_error=True)
during = [now - then for now, then in zip(exchanged, before)]
time.sleep(0.05)
done = True
treadle.joinall(greenlets, raise_error=True)
os.close(seen_write)
print(os.read(seen_read, 1000).decode(), min(during) > 0)
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "certificate.pem")
    return folder


def test_fifty_tls_connections_beside_200_children(
    fresh: Callable[..., str], certificates: Path
) -> None:
    script = "import warnings; warnings.simplefilter('ignore')\n" + BEGIN + TLS
    assert fresh(script, str(certificates), timeout=110) == " True\n"


LATENCY = """
import sys
if sys.argv[1] == "treadle":
    from treadle import monkey; monkey.patch_all()
import mmap, subprocess, time
memory = mmap.mmap(-1, 2 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for _ in range(2 << 10):
    memory.write(b"x" * (1 << 20))
def start():
    began = time.process_time()
    process = subprocess.Popen(["/bin/true"], stdout=subprocess.PIPE)
    seconds = time.process_time() - began
    process.communicate()
    return seconds
start()
print("ready", flush=True)
for line in sys.stdin:
    print(min(start() for _ in range(5)), flush=True)
"""


class Parent:
    """A process with two gibibytes of memory that starts children."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, "-c", LATENCY, kind]
        self.process: Any = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline() == "ready\n"

    def seconds(self) -> float:
        """Return the least processor time of five starts, in seconds."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def __enter__(self) -> "Parent":
        return self

    def __exit__(self, *args: object) -> None:
        self.process.communicate()


def test_popen_copies_no_page_tables() -> None:
    """With two gibibytes of memory, a start costs the processor about as much as natively.

    Copying the page tables would cost hundreds of times as much. Compare the least costs in 30
    rounds; in each, both start five children in turn.
    """
    with ExitStack() as stack:
        parents = [stack.enter_context(Parent(kind)) for kind in ("treadle", "native")]
        rounds = [[parent.seconds() for parent in parents] for _ in range(30)]
    ours, native = map(min, zip(*rounds, strict=True))
    assert ours < 5 * native
