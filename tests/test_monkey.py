"""Patching and the command line, each test in a process of its own."""

import ast
import os
import pathlib
import py_compile
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path

import pytest

import treadle
from treadle.monkey._private import PRIVATE_NAMES


def run(script: str, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, *arguments, "-c", script],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


PATCHED = """
import threading, logging, queue, concurrent.futures, socket, select, selectors
from time import sleep as early_sleep
class Holder:
    lock = threading.RLock()
early_lock = threading.Lock()
early_condition = threading.Condition()
early_queue = queue.Queue()
native_sleep = unpatched_sleep = realistic_sleep = early_sleep
real_socket, real_lock = socket.socket, threading.Lock()
class Namesake:
    native_sleep = early_sleep
from treadle import monkey
assert monkey.patch_all() is True
assert monkey.patch_all() is None
import treadle, time
"""

CASES = {
    "threads are greenlets": """
order, native_idents = [], set()
def work(name):
    native_idents.add(monkey.get_original("_thread", "get_ident")())
    for step in range(3):
        order.append(f"{name}{step}")
        time.sleep(0.05)
threads = [threading.Thread(target=work, args=(name,)) for name in "ABC"]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert order == "A0 B0 C0 A1 B1 C1 A2 B2 C2".split(), order
assert len(native_idents) == 1
assert not any(thread.is_alive() for thread in threads)
""",
    "early references are re-bound": """
ticks = []
treadle.spawn(lambda: ticks.append(1))
early_sleep(0.01)
assert ticks == [1]
""",
    "names that say they are for the original keep it": """
assert native_sleep is unpatched_sleep is monkey.get_original("time", "sleep")
assert real_socket is monkey.get_original("socket", "socket") is not socket.socket
assert realistic_sleep is Namesake.native_sleep is time.sleep
assert type(real_lock) is type(threading.Lock())
""",
    "early locks are upgraded": """
def hold(lock):
    with lock: time.sleep(0.02)
for lock in (early_lock, early_condition, Holder.lock, logging._lock):
    holder = treadle.spawn(hold, lock)
    time.sleep(0)
    with lock: pass
    assert holder.ready()
treadle.spawn_later(0.01, early_queue.put, 5)
assert early_queue.get(timeout=30) == 5
""",
    "queues, pools and timers": """
numbers = queue.Queue(2)
def produce():
    for number in range(10): numbers.put(number)
    numbers.put(None)
threading.Thread(target=produce).start()
assert list(iter(numbers.get, None)) == list(range(10))
with concurrent.futures.ThreadPoolExecutor(5) as executor:
    assert list(executor.map(lambda n: (time.sleep(0.01), n)[1], range(10))) == list(range(10))
fired = []
timer = threading.Timer(0.01, fired.append, [1])
timer.start(); timer.join()
assert fired == [1]
simple = queue.SimpleQueue()
treadle.spawn_later(0.01, simple.put, 1)
assert simple.get(timeout=30) == 1
barrier = threading.Barrier(3)
waiters = [treadle.spawn(barrier.wait) for _ in range(3)]
assert sorted(waiter.get(timeout=30) for waiter in waiters) == [0, 1, 2]
""",
    "names of greenlets do not pile up": """
def name(): return threading.current_thread().name
assert treadle.spawn(name).get().startswith("Dummy-")
for _ in range(100): treadle.spawn(name).get()
import gc; gc.collect()
assert len(threading._active) <= 3, threading._active
""",
    "locals belong to greenlets": """
data = threading.local()
data.x = 1
def look():
    before = hasattr(data, "x")
    data.x = 2
    return before
assert treadle.spawn(look).get() is False
assert data.x == 1
""",
    "sockets, select and selectors cooperate": """
left, right = socket.socketpair()
treadle.spawn_later(0.01, left.send, b"x")
assert select.select([right], [], [], 5)[0] == [right]
assert right.recv(1) == b"x"
with selectors.DefaultSelector() as selector:
    selector.register(right, selectors.EVENT_READ)
    treadle.spawn_later(0.01, left.send, b"x")
    assert len(selector.select(5)) == 1
left.close(); right.close()
""",
    "a forked child runs nothing of the parent's": """
import os
ran = []
def tick():
    while True:
        ran.append(os.getpid()); time.sleep(0.001)
others = [treadle.spawn(tick) for _ in range(20)]
time.sleep(0.01)
child = os.fork()
if child == 0:
    time.sleep(0.05)
    os._exit(7 if os.getpid() in ran else 0)
assert os.waitpid(child, 0)[1] == 0
before = len(ran)
time.sleep(0.02)
assert len(ran) > before
treadle.killall(others)
""",
    "a fork waits for who holds the import lock": """
import _imp, os, sys
def load():
    _imp.acquire_lock()
    sys.modules["half"] = "half made"
    time.sleep(0.02)
    assert _imp.lock_held()
    sys.modules["half"] = "whole"
    _imp.release_lock()
treadle.spawn(load)
time.sleep(0)
child = os.fork()
if child == 0:
    os._exit(0 if sys.modules["half"] == "whole" and not _imp.lock_held() else 1)
assert os.waitpid(child, 0)[1] == 0
assert not _imp.lock_held()
try: _imp.release_lock()
except RuntimeError: pass
else: raise AssertionError("a lock that nobody held was released")
""",
    "the program waits for threads that are no daemons": """
def late():
    time.sleep(0.05)
    print("late")
threading.Thread(target=late).start()
""",
    "what a signal handler raises reaches the main thread": """
import signal
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
finished = []
def compute():
    signal.raise_signal(signal.SIGINT)
    finished.append(True)
thread = threading.Thread(target=compute)
try:
    thread.start()
    thread.join()
except KeyboardInterrupt:
    thread.join()
else:
    raise AssertionError("nothing was raised")
assert finished == [True]
def handler(number, frame): raise LookupError(number)
assert signal.signal(signal.SIGINT, handler) is signal.default_int_handler
assert signal.getsignal(signal.SIGINT) is handler
assert signal.signal(signal.SIGINT, signal.SIG_DFL) is handler
assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
""",
    "classes live where those that they replace do": """
import contextlib, pickle, subprocess
def name_of(cls): return f"{cls.__module__}.{cls.__name__}"
poller = select.epoll()
for made, name in ((threading.Lock(), "_thread.lock"), (threading.RLock(), "_thread.RLock"),
                   (threading.local(), "_thread._local"), (poller, "select.epoll")):
    assert name_of(type(made)) == name, type(made)
poller.close()
for cls, name in ((queue.SimpleQueue, "_queue.SimpleQueue"), (socket.socket, "socket.socket"),
                  (selectors.EpollSelector, "selectors.EpollSelector"),
                  (subprocess.Popen, "subprocess.Popen")):
    assert name_of(cls) == name, cls
for cls in (threading.Lock, threading.RLock, threading.local, queue.SimpleQueue, socket.socket,
            select.epoll, selectors.EpollSelector, subprocess.Popen):
    pickled = pickle.dumps(cls)
    assert pickle.loads(pickled) is cls and b"treadle" not in pickled, pickled
assert monkey.unpatched_references() == []
""",
    "functions are pickled so that other processes can read them": """
import builtins, fcntl, io, os, pickle, signal, subprocess, sys
functions = [vars(module)[name] for module, names in (
    (os, "close dup2 lockf open posix_spawn read sendfile system waitpid write"),
    (fcntl, "fcntl flock lockf"), (io, "open"), (builtins, "open"), (signal, "signal sigwait"),
    (socket, "gethostbyname gethostbyaddr"),
) for name in names.split()]
pickled = pickle.dumps(functions)
assert pickle.loads(pickled) == functions and b"treadle" not in pickled, pickled
read = "import pickle, sys; print([f.__name__ for f in pickle.load(sys.stdin.buffer)])"
names = subprocess.check_output([sys.executable, "-S", "-c", read], input=pickled, text=False)
assert eval(names) == [function.__name__ for function in functions], names
""",
    "a wake-up descriptor of the program's": """
import os, signal
handled = []
signal.signal(signal.SIGALRM, lambda number, frame: handled.append(number))
reader, writer = socket.socketpair()
reader.setblocking(False); writer.setblocking(False)
time.sleep(0)  # now the poller has a descriptor of its own
assert signal.set_wakeup_fd(writer.fileno()) == -1
signal.setitimer(signal.ITIMER_REAL, 0.02)
assert select.select([reader], [], [], 5)[0]
assert reader.recv(10) == bytes([signal.SIGALRM])
assert signal.set_wakeup_fd(-1) == writer.fileno()
assert signal.set_wakeup_fd(-1) == -1
assert treadle.get_hub().poller.signal_fd == monkey.get_original("signal", "set_wakeup_fd")(-1)
assert handled == [signal.SIGALRM]
reader.close(); writer.close()
""",
    "waits for signals": """
import os, signal
one, two, alarm = signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM
ticks = []
def tick():
    while True: time.sleep(0.002); ticks.append(1)
ticker = treadle.spawn(tick)
def later(number): return treadle.spawn_later(0.02, os.kill, os.getpid(), number)
signal.pthread_sigmask(signal.SIG_BLOCK, {one})
later(one)
assert signal.sigwait([one]) is one
assert signal.sigtimedwait([one], 0) is signal.sigtimedwait([one, two], 0.02) is None
later(two)
assert signal.sigwaitinfo({one, two}).si_signo == two
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == {one}
waiter = treadle.spawn(signal.sigwait, [one])
time.sleep(0.01); waiter.kill()
later(one)
assert signal.sigtimedwait([one], 5).si_signo == one
assert len(ticks) > 10
ticker.kill()
for wrong in (lambda: signal.sigtimedwait([one], -1), lambda: signal.sigwait([0])):
    try: wrong()
    except ValueError: pass
    else: raise AssertionError("a wrong argument was taken")
seen = []
signal.signal(alarm, lambda number, frame: seen.append(number))
signal.setitimer(signal.ITIMER_REAL, 0.02)
signal.pause()
assert seen == [alarm]
""",
    "the signals that a thread blocks reach the others": """
import signal, os
def blocked(): return signal.pthread_sigmask(signal.SIG_BLOCK, [])
seen = []
def block():
    seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2]))
    seen.append(signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2]))
    seen.append(blocked())
    try: signal.pthread_sigmask(signal.SIG_BLOCK, [0])
    except ValueError: seen.append(blocked())
thread = threading.Thread(target=block)
thread.start(); thread.join()
one, two = {signal.SIGUSR1}, {signal.SIGUSR1, signal.SIGUSR2}
assert seen == [set(), two, one, one], seen
assert blocked() == set()
""",
    "a class that keeps a function makes no method of it": """
import _thread, os, pickle
class Keeper:
    sleep, close, ident, select = time.sleep, os.close, _thread.get_ident, select.select
Keeper().sleep(0)
Keeper().close(os.dup(1))
assert Keeper().ident() == threading.get_ident()
assert Keeper().select([], [], [], 0) == ([], [], [])
for function in (time.sleep, os.close, _thread.start_new_thread, socket.gethostbyname):
    assert pickle.loads(pickle.dumps(function)) is function
""",
    "a compiled module that is imported anew stays patched": """
import importlib, _queue, sys
for name in ("_queue", "queue", "select", "time"):
    spec = sys.modules[name].__spec__
    del sys.modules[name]
    assert importlib.import_module(name).__spec__.loader is not None
    assert name == "queue" or sys.modules[name].__spec__ is spec
assert sys.modules["_queue"] is _queue and sys.modules["queue"] is not queue
assert sys.modules["queue"].SimpleQueue is queue.SimpleQueue
assert sys.modules["queue"].Empty is queue.Empty
assert importlib.reload(time) is time and time.sleep is early_sleep
""",
    "a class that a program puts in the place of the socket's is used": """
class Proxied(socket.socket):
    def connect(self, address): raise ConnectionError("by the proxy")
original, socket.socket = socket.socket, Proxied
try: socket.create_connection(("127.0.0.1", 1))
except ConnectionError as error: assert str(error) == "by the proxy", error
with socket.create_server(("127.0.0.1", 0)) as server: assert type(server) is Proxied
found = []
socket.getaddrinfo = lambda *args: found.append(args) or []
try: socket.create_connection(("host", 1))
except OSError: assert found[0][:2] == ("host", 1)
from treadle import socket as cooperative
assert socket.create_connection is cooperative.create_connection
assert monkey.is_object_patched("socket", "create_connection")
""",
    "os.read and os.write cooperate": """
import os
reader, writer = os.pipe()
treadle.spawn_later(0.01, os.write, writer, b"x")
assert os.read(reader, 10) == b"x"
data = os.urandom(1_000_000)
def read_all():
    parts = []
    while sum(map(len, parts)) < len(data): parts.append(os.read(reader, 100_000))
    return b"".join(parts)
reading = treadle.spawn(read_all)
assert os.write(writer, data) == len(data)
assert reading.get(timeout=30) == data
os.set_blocking(reader, False)
for call in (lambda: os.write(reader, b"x"), lambda: os.read(writer, 1)):
    try: call()
    except OSError as error: assert error.errno == 9
    else: raise AssertionError("the wrong end of a pipe")
try: os.read(reader, 1)
except BlockingIOError: pass
else: raise AssertionError("a non-blocking descriptor was waited for")
treadle.spawn_later(0.01, os.close, reader)
try: assert 65536 <= os.write(writer, data) < len(data)
except BrokenPipeError: raise AssertionError("what was written is not told")
try: os.write(writer, data)
except BrokenPipeError: pass
os.close(writer)
""",
    "originals stay reachable": """
assert monkey.is_module_patched("time") and monkey.is_object_patched("time", "sleep")
assert not monkey.is_module_patched("math")
assert type(monkey.get_original("time", "sleep")).__name__ == "builtin_function_or_method"
assert monkey.get_original("socket", ["socket", "getaddrinfo"])[0] is not socket.socket
assert monkey.is_object_patched("threading", "Event")
assert monkey.get_original("threading", "Event") is threading.Event
""",
}


@pytest.mark.parametrize("case", CASES)
def test_patched(case: str) -> None:
    printed = run(PATCHED + CASES[case], "-X", "dev")
    assert printed == ("late\n" if case.startswith("the program") else "")


def test_an_error_in_a_bare_thread_is_reported() -> None:
    script = """
from treadle import monkey; monkey.patch_all()
import _thread, time
_thread.start_new_thread(lambda: 1 / 0, ())
time.sleep(0.01)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0
    assert "Exception ignored in thread started by" in ended.stderr
    assert "ZeroDivisionError" in ended.stderr


@pytest.mark.parametrize("chosen", ["", "wait_selector"])
def test_psycopg_is_told_to_wait_where_others_run(
    chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PSYCOPG_WAIT_FUNC", raising=False)
    if chosen:
        monkeypatch.setenv("PSYCOPG_WAIT_FUNC", chosen)
    script = "import os; from treadle import monkey; monkey.patch_all()"
    printed = run(f"{script}; print(os.environ['PSYCOPG_WAIT_FUNC'])")
    assert printed == f"{chosen or 'wait_poll'}\n"


@pytest.mark.parametrize("resolver", ["thread", "ares", "dnspython"])
def test_text_is_not_compared_with_bytes(resolver: str) -> None:
    check = f"""
from treadle import config, monkey
config.resolver = {resolver!r}
monkey.patch_all()
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
    for host in ("127.0.0.1", b"127.0.0.1", "localhost", b"localhost"):
        socket.create_connection((host, port)).close()
        with socket.socket() as connected:
            connected.connect((host, port))
        socket.gethostbyaddr("127.0.0.1")
"""
    run(check, "-bb", "-W", "error")


def test_selectors_that_exist_become_cooperative() -> None:
    check = """
import os, selectors, time
pipes = [os.pipe() for _ in range(3)]
kinds = selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector
made = [kind() for kind in kinds]
for selector in made:
    selector.register(pipes[0][0], selectors.EVENT_READ, "early")
from treadle import monkey
monkey.patch_all()
import treadle
for selector, kind in zip(made, kinds):
    treadle.spawn(os.write, pipes[0][1], b"x")
    assert [key.data for key, _ in selector.select(10)] == ["early"], selector
    os.read(pipes[0][0], 1)
    selector.register(pipes[1][0], selectors.EVENT_READ, "late")
    treadle.spawn(os.write, pipes[1][1], b"x")
    assert [key.data for key, _ in selector.select(10)] == ["late"], selector
    os.read(pipes[1][0], 1)
    selector.unregister(pipes[1][0])
    assert type(selector) is getattr(selectors, kind.__name__)
    selector.close()
"""
    run(check)


def test_an_asyncio_loop_that_runs_lets_threads_run_once_it_has_patched() -> None:
    check = """
import asyncio, threading, warnings
from treadle import monkey
async def main():
    warnings.simplefilter("ignore")
    monkey.patch_all()
    import time
    return await asyncio.wait_for(asyncio.to_thread(lambda: time.sleep(0.01) or 5), 10)
assert asyncio.run(main()) == 5
"""
    run(check)


def test_private_names_of_the_standard_library_stand_on_the_list() -> None:
    package = Path(treadle.__file__).parent / "monkey"
    used = set()
    for path in [
        *package.glob("*.py"),
        *(package.parent / f"{n}.py" for n in ("monkey/_multiprocessing", "ssl", "threading")),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                ours = node.value.id in ("self", "cls")
                if node.attr.startswith("_") and not node.attr.startswith("__") and not ours:
                    used.add(node.attr)
    assert used <= set(PRIVATE_NAMES)


class TestCommandLine:
    def treadle(self, *arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "treadle", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ended.returncode == status, ended.stderr
        return ended

    def test_version(self) -> None:
        text = self.treadle("version").stdout
        assert treadle.__version__ in text
        for word in ("python", "greenlet", "poller", "clock", "platform"):
            assert word in text

    def test_demo(self) -> None:
        ended = self.treadle("demo", "--pages", 40, "--delay", 0.1)
        assert "all at once: 40 pages" in ended.stdout
        assert ended.stderr == ""  # no progress bar without a terminal

    def test_run_script(self, tmp_path: pathlib.Path) -> None:
        script = tmp_path / "program.py"
        script.write_text(
            "import sys, time, helper\n"
            "print(__name__, sys.argv[1:], helper.x, time.sleep.__module__)\n"
            "sys.exit(3)\n"
        )
        (tmp_path / "helper.py").write_text("x = 5\n")
        ended = self.treadle("run", script, "a", "--b", status=3)
        assert ended.stdout == "__main__ ['a', '--b'] 5 treadle.time\n"

    def test_run_is_as_python_runs_a_script(self, tmp_path: pathlib.Path) -> None:
        home = tmp_path / "home"
        home.mkdir()
        (home / "beside.py").write_text("")
        script = home / "__main__.py"
        script.write_text(
            "import os, sys\n"
            "os.chdir('/')\n"
            "import beside\n"
            "def annotated(x: int): pass\n"
            "print(__name__, __file__, sys.argv, sys.path[0], annotated.__annotations__,\n"
            "      type(__loader__).__name__, 'version_text' in globals())\n"
        )
        compiled = py_compile.compile(str(script), str(home / "compiled.pyc"))
        assert compiled is not None
        (tmp_path / "link.py").symlink_to(script)
        zipapp.create_archive(home, tmp_path / "archive", "/usr/bin/env python3")
        for target in ("home/__main__.py", "link.py", "home", "archive", "home/compiled.pyc"):
            plain, treadle = (
                subprocess.run(
                    [sys.executable, *command, target, "x"],
                    cwd=tmp_path,
                    capture_output=True,
                    text=True,
                    timeout=100,
                    check=False,
                )
                for command in ([], ["-m", "treadle", "run"])
            )
            assert (treadle.stdout, treadle.stderr) == (plain.stdout, plain.stderr), target
            assert "{'x': <class 'int'>}" in plain.stdout

    @pytest.mark.parametrize(
        "arguments",
        [
            ["-cimport sys; print(sys.argv)", "-c", "-mx", "--", "--gevent"],
            ["-mshow", "-cx", "-y"],
            ["-c", "-print(1) if 0 else print(2)", "-x"],
        ],
    )
    def test_run_takes_flags_as_python_does(
        self, arguments: list[str], tmp_path: pathlib.Path
    ) -> None:
        (tmp_path / "show.py").write_text("import sys; print(sys.argv)")
        plain, treadle = (
            subprocess.run(
                [sys.executable, *command, *arguments],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=100,
                check=True,
            )
            for command in ([], ["-m", "treadle", "run"])
        )
        assert (treadle.stdout, treadle.stderr) == (plain.stdout, plain.stderr)

    FAILS = (
        "import sys\n"
        "print(__name__, sys.argv, repr(sys.path[0]), '__file__' in globals(), sys.stdin.read())\n"
        "def fail(): raise {}\n"
        "def annotated(x: int): pass\n"
        "print(annotated.__annotations__)\n"
        "fail()\n"
    )

    @pytest.mark.parametrize("error", ["ValueError('wrong')", "KeyboardInterrupt", "SystemExit(5)"])
    @pytest.mark.parametrize("way", ["-c", "-", "script", "-m", "hook", "syntax"])
    def test_run_ends_as_python_does(self, way: str, error: str, tmp_path: pathlib.Path) -> None:
        text = self.FAILS.format(error)
        if way == "hook":
            text = (
                "import sys, traceback\n"
                "sys.excepthook = lambda kind, value, tb: print(\n"
                "    kind, value, [at.f_lineno for at, _ in traceback.walk_tb(tb)], 'hooked')\n"
            ) + text
        elif way == "syntax":
            text += "("
        (tmp_path / "program.py").write_text(text)
        program = {"-c": ["-c", text], "-": ["-"], "-m": ["-m", "program"]}
        plain, treadle = (
            subprocess.run(
                [sys.executable, *command, *program.get(way, ["program.py"]), "x", "-y"],
                input=text if way == "-" else "",
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            for command in ([], ["-m", "treadle", "run"])
        )
        assert (treadle.returncode, treadle.stdout) == (plain.returncode, plain.stdout)
        assert treadle.stderr == plain.stderr

    def test_run_module(self) -> None:
        ended = self.treadle("run", "-m", "calendar", "2026")
        assert "November" in ended.stdout

    def test_run_nothing(self) -> None:
        assert "can't open file" in self.treadle("run", "no/such.py", status=2).stderr

    def test_gevent_alias(self, tmp_path: pathlib.Path) -> None:
        script = tmp_path / "program.py"
        script.write_text(
            "import gevent, gevent.pool, treadle\n"
            "from gevent.event import Event\n"
            "from gevent import monkey; monkey.patch_all()\n"
            "assert gevent.pool.Pool is treadle.pool.Pool\n"
            "assert gevent.spawn is treadle.spawn\n"
            "try: import gevent.no_such_module\n"
            "except ModuleNotFoundError as exc: print(exc.name)\n"
        )
        assert self.treadle("run", "--gevent", script).stdout == "gevent.no_such_module\n"
        assert os.path.exists(script)


def test_modules_are_loaded_again_beside_a_finder_without_find_spec(
    fresh: Callable[..., str],
) -> None:
    program = """
import importlib.machinery, socket, sys
from treadle import monkey; monkey.patch_all()
class Old:
    def find_module(self, name, path=None):
        return None
old = Old()
sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), old)
importlib.reload(socket)
sys.meta_path.remove(old)
print(socket.socket.connect is monkey.get_original("socket", "socket").connect)
"""
    assert fresh(program) == "False\n"


@pytest.mark.parametrize("way", ["importlib.reload(module)", "again()"])
@pytest.mark.parametrize(
    "name", ["socket", "os", "signal", "select", "threading", "treadle.socket", "treadle.os"]
)
def test_modules_that_are_loaded_again_stay_patched(
    name: str, way: str, fresh: Callable[..., str]
) -> None:
    """Otherwise the first call that waits for another greenlet blocks them all."""
    fresh(
        f"""
import sys, importlib
from treadle import monkey; monkey.patch_all()
import os, select, signal, socket, threading, time
module = importlib.import_module({name!r})
file, spec = getattr(module, "__file__", None), module.__spec__
def again():
    global module, os, select, signal, socket
    del sys.modules[{name!r}]
    module = importlib.import_module({name!r})
    if "." not in {name!r} and {name!r} != "threading":
        globals()[{name!r}] = module
{way}
assert getattr(module, "__file__", None) == file
assert type(module.__spec__.loader) is type(spec.loader), module.__spec__
assert module.__loader__ is module.__spec__.loader
server = socket.create_server(("127.0.0.1", 0))
def serve():
    connection, _ = server.accept()
    connection.sendall(connection.recv(9))
    connection.close()
threading.Thread(target=serve).start()
client = socket.create_connection(server.getsockname(), timeout=socket._GLOBAL_DEFAULT_TIMEOUT)
client.sendall(b"text")
assert client.recv(9) == b"text"
client.close()
server.close()
reader, writer = os.pipe()
threading.Timer(0.01, os.write, (writer, b"x")).start()
assert os.read(reader, 1) == b"x"
threading.Timer(0.01, os.write, (writer, b"x")).start()
assert select.select([reader], [], [])[0] == [reader]
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.001)
time.sleep(0.01)
""",
        timeout=20,
    )
