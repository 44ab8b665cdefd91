"""treadle's primitives, explored under many schedules and compared with sequential models."""

import os
from typing import Any, ClassVar

import pytest

import treadle
from treadle.lock import Semaphore
from treadle.testing import at_every_park

from . import models
from .models import (
    BoundedPermits,
    Channels,
    Conditions,
    Events,
    Groups,
    Heaps,
    JoinableQueues,
    Model,
    Owned,
    Permits,
    Pools,
    Queues,
    Results,
    Run,
    SimpleQueues,
    Stacks,
)

#: Random programs for each primitive. TREADLE_PROGRAMS sets it for a longer search.
PROGRAMS = int(os.environ.get("TREADLE_PROGRAMS", "40"))
#: Which programs, and how many schedules of each.
SEED = int(os.environ.get("TREADLE_SEED", "1"))
SCALE = int(os.environ.get("TREADLE_SCALE", "1"))

MODELS = [
    Permits,
    BoundedPermits,
    Owned,
    Conditions,
    Events,
    Results,
    Queues,
    SimpleQueues,
    Stacks,
    JoinableQueues,
    Heaps,
    Channels,
    Pools,
    Groups,
]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.timeout(0 if "TREADLE_PROGRAMS" in os.environ else 120)
def test_random_programs(kind: type[Model]) -> None:
    model = kind()
    for program in models.programs(model, SEED, PROGRAMS):
        failure = models.failure_of(model, program, SCALE)
        assert failure is None, models.shrunk(model, program, failure)
    print(f"{kind.__name__}: {model.tried} schedules")


@pytest.mark.parametrize("kind", MODELS)
def test_all_small_programs(kind: type[Model]) -> None:
    """Every operation against every other, the first of them killed or interrupted."""
    model = kind()
    for program in models.pairs(model):
        failure = models.failure_of(model, program, SCALE / 5)
        assert failure is None, models.shrunk(model, program, failure)
    print(f"{kind.__name__}: {model.tried} schedules")


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("raises", [treadle.GreenletExit(), treadle.Timeout(9)])
def test_an_exception_at_every_wait(kind: type[Model], raises: BaseException) -> None:
    model = kind()
    hits = 0
    for program in models.programs(model, SEED, PROGRAMS, kills=False):
        run = Run(model, program)
        at_every_park(lambda run=run: run.disturbed(raises), raises=raises)
        hits += run.hits
    assert hits > PROGRAMS / 4


class LosesWakeups(Semaphore):
    """A waiter that is killed after it was given a permit does not pass it on."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        counter = self.counter
        try:
            return super().acquire(blocking, timeout)
        except BaseException:
            self.counter = counter
            raise


class Barging(Permits):
    """Takes a permit that it only looked at, with a switch in between."""

    class Kind(Semaphore):
        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            if self.counter > 0:
                treadle.sleep(0)
                self.counter -= 1
                return True
            return super().acquire(blocking, timeout)

    def make(self) -> Any:
        return self.Kind(1)


class Losing(Permits):
    def make(self) -> Any:
        return LosesWakeups(1)


class Forgetful(Queues):
    """Drops the item of a put() whose getter was killed."""

    class Kind(treadle.queue.Queue[Any]):
        def get(self, *args: Any) -> Any:
            try:
                return super().get(*args)
            except treadle.GreenletExit:
                self.queue.clear()
                raise

    kind: ClassVar[Any] = Kind


@pytest.mark.parametrize("kind", [Losing, Barging, Forgetful])
def test_planted_faults_are_found(kind: type[Model]) -> None:
    model = kind()
    found = (models.failure_of(model, each) for each in models.programs(model, SEED, 200))
    assert any(failure is not None for failure in found)


def test_a_small_program_is_found_for_a_fault() -> None:
    model = Losing()
    program, failure = next(
        (each, failure)
        for each in models.programs(model, SEED, 200)
        if (failure := models.failure_of(model, each)) is not None
    )
    text = models.shrunk(model, program, failure)
    assert text.count("Op(") <= 4
    assert "no order explains" in text
