"""The runner of gevent's tests: what it makes of what a module wrote down."""

import json
from pathlib import Path

from conformance.report import Row, table
from conformance.run import Outcome, _read


def test_a_failure_is_not_undone_by_what_follows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    steps = [["a", "started"], ["a", "failed"], ["a", "passed"], ["b", "started"]]
    log.write_text("".join(json.dumps(step) + "\n" for step in steps))
    assert _read(log) == {"a": "failed", "b": "started"}
    assert _read(tmp_path / "none") == {}


def test_only_what_passes_on_gevent_counts() -> None:
    gevent = Outcome({"a": "passed", "b": "passed", "c": "failed", "d": "skipped"}, 1)
    weft = Outcome({"a": "passed", "b": "started", "c": "passed", "d": "passed"}, None)
    row = Row("test__x", gevent, weft)
    assert (row.kept, row.lost) == (1, ["b"])
    text = table([row])
    assert "test__x b: did not end" in text
    assert "1 of 2: 50.0 %" in text


def test_an_odd_end_is_told() -> None:
    assert Outcome({}, None).ending.startswith("stopped after")
    assert Outcome({}, -11).ending == "killed by SIGSEGV"
    assert Outcome({"a": "failed"}, 1).ending == ""
    assert Outcome({"a": "passed"}, 3).ending == "exit status 3"
