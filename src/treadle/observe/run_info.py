"""Readable reports of all threads and greenlets of the process: gevent.util's run info."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from typing import Any, TextIO

from treadle._core.hub import get_current_hub
from treadle.observe.text import safe_repr
from treadle.observe.tree import GreenletTree

__all__ = ["format_run_info", "print_run_info"]

RULE = "*" * 80


def print_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: int | None = None,
    file: TextIO | None = None,
) -> None:
    """Print the lines of :func:`format_run_info` to *file*, by default standard error."""
    for line in format_run_info(thread_stacks, greenlet_stacks, limit):
        print(line, file=sys.stderr if file is None else file)


def format_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: int | None = None,
    current_thread_ident: int | None = None,
) -> list[str]:
    """Return a readable report of all threads and greenlets of the process, as lines.

    *thread_stacks* and *greenlet_stacks* say whether to include their stacks, and *limit* how many
    frames of each. The stacks where greenlets were spawned are always included.
    *current_thread_ident* is the native thread to mark as current, by default the caller's.
    """
    ident = get_current_hub().thread_ident if current_thread_ident is None else current_thread_ident
    return [
        *_thread_lines(thread_stacks, limit, ident),
        *_greenlet_lines(greenlet_stacks, limit),
    ]


def _thread_lines(stacks: bool, limit: int | None, current: int) -> Iterable[str]:
    threading: Any = sys.modules.get("threading")
    # The monitor's thread may report while the main thread imports it.
    known = threading.enumerate() if hasattr(threading, "enumerate") else []
    threads = {each.ident: each for each in known}
    yield RULE
    yield "* Threads"
    for ident, frame in sys._current_frames().items():
        yield RULE
        thread = threads.get(ident)
        name = getattr(thread, "name", None)
        mark = ") (CURRENT" if ident == current else ""
        yield f"Thread {ident:#x} ({name}{mark})\n"
        yield "".join(traceback.format_stack(frame, limit)) if stacks else "\t...stack elided..."


def _greenlet_lines(stacks: bool, limit: int | None) -> Iterable[str]:
    yield from (RULE, "* Greenlets", RULE)
    forest = GreenletTree.forest()
    forest.sort(key=lambda tree: "" if tree.is_current_tree else safe_repr(tree.greenlet))
    for tree in forest:
        yield "---- Thread boundary"
        # The stacks of another thread's greenlets are not accessible from here.
        yield from tree.format_lines(
            {
                "running_stacks": stacks and tree.is_current_tree,
                "running_stack_limit": limit,
            }
        )
