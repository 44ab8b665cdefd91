"""gevent's monitoring thread: a native thread that checks a hub periodically."""

from __future__ import annotations

import importlib
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakSet, ref

from treadle import events
from treadle._config import config
from treadle._core.hub import ThreadMain, get_existing_hub
from treadle._core.native import get_ident, start_new_thread
from treadle.observe.run_info import format_run_info
from treadle.observe.tracer import GreenletTracer

__all__ = ["MonitorWarning", "PeriodicMonitoringThread"]

#: The original function, imported before patching replaces it.
_sleep = time.sleep


class MonitorWarning(RuntimeWarning):
    """Issued when something cannot be monitored as requested."""


class _Entry:
    """A function that is called every *period* seconds."""

    __slots__ = ("function", "last_run_time", "period")

    def __init__(self, function: Callable[[Any], object], period: float | None) -> None:
        self.function = function
        self.period = period
        self.last_run_time = 0.0


class PeriodicMonitoringThread:
    """Reports greenlets that block the hub: other greenlets cannot run until they switch.

    Make it in the hub's thread, whose switches it traces. Functions passed to
    :meth:`add_monitoring_function` are called with the hub, in the native thread. They must not
    use cooperative calls.
    """

    #: The least time between two checks, in seconds.
    min_sleep_time: float = 0.005
    #: The time between two checks of whether there is anything to call, in seconds.
    idle_sleep_time: float = 0.5
    #: The least time between two checks of the memory, in seconds. They are expensive.
    min_memory_monitor_period = 2

    def __init__(self, hub: Any) -> None:
        self._hub = ref(hub, self._hub_gone)
        #: False after :meth:`kill`.
        self.should_run: bool = True
        self._tracer = GreenletTracer()
        self._tracer.monitor_current_greenlet_blocking()
        self._monitoring_functions = [_Entry(self.monitor_blocking, config.max_blocking_time)]
        self._memory_exceeded = 0
        self.pid: int = os.getpid()
        #: The identifier of the native thread.
        self.monitor_thread_ident: int = start_new_thread(self, ())
        _monitors.add(self)

    @property
    def hub(self) -> Any:
        """The hub, or None if it is gone."""
        return self._hub()

    def after_fork_in_child(self) -> None:
        """Start the native thread again, because a forked child does not have it."""
        if self.should_run and os.getpid() != self.pid:
            self.pid = os.getpid()
            self.monitor_thread_ident = start_new_thread(self, ())

    # -- the native thread

    def monitoring_functions(self) -> list[_Entry]:
        """Return the functions it calls, as objects with ``function`` and ``period`` (seconds).

        A function whose period is None is not called.
        """
        for entry in self._monitoring_functions:
            if entry.function == self.monitor_blocking:
                entry.period = config.max_blocking_time
        return self._monitoring_functions

    def add_monitoring_function(
        self, function: Callable[[Any], object], period: float | None
    ) -> None:
        """Call *function* with the hub every *period* seconds; stop if *period* is None.

        Raise ValueError if *function* is not callable or *period* is not positive.
        """
        if not callable(function):
            raise ValueError(f"a monitoring function must be callable, not {function!r}")
        if period is not None and period <= 0:
            raise ValueError(f"the period must be positive, not {period!r}")
        known = [entry for entry in self._monitoring_functions if entry.function == function]
        if period is None:
            self._monitoring_functions = [
                entry for entry in self._monitoring_functions if entry not in known
            ]
        elif known:
            known[0].period = period
        else:
            self._monitoring_functions = [*self._monitoring_functions, _Entry(function, period)]

    def calculate_sleep_time(self) -> float:
        """Return the time until the next check, in seconds."""
        periods = [entry.period for entry in self._monitoring_functions if entry.period is not None]
        return max(self.min_sleep_time, min(periods, default=self.idle_sleep_time))

    def kill(self) -> None:
        """Stop monitoring, and end the native thread soon. Call this in the hub's thread."""
        if self.should_run:
            self.should_run = False
            self._tracer.kill()

    def _hub_gone(self, _: object) -> None:
        self.kill()

    def __call__(self) -> None:
        """Run the native thread: call the monitoring functions until :meth:`kill`."""
        ThreadMain(self._watch).switch()  # a thread of treadle's own, whose hub gets no monitor

    def _watch(self) -> None:
        try:
            while self.should_run:
                functions = self.monitoring_functions()
                _sleep(self.calculate_sleep_time())
                if self.should_run:
                    self._call_those_due(functions)
        except SystemExit:
            pass
        except BaseException:
            hub = self.hub
            if hub is not None and sys.stderr is not None:
                hub.handle_error(self, *sys.exc_info())

    def _call_those_due(self, functions: list[_Entry]) -> None:
        hub = self.hub
        if hub is None:
            self.should_run = False
            return
        now = time.perf_counter()
        for entry in functions:
            if entry.period is not None and entry.last_run_time + entry.period <= now:
                entry.last_run_time = now
                entry.function(hub)

    # -- blocking

    def monitor_blocking(self, hub: Any) -> tuple[Any, list[str]] | None:
        """Report the greenlet that has blocked the hub since the last check.

        Return the greenlet and the lines of the report, or None if no greenlet has blocked.
        """
        blocked = self._tracer.did_block_hub(hub)
        if not isinstance(blocked, tuple):
            return None
        active = blocked[1]
        report = self._tracer.report(hub, active)
        report += [
            f"    Monitored by {self!r}",
            "Info:",
            *format_run_info(greenlet_stacks=False, current_thread_ident=get_ident()),
        ]
        events.notify(
            events.EventLoopBlocked(active, config.max_blocking_time or 0.0, report, hub=hub)
        )
        if config.print_blocking_reports:
            stream = hub.exception_stream
            for line in report:
                print(line, file=stream)
        return active, report

    def ignore_current_greenlet_blocking(self) -> None:
        """Do not report the current greenlet, which is meant to block, until the next switch."""
        self._tracer.ignore_current_greenlet_blocking()

    def monitor_current_greenlet_blocking(self) -> None:
        """Report the current greenlet if it blocks."""
        self._tracer.monitor_current_greenlet_blocking()

    # -- memory

    def can_monitor_memory_usage(self) -> bool:
        """Return whether memory can be monitored, which needs psutil."""
        return self._process() is not None

    def _process(self) -> Any:
        try:
            return importlib.import_module("psutil").Process()
        except ImportError:
            return None

    def install_monitor_memory_usage(self) -> None:
        """Check the memory usage every ``config.memory_monitor_period`` seconds.

        Issue a :class:`MonitorWarning` instead if psutil is not installed.
        """
        if not self.can_monitor_memory_usage():
            warnings.warn(
                "cannot monitor memory usage: install psutil", MonitorWarning, stacklevel=2
            )
            return
        period = max(config.memory_monitor_period, self.min_memory_monitor_period)
        self.add_monitoring_function(self.monitor_memory_usage, period)

    def monitor_memory_usage(self, _hub: Any) -> Any:
        """Publish an event if the process uses more than ``config.max_memory_usage`` bytes.

        Publish another event when the usage is no longer above that limit. Return the event, None
        if there is none, or -1 if there is no limit.
        """
        limit = config.max_memory_usage
        if not limit:
            return -1
        info = self._process().memory_full_info()
        used = getattr(info, "uss", 0) or info.rss
        exceeded, self._memory_exceeded = self._memory_exceeded, used if used > limit else 0
        event: Any = None
        if used > limit and used > exceeded:
            event = events.MemoryUsageThresholdExceeded(used, limit, info)
        elif used <= limit and exceeded:
            event = events.MemoryUsageUnderThreshold(used, limit, info, exceeded)
        if event is not None:
            events.notify(event)
        return event

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} at {id(self):#x} in thread {self.monitor_thread_ident:#x} "
            f"for {self.hub!r}>"
        )


#: The monitors of this process.
_monitors: WeakSet[PeriodicMonitoringThread] = WeakSet()


def _go_on_in_child() -> None:
    """Start the native thread of this hub's monitor again in a forked child; drop the others."""
    hub = get_existing_hub()
    for monitor in list(_monitors):
        if hub is not None and monitor.hub is hub:
            monitor.after_fork_in_child()
        else:
            monitor.should_run = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_go_on_in_child)
