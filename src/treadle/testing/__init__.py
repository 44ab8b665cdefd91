"""Tests of concurrent programs: a virtual clock, every schedule, replay, leaks.

- :func:`run` runs a function on a virtual clock and finds what it leaves behind.
- :func:`explore` runs it under many schedules and shrinks the first that fails;
  :func:`replay` runs that one again.
- :func:`at_every_park` raises an exception, or calls a function, at each place where it waits.
- :data:`clock` moves the time, :func:`wait_all_blocked` lets everything else go as far as it can,
  :class:`Sequencer` orders blocks of code, :func:`no_leaks` checks a block.
- :func:`schedules` is a strategy for Hypothesis. ``pytest --treadle`` runs each test in a run.
"""

from treadle.testing._clock import StrictClockError, clock, wait_all_blocked
from treadle.testing._explore import Report, ScheduleFailure, explore, replay
from treadle.testing._hypothesis import Schedule, schedules
from treadle.testing._leaks import LeakError, no_leaks
from treadle.testing._parks import at_every_park
from treadle.testing._run import HangError, NondeterminismError, StepLimitError, run
from treadle.testing._sequencer import Sequencer

__all__ = [
    "HangError",
    "LeakError",
    "NondeterminismError",
    "Report",
    "Schedule",
    "ScheduleFailure",
    "Sequencer",
    "StepLimitError",
    "StrictClockError",
    "at_every_park",
    "clock",
    "explore",
    "no_leaks",
    "replay",
    "run",
    "schedules",
    "wait_all_blocked",
]
