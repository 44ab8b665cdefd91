"""Run type checkers: right.py must be free of errors, each marked line of wrong.py must be one.

This needs the extra "dev": mypy, and pyright, which downloads itself once from npm's registry.
"""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance import mirrors

import treadle

HERE = Path(__file__).parent
SOURCE = Path(treadle.__file__).parent
#: The least percentage of public symbols with known types that pyright must report.
KNOWN = 98.0

Check = Callable[[str], set[int]]


def run(*command: object) -> str:
    """Run a checker and return its output; it finds treadle where this interpreter does."""
    # pyright uses the first interpreter in PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=HERE,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def lines(output: str, program: str) -> set[int]:
    """Return the numbers of the lines of *program* for which *output* reports an error."""
    found = re.findall(rf"{program}:(\d+)(?::\d+)?(?: -)?:? error", output)
    assert found or not re.search(r"(: | - )error", output), output
    return {int(number) for number in found}


def mypy(program: str) -> set[int]:
    path = HERE / program
    return lines(run("mypy", "--strict", "--config-file=", path), program)


def pyright(program: str) -> set[int]:
    return lines(run("pyright", HERE / program), program)


@pytest.mark.parametrize("check", [mypy, pyright])
def test_right_programs_are_accepted(check: Check) -> None:
    assert check("right.py") == set()


@pytest.mark.parametrize("check", [mypy, pyright])
def test_mistakes_are_reported(check: Check) -> None:
    source = (HERE / "wrong.py").read_text().splitlines()
    wrong = {number for number, line in enumerate(source, 1) if line.endswith("# ERROR")}
    assert check("wrong.py") == wrong


def test_public_types_are_known() -> None:
    output = run("pyright", "--verifytypes", "treadle", "--ignoreexternal")
    (score,) = re.findall(r"Type completeness score: ([\d.]+)%", output)
    assert float(score) >= KNOWN, output


@pytest.mark.parametrize("name", mirrors.MIRRORS)
def test_stubs_of_the_standard_library_are_up_to_date(name: str) -> None:
    text = (SOURCE / "_stdlib" / f"{name}.pyi").read_text()
    assert text == mirrors.stub_of(name), "run python -m conformance.mirrors"


def test_every_public_callable_that_takes_a_function_is_tried() -> None:
    """wrong.py calls each public callable that takes a function, with a wrong argument."""
    tried = (HERE / "wrong.py").read_text()
    for module in (treadle, treadle.pool, treadle.threadpool, treadle.futures, treadle.server):
        for name in module.__all__:
            value = getattr(module, name)
            owners = [value] if not isinstance(value, type) else []
            if isinstance(value, type):
                owners = [
                    member
                    for key, member in inspect.getmembers(value, callable)
                    if not key.startswith("_")
                ]
            for each in owners:
                try:
                    parameters = list(inspect.signature(each).parameters)
                except (TypeError, ValueError):
                    continue
                if {"run", "function", "func", "fn", "handler"} & set(parameters):
                    assert f"{each.__name__}(" in tried, f"{module.__name__}.{name}: {each}"
