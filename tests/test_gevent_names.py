"""The table of gevent's public names in the documentation is right about each name."""

import json
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
from conformance import differences, listing, names
from conformance.environment import GEVENT
from conformance.listing import Listing
from conformance.names import problems, recorded
from conformance.signatures import refusals
from conformance.table import RECORDED_BY, TABLE, listed_by, of_the_wheel, table, unrecorded

ALIASED = (
    "import runpy, sys, treadle.compat; treadle.compat.install(); sys.argv[:2] = sys.argv[1:];"
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
#: Modules that offer every name of the standard library's module of the same name.
MIRRORS = ("os", "select", "selectors", "signal", "socket", "ssl", "subprocess", "time")


@pytest.fixture(scope="module")
def found(fresh: Callable[..., str]) -> Listing:
    """Return what the alias has under gevent's names."""
    ours: Listing = json.loads(fresh(ALIASED, listing.__file__, str(names.RECORDED)))
    return ours


def test_the_table_is_up_to_date() -> None:
    assert TABLE.read_text() == table(), "run python -m conformance.table"


def test_what_the_alias_alone_has() -> None:
    homes = {module: module.replace("gevent", "treadle", 1) for module in recorded()}
    lacking = {module for module, home in homes.items() if find_spec(home) is None}
    assert lacking - set(differences.DROPPED) == set(differences.ONLY_UNDER_ALIAS)


def test_every_name_is_what_the_table_says(found: Listing) -> None:
    assert list(problems(recorded(), found)) == []


def test_what_a_module_merely_imports_is_there_or_listed(found: Listing) -> None:
    for module, missing in differences.NOT_BORROWED.items():
        for name in missing.split():
            assert recorded()[module][name]["kind"] == "borrowed", (module, name)
            assert name not in found.get(module, {}), (module, name)


THEIRS: Listing = {
    "gevent.x": {
        "call": {"kind": "function", "signature": "(a, b=1)"},
        "Kind": {"kind": "class", "bases": ["OSError"]},
        "LIMIT": {"kind": "data", "value": "5"},
        "other": {"kind": "name", "of": "gevent.x.call"},
    }
}


class TestProblemsAreFound:
    """The check of the table finds the problems that it should."""

    @pytest.fixture(autouse=True)
    def nothing_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for said in ("DIFFERENT", "DROPPED", "_BEHAVIOURS"):
            monkeypatch.setattr(names, said, {})

    def problems(self, **changed: Any) -> list[str]:
        ours = {**THEIRS["gevent.x"], **changed}
        there = {name: entry for name, entry in ours.items() if entry is not None}
        return list(problems(THEIRS, {"gevent.x": there}))

    def test_none(self) -> None:
        assert self.problems() == []

    def test_a_name_is_missing(self) -> None:
        assert self.problems(call=None) == ["gevent.x.call is missing"]

    def test_parameters_differ(self) -> None:
        ours = {"kind": "function", "signature": "(a, b=2)"}
        assert self.problems(call=ours) == ["gevent.x.call b is 2 by default, not 1"]

    def test_a_base_is_missing(self) -> None:
        ours = {"kind": "class", "bases": []}
        assert self.problems(Kind=ours) == ["gevent.x.Kind is no OSError"]

    def test_a_value_differs(self) -> None:
        ours = {"kind": "data", "value": "6"}
        assert self.problems(LIMIT=ours) == ["gevent.x.LIMIT is 6, not 5"]

    def test_two_names_of_one_thing(self) -> None:
        assert self.problems(other={"kind": "name"}) == ["gevent.x.other is not gevent.x.call"]

    def test_what_is_dropped_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(names, "DROPPED", {"gevent.x": {"LIMIT": "has no limit now"}})
        assert self.problems() == ["gevent.x.LIMIT is dropped, and there"]

    def test_a_reason_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(names, "DIFFERENT", {"gevent.x": {"LIMIT": ""}})
        assert self.problems() == ["gevent.x.LIMIT has no reason"]

    def test_a_name_is_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(names, "DIFFERENT", {"gevent.x": {"nothing": "is not like gevent's"}})
        assert self.problems() == ["gevent.x.nothing is no name of gevent's"]


@pytest.mark.parametrize(
    ("theirs", "ours", "refused"),
    [
        ("(a, b=1)", "(a, b=1, c=2)", []),
        ("(a, b=1)", "(a, b=1, *, c)", ["requires c"]),
        ("(a, b=1)", "(a, b=1, /)", ["takes no a by name", "takes no b by name"]),
        ("(a, b=1)", "(a, b)", ["requires b"]),
        ("(a, b)", "(b, a)", ["takes a at another place", "takes b at another place"]),
        ("(a)", "(a, b)", ["requires b"]),
        ("(a, *more)", "(a)", ["takes no * arguments"]),
        ("(a, **more)", "(a, **others)", []),
        ("(*, a=1)", "(*, a=2)", ["a is 2 by default, not 1"]),
        ("(a)", "(*args, **kwargs)", []),
        ("(*args, **kwargs)", "(a)", []),
    ],
)
def test_what_a_signature_refuses(theirs: str, ours: str, refused: list[str]) -> None:
    assert refusals(theirs, ours) == refused


@pytest.mark.parametrize("module", MIRRORS)
def test_the_rest_of_the_standard_librarys_names_is_there(
    module: str, fresh: Callable[..., str]
) -> None:
    lacking = fresh(
        "import importlib, sys, types; ours = importlib.import_module('treadle.' + sys.argv[1])\n"
        "for name, value in vars(importlib.import_module(sys.argv[1])).items():\n"
        "    if not (name.startswith('_') or isinstance(value, types.ModuleType)):\n"
        "        if not hasattr(ours, name): print(name)",
        module,
    )
    assert lacking == ""


@pytest.mark.skipif(sys.version_info[:2] != RECORDED_BY, reason="recorded by another CPython")
@pytest.mark.timeout(600)
def test_the_recorded_names_are_those_of_gevents_wheel() -> None:
    try:
        installed = f"gevent=={version('gevent')}" == GEVENT
    except PackageNotFoundError:
        installed = False
    try:
        listed = listed_by(Path(sys.executable)) if installed else of_the_wheel()
    except CalledProcessError as exc:
        if "pip" not in exc.cmd:
            raise
        pytest.skip(f"{GEVENT} cannot be installed here")
    assert json.loads(listed) == recorded()
    assert unrecorded(listed) == []
    assert "--record" in unrecorded(listed.replace("Greenlet", "Redlet"))[0]
