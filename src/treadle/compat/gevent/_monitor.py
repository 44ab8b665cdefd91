"""``gevent._monitor`` under the alias."""

from treadle._monitor import MonitorWarning, PeriodicMonitoringThread

__all__ = ["PeriodicMonitoringThread"]
