"""What was imported before patching is repaired, or reported with its module and line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Fresh = Callable[..., str]

#: A module that keeps originals in every way that can be repaired.
EARLY = """\
import collections, functools, queue, socket, threading, time, types
from time import sleep
HANDLERS = {"plain": time.sleep, "nested": [(time.sleep, 1)]}
BY_CLASS = {socket.socket: "known"}
partial = functools.partial(time.sleep, 0)
free = threading.Lock()
acquire = free.acquire
condition = threading.Condition()
mine = threading.local(); mine.x = 5
class Client:
    nap = time.sleep
    static = staticmethod(time.sleep)
    def __init__(self):
        self.attribute = time.sleep
        self.lock = threading.RLock()
class Slotted:
    __slots__ = ("value",)
    def __init__(self):
        self.value = time.sleep
class Unused(threading.local):
    x = 1
class Used(threading.local):
    x = 1
used = Used(); used.y = 2
client, slotted = Client(), Slotted()
def defaults(x, nap=time.sleep, *, named=time.sleep):
    return nap, named
def decorate(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)
    return inner
wrapped = decorate(time.sleep)
class Hidden:
    __slots__ = ("__lock",)
    def __init__(self):
        self.__lock = threading.Lock()
hidden = Hidden()
class One:
    __slots__ = "nap"
one = One(); one.nap = time.sleep
class Settings(dict):
    def __setitem__(self, key, value):
        raise TypeError("read-only")
collected = [
    Settings(x=time.sleep),
    collections.OrderedDict(x=time.sleep),
    collections.defaultdict(list, x=time.sleep),
]
locks = collections.defaultdict(threading.Lock)
named = collections.namedtuple("Named", "nap")(time.sleep)
queued = collections.deque([time.sleep])
proxy = types.MappingProxyType({"x": time.sleep})
"""

#: A module whose objects do not let anybody look at them or change them.
SHY = """\
import importlib.util, sys, threading, time, types
from unittest import mock
class Raises:
    def __getattr__(self, name):
        raise RuntimeError(name)
class Slotted(Raises):
    __slots__ = ("nap",)
class Plain(Raises):
    def __getattribute__(self, name):
        raise RuntimeError(name)
    def __setattr__(self, name, value):
        raise RuntimeError(name)
    __class__ = property(lambda self: 1 / 0)
class Module(types.ModuleType, Plain):
    pass
class Meta(type):
    def __eq__(cls, other):
        raise RuntimeError("compared")
    def __getattribute__(cls, name):
        raise RuntimeError(name)
    def __setattr__(cls, name, value):
        raise RuntimeError(name)
class Class(metaclass=Meta):
    nap = time.sleep
    def __init__(self):
        self.nap = time.sleep
class Key:
    __hash__ = lambda self, value=hash(time.sleep): value
    def __eq__(self, other):
        raise RuntimeError("compared")
class Registered:
    def __init_subclass__(cls):
        if cls.__name__ in names:
            raise RuntimeError("twice")
        names.append(cls.__name__)
names = []
class Local(threading.local, Registered):
    pass
slotted, plain, of_class, module = Slotted(), Plain(), Class(), Module("module")
slotted.nap = time.sleep
keys = {Key(): time.sleep}
double = mock.Mock(spec=types.FunctionType)
double.nap = time.sleep
def longer(nap=None):
    return nap
longer.__defaults__ = (1, time.sleep)
spec = importlib.util.find_spec("lazy")
spec.loader = importlib.util.LazyLoader(spec.loader)
lazy = sys.modules["lazy"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lazy)
for each in (plain, module, lazy):
    object.__getattribute__(each, "__dict__")["nap"] = time.sleep
"""

#: A module that keeps originals in ways that nothing can repair.
TOO_LATE = """\
import functools, queue, socket, threading, time
KEYS = frozenset([time.sleep])
listener = socket.socket()
listener.close()
class Client:
    def __init__(self):
        self.queue = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.lock.acquire()
client = Client()
class Derived(threading.local):
    def __init__(self):
        super().__init__()
def default(nap=KEYS):
    pass
@functools.lru_cache(1)
def cached():
    return time.sleep
cached()
"""

LEFT = [
    "too_late:2: KEYS holds the unpatched time.sleep",
    "too_late:3: listener is a socket.socket made before patching",
    "too_late:7: Client.queue is a _queue.SimpleQueue made before patching",
    "too_late:8: Client.lock is a _thread.lock made before patching",
    "too_late:11: Derived derives from the unpatched _thread._local",
    "too_late:14: default.nap holds the unpatched time.sleep",
    "too_late:17: cached holds the unpatched time.sleep",
]


@pytest.fixture
def modules(tmp_path: Path) -> str:
    """Return a line that makes both modules importable."""
    (tmp_path / "early.py").write_text(EARLY)
    (tmp_path / "too_late.py").write_text(TOO_LATE)
    return f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"


def test_what_is_repaired(fresh: Fresh, modules: str) -> None:
    checks = """
import early
from treadle import monkey
monkey.patch_all()
import socket, threading, time, treadle
new = time.sleep
assert new.__module__ == "treadle.time"
assert early.sleep is new
assert early.HANDLERS == {"plain": new, "nested": [(new, 1)]}
assert early.BY_CLASS[socket.socket] == "known"
assert early.partial.func is new and early.partial.args == (0,)
assert type(early.free) is type(threading.Lock()) and early.acquire.__self__ is early.free
assert type(early.condition._lock) is type(threading.RLock())
assert early.condition.acquire.__self__ is early.condition._lock
assert (type(early.mine), early.mine.x) == (threading.local, 5)
assert treadle.spawn(lambda: hasattr(early.mine, "x")).get() is False
assert early.Client.nap is early.Client.static is early.client.nap is new
assert early.client.attribute is early.slotted.value is new
assert type(early.client.lock) is type(threading.RLock())
assert early.defaults(1) == (new, new)
assert early.wrapped.__closure__[0].cell_contents is new
assert issubclass(early.Unused, threading.local) and early.Unused().x == 1
assert issubclass(early.Used, threading.local) and type(early.used) is early.Used
assert (early.used.x, early.used.y) == (1, 2)
assert treadle.spawn(lambda: (early.used.x, hasattr(early.used, "y"))).get() == (1, False)
assert type(early.hidden._Hidden__lock) is type(early.locks[0]) is type(threading.Lock())
assert all(each["x"] is new for each in early.collected)
assert type(early.named).__name__ == "Named" and early.named.nap is early.queued[0] is new
assert early.one.nap is early.proxy["x"] is new
assert monkey.unpatched_references() == []
"""
    assert fresh(modules + checks) == ""


def test_objects_need_not_let_anybody_look_at_them(fresh: Fresh, tmp_path: Path) -> None:
    (tmp_path / "shy.py").write_text(SHY)
    (tmp_path / "lazy.py").write_text("print('loaded')")
    checks = f"""
import sys, warnings
sys.path.insert(0, {str(tmp_path)!r})
import shy
from treadle import monkey
warnings.simplefilter("ignore")
monkey.patch_all()
[line] = monkey.unpatched_references()
assert line.endswith("Local derives from the unpatched _thread._local"), line
import time
new = time.sleep
for each in (shy.plain, shy.module, shy.of_class, shy.lazy):
    assert object.__getattribute__(each, "__dict__")["nap"] is new
assert type.__getattribute__(shy.Class, "__dict__")["nap"] is new
assert shy.slotted.nap is shy.double.nap is shy.longer() is [*shy.keys.values()][0] is new
"""
    assert fresh(checks) == ""


def test_what_is_left_is_warned_of_and_listed(fresh: Fresh, modules: str) -> None:
    script = modules + (
        "import too_late, warnings\n"
        "from treadle import monkey\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    monkey.patch_all()\n"
        "print(*monkey.unpatched_references(), sep='\\n')\n"
        "[warning] = caught\n"
        "assert warning.category is monkey.MonkeyPatchWarning\n"
        "assert warning.filename == '<string>', warning.filename\n"
        "print(str(warning.message))\n"
    )
    lines = fresh(script).splitlines()
    assert lines[: len(LEFT)] == LEFT
    assert lines[len(LEFT)].startswith("too late for some references")
    assert [line.strip() for line in lines[len(LEFT) + 1 :]] == LEFT


PACKAGES = (
    "import concurrent.futures.process, concurrent.futures.thread, logging, requests, urllib3\n"
    "import asyncio, multiprocessing.managers, multiprocessing.pool, http.server, sqlite3\n"
    "import unittest.mock, xmlrpc.server, zope.interface, pytest\n"
)


def test_packages_imported_first_are_repaired(fresh: Fresh) -> None:
    checks = """
from treadle import monkey
monkey.patch_all()
assert monkey.unpatched_references() == []
import multiprocessing.util, threading
assert issubclass(multiprocessing.util.ForkAwareLocal, threading.local)
assert type(urllib3.poolmanager.PoolManager().pools.lock) is type(threading.RLock())
"""
    assert fresh(PACKAGES + checks) == ""


def test_originals_of_names_that_standard_modules_share(fresh: Fresh) -> None:
    checks = """
from treadle import monkey
monkey.patch_all()
import _thread, queue, threading
assert monkey.is_object_patched("threading", "Lock")
native = monkey.get_original("threading", "Lock")
assert native.__module__ == "_thread" and native is not threading.Lock
assert monkey.get_original("threading", "get_ident") is not threading.get_ident
"""
    assert fresh("import threading" + checks) == ""


def test_the_main_thread_is_joined_cooperatively(fresh: Fresh) -> None:
    checks = """
import threading
from treadle import monkey
monkey.patch_all()
import time
def work():
    threading.main_thread().join(0.01)
    assert threading.main_thread().is_alive()
    threading.main_thread().join()
    print("joined", threading.main_thread().is_alive())
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
time.sleep(0.05)
print("end")
"""
    assert fresh(checks) == "end\n" + "joined False\n" * 3


class TestDoctor:
    def doctor(self, *arguments: object, status: int) -> list[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "treadle", "doctor", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ended.returncode == status, ended.stderr
        return ended.stdout.splitlines()

    @pytest.fixture
    def program(self, tmp_path: Path, modules: str) -> Path:
        path = tmp_path / "program.py"
        path.write_text(
            "import sys, early, too_late\n"
            "print(__name__, sys.argv[1:])\n"
            "if 'patch' in sys.argv:\n"
            "    from treadle import monkey; monkey.patch_all()\n"
            "if 'keep' in sys.argv:\n"
            "    from treadle import monkey\n"
            "    nap = monkey.get_original('time', 'sleep')\n"
            "sys.exit(7)\n"
        )
        return path

    def test_patched_first(self, program: Path) -> None:
        assert self.doctor(program, "-x", status=0) == [
            "__main__ ['-x']",
            "nothing stayed unpatched",
        ]

    def test_an_original_taken_on_purpose(self, program: Path) -> None:
        found = self.doctor(program, "keep", status=1)
        assert found[1:] == ["__main__:7: nap is the unpatched time.sleep"]

    def test_late(self, program: Path) -> None:
        assert self.doctor("--late", program, "patch", status=1)[1:] == LEFT

    def test_never(self, program: Path) -> None:
        [_, told] = self.doctor("--late", program, status=1)
        assert told == "nothing is patched: the program has not called patch_all()"

    def test_module(self) -> None:
        assert self.doctor("-m", "calendar", "2026", status=0)[-1] == "nothing stayed unpatched"

    def test_no_such_program(self) -> None:
        assert self.doctor("no/such.py", status=2) == []
