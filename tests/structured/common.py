"""What the tests of scopes and groups share."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
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


def fail(exc: BaseException | type[BaseException], after: float = 0) -> NoReturn:
    """Raise *exc*, after a while."""
    if after:
        treadle.sleep(after)
    raise exc


@contextmanager
def no_cyclic_garbage() -> Iterator[None]:
    """Fail if the block leaves what only the collector frees."""
    gc.collect()
    flags = gc.get_debug()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        yield
        gc.collect()
        assert not gc.garbage
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()


def stubborn(steps: list[Any], seconds: float = 5) -> None:
    """Wait; and when that is ended, take some time to clean up."""
    try:
        forever()
    finally:
        with shield():
            treadle.sleep(seconds)
        steps.append(("cleaned", clock.elapsed))
