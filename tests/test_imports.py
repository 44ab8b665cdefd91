"""Imports from several greenlets, patched or not."""

from collections.abc import Callable
from pathlib import Path

import pytest

PATCH = "from treadle import monkey; monkey.patch_all()\n"

#: The module that each test imports; importing it takes a while.
SLOW = """
import treadle
first = 1
treadle.sleep(0.02)
last = 2
"""


@pytest.fixture
def run(tmp_path: Path, fresh: Callable[..., str]) -> Callable[..., str]:
    """Return a function that runs a program beside modules, given by their names."""

    def run(program: str, **modules: str) -> str:
        for name, source in {"slow": SLOW, **modules}.items():
            (tmp_path / f"{name}.py").write_text(source)
        return fresh(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{program}")

    return run


@pytest.mark.parametrize("patch", ["", PATCH])
def test_no_greenlet_gets_a_module_half_made(run: Callable[..., str], patch: str) -> None:
    program = """
import threading, treadle
def look():
    import slow
    return hasattr(slow, "last")
greenlets = [treadle.spawn(look) for _ in range(3)]
seen = []
thread = threading.Thread(target=lambda: seen.append(look()))
thread.start()
seen += [greenlet.get() for greenlet in greenlets]
thread.join()
print(*seen)
"""
    assert run(patch + program) == "True True True True\n"


def test_modules_that_import_each_other_from_two_greenlets(run: Callable[..., str]) -> None:
    each = "import treadle\ntreadle.sleep(0.01)\nimport {}\nlast = 1\n"
    program = """
import treadle
treadle.joinall([treadle.spawn(__import__, name) for name in ("one", "two")], raise_error=True)
import one, two
print(one.last, two.last)
"""
    assert run(program, one=each.format("two"), two=each.format("one")) == "1 1\n"


def test_a_module_that_imports_treadle_is_awaited(run: Callable[..., str]) -> None:
    app = "import treadle\ngreenlet = treadle.spawn(__import__, 'app')\n" + SLOW
    assert run("import app\nprint(app.greenlet.get().last)", app=app) == "2\n"


EARLY = "import treadle\nfrom treadle import monkey\nmonkey.patch_all()\n" + SLOW
STARTS = "import greenlet\ngreenlet.greenlet(lambda: __import__('patching')).switch()\nlast = 2\n"


@pytest.mark.parametrize(
    "program",
    [
        "import patching",
        "import treadle; treadle.spawn(__import__, 'patching').get()",
        # treadle itself is first imported in a greenlet, which is suspended meanwhile.
        """
import greenlet
first = greenlet.greenlet(lambda: __import__("patching"))
first.switch()
import treadle
while not first.dead: treadle.sleep(0.005)
""",
        "import starts; print(starts.last, end='')",
    ],
)
def test_patching_in_an_import(run: Callable[..., str], program: str) -> None:
    modules = {"patching": EARLY, "starts": STARTS}
    if "starts" in program:
        modules["patching"] = EARLY.removesuffix(SLOW)
    printed = run(program + "\nimport time; print(time.sleep.__module__)", **modules)
    assert printed in ("treadle.time\n", "2treadle.time\n")


@pytest.mark.parametrize("patch", ["", PATCH])
def test_a_forked_child_imports_anew_what_a_greenlet_was_importing(
    run: Callable[..., str], patch: str
) -> None:
    program = """
import os, treadle
greenlet = treadle.spawn(__import__, "slow")
treadle.sleep(0)
child = os.fork()
if child == 0:
    import slow
    os._exit(slow.last)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), greenlet.get().last)
"""
    assert run(patch + program) == "2 2\n"


def test_the_warning_of_an_interpreter_that_takes_the_gil_does_not_fail_the_import(
    run: Callable[..., str],
) -> None:
    """A free-threaded interpreter gives it once, after the first compiled module was made."""
    program = """
import importlib.machinery, warnings
create = importlib.machinery.ExtensionFileLoader.create_module
warned = []
def create_and_warn(self, spec):
    module = create(self, spec)
    if spec.name.startswith("treadle") and not warned:
        warned.append(spec.name)
        warnings.warn("The global interpreter lock (GIL) has been enabled", RuntimeWarning)
    return module
importlib.machinery.ExtensionFileLoader.create_module = create_and_warn
import treadle
treadle.sleep(0)
print(len(warned))
"""
    assert run(program) == "1\n"
