"""``gevent._hub_local`` under the alias: the hub of a thread."""

from treadle.hub import (
    get_hub,
    get_hub_class,
    get_hub_if_exists,
    get_hub_noargs,
    set_default_hub_class,
)

__all__ = ["get_hub", "get_hub_if_exists", "get_hub_noargs"]


def get_loop():
    """The loop of this thread's hub; None without one."""
    hub = get_hub_if_exists()
    return None if hub is None else hub.loop
