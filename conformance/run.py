"""Runs test modules, each in a process of its own, and reads what they wrote down."""

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

#: Seconds that a module may take; as gevent's own runner has it.
TIME_LIMIT = 100
#: The name that the exit status of a script without test cases goes by.
SCRIPT = "(script)"
#: So that no test depends on what the network outside answers.
ONLY_LOOPBACK = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@dataclass
class Outcome:
    """What became of the tests of one module."""

    #: Test id -> "passed", "failed", "skipped", "expected failure" or "started" (it never ended).
    tests: dict[str, str] = field(default_factory=dict)
    #: The exit status; negative: a signal's number; None: it took longer than the limit.
    status: int | None = None

    @property
    def passed(self) -> set[str]:
        return {test for test, result in self.tests.items() if result == "passed"}

    @property
    def ending(self) -> str:
        """Why the process ended, if that was no ordinary end."""
        if self.status is None:
            return f"stopped after {TIME_LIMIT} s"
        if self.status < 0:
            return f"killed by {signal.Signals(-self.status).name}"
        if self.status and set(self.tests.values()) <= {"passed", "skipped", "expected failure"}:
            return "" if "skipped" in self.tests.values() else f"exit status {self.status}"
        return ""


def isolation() -> list[str]:
    """The prefix of commands that gives them a network of their own, where that is allowed."""
    if shutil.which("unshare") and shutil.which("ip"):
        done = subprocess.run([*ONLY_LOOPBACK, "true"], capture_output=True)
        if done.returncode == 0:
            return ONLY_LOOPBACK
    return []


def modules(tests: Path) -> list[str]:
    """The names of the test modules in a folder."""
    return sorted(path.stem for path in tests.glob("test__*.py"))


def run_module(environment: Environment, tests: Path, module: str, prefix: list[str]) -> Outcome:
    """Run one module of the folder *tests*; its output is kept beside its results."""
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
            # What a test left behind is stopped too.
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
            # A failure in a sub-test or in the clean-up is not undone by what comes after it.
            if tests.get(test) != "failed":
                tests[test] = what
    return tests


def kept(environment: Environment, module: str) -> Outcome | None:
    """The results of an earlier run, if there are any."""
    path = HOME / "results" / environment.name / f"{module}.json"
    return Outcome(**json.loads(path.read_text())) if path.exists() else None
