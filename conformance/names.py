"""Classifies gevent's public names: the same in treadle, different or dropped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from conformance.differences import (
    BEHAVIOURS,
    BORROWED,
    DIFFERENT,
    DROPPED,
    NOT_BORROWED,
    ONLY_WITH,
    PASSED_ON,
)
from conformance.listing import Entry, Listing
from conformance.signatures import refusals

#: The listing of gevent's wheel, written by ``python -m conformance.table --record``.
RECORDED = Path(__file__).with_name("gevent_names.json")

SAME, OTHERWISE, GONE = "same", "different", "dropped"
#: Kind of a name in gevent -> the kinds that treadle may have instead, if more than the same one.
#: For a name that gevent's module imports for its own use, any kind will do.
CALLABLE = {"class", "function", "method"}
STANDS_FOR = {
    "attribute": {"attribute", "class"},
    "borrowed": CALLABLE | {"attribute", "data"},
    "function": CALLABLE,
    "method": CALLABLE,
}


def recorded() -> Listing:
    """Return the recorded listing of gevent's wheel."""
    listing: Listing = json.loads(RECORDED.read_text())
    return listing


def behaviours() -> dict[str, str]:
    """Return the names with a different behaviour, each with the titles of its behaviours."""
    titles: dict[str, list[str]] = {}
    for each in BEHAVIOURS:
        for name in each.names:
            titles.setdefault(name, []).append(each.title)
    return {name: "; ".join(found) for name, found in titles.items()}


_BEHAVIOURS = behaviours()


def classify(module: str, name: str, entry: Entry) -> tuple[str, str]:
    """Return the class of a recorded name, and the reason unless the class is "same"."""
    reason = DIFFERENT.get(module, {}).get(name, "")
    if entry["kind"] == "name" and not reason:
        kind, _ = _classify(*entry["of"].rpartition(".")[::2])
        return kind, "" if kind == SAME else f"as `{entry['of']}`"
    return _classify(module, name)


def _classify(module: str, name: str) -> tuple[str, str]:
    if name in NOT_BORROWED.get(module, "").split():
        return GONE, BORROWED
    outer = name.partition(".")[0]
    for each in (name, outer):
        if each in DROPPED.get(module, {}):
            return GONE, DROPPED[module][each]
    reasons = [DIFFERENT.get(module, {}).get(name, "")]
    if f"{module}.{name}" in _BEHAVIOURS:
        reasons.append(f"see above: {_BEHAVIOURS[f'{module}.{name}']}")
    reason = "; ".join(filter(None, reasons))
    return (OTHERWISE, reason) if reason else (SAME, "")


def differences(name: str, theirs: Entry, ours: Entry) -> Iterator[str]:
    """Yield the differences between gevent's and treadle's entry of a name."""
    if ours["kind"] not in STANDS_FOR.get(theirs["kind"], {theirs["kind"]}):
        yield f"is a {ours['kind']}, not a {theirs['kind']}"
    if "of" in theirs and theirs["of"] != ours.get("of"):
        yield f"is not {theirs['of']}"
    for base in set(theirs.get("bases", ())) - set(ours.get("bases", ())):
        yield f"is no {base}"
    if "value" in theirs and "value" in ours and not _equal(theirs["value"], ours["value"]):
        yield f"is {ours['value']}, not {theirs['value']}"
    for variable in set(theirs.get("environments", ())) - set(ours.get("environments", ())):
        yield f"is not read from {variable}"
    if "signature" in theirs and "signature" in ours:
        for refusal in refusals(theirs["signature"], ours["signature"]):
            if name not in PASSED_ON or not refusal.endswith("* arguments"):
                yield refusal


def _equal(one: str, other: str) -> bool:
    return one == other or _number(one) == _number(other) is not None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def is_here(full: str) -> bool:
    """Return whether a name exists with this version of Python."""
    since, until = ONLY_WITH.get(full, ((3, 0), (4, 0)))
    return since <= sys.version_info < until


def problems(listing: Listing, found: Listing) -> Iterator[str]:
    """Yield what is wrong: with ``differences.py``, and with treadle's entries of the names."""
    for table in (DIFFERENT, DROPPED):
        for module, names in table.items():
            for name, reason in names.items():
                if name not in listing.get(module, {}):
                    yield f"{module}.{name} is no name of gevent's"
                if len(reason) < 10:
                    yield f"{module}.{name} has no reason"
                if name in DIFFERENT.get(module, {}) and name in DROPPED.get(module, {}):
                    yield f"{module}.{name} is in two classes"
    for about in _BEHAVIOURS:
        module, name = home_of(about, listing)
        if name not in listing[module]:
            yield f"{about} is no name of gevent's"
    for module, names in listing.items():
        for name, theirs in names.items():
            yield from _problems_of(module, name, theirs, found.get(module, {}).get(name))


def _problems_of(module: str, name: str, theirs: Entry, ours: Entry | None) -> Iterator[str]:
    full = f"{module}.{name}"
    if not is_here(full):
        return
    kind, _ = classify(module, name, theirs)
    if kind == GONE and ours is not None:
        yield f"{full} is dropped, and there"
    elif kind != GONE and ours is None:
        yield f"{full} is missing"
    elif kind == SAME and ours is not None:
        for difference in differences(full, theirs, ours):
            yield f"{full} {difference}"


def home_of(full: str, listing: Listing) -> tuple[str, str]:
    """Return the module of a full name, and the name in it."""
    parts = full.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:end]) in listing:
            return ".".join(parts[:end]), ".".join(parts[end:])
    raise LookupError(f"{full} is in no module of gevent's")
