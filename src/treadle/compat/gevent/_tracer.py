"""``gevent._tracer`` under the alias."""

from treadle.observe.tracer import GreenletTracer, HubSwitchTracer, MaxSwitchTracer

__all__ = ["GreenletTracer", "HubSwitchTracer", "MaxSwitchTracer"]
