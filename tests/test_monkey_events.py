"""The events of patching for subscribers and plug-ins, and ``python -m treadle.monkey``.

Each program runs in a process of its own. The order and names of the events are those of a run of
gevent 26.9; ``_multiprocessing`` is treadle's own addition.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Fresh = Callable[..., str]

LISTEN = """
from treadle import events, monkey
seen = []
def listen(event):
    kind = type(event).__name__.removeprefix("Gevent").removesuffix("Event")
    name = getattr(event, "module_name", "")
    seen.append(f"{kind} {name}".strip())
events.subscribers.append(listen)
"""


def test_patch_all_tells_what_gevent_tells(fresh: Fresh) -> None:
    parts = ["time", "socket", "select", "selectors", "ssl", "subprocess", "_multiprocessing"]
    parts += ["signal", "queue"]
    printed = fresh(LISTEN + "assert monkey.patch_all() is True\nprint(*seen, sep='\\n')")
    assert printed.splitlines() == [
        "WillPatchAll",
        "WillPatchModule os",
        "DidPatchModule os",
        "WillPatchModule _thread",
        "WillPatchModule threading",
        "DidPatchModule thread",
        "DidPatchModule threading",
        *(f"{when}PatchModule {part}" for part in parts for when in ("Will", "Did")),
        "DidPatchBuiltinModules",
        "DidPatchAll",
    ]


CASES = {
    "arguments": """
def look(event):
    if isinstance(event, events.GeventWillPatchAllEvent):
        assert event.patch_all_kwargs == {"mylib": 3}
        assert event.patch_all_arguments["socket"] and event.will_patch_module("socket")
        assert event.will_patch_module("ssl") is False and event.will_patch_module("no") is None
        seen.append("looked")
events.subscribers.append(look)
assert monkey.patch_all(ssl=False, mylib=3) is True
assert "looked" in seen and "WillPatchModule ssl" not in seen
""",
    "veto of everything": """
def veto(event): raise events.DoNotPatch
events.subscribers.append(veto)
assert monkey.patch_all() is False
assert seen == ["WillPatchAll"] and not monkey.is_anything_patched()
events.subscribers.remove(veto)
assert monkey.patch_all() is True
""",
    "veto of modules": """
import socket, ssl, time
before = [time.sleep, socket.socket, ssl.SSLSocket._create]
def veto(event):
    if isinstance(event, events.GeventWillPatchModuleEvent):
        if event.module_name in ("time", "socket", "ssl"): raise events.DoNotPatch
events.subscribers.append(veto)
assert monkey.patch_all() is True
assert [time.sleep, socket.socket, ssl.SSLSocket._create] == before
assert not any(map(monkey.is_module_patched, ("time", "socket", "ssl")))
assert monkey.is_module_patched("threading")
assert not any("DidPatchModule " + name in seen for name in ("time", "socket", "ssl"))
""",
    "veto of threads": """
import threading
before = [threading.Lock, threading.local]
def veto(event):
    if getattr(event, "module_name", None) == "_thread": raise events.DoNotPatch
events.subscribers.append(veto)
assert monkey.patch_thread() is False
assert [threading.Lock, threading.local] == before
""",
    "a subscriber changes the names": """
import select
before = [select.poll]
def change(event):
    if isinstance(event, events.GeventWillPatchModuleEvent) and event.module_name == "select":
        event.target_item_names.remove("poll")
events.subscribers.append(change)
monkey.patch_select()
assert select.poll is before[0] and monkey.is_object_patched("select", "select")
assert "poll" in __import__("treadle.select").select.__implements__
""",
    "again": """
import warnings
assert monkey.patch_all(sys=True) is True
del seen[:]
assert monkey.patch_all(sys=True) is None and seen == []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert monkey.patch_all() is None and seen == []
assert [w.category for w in caught] == [monkey.MonkeyPatchWarning]
assert "more than once" in str(caught[0].message) and caught[0].filename == "<string>"
""",
    "again, with more": """
import time, warnings
assert monkey.patch_all(time=False) is True and time.sleep.__module__ == "time"
warnings.simplefilter("ignore")
assert monkey.patch_all() is True and time.sleep.__module__ == "treadle.time"
assert monkey.get_original("time", "sleep").__module__ == "time"
""",
    "a module of somebody's own": """
import types
target, source = types.ModuleType("target"), types.ModuleType("source")
target.f = 1
source.f, source.g, source.__implements__ = 2, 3, ["f", "g"]
calls = []
source._gevent_will_monkey_patch = lambda *args: calls.append(("will", *args[:2]))
source._gevent_did_monkey_patch = lambda *args: calls.append(("did", *args[:2]))
assert monkey.patch_module(target, source, ["f"]) is True
assert (target.f, hasattr(target, "g")) == (2, False)
assert monkey.patch_module(target, source) is True
assert (target.f, target.g) == (2, 3)
assert monkey.saved["target"] == {"f": 1} and monkey.is_module_patched("target")
assert calls[:2] == [("will", target, ["f"]), ("did", target, ["f"])]
assert seen == ["WillPatchModule target", "DidPatchModule target"] * 2
def veto(*args): raise events.DoNotPatch
source._gevent_will_monkey_patch = veto
target.f = 4
assert monkey.patch_module(target, source) is False and target.f == 4
del source.__implements__
try: monkey.patch_module(target, source)
except AttributeError: pass
else: raise AssertionError
""",
    "the parts that change nothing": """
monkey.patch_builtins(); monkey.patch_contextvars()
assert not monkey.is_anything_patched()
monkey.patch_signal()
assert monkey.is_module_patched("signal")
import signal
assert monkey.get_original("signal", "signal") is not signal.signal
""",
    "saved names what was replaced": """
monkey.patch_all()
for module, objects in monkey.saved.items():
    assert monkey.is_module_patched(module)
    assert all(monkey.is_object_patched(module, name) for name in objects)
    assert not [name for name, old in objects.items() if "treadle" in str(old)]
""",
    "zope's subscribers and interfaces": """
import zope.event
import treadle.compat; treadle.compat.install()
from gevent import events
from zope.interface.verify import verifyClass
assert events.subscribers is zope.event.subscribers and events.notify is zope.event.notify
for name in events.__all__:
    if name.startswith("Gevent"):
        assert verifyClass(getattr(events, "I" + name), getattr(events, name))
checked = []
def check(event):
    if events.IGeventWillPatchModuleEvent.providedBy(event): checked.append(event.module_name)
events.subscribers.append(check)
monkey.patch_time()
assert checked == ["time"]
""",
    "no such name": """
import treadle.compat; treadle.compat.install()
from gevent import events
try: events.INoSuchEvent
except AttributeError as exc: assert "INoSuchEvent" in str(exc)
else: raise AssertionError
""",
}


@pytest.mark.parametrize("case", CASES)
def test_events(fresh: Fresh, case: str) -> None:
    assert fresh(LISTEN + CASES[case]) == ""


def test_without_zope(fresh: Fresh) -> None:
    hide = "import sys; sys.modules['zope'] = None\n"
    script = hide + LISTEN + "monkey.patch_time(); print(seen)"
    assert fresh(script) == "['WillPatchModule time', 'DidPatchModule time']\n"


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    """Return lines that make an installed package, with plug-ins for both names, importable."""
    (tmp_path / "plugged.py").write_text(
        "def for_treadle(event): print('treadle', type(event).__name__)\n"
        "def for_gevent(event): print('gevent', type(event).__name__)\n"
    )
    information = tmp_path / "plugged-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        "[treadle.plugins.monkey.did_patch_all]\none = plugged:for_treadle\n"
        "[gevent.plugins.monkey.did_patch_builtins]\ntwo = plugged:for_gevent\n"
        "[gevent.plugins.monkey.will_patch_all]\nits_own = gevent.monkey:nothing\n"
    )
    return f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"


def test_plugins(fresh: Fresh, plugin: str) -> None:
    script = plugin + "from treadle import monkey; monkey.patch_all()"
    assert fresh(script) == "treadle GeventDidPatchAllEvent\n"


def test_plugins_for_gevent_under_the_alias(fresh: Fresh, plugin: str) -> None:
    script = plugin + (
        "from treadle import compat; compat.install(); compat.install()\n"
        "from gevent import monkey; monkey.patch_all()"
    )
    assert (
        fresh(script)
        == "gevent GeventDidPatchBuiltinModulesEvent\ntreadle GeventDidPatchAllEvent\n"
    )


class TestMain:
    def run(self, *arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "treadle.monkey", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == status, ended.stderr
        return ended

    @pytest.fixture
    def script(self, tmp_path: Path) -> Path:
        path = tmp_path / "program.py"
        path.write_text(
            "import os, socket, sys, time\n"
            "print(__name__, sys.argv[1:])\n"
            "print(*[f.__module__ for f in (time.sleep, socket.socketpair, os.close)])\n"
        )
        return path

    @pytest.mark.parametrize(
        ("options", "modules"),
        [
            ([], "treadle.time treadle.socket treadle.os"),
            (["--no-time", "--no-os"], "time treadle.socket posix"),
            (["--time"], "treadle.time socket posix"),
            (["--time", "--socket", "--Event"], "treadle.time treadle.socket posix"),
            (["--aggressive"], "treadle.time treadle.socket treadle.os"),
        ],
    )
    def test_script(self, script: Path, options: list[str], modules: str) -> None:
        ended = self.run(*options, script, "--a", "b")
        assert ended.stdout == f"__main__ ['--a', 'b']\n{modules}\n"
        assert ended.stderr == ""

    def test_module(self) -> None:
        assert "November" in self.run("--module", "calendar", "2026").stdout

    def test_verbose(self, script: Path) -> None:
        assert "patch_all(os=False)" in self.run("--verbose", "--no-os", script).stdout

    def test_unknown_option(self, script: Path) -> None:
        assert self.run("--no-such", script, status=1).stderr.endswith(
            "unknown option: --no-such\n"
        )

    def test_nothing_to_run(self) -> None:
        assert self.run().stdout.startswith("usage: python -m treadle.monkey")
