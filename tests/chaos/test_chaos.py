"""A minute of chaos; ``python -m tests.chaos`` has more of it."""

from pathlib import Path

import pytest

from .run import Run


@pytest.mark.parametrize(("tls", "seed"), [(False, 1), (True, 2)], ids=["plain", "tls"])
def test_every_request_is_answered(tls: bool, seed: int, tmp_path: Path) -> None:
    run = Run(tmp_path, 30, seed, tls)
    run.go()
    assert not run.faults, run.report()
