"""The benchmark command, on its cheapest rows: what it prints and what it saves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = ("semaphore", "sleep0")
CONTESTANTS = ("treadle", "asyncio")

if not sys.platform.startswith("linux"):
    pytest.skip("the benchmarks read /proc", allow_module_level=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the command; return its output and the saved JSON."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output", str(folder)]
    for row in ROWS:
        command += ["--only", row]
    for contestant in CONTESTANTS:
        command += ["--contestant", contestant]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    (kept,) = folder.glob("*.json")
    assert kept.with_suffix(".md").read_text() == done.stdout.removesuffix("\n")
    return done.stdout, json.loads(kept.read_text())


def test_each_contestant_has_a_plausible_sample_of_each_row(run):
    _, results = run
    assert set(results["entries"]) == set(ROWS)
    for entries in results["entries"].values():
        assert tuple(entries) == CONTESTANTS
        for entry in entries.values():
            (sample,) = entry["samples"]
            assert 1e-9 < sample["wall"] < 1e-1
            assert not entry["note"]


def test_the_run_is_described(run):
    _, results = run
    assert results["settings"] == {"repeat": 1, "quick": True}
    assert results["machine"]["python"] == sys.version
    assert results["versions"]["asyncio"].startswith("CPython 3.")
    assert all(results["machine"][fact] for fact in ("cpu", "cores", "kernel", "revision"))


def test_the_tables_show_medians_ratios_and_targets(run):
    text, results = run
    medians, ratios = (table_after(text, start) for start in ("Medians", "treadle divided by"))
    assert medians[0] == ["", "treadle", "asyncio"]
    assert ratios[0] == ["", "asyncio", "target", "met"]
    samples = results["entries"]["semaphore"]
    ratio = samples["treadle"]["samples"][0]["wall"] / samples["asyncio"]["samples"][0]["wall"]
    assert ratios[3] == ["Semaphore, uncontended", f"{ratio:.3g}", "1/3 of gevent", "-"]


def table_after(text, start):
    """Return the cells of the Markdown table that follows the line beginning with `start`."""
    lines = text[text.index(f"\n{start}") :].splitlines()[3:]
    rows = []
    for line in lines:
        if not line:
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.parametrize(
    ("own", "gevent", "uvloop", "met"),
    [(1.0, 8.0, 2.0, True), (1.1, 8.0, 2.0, False), (1.0, 8.0, 0.9, False), (1.0, 8.0, None, None)],
)
def test_treadle_must_reach_every_target_of_a_row(own, gevent, uvloop, met):
    from benchmarks.results import Entry, Results
    from benchmarks.rows import ROWS

    row = next(row for row in ROWS if row.name == "spawn_join")
    figures = {"treadle": own, "gevent": gevent, "uvloop": uvloop}
    entries = {
        name: Entry([{"wall": 0.0}, {"wall": value}, {"wall": 9.0}] if value else [])
        for name, value in figures.items()
    }
    results = Results("", {}, {}, {}, {row.name: entries})
    assert results.met(row.name, row.figures[0]) is met


@pytest.mark.usefixtures("benchmarks")
def test_a_contestant_that_breaks_is_a_failure_and_not_a_gap(tmp_path):
    from benchmarks.measure import measure
    from benchmarks.results import Results
    from benchmarks.rows import ROWS
    from benchmarks.samples import Sampler

    row = next(row for row in ROWS if row.name == "semaphore")
    results = Results("", {}, {})
    sampler = Sampler("/bin/false", True, tmp_path)
    measure(results, sampler, [row], ["asyncio"], 3, lambda _: None)
    assert results.failures() == ["semaphore: asyncio: exit code 1: no message"]


def test_no_container_costs_more_per_item_the_fuller_it_is():
    """An item costs at most three times as much as in a container with a tenth as many."""
    command = [sys.executable, "-m", "benchmarks.growth", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=110)
    assert done.returncode == 0, done.stderr
    ratios = {line[:26].strip(): float(line.split()[-1]) for line in done.stdout.splitlines()[1:]}
    assert len(ratios) > 20
    assert {name: ratio for name, ratio in ratios.items() if ratio >= 3} == {}
