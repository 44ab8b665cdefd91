"""What a run found, in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.internals import TESTS
from conformance.run import Outcome


@dataclass(frozen=True)
class Row:
    """One module on both."""

    module: str
    gevent: Outcome
    weft: Outcome

    @property
    def lost(self) -> list[str]:
        """The tests that pass on gevent and not on weft."""
        return sorted(self.gevent.passed - self.weft.passed)

    @property
    def kept(self) -> int:
        return len(self.gevent.passed) - len(self.lost)

    def line(self) -> str:
        count = f"{self.kept}/{len(self.gevent.passed)}"
        ending = "" if self.gevent.ending else self.weft.ending
        return f"{self.module:<46}{count:>9}  {ending}".rstrip()

    def losses(self) -> list[str]:
        """A line for each lost test, with its reason if it is a known one."""
        lines = []
        for test in self.lost:
            name = test.removeprefix("__main__.")
            result = self.weft.tests.get(test, "absent")
            result = "did not end" if result == "started" else result
            reason = TESTS.get(self.module, {}).get(name, "")
            lines.append(f"{self.module} {name}: {result}" + (f" ({reason})" if reason else ""))
        return lines


def table(rows: list[Row]) -> str:
    """The table of all modules, what is lost, and the total."""
    lines = ["", "passed on weft of those that pass on gevent", ""]
    lines += [row.line() for row in rows]
    lost = [line for row in rows for line in row.losses()]
    if lost:
        lines += ["", "lost:", "", *lost]
    total = sum(len(row.gevent.passed) for row in rows)
    kept = sum(row.kept for row in rows)
    share = 100 * kept / total if total else 100.0
    return "\n".join([*lines, "", f"{kept} of {total}: {share:.1f} %"])
