"""Random programs do on treadle what the model says."""

import gc
import os
from collections.abc import Callable

import pytest

from treadle.testing import run

from . import listing, programs
from .interpreter import Broken, Execution
from .model import World
from .programs import Block

#: How many programs, and which. TREADLE_TREES sets it for a longer search.
TREES = int(os.environ.get("TREADLE_TREES", "10000"))
SEED = int(os.environ.get("TREADLE_SEED", "1"))
#: Programs that share one run.
AT_ONCE = 500
#: In how many orders the model runs a program that treadle runs otherwise.
ORDERS = 100


def difference(program: Block) -> str | None:
    """What treadle does otherwise than the model, if it does. Called in a run."""
    try:
        found = Execution(program).seen
    except Broken as broken:
        return str(broken)
    first = World(program).seen
    if found == first:
        return None
    if any(found == World(program, order).seen for order in range(1, ORDERS)):
        return None
    return "\n".join(
        f"{key}: treadle {found.get(key)}, model {first.get(key)}"
        for key in sorted({**found, **first}, key=str)
        if found.get(key) != first.get(key)
    )


def breach(program: Block) -> str | None:
    """What does not hold of that which must hold for all programs. Called in a run."""
    try:
        Execution(program)
    except Broken as broken:
        return str(broken)
    return None


def failure_of(check: Callable[[Block], str | None], program: Block) -> str | None:
    """Check a program in a run of its own."""
    try:
        return run(lambda: check(program), leaks=False)
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


def smallest(check: Callable[[Block], str | None], program: Block) -> Block:
    """The program without all that can be left out while it still fails."""
    found = [program]

    def reduce(check: Callable[[Block], str | None]) -> None:
        for less in programs.reductions(lambda: found[-1]):
            if check(less) is not None:
                found.append(less)

    try:
        run(lambda: reduce(check), leaks=False, limit=10**8)
    except Exception:  # one of the programs has ended the run, which may be its fault
        reduce(lambda less: failure_of(check, less))
    return found[-1]


def report(check: Callable[[Block], str | None], program: Block, seed: int) -> str:
    small = smallest(check, program)
    return (
        f"seed {seed}: {failure_of(check, small)}\n\n{listing.script(small)}\n"
        f"To run it again: failure_of({check.__name__}, {programs.text(small)})"
    )


def search(make: Callable[[int], Block], check: Callable[[Block], str | None]) -> None:
    for first in range(SEED * 10**7, SEED * 10**7 + TREES, AT_ONCE):
        seeds = iter(range(first, min(first + AT_ONCE, SEED * 10**7 + TREES)))
        failed = None

        def some(seeds=seeds):
            nonlocal failed
            for failed in seeds:
                if check(make(failed)) is not None:
                    return
            failed = None

        try:
            run(some, leaks=False, limit=10**8)
        except Exception as exc:
            print(repr(exc))
        gc.collect()
        assert failed is None, report(check, make(failed), failed)


@pytest.mark.timeout(0 if "TREADLE_TREES" in os.environ else 120)
def test_programs_do_what_the_model_does(capfd: pytest.CaptureFixture[str]) -> None:
    search(programs.distinct, difference)
    assert capfd.readouterr().err == ""


@pytest.mark.timeout(0 if "TREADLE_TREES" in os.environ else 120)
def test_whatever_comes_first(capfd: pytest.CaptureFixture[str]) -> None:
    search(programs.coinciding, breach)
    assert capfd.readouterr().err == ""
