"""The list of trio's and asyncio's cases names tests that exist."""

import importlib
from types import ModuleType

import pytest

from .trio_cases import SOURCES, Case, Changed, Kept, Left

#: Cases kept, changed and left out.
COUNTS = {
    "trio test_run.py": (40, 19, 54),
    "trio test_cancelled.py": (8, 2, 2),
    "trio test_timeouts.py": (6, 2, 3),
    "asyncio test_taskgroups.py": (55, 7, 4),
}


def named(tests: str) -> list[tuple[str, str]]:
    """The tests of a text like "module: test, test; module: test", with their modules."""
    found = []
    for part in tests.split(";"):
        module, _, names = part.partition(":")
        found += [(module.strip(), name.strip()) for name in names.split(",")]
    return found


def has(module: ModuleType, name: str) -> bool:
    """Whether the module or a class of it has such a test."""
    places = [module, *(each for each in vars(module).values() if isinstance(each, type))]
    return any(callable(vars(place).get(name)) for place in places)


CASES = [(name, case) for cases in SOURCES.values() for name, case in cases.items()]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[name for name, _ in CASES])
def test_case(name: str, case: Case) -> None:
    if isinstance(case, Left):
        assert case.because
        return
    if isinstance(case, Changed):
        assert case.because
    for module, test in named(case.tests):
        assert test.startswith("test_")
        assert has(importlib.import_module(f"{__package__}.test_{module}"), test), (module, test)


def test_counts() -> None:
    counted = {
        source: tuple(
            sum(isinstance(case, kind) for case in cases.values()) for kind in (Kept, Changed, Left)
        )
        for source, cases in SOURCES.items()
    }
    assert counted == COUNTS
