"""``gevent._monitor`` under the alias."""

from weft._monitor import MonitorWarning, PeriodicMonitoringThread

__all__ = ["PeriodicMonitoringThread"]
