"""The message of a LoopExit: which greenlets wait, and for what."""

from __future__ import annotations

from treadle._core.thread_hub import ThreadHub
from treadle.observe.text import safe_repr

__all__ = ["describe_deadlock"]

#: The most waits that the message lists; it only counts the others.
MOST_NAMED = 50


def describe_deadlock(hub: ThreadHub) -> str:
    """Return why *hub* is deadlocked: a text with a line for each greenlet that waits in it."""
    waits = hub.waits()
    lines = ["This operation would block forever", f"    Hub: {safe_repr(hub)}"]
    lines += [f"    {safe_repr(wait)}" for wait in waits[:MOST_NAMED]]
    if len(waits) > MOST_NAMED:
        lines.append(f"    ... and {len(waits) - MOST_NAMED} more")
    return "\n".join(lines)
