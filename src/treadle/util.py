"""Helpers to inspect running greenlets: the API of gevent.util."""

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
    """Make a callable that calls *func* and returns, rather than raises, one of *errors*.

    *errors* is an exception class or a tuple of classes. The callable has the attributes, the
    ``str()`` and the ``repr()`` of *func*.
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
    """A block of code did not switch to other greenlets."""


class assert_switches:
    """Raise AssertionError at the end of a ``with`` block that did not switch to other greenlets.

    With *max_blocking_time* in seconds, raise only if one greenlet kept running for longer than
    that; with *hub_only* as well, only if the event loop did not run for that long. The text holds
    the stack and the run info of all greenlets. An exception of the block itself propagates.
    """

    def __init__(self, max_blocking_time: float | None = None, hub_only: bool = False) -> None:
        self.max_blocking_time = max_blocking_time
        self.hub_only = hub_only
        #: Traces the switches while the block runs.
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
    """Clear the local variables of a frame and of its callers, except where a frame still runs."""
    while frame is not None:
        with contextlib.suppress(RuntimeError):  # the frame still runs
            frame.clear()
        frame = frame.f_back
