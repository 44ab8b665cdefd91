"""The fixture that runs a program under failing.c."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BEGIN = (HERE / "program.py").read_text()
COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture(scope="session")
def failing_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile failing.c and return the library."""
    if sys.platform != "linux":
        pytest.skip("failing.c replaces functions of Linux")
    if COMPILER is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("failing") / "failing.so"
    command = [COMPILER, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(HERE / "failing.c"), "-ldl", "-lpthread"], check=True)
    return library


@pytest.fixture
def failing(failing_library: Path) -> Callable[..., str]:
    """Return a function that runs Python source in which system functions can fail.

    The source finds ``failing(script)``, ``calls(name)`` and ``failures(name)`` of program.py. The
    function returns the output. It fails the test unless the program ends within *timeout* seconds
    with exit code 0, and with an empty stderr unless *errors* is true: then it returns stderr.
    """

    def run(source: str, script: str = "", errors: bool = False, timeout: float = 15) -> str:
        warnings = ["error", "ignore:This process:DeprecationWarning", "ignore::ResourceWarning"]
        command = [sys.executable, *(part for warning in warnings for part in ("-W", warning))]
        # A sanitizer's library comes first.
        libraries = ":".join(filter(None, [os.environ.get("LD_PRELOAD"), str(failing_library)]))
        done = subprocess.run(
            [*command, "-c", BEGIN + source],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            # The interpreter drops an option that this variable has too, and with it the order.
            env={**os.environ, "PYTHONWARNINGS": "", "LD_PRELOAD": libraries, "FAIL": script},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert errors or not done.stderr, done.stderr
        return done.stderr if errors else done.stdout

    return run
