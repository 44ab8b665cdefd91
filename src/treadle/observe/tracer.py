"""Trace the greenlet switches of a thread, to find greenlets that block its hub."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, gettrace, settrace

from treadle._core.hub import get_current_hub as get_hub

__all__ = ["GreenletTracer", "HubSwitchTracer", "MaxSwitchTracer"]

Blocked = tuple[bool, Any] | bool | None


class GreenletTracer:
    """Counts the greenlet switches of the thread that creates it, until :meth:`kill`."""

    def __init__(self) -> None:
        #: The number of switches since the last call of :meth:`did_block_hub`.
        self.greenlet_switch_counter: int = 0
        #: The greenlet that runs, or None if it is not to be reported.
        self.active_greenlet: Any = None
        #: The trace function set before this one. It is still called.
        self.previous_trace_function: Callable[..., Any] | None = settrace(self)
        self._killed = False
        self._turns = get_hub().turns

    def kill(self) -> None:
        """Stop tracing. If another thread calls this, the next switch in the traced one does it."""
        self._killed = True
        current: Any = gettrace()
        if current is self:
            settrace(self.previous_trace_function)
            self.previous_trace_function = None

    def __call__(self, event: str, args: tuple[Any, Any]) -> None:
        if self._killed:
            self.kill()
            return
        self.note(event, args)
        if self.previous_trace_function is not None:
            self.previous_trace_function(event, args)

    def note(self, event: str, args: tuple[Any, Any]) -> None:
        """Record one switch."""
        self.greenlet_switch_counter += 1
        self.active_greenlet = args[1] if event in ("switch", "throw") else None

    def did_block_hub(self, hub: Any) -> Blocked:
        """Return ``(True, greenlet)`` if that greenlet has run since the last call, else False.

        The hub's turns count as well as switches: if a greenlet waits and no other can run, the
        loop turns without any switch.
        """
        switched = self.greenlet_switch_counter
        self.greenlet_switch_counter = 0
        turns, self._turns = self._turns, hub.turns
        if switched or turns != hub.turns:
            return False
        if self.active_greenlet is None or self.active_greenlet is hub or hub.idle:
            return False
        return True, self.active_greenlet

    def ignore_current_greenlet_blocking(self) -> None:
        """Do not report the current greenlet, until the next switch."""
        self.active_greenlet = None

    def monitor_current_greenlet_blocking(self) -> None:
        """Report the current greenlet if it blocks."""
        self.active_greenlet = getcurrent()

    def report(self, hub: Any, active_greenlet: Any) -> list[str]:
        """Return a report, as lines, of a greenlet that blocks, with the thread's stack."""
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
    """Reports a block if the hub has not run for *max_blocking_time* seconds."""

    def __init__(self, hub: Any, max_blocking_time: float) -> None:
        super().__init__()
        self.hub = hub
        self.max_blocking_time = max_blocking_time
        #: When the hub last ran, by :func:`time.perf_counter`; 0 if it has not run.
        self.last_entered_hub: float = 0.0
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
    """Reports a block once a greenlet, not the hub, has run for *max_blocking_time* seconds."""

    def __init__(self, hub: Any, max_blocking_time: float) -> None:
        super().__init__()
        self.hub = hub
        self.max_blocking_time = max_blocking_time
        #: The longest time without a switch so far, in seconds.
        self.max_blocking: float = 0.0
        self.last_switch: float = time.perf_counter()
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
