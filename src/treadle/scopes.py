"""Cancel scopes: a block of code that can be cancelled, limited in time, or shielded.

The words are trio's. :mod:`treadle.taskgroup` has the groups of greenlets that build on them.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

from treadle._core import scopes as core_scopes
from treadle._core.scopes import Cancelled, fail_after, move_on_after, shield
from treadle._core.sleep import sleep

__all__ = ["CancelScope", "Cancelled", "checkpoint", "fail_after", "move_on_after", "shield"]


class CancelScope(core_scopes.CancelScope):
    """A block of code, ``with CancelScope() as scope:``, that can be cancelled.

    Once it is cancelled, every wait inside the block raises :class:`Cancelled`, also the waits of
    clean-up code that has no :func:`shield`. The scope swallows that exception at its end. Waits of
    greenlets that were spawned inside are not concerned, unless a
    :class:`~treadle.TaskGroup` inside the block has spawned them.

    *timeout* is in seconds, from the begin of the block; *deadline* is a time of
    :func:`time.monotonic` in seconds. With *shield*, what comes from outside the block (other
    scopes, kills, Timeouts that were started before) is held back until its end. Raises TypeError
    if both *timeout* and *deadline* are given. A scope is entered once.
    """


def checkpoint() -> None:
    """Raise what is due in this greenlet, or let the others run that are ready."""
    sleep(0)


def _report_shield(scope: Any, owner: Any) -> None:
    """Print that a shield holds something back for long, and where its greenlet is."""
    frame = owner.gr_frame
    lines = [f"treadle: {scope!r} has held back an exception for over 5 s in {owner!r}:\n"]
    lines += traceback.format_stack(frame) if frame is not None else ["  (running)\n"]
    if sys.stderr is not None:
        sys.stderr.write("".join(lines))


def _split(group: BaseExceptionGroup[BaseException], scope: Any) -> Any:
    """Split *group* into the Cancelled of *scope* and the rest."""
    try:
        return BaseExceptionGroup.split(
            group, lambda exc: isinstance(exc, Cancelled) and exc.scope is scope
        )
    except Exception:
        return None, group  # its class, or its depth, does not let it be divided


Cancelled.__module__ = __name__
core_scopes.public_class = CancelScope
core_scopes.split = _split
core_scopes.report_shield = _report_shield
