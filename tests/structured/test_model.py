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

#: How many programs each test makes, and which. TREADLE_TREES sets it for a longer search.
TREES = int(os.environ.get("TREADLE_TREES", "10000"))
SEED = int(os.environ.get("TREADLE_SEED", "1"))
#: Programs that share one run.
AT_ONCE = 500
#: In how many orders the model runs a program that does not what the first order does.
ORDERS = 2000
#: Steps of one run.
LIMIT = 10**8

#: Tells in a run what is wrong with a program, if anything.
Check = Callable[[Block], str | None]


def difference(program: Block) -> str | None:
    """What treadle does otherwise than the model in any order, or what breaks an invariant."""
    try:
        found = Execution(program).seen
    except Broken as broken:
        return str(broken)
    first = World(program).seen
    if found == first or any(found == World(program, order).seen for order in range(1, ORDERS)):
        return None
    return "\n".join(
        f"{key}: treadle {found.get(key)}, model {first.get(key)}"
        for key in sorted({**found, **first}, key=str)
        if found.get(key) != first.get(key)
    )


def failure_of(program: Block, check: Check = difference) -> str | None:
    """Check a program in a run of its own."""
    try:
        return run(lambda: check(program), leaks=False, limit=LIMIT)
    except Exception as exc:  # it hangs, for example
        return f"{type(exc).__name__}: {exc}"


def smallest(program: Block, check: Check) -> Block:
    """The program without all that can be left out while it still fails."""
    found = [program]

    def reduce(check: Check) -> None:
        for less in programs.reductions(lambda: found[-1]):
            if check(less) is not None:
                found.append(less)

    try:
        run(lambda: reduce(check), leaks=False, limit=LIMIT)
    except Exception:  # one of the programs has ended the run, which may be its fault
        reduce(lambda less: failure_of(less, check))
    return found[-1]


def report(program: Block, check: Check, seed: int, why: str) -> str:
    small = smallest(program, check)
    return (
        f"program {seed}: {why}\n\nsmaller: {failure_of(small, check)}\n\n{listing.script(small)}\n"
        f"# To run it again: failure_of(PROGRAM)\nPROGRAM = {programs.text(small)}"
    )


def search(make: Callable[[int], Block], check: Check = difference) -> None:
    """Check TREES programs; fail with the first that fails, made smaller."""
    end = SEED * 10**7 + TREES
    for first in range(SEED * 10**7, end, AT_ONCE):
        seed, why = first, None

        def some(seeds: range = range(first, min(first + AT_ONCE, end))) -> None:
            nonlocal seed, why
            for seed in seeds:
                why = check(make(seed))
                if why is not None:
                    break

        try:
            run(some, leaks=False, limit=LIMIT)
        except Exception as exc:
            why = f"{type(exc).__name__}: {exc}"
        gc.collect()
        if why is not None:
            pytest.fail(report(make(seed), check, seed, why), pytrace=False)


@pytest.mark.timeout(0 if "TREADLE_TREES" in os.environ else 120)
@pytest.mark.parametrize("make", [programs.distinct, programs.coinciding])
def test_programs_do_what_the_model_does(
    make: Callable[[int], Block], capfd: pytest.CaptureFixture[str]
) -> None:
    search(make)
    assert capfd.readouterr().err == ""
