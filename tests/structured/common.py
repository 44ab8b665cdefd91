"""What the tests of scopes and groups share."""

from typing import Any, NoReturn

import treadle
from treadle import Cancelled, checkpoint, shield
from treadle.event import Event
from treadle.testing import clock

LONG = 3600.0


def forever() -> None:
    """Wait for what never comes."""
    Event().wait()


def is_cancelled() -> bool:
    """Whether a wait that takes no time raises Cancelled."""
    try:
        checkpoint()
    except Cancelled:
        return True
    return False


class Other(Exception):
    """An exception of these tests."""


class Base(BaseException):
    """An exception that is no Exception."""


def fail(exc: BaseException | type[BaseException], after: float = 0) -> NoReturn:
    """Raise *exc*, after a while."""
    if after:
        treadle.sleep(after)
    raise exc


def stubborn(steps: list[Any], seconds: float = 5) -> None:
    """Wait; and when that is ended, take some time to clean up."""
    try:
        forever()
    finally:
        with shield():
            treadle.sleep(seconds)
        steps.append(("cleaned", clock.elapsed))
