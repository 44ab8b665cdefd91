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
    """Return the loop of the current thread's hub; None if the thread has no hub."""
    hub = get_hub_if_exists()
    return None if hub is None else hub.loop
