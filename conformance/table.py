"""Writes the table of gevent's names into the documentation: ``python -m conformance.table``.

With ``--record`` the names of gevent's wheel are first listed again, in an environment of its own.
With ``--check`` they are only compared with the recorded ones, and nothing is written.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from conformance import listing
from conformance.differences import BEHAVIOURS, ONLY_UNDER_ALIAS
from conformance.environment import ALSO, GEVENT, ROOT, Environment
from conformance.listing import Listing
from conformance.names import GONE, OTHERWISE, RECORDED, SAME, classify, recorded

#: The version of CPython for which gevent's names are recorded.
RECORDED_BY = (3, 11)
TABLE = ROOT / "docs" / "gevent.md"

HEAD = """\
# gevent's API on treadle

Written by `python -m conformance.table`: change `conformance/differences.py` instead.

Every public name of {release} (its wheel, CPython 3.11) is here, by module. A module `gevent.X` is
`treadle.X`, and under the alias (`treadle run --gevent`, `treadle.compat.install()`) `gevent.X` is
that very module; what is said holds for both, but where the alias is named. Under the alias alone
there are {only_under_alias}; the interfaces and
`InvalidThreadUseError` of `gevent.events` and `gevent.exceptions` too.

- **same**: every call that gevent takes is taken, with the same defaults, and does the same.
  treadle may take more.
- **different**: the name is there, and something about it is not as in gevent; the table says what,
  and what to do.
- **dropped**: there is no such name; the table says what to use.

Public is what a module's `__all__` names or its source defines without an underscore, the public
attributes of its classes (those of a base are listed there), and the settings in `gevent.config`.
What a module merely imports for its own use counts too, since programs find it there. All that a
module has of the standard library's module of its name, it has in treadle as well.

{counts}

## What behaves differently

Where a name is called in the same way and does something else, under the alias too.

| what | in gevent | in treadle | what to do |
| --- | --- | --- | --- |
{behaviours}

What the alias keeps of gevent's: the variables `GEVENT_...` in the environment, where the one named
`TREADLE_...` is not set; `gevent.__version__` and `version_info`, and the metadata of the
distribution; the entry points `gevent.plugins.monkey.*`; the private modules that libraries look
into.
"""


def behaviours() -> Iterator[str]:
    for each in BEHAVIOURS:
        yield f"| {each.title} | {each.gevent} | {each.treadle} | {each.what_to_do} |"


def counts(names: Listing) -> Iterator[str]:
    yield "| module | same | different | dropped |"
    yield "| --- | ---: | ---: | ---: |"
    total: Counter[str] = Counter()
    for module in names:
        found = Counter(classify(module, name, entry)[0] for name, entry in names[module].items())
        total += found
        yield f"| `{module}` | {found[SAME]} | {found[OTHERWISE]} | {found[GONE]} |"
    yield f"| all | {total[SAME]} | {total[OTHERWISE]} | {total[GONE]} |"


def section(module: str, names: Listing) -> Iterator[str]:
    """Yield the lines about one module."""
    yield f"\n## `{module}`\n"
    classes = {name: classify(module, name, entry) for name, entry in names[module].items()}
    others = {name: found for name, found in classes.items() if found[0] != SAME}
    if others:
        yield "| name | class | why, and what to do |"
        yield "| --- | --- | --- |"
        for (kind, reason), group in _together(others):
            shown = ", ".join(f"`{name}`" for name in group)
            yield f"| {shown} | {kind} | {reason} |"
        yield ""
    same = [name for name, (kind, _) in classes.items() if kind == SAME]
    if same:
        yield f"Same: {_by_class(same)}."


def _together(others: dict[str, tuple[str, str]]) -> list[tuple[tuple[str, str], list[str]]]:
    """Group the names that have the same class and reason, in the order of the first of each."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, found in others.items():
        groups.setdefault(found, []).append(name)
    return list(groups.items())


def _by_class(names: list[str]) -> str:
    """Return the names as text, with the attributes of a class in brackets after it."""
    attributes: dict[str, list[str]] = {}
    for name in names:
        outer, _, inner = name.partition(".")
        attributes.setdefault(outer, []).extend(filter(None, [inner]))
    return ", ".join(
        f"`{outer}`" + (f" ({', '.join(f'`{each}`' for each in inner)})" if inner else "")
        for outer, inner in attributes.items()
    )


def table() -> str:
    """Return the whole document."""
    names = recorded()
    head = HEAD.format(
        release=GEVENT.replace("==", " "),
        counts="\n".join(counts(names)),
        only_under_alias=", ".join(f"`{module}`" for module in ONLY_UNDER_ALIAS),
        behaviours="\n".join(behaviours()),
    )
    sections = [line for module in names for line in section(module, names)]
    return head + "\n".join(sections) + "\n"


def listed_by(python: Path) -> str:
    """Return the listing of the gevent in an environment, as JSON."""
    command = [str(python), listing.__file__]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def of_the_wheel() -> str:
    """Return the listing of gevent's wheel, installed in the environment that its tests run in."""
    environment = Environment("gevent")
    environment.make([GEVENT, *ALSO])
    return listed_by(environment.python)


def unrecorded(listed: str) -> list[str]:
    """Return an error message if *listed* is not the recorded listing, else an empty list.

    Nothing is compared on another version of CPython than the recorded one.
    """
    if sys.version_info[:2] != RECORDED_BY or listed == RECORDED.read_text():
        return []
    return ["gevent's names are not those recorded: python -m conformance.table --record"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.table", description=__doc__)
    parser.add_argument("--record", action="store_true", help="list the names of the wheel anew")
    parser.add_argument("--check", action="store_true", help="compare the recorded names with it")
    options = parser.parse_args()
    if options.check:
        wrong = unrecorded(of_the_wheel())
        print(*wrong, sep="\n", end="")
        return len(wrong)
    if options.record:
        RECORDED.write_text(of_the_wheel())
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
