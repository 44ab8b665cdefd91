"""Describes what the figures depend on: machine, kernel, interpreter and source revision."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def describe(python: str) -> dict[str, str]:
    return {
        "cpu": _proc_value("/proc/cpuinfo", "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _proc_value("/proc/meminfo", "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": _output(python, "-c", "import sys; print(sys.version)"),
        "revision": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _proc_value(path: str, name: str) -> str:
    with open(path) as lines:
        for line in lines:
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    return "unknown"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
