"""Renders the results of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from conformance.internals import known_losses
from conformance.run import Outcome

#: The share of the tests that pass on gevent which must pass on treadle.
WANTED = 0.965


@dataclass(frozen=True)
class Row:
    """The results of one module on gevent and on treadle."""

    module: str
    gevent: Outcome
    treadle: Outcome

    @property
    def lost(self) -> list[str]:
        """The tests that pass on gevent but not on treadle."""
        return sorted(self.gevent.passed - self.treadle.passed)

    @property
    def kept(self) -> int:
        return len(self.gevent.passed) - len(self.lost)

    @property
    def surprises(self) -> list[str]:
        """The tests that are lost but not listed as lost, or listed as lost but pass."""
        lost = {_name(test) for test in self.lost}
        expected = {_name(test) for test in self.gevent.passed}
        return sorted(lost ^ (known_losses(self.module).keys() & expected))

    def line(self) -> str:
        count = f"{self.kept}/{len(self.gevent.passed)}"
        ending = "" if self.gevent.ending else self.treadle.ending
        return f"{self.module:<46}{count:>9}  {ending}".rstrip()

    def losses(self) -> Iterator[str]:
        """Yield a line for each lost test, with the reason if it is a known loss."""
        for test in self.lost:
            result = self.treadle.tests.get(test, "absent")
            result = "did not end" if result == "started" else result
            reason = known_losses(self.module).get(_name(test), "")
            yield f"{self.module} {_name(test)}: {result}" + (f" ({reason})" if reason else "")

    def faults(self) -> Iterator[str]:
        """Yield a line for each surprise."""
        lost = {_name(test) for test in self.lost}
        for name in self.surprises:
            what = "lost, and not named" if name in lost else "named, and not lost:"
            yield f"{self.module} {name}: {what} in conformance/internals.py"


def _name(test: str) -> str:
    return test.removeprefix("__main__.")


def _total(rows: list[Row]) -> tuple[int, int]:
    return sum(row.kept for row in rows), sum(len(row.gevent.passed) for row in rows)


def table(rows: list[Row]) -> str:
    """Return the table of all modules, the lost tests and the total."""
    lines = ["", "passed on treadle of those that pass on gevent", ""]
    lines += [row.line() for row in rows]
    lost = [line for row in rows for line in row.losses()]
    if lost:
        lines += ["", "lost:", "", *lost]
    kept, total = _total(rows)
    share = 100 * kept / total if total else 100.0
    return "\n".join([*lines, "", f"{kept} of {total}: {share:.1f} %"])


def faults(rows: list[Row], whole: bool) -> list[str]:
    """Return why the run has failed, or an empty list.

    The share of tests that pass counts only in a run of all modules: if *whole* is true.
    """
    found = [line for row in rows for line in row.faults()]
    kept, total = _total(rows)
    if whole and kept < WANTED * total:
        found.append(f"less than {WANTED:.1%} pass")
    return found
