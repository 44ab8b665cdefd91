"""Which pollers there are here, and which one a hub gets."""

from __future__ import annotations

import sys

from treadle._core.poller import Poller, SelectorsPoller

if sys.platform == "linux":
    from treadle._core.epoll import EpollPoller
else:
    EpollPoller = None

__all__ = ["default_name", "make_inner_poller", "make_poller", "names"]

#: The poller of new hubs, one of :func:`names`; None: the best there is.
default_name: str | None = None


def names() -> list[str]:
    """The pollers that work here, the best first."""
    return ["select"] if EpollPoller is None else ["epoll", "select"]


def make_poller(name: str | None, gets_signals: bool) -> Poller:
    """A poller of that *name*; None: :data:`default_name`'s. Raises ValueError for an unknown one.

    With *gets_signals* the interpreter tells it of signals: it is the main thread's.
    """
    name = name or default_name or names()[0]
    if name == "epoll" and EpollPoller is not None:
        return EpollPoller(gets_signals)
    if name == "select":
        return SelectorsPoller()
    raise ValueError(f"no poller named {name!r} here; choose one of {names()}")


def make_inner_poller(outer: Poller) -> Poller:
    """A second poller of the kind of *outer*, to be watched by it."""
    return make_poller("epoll" if outer.edge_triggered else "select", False)
