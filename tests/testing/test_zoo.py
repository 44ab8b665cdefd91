"""What the strategies of explore() find in the zoo, how small it gets, and that it repeats."""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from math import factorial
from pathlib import Path
from typing import Any

import pytest

from treadle import joinall, sleep, spawn
from treadle.event import Event
from treadle.testing import Report, ScheduleFailure, StepLimitError, _explore, explore, replay
from treadle.testing._token import Token

from .zoo import ZOO, Bug

SCHEDULES = 1000
SEEDS = range(5)
#: Of the random strategy.
FOUND = 0.9
#: Far more than any mended version has.
MOST = 20_000

every_bug = pytest.mark.parametrize("bug", ZOO, ids=[bug.name for bug in ZOO])


def search(bug: Bug, **options: Any) -> ScheduleFailure | None:
    """Return the failure that explore() finds, or None."""
    try:
        explore(bug.broken, preempt=bug.preempt, **options)
    except ScheduleFailure as failure:
        return failure
    return None


def fewest(bug: Bug) -> ScheduleFailure:
    """Return the failure with the fewest departures, which depth first search finds."""
    failure = search(bug, strategy="dfs", bound=bug.departures, schedules=MOST)
    assert failure is not None
    return failure


def departures(failure: ScheduleFailure) -> int:
    return len(Token.parse(failure.token).departures)


def test_the_zoo_is_large() -> None:
    assert len(ZOO) >= 30
    assert len({bug.name for bug in ZOO}) == len(ZOO)
    assert {bug.depth for bug in ZOO} == {1, 2, 3, 4}


@every_bug
def test_bug_needs_its_departures_and_no_fewer(bug: Bug) -> None:
    # Bound 0 is first in, first out.
    for bound in range(bug.departures):
        report = explore(
            bug.broken, strategy="dfs", bound=bound, schedules=MOST, preempt=bug.preempt
        )
        assert report.exhausted
    assert departures(fewest(bug)) == bug.departures


@every_bug
def test_dfs_exhausts_mended_version(bug: Bug) -> None:
    report = explore(bug.mended, strategy="dfs", bound=None, schedules=MOST, preempt=bug.preempt)
    assert report.exhausted
    assert report.schedules > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_random_finds_nearly_all(seed: int) -> None:
    found = {bug.name: search(bug, schedules=SCHEDULES, seed=seed) for bug in ZOO}
    missed = [name for name, failure in found.items() if failure is None]
    assert len(missed) <= (1 - FOUND) * len(ZOO), missed


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("depth", "schedules"), [(1, 100), (2, 1000), (3, 1000), (4, 5000)])
def test_pct_finds_all_of_its_depth(depth: int, schedules: int, seed: int) -> None:
    bugs = [bug for bug in ZOO if bug.depth <= depth]
    options = {"strategy": "pct", "bound": depth, "schedules": schedules, "seed": seed}
    missed = [bug.name for bug in bugs if search(bug, **options) is None]
    assert missed == []


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_pct_does_not_find_what_is_deeper(depth: int) -> None:
    bugs = [bug for bug in ZOO if bug.depth == depth]
    options = {"strategy": "pct", "bound": depth - 1, "schedules": 100}
    assert [bug.name for bug in bugs if search(bug, **options) is not None] == []


@every_bug
def test_failure_is_shrunk(bug: Bug) -> None:
    for seed in SEEDS:
        failure = search(bug, schedules=SCHEDULES, seed=seed)
        assert failure is not None
        assert departures(failure) <= bug.departures + 1


def test_most_failures_are_shrunk_to_the_minimum() -> None:
    failures = {bug: search(bug, schedules=SCHEDULES, seed=5) for bug in ZOO}
    larger = [bug.name for bug, one in failures.items() if one and departures(one) > bug.departures]
    assert len(larger) <= len(ZOO) // 20, larger


@every_bug
def test_same_seed_gives_the_same_token(bug: Bug) -> None:
    for strategy in ("random", "pct"):
        options = {"strategy": strategy, "bound": bug.depth, "schedules": 5000, "seed": 7}
        first, second = search(bug, **options), search(bug, **options)
        assert first is not None
        assert second is not None
        assert (first.token, first.schedules) == (second.token, second.schedules)


def raised(call: Callable[[], object]) -> type[BaseException] | None:
    try:
        call()
    except BaseException as exc:
        return type(exc)
    return None


@pytest.mark.parametrize("name", ["lock_order_of_three", "equal_deadlines"])
def test_replay_raises_the_same_each_time(name: str) -> None:
    bug = next(bug for bug in ZOO if bug.name == name)
    failure = fewest(bug)
    again = partial(replay, bug.broken, failure.token, leaks=False)
    kinds = Counter(raised(again) for _ in range(1000))
    assert kinds == {type(failure.exception): 1000}


@every_bug
def test_mended_version_bears_the_schedule(bug: Bug) -> None:
    replay(bug.mended, fewest(bug).token)


REPLAY = """
import json, sys
sys.path.insert(0, sys.argv[1])
from testing.zoo import ZOO
from treadle.testing import replay
tokens, kinds = json.loads(sys.argv[2]), {}
for bug in ZOO:
    try:
        replay(bug.broken, tokens[bug.name])
    except BaseException as exc:
        kinds[bug.name] = type(exc).__name__
print(json.dumps(kinds))
"""


def test_replay_in_another_process(fresh: Callable[..., str]) -> None:
    failures = {bug.name: search(bug, schedules=SCHEDULES, seed=3) for bug in ZOO}
    found = {name: failure for name, failure in failures.items() if failure is not None}
    tokens = {name: failure.token for name, failure in found.items()}
    kinds = {name: type(failure.exception).__name__ for name, failure in found.items()}
    tests = Path(__file__).resolve().parents[1]
    assert json.loads(fresh(REPLAY, str(tests), json.dumps(tokens))) == kinds


def lead(steps: int) -> None:
    """Fail if a greenlet does all its steps before another does the first."""
    done = [0, 0]

    def work(me: int) -> None:
        for _ in range(steps):
            done[me] += 1
            assert done[me] < steps or done[1 - me] > 0
            sleep(0)

    joinall([spawn(work, 0), spawn(work, 1)], raise_error=True)


def test_long_schedule_has_a_short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_explore, "SHRINK_STEPS", 20_000)
    calls = 0

    def program() -> None:
        nonlocal calls
        calls += 1
        lead(500)

    with pytest.raises(ScheduleFailure) as caught:
        explore(program, strategy="pct")
    assert departures(caught.value) >= 499
    assert len(str(caught.value)) < 20_000
    assert "failure.token" in str(caught.value)
    # Each has 500 steps or more.
    assert calls - caught.value.schedules < 50


def test_replay_has_the_limit_of_steps() -> None:
    def program() -> None:
        started: list[int] = []

        def work(number: int) -> None:
            started.append(number)
            while started[0] != 0:
                sleep(0)

        joinall([spawn(work, 0), spawn(work, 1)])

    with pytest.raises(ScheduleFailure) as caught:
        explore(program, limit=500)
    assert departures(caught.value) == 1
    with pytest.raises(StepLimitError, match="500"):
        replay(program, caught.value.token, limit=500)


def interleavings(steps: list[int], preempt: Any) -> tuple[Report, set[str]]:
    """Go depth first through greenlets with so many steps; also return the orders they ran in."""
    orders: set[str] = set()

    def program() -> None:
        order: list[str] = []
        event = Event()

        def work(name: str, count: int) -> None:
            order.append(name)
            for _ in range(count - 1):
                if preempt == "ops":
                    event.set()
                else:
                    sleep(0)
                order.append(name)

        joinall([spawn(work, "abc"[i], count) for i, count in enumerate(steps)])
        orders.add("".join(order))

    report = explore(program, strategy="dfs", bound=None, schedules=MOST, preempt=preempt)
    return report, orders


@pytest.mark.parametrize("preempt", ["parks", "ops"])
@pytest.mark.parametrize("steps", [[1, 1], [2, 2], [4, 3], [2, 2, 2], [3, 3, 3], [1, 2, 4]])
def test_dfs_goes_through_every_order_once(steps: list[int], preempt: str) -> None:
    report, orders = interleavings(steps, preempt)
    expected = factorial(sum(steps))
    for count in steps:
        expected //= factorial(count)
    assert report.exhausted
    assert len(orders) == report.schedules == expected


def test_pct_lets_others_run_while_one_polls() -> None:
    def program() -> None:
        done: list[int] = []

        def poll() -> None:
            while not done:
                sleep(0)

        pollers = [spawn(poll), spawn(poll)]
        sleep(0)
        done.append(1)
        joinall(pollers)

    report = explore(program, strategy="pct", limit=20_000, schedules=100)
    assert report.schedules == 100
