"""The runner of gevent's tests: how it reads a module's record, and what it reports."""

import json
import sys
from pathlib import Path

import pytest
from conformance import internals
from conformance.report import Row, faults, table
from conformance.run import Outcome, _read


def test_a_failure_is_not_undone_by_what_follows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    steps = [["a", "started"], ["a", "failed"], ["a", "passed"], ["b", "started"]]
    log.write_text("".join(json.dumps(step) + "\n" for step in steps))
    assert _read(log) == {"a": "failed", "b": "started"}
    assert _read(tmp_path / "none") == {}


def test_only_what_passes_on_gevent_counts() -> None:
    gevent = Outcome({"a": "passed", "b": "passed", "c": "failed", "d": "skipped"}, 1)
    treadle = Outcome({"a": "passed", "b": "started", "c": "passed", "d": "passed"}, None)
    row = Row("test__x", gevent, treadle)
    assert (row.kept, row.lost) == (1, ["b"])
    text = table([row])
    assert "test__x b: did not end" in text
    assert "1 of 2: 50.0 %" in text


def test_an_odd_end_is_told() -> None:
    assert Outcome({}, None).ending.startswith("stopped after")
    assert Outcome({}, -11).ending == "killed by SIGSEGV"
    assert Outcome({"a": "failed"}, 1).ending == ""
    assert Outcome({"a": "passed"}, 3).ending == "exit status 3"


def test_a_run_fails_for_surprises_and_for_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "TESTS", {"test__x": {"T.a": "why", "T.b": "why", "T.f": "why"}})
    gevent = Outcome({f"__main__.T.{name}": "passed" for name in "abcde"}, 0)
    treadle = Outcome({f"__main__.T.{name}": "passed" for name in "bcd"}, 1)
    row = Row("test__x", gevent, treadle)
    assert row.surprises == ["T.b", "T.e"]
    named = [
        "test__x T.b: named, and not lost: in conformance/internals.py",
        "test__x T.e: lost, and not named in conformance/internals.py",
    ]
    assert faults([row], whole=False) == named
    assert faults([row], whole=True) == [*named, "less than 96.5% pass"]
    monkeypatch.setattr(internals, "TESTS", {"test__x": {"T.a": "why", "T.e": "why"}})
    assert faults([row], whole=False) == []
    assert faults([row], whole=True) == ["less than 96.5% pass"]
    assert "T.a: absent (why)" in table([row])
    assert faults([Row("test__x", treadle, treadle)], whole=True) == []


def test_losses_of_one_version(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere, elsewhere = {"test__x": {"T.a": "why"}}, {"test__x": {"T.b": "why"}}
    here = sys.version_info[:2]
    monkeypatch.setattr(internals, "TESTS", everywhere)
    monkeypatch.setattr(internals, "TESTS_OF_VERSION", {(3, 1): elsewhere})
    assert internals.known_losses("test__x") == {"T.a": "why"}
    monkeypatch.setattr(internals, "TESTS_OF_VERSION", {here: elsewhere})
    assert internals.known_losses("test__x") == {"T.a": "why", "T.b": "why"}
    assert internals.known_losses("test__y") == {}
