"""treadle's own exceptions, with gevent's names and bases."""

from greenlet import GreenletExit

__all__ = [
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "HubDestroyed",
    "InvalidSwitchError",
    "LoopExit",
]


class LoopExit(Exception):
    """Raised in the main greenlet when it waits and no event can ever wake any greenlet.

    The text names each greenlet that waits, and what it waits for.
    """


class BlockingSwitchOutError(AssertionError):
    """A function that may block was called in the hub greenlet, where callbacks run.

    Spawn a greenlet that calls it instead.
    """


class InvalidSwitchError(AssertionError):
    """A waiting greenlet was switched to by something other than what it waits for."""


class ConcurrentObjectUseError(AssertionError):
    """Two greenlets used an object at the same time that supports only one."""


class HubDestroyed(GreenletExit):
    """Raised in a hub's greenlet to end it when the hub is destroyed.

    ``destroy_loop`` says whether the hub's loop is destroyed too.
    """

    def __init__(self, destroy_loop: bool | None = None) -> None:
        super().__init__(destroy_loop)
        self.destroy_loop = destroy_loop
