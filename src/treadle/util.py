"""Looking at what runs: what gevent.util offers."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from treadle.hub import get_hub
from treadle.observe.run_info import format_run_info, print_run_info
from treadle.observe.tracer import GreenletTracer, HubSwitchTracer, MaxSwitchTracer
from treadle.observe.tree import GreenletTree

__all__ = [
    "GreenletTree",
    "assert_switches",
    "format_run_info",
    "print_run_info",
    "wrap_errors",
]


class wrap_errors:
    """Calls *func*, and returns what it raises if that is one of *errors*.

    *errors* is an exception class or a tuple of them. Otherwise it looks like *func*.
    """

    def __init__(
        self,
        errors: type[BaseException] | tuple[type[BaseException], ...],
        func: Callable[..., Any],
    ) -> None:
        self.__errors = errors
        self.__func = func
        functools.update_wrapper(self, func)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.__func(*args, **kwargs)
        except self.__errors as exc:
            return exc

    def __str__(self) -> str:
        return str(self.__func)

    def __repr__(self) -> str:
        return repr(self.__func)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__func, name)


#: gevent's older name of :func:`format_run_info`.
dump_stacks = format_run_info


class _FailedToSwitch(AssertionError):
    """A block of code let nobody else run."""


class assert_switches:
    """Raises AssertionError at the end of a ``with`` block in which no other greenlet could run.

    With *max_blocking_time* in seconds, only if nobody could for longer than that; with *hub_only*,
    if the loop had no turn for so long. The text says where it is and what else is there. What
    the block itself raises is left alone.
    """

    def __init__(self, max_blocking_time: float | None = None, hub_only: bool = False) -> None:
        self.max_blocking_time = max_blocking_time
        self.hub_only = hub_only
        #: Watches the switches while the block runs.
        self.tracer: GreenletTracer | None = None
        self.hub: Any = None
        self._entered = 0.0

    def __enter__(self) -> assert_switches:
        self.hub = get_hub()
        if not self.max_blocking_time:
            self.tracer = GreenletTracer()
        elif self.hub_only:
            self.tracer = HubSwitchTracer(self.hub, self.max_blocking_time)
        else:
            self.tracer = MaxSwitchTracer(self.hub, self.max_blocking_time)
        self._entered = time.perf_counter()
        self.tracer.monitor_current_greenlet_blocking()
        return self

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        tracer, self.tracer = self.tracer, None
        hub, self.hub = self.hub, None
        assert tracer is not None
        tracer.kill()
        blocked = None if typ is not None else tracer.did_block_hub(hub)
        if not blocked:
            return
        seconds = time.perf_counter() - self._entered
        to = "To the hub" if self.hub_only else "To any greenlet"
        allowed = self.max_blocking_time
        limit = f" (max allowed {allowed:.4f} seconds)" if allowed else ""
        lines = [f"{to} in {seconds:.4f} seconds{limit}"]
        lines += [*tracer.report(hub, tracer.active_greenlet), "Info:", *format_run_info()]
        raise _FailedToSwitch("\n".join(lines))


def clear_stack_frames(frame: FrameType | None) -> None:
    """Let the frame, and those that called it, forget their variables where they can."""
    while frame is not None:
        with contextlib.suppress(RuntimeError):  # it still runs
            frame.clear()
        frame = frame.f_back
