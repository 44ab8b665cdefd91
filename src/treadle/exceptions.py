"""The exceptions of treadle's own, with gevent's names and bases."""

from greenlet import GreenletExit

__all__ = [
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "HubDestroyed",
    "InvalidSwitchError",
    "LoopExit",
]


class LoopExit(Exception):
    """Raised in the main greenlet when it waits and nothing can ever wake any greenlet.

    The text names each greenlet that waits, and for what.
    """


class BlockingSwitchOutError(AssertionError):
    """Something blocking was called in the hub greenlet, where callbacks run.

    Spawn a greenlet for it instead.
    """


class InvalidSwitchError(AssertionError):
    """A parked greenlet was switched to by something other than what it waits for."""


class ConcurrentObjectUseError(AssertionError):
    """Two greenlets used an object at once that serves one at a time."""


class HubDestroyed(GreenletExit):
    """Ends a hub's greenlet when the hub is destroyed.

    ``destroy_loop`` tells whether its loop goes with it.
    """

    def __init__(self, destroy_loop: bool | None = None) -> None:
        super().__init__(destroy_loop)
        self.destroy_loop = destroy_loop
