"""``gevent._tracer`` under the alias."""

from treadle._tracer import GreenletTracer, HubSwitchTracer, MaxSwitchTracer

__all__ = ["GreenletTracer", "HubSwitchTracer", "MaxSwitchTracer"]
