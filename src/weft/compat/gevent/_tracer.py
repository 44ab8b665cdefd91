"""``gevent._tracer`` under the alias."""

from weft._tracer import GreenletTracer, HubSwitchTracer, MaxSwitchTracer

__all__ = ["GreenletTracer", "HubSwitchTracer", "MaxSwitchTracer"]
