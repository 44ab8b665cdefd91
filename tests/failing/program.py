"""The beginning of each program that runs under failing.c."""

import ctypes
import os
from types import TracebackType

_library = ctypes.CDLL(os.environ["LD_PRELOAD"].split(":")[-1])
_library.failing_calls.restype = _library.failing_failures.restype = ctypes.c_long


class failing:
    """While the block runs, system functions fail as *script* says.

    Without a script, the environment variable FAIL has it. failing.c explains what is in a script.
    Raises ValueError if that is no script.
    """

    def __init__(self, script: str | None = None) -> None:
        self.script = None if script is None else script.encode()

    def __enter__(self) -> None:
        if _library.failing_arm(self.script) < 0:
            raise ValueError(f"not a script: {self.script or os.environ.get('FAIL')!r}")

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        _library.failing_disarm()


def calls(name: str) -> int:
    """Return how many calls of a function the last script has counted."""
    found: int = _library.failing_calls(name.encode())
    assert found >= 0, name
    return found


def failures(name: str) -> int:
    """Return how many calls of a function the last script has made fail."""
    found: int = _library.failing_failures(name.encode())
    assert found >= 0, name
    return found
