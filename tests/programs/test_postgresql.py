"""treadle's wait callback for psycopg2, and what is different with psycopg 3."""

import json
from collections.abc import Callable

import pytest

from .test_clients import crowd

Run = Callable[..., str]


def test_psycopg2_with_sqlalchemy(run: Run, postgresql: str) -> None:
    crowd(run, "treadle", "orm.py", postgresql, "psycopg2")


@pytest.mark.parametrize(
    # psycopg 3 leaves it to the program to cancel and to close; psycopg2 closes at once.
    ("library", "closed"),
    [("psycopg2", True), ("psycopg", False)],
)
def test_what_is_interrupted(run: Run, postgresql: str, library: str, closed: bool) -> None:
    report = json.loads(run("interrupted.py", library, postgresql))
    seconds = [report[name].pop() for name in ("killed", "timed out", "cut off")]
    assert max(seconds) < 10  # the query itself takes 60 s
    assert report == {
        "killed": ["GreenletExit()", closed],
        "timed out": ["0.1 seconds", closed],
        "cut off": [True, True],
        "refused": True,
        "goes on": 42,
    }
