"""``gevent._greenlet_primitives`` under the alias."""

from greenlet import getcurrent, greenlet

from treadle._core.greenlet import RawGreenlet as TrackedRawGreenlet
from treadle._core.greenlet import all_greenlets
from treadle.exceptions import BlockingSwitchOutError

get_memory = memoryview


def get_reachable_greenlets():
    """Return all greenlets that the garbage collector tracks.

    Greenlets with a true attribute ``greenlet_tree_is_ignored`` are left out.
    """
    return [
        found for found in all_greenlets() if not getattr(found, "greenlet_tree_is_ignored", False)
    ]
