"""Watches a thread's greenlets switch: who has kept the others waiting."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, settrace

from treadle._core.hub import get_current_hub as get_hub

__all__ = ["GreenletTracer", "HubSwitchTracer", "MaxSwitchTracer"]

Blocked = tuple[bool, Any] | bool | None


class GreenletTracer:
    """Counts the switches of the thread it is made in, from then on until :meth:`kill`."""

    def __init__(self) -> None:
        #: How often there was a switch since :meth:`did_block_hub` was last asked.
        self.greenlet_switch_counter = 0
        #: Who runs, if that is to be watched.
        self.active_greenlet: Any = None
        #: The trace function that was there before, which is called as well.
        self.previous_trace_function: Callable[..., Any] | None = settrace(self)
        self._killed = False
        self._turns = get_hub().turns

    def kill(self) -> None:
        """Stop tracing; to be called in the thread it traces."""
        if not self._killed:
            self._killed = True
            settrace(self.previous_trace_function)
            self.previous_trace_function = None

    def __call__(self, event: str, args: tuple[Any, Any]) -> None:
        self.note(event, args)
        if self.previous_trace_function is not None:
            self.previous_trace_function(event, args)

    def note(self, event: str, args: tuple[Any, Any]) -> None:
        """Take notice of one switch."""
        self.greenlet_switch_counter += 1
        self.active_greenlet = args[1] if event in ("switch", "throw") else None

    def did_block_hub(self, hub: Any) -> Blocked:
        """``(True, greenlet)`` if that greenlet has run ever since the last call, else False.

        A greenlet that waits, with nobody else to run, lets the loop turn without any switch.
        """
        switched, self.greenlet_switch_counter = self.greenlet_switch_counter, 0
        turns, self._turns = self._turns, hub.turns
        if switched or turns != hub.turns:
            return False
        if self.active_greenlet is None or self.active_greenlet is hub or hub.idle:
            return False
        return True, self.active_greenlet

    def ignore_current_greenlet_blocking(self) -> None:
        """Do not watch who runs now, until the next switch."""
        self.active_greenlet = None

    def monitor_current_greenlet_blocking(self) -> None:
        """Watch who runs now."""
        self.active_greenlet = getcurrent()

    def report(self, hub: Any, active_greenlet: Any) -> list[str]:
        """Lines about a greenlet that blocks, and the thread's stack."""
        frame = sys._current_frames().get(hub.thread_ident)
        stack = [f"Unknown: the thread of {hub!r} has ended\n"]
        if frame is not None:
            stack = traceback.format_stack(frame)
        now = time.strftime("%a %b %d %H:%M:%S %Y GMT", time.gmtime())
        return [
            "=" * 80,
            f"\n{now} : Greenlet {active_greenlet} appears to be blocked",
            f"    Reported by {self}",
            f"Blocked Stack (for thread id {hub.thread_ident:#x}):",
            "".join(stack),
        ]


class HubSwitchTracer(GreenletTracer):
    """Measures how long ago the hub last had its turn."""

    def __init__(self, hub: Any, max_blocking_time: float) -> None:
        super().__init__()
        self.hub = hub
        self.max_blocking_time = max_blocking_time
        #: When that was; 0 if it was never.
        self.last_entered_hub = 0.0
        self._seen_turns = hub.turns

    def note(self, event: str, args: tuple[Any, Any]) -> None:
        super().note(event, args)
        self._look()

    def _look(self) -> None:
        if self.active_greenlet is self.hub or self.hub.turns != self._seen_turns:
            self._seen_turns = self.hub.turns
            self.last_entered_hub = time.perf_counter()

    def did_block_hub(self, hub: Any) -> Blocked:
        self._look()
        if time.perf_counter() - self.last_entered_hub > self.max_blocking_time:
            return True, self.active_greenlet
        return False


class MaxSwitchTracer(GreenletTracer):
    """Measures the longest time that one greenlet, other than the hub, kept running."""

    def __init__(self, hub: Any, max_blocking_time: float) -> None:
        super().__init__()
        self.hub = hub
        self.max_blocking_time = max_blocking_time
        #: The longest so far, in seconds.
        self.max_blocking = 0.0
        self.last_switch = time.perf_counter()
        self._seen_turns = hub.turns

    def note(self, event: str, args: tuple[Any, Any]) -> None:
        was = self.active_greenlet
        super().note(event, args)
        now = time.perf_counter()
        if was is not None and was is not self.hub and self.hub.turns == self._seen_turns:
            self.max_blocking = max(self.max_blocking, now - self.last_switch)
        self._seen_turns = self.hub.turns
        self.last_switch = now

    def did_block_hub(self, hub: Any) -> Blocked:
        if self.max_blocking == 0 and self.hub.turns == self._seen_turns:
            self.max_blocking = time.perf_counter() - self.last_switch
        if self.max_blocking > self.max_blocking_time:
            return True, self.active_greenlet
        return False
