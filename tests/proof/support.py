"""Run a program of this folder in a child process and see how it ended.

Each measurement, and each program that may crash or hang, runs in its own interpreter: pytest
does not affect the figures, and a hang fails one test, with the stacks of the child's threads.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import treadle

PROGRAMS = Path(__file__).with_name("programs")
LIBRARY = Path(treadle.__file__).parent.parent
# The promised counts take minutes; without the variable the tests run a part of them.
FULL = os.environ.get("PROOF_FULL") == "1"


@dataclass(frozen=True)
class Outcome:
    """How a child ended: its exit code (minus the signal's number, if killed) and its output."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return the last line of the output, parsed as JSON; fail unless the exit code is 0."""
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return json.loads(self.out.splitlines()[-1])


def environment(**more: str) -> dict[str, str]:
    """Return the child's variables: it finds the tested treadle and no setting of the caller."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GEVENT", "TREADLE"))}
    path = [str(LIBRARY), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**env, "PYTHONPATH": os.pathsep.join(path), **more}


def start(
    name: str, *args: object, flags: tuple[str, ...] = (), **variables: str
) -> "subprocess.Popen[str]":
    """Start programs/`name`.py; on SIGABRT it writes the stacks of its threads."""
    command = [sys.executable, "-X", "faulthandler", *flags, str(PROGRAMS / f"{name}.py")]
    return subprocess.Popen(
        [*command, *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**variables),
        text=True,
        # The children of a background job may ignore SIGINT, but the tests of SIGINT need it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )


def finish(child: "subprocess.Popen[str]", limit: float) -> Outcome:
    """Wait `limit` seconds for the child's end; if it hangs, fail with the child's stacks."""
    try:
        out, err = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGABRT)
        out, err = child.communicate()
        raise AssertionError(f"no end after {limit} s: {child.args}\n{out}\n{err}") from None
    return Outcome(child.returncode, out, err)


def run(
    name: str,
    *args: object,
    flags: tuple[str, ...] = (),
    limit: float = 60,
    **variables: str,
) -> Outcome:
    """Run programs/`name`.py with `args` to its end."""
    return finish(start(name, *args, flags=flags, **variables), limit)
