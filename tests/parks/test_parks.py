"""Every place that waits, crossed with what may happen there."""

import gc
from collections.abc import Iterator

import pytest

from parks.cell import Cell
from parks.events import EVENTS
from parks.places import PLACES
from parks.tables import CANNOT_HAPPEN, KNOWN_FAULTS, reason_against


@pytest.fixture(autouse=True, scope="module")
def _quick_collections() -> Iterator[None]:
    """Leave pytest's own objects out of the many collections."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def cells() -> Iterator[object]:
    for place, kind in PLACES.items():
        for event in EVENTS:
            if reason_against(place, kind, event) is None:
                fault = KNOWN_FAULTS.get((place, event))
                marks = [] if fault is None else [pytest.mark.xfail(reason=fault, strict=True)]
                yield pytest.param(place, event, id=f"{place}-{event}", marks=marks)


@pytest.mark.parametrize(("place", "event"), [*cells()])
def test_cell(place: str, event: str, capfd: pytest.CaptureFixture[str]) -> None:
    EVENTS[event](Cell(PLACES[place]))
    assert capfd.readouterr() == ("", ""), "the hub reported an error"


def test_the_tables_name_places_and_events() -> None:
    for place, event in {**CANNOT_HAPPEN, **KNOWN_FAULTS}:
        assert place in PLACES
        assert event in EVENTS
