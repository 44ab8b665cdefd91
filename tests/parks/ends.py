"""Programs that end while greenlets wait: ``python -m parks.ends HOW PLACE ...``."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import treadle
from parks.place import Place
from parks.places import PLACES
from parks.tables import reason_against
from treadle.hub import get_hub

#: Seconds after which a program hangs.
LIMIT = 60


def wait_at(kind: type[Place]) -> Place:
    """Let two greenlets wait at one place."""
    place = kind()
    for _ in range(2 if kind.shared else 1):
        greenlet = treadle.spawn(place.park)
        while greenlet.waiting is None and not greenlet.dead:
            treadle.sleep(0)
    return place


def while_parked(kinds: list[type[Place]]) -> None:
    """The main module ends."""
    kept.extend(map(wait_at, kinds))


def by_exit_of_a_greenlet(kinds: list[type[Place]]) -> None:
    """A greenlet ends the program while the main greenlet waits for others."""
    kept.extend(map(wait_at, kinds))
    treadle.spawn_later(0.001, sys.exit).join()
    treadle.sleep(LIMIT)


def in_a_child(kinds: list[type[Place]]) -> None:
    """A forked child ends, in a greenlet that has nothing more to run."""
    kept.extend(map(wait_at, kinds))

    def fork() -> None:
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
            os._exit(0)

    treadle.spawn(fork).join()


def with_finalizers(kinds: list[type[Place]]) -> None:
    """Finalizers wait while the interpreter takes its modules apart."""
    get_hub().loop  # noqa: B018  # neither can be made at that time
    kept.extend(map(LateUse, kinds))


class LateUse:
    def __init__(self, kind: type[Place]) -> None:
        self.place = kind()
        self.place.give()

    def __del__(self) -> None:
        self.place.park()
        self.place.end()


kept: list[object] = []
WAYS = {
    function.__name__: function
    for function in (while_parked, by_exit_of_a_greenlet, in_a_child, with_finalizers)
}


def run(how: str, *names: str) -> tuple[int | None, str]:
    """Run a program that ends in the way *how*; return its exit status and what it printed."""
    folder = tempfile.TemporaryDirectory()  # for files that nobody removes
    command = [sys.executable, "-X", "dev", "-m", "parks.ends", how, *names]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "TMPDIR": folder.name,
    }
    with folder, open(os.path.join(folder.name, "printed"), "w+") as printed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            status = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            status = None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it has started
        process.wait()
        printed.seek(0)
        return status, printed.read()


@cache
def all_end_well(how: str) -> bool:
    """Return whether one program with all places ends well."""
    names = [
        name
        for name, kind in PLACES.items()
        if reason_against(name, kind, f"interpreter_ends_{how}") is None
    ]
    return run(how, *names) == (0, "")


if __name__ == "__main__":
    WAYS[sys.argv[1]]([PLACES[name] for name in sys.argv[2:]])
