"""Runs test modules, each in a process of its own, and reads the results that they record."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

from conformance.environment import HOME, Environment

#: Seconds that a module may take: the limit of gevent's own runner.
TIME_LIMIT = 100
#: The test name that stands for the exit status of a script without test cases.
SCRIPT = "(script)"
#: Runs a command without an outside network, so that no test depends on one.
ONLY_LOOPBACK = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@dataclass
class Outcome:
    """The results of the tests of one module."""

    #: Test id -> "passed", "failed", "skipped", "expected failure" or "started" (it never ended).
    tests: dict[str, str] = field(default_factory=dict)
    #: The exit status; negative: the signal that ended the process; None: stopped after TIME_LIMIT.
    status: int | None = None

    @property
    def passed(self) -> set[str]:
        return {test for test, result in self.tests.items() if result == "passed"}

    @property
    def ending(self) -> str:
        """Why the process ended, or "" for an ordinary end."""
        if self.status is None:
            return f"stopped after {TIME_LIMIT} s"
        if self.status < 0:
            return f"killed by {signal.Signals(-self.status).name}"
        if self.status and set(self.tests.values()) <= {"passed", "skipped", "expected failure"}:
            return "" if "skipped" in self.tests.values() else f"exit status {self.status}"
        return ""


def isolation() -> list[str]:
    """Return a command prefix for a network of its own; empty if the system does not allow that."""
    if shutil.which("unshare") and shutil.which("ip"):
        done = subprocess.run([*ONLY_LOOPBACK, "true"], capture_output=True)
        if done.returncode == 0:
            return ONLY_LOOPBACK
    return []


def modules(tests: Path) -> list[str]:
    """Return the names of the test modules in a folder."""
    return sorted(path.stem for path in tests.glob("test__*.py"))


def run_module(environment: Environment, tests: Path, module: str, prefix: list[str]) -> Outcome:
    """Run one module of the folder *tests*; keep its output and its results in files."""
    folder = HOME / "results" / environment.name
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{module}.jsonl"
    log.unlink(missing_ok=True)
    child = Path(__file__).with_name("child.py")
    command = [str(environment.python), "-u", str(child), str(log), f"gevent.tests.{module}"]
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    variables |= {
        "PYTHONFAULTHANDLER": "1",
        "PYTHONPATH": str(tests),
        "PYTHONWARNINGS": "default",
    }
    with (folder / f"{module}.out").open("wb") as output:
        process = subprocess.Popen(
            prefix + command,
            cwd=tests,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            # Processes that a test left behind are killed too.
            if process.poll() is None or status:
                _kill_session(process.pid)
            process.wait()
    outcome = Outcome(_read(log), status)
    if not outcome.tests:
        outcome.tests[SCRIPT] = "passed" if status == 0 else "failed"
    (folder / f"{module}.json").write_text(json.dumps(asdict(outcome)))
    return outcome


def _kill_session(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _read(log: Path) -> dict[str, str]:
    tests: dict[str, str] = {}
    if log.exists():
        for line in log.read_text().splitlines():
            test, what = json.loads(line)
            # A later result does not replace a failure in a sub-test or in the clean-up.
            if tests.get(test) != "failed":
                tests[test] = what
    return tests


def kept(environment: Environment, module: str) -> Outcome | None:
    """Return the results of an earlier run, or None."""
    path = HOME / "results" / environment.name / f"{module}.json"
    return Outcome(**json.loads(path.read_text())) if path.exists() else None
