"""``gevent._monitor`` under the alias."""

from treadle.observe.monitor import MonitorWarning, PeriodicMonitoringThread

__all__ = ["PeriodicMonitoringThread"]
