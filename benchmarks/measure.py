"""Measures one row after the other, with interleaved contestants (A B C A B C ...)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from .results import Entry, Results
from .rows import Row
from .samples import Failed, Missing, Sampler


def measure(
    results: Results,
    sampler: Sampler,
    rows: Iterable[Row],
    contestants: Collection[str],
    repeat: int,
    progress: Callable[[str], None],
) -> None:
    """Take all samples and store them in `results`.

    The contestants of a row take turns, so that noise that lasts longer than a sample affects all
    of them alike.
    """
    for row in rows:
        if sampler.quick and not row.quick:
            continue
        entries = results.entries[row.name] = {
            name: Entry() for name in contestants if name in row.contestants
        }
        rounds = min(repeat, row.max_repeat)
        for turn in range(rounds):
            for name, entry in entries.items():
                if not entry.note:
                    progress(f"{row.name} {turn + 1}/{rounds} {name}")
                    _add_sample(results, sampler, row, name, entry)


def _add_sample(results: Results, sampler: Sampler, row: Row, name: str, entry: Entry) -> None:
    try:
        sample = sampler.take(row, name)
    except (Missing, Failed) as error:
        entry.note = str(error)
        entry.failed = isinstance(error, Failed)
    else:
        results.versions[name] = sample.version
        entry.samples.append(sample.figures)
