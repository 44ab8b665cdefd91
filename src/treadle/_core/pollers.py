"""The pollers that work on this platform, and the choice of a hub's poller."""

from __future__ import annotations

import sys

from treadle._core.poller import Poller, SelectorsPoller

if sys.platform == "linux":
    from treadle._core.epoll import EpollPoller
else:
    EpollPoller = None

__all__ = ["default_name", "make_inner_poller", "make_poller", "names"]

#: The poller of new hubs, one of :func:`names`; None: the best one.
default_name: str | None = None


def names() -> list[str]:
    """Return the names of the pollers that work on this platform, the best first."""
    return ["select"] if EpollPoller is None else ["epoll", "select"]


def make_poller(name: str | None, gets_signals: bool) -> Poller:
    """Return a new poller of the kind *name*; None: of the kind :data:`default_name`.

    With *gets_signals*, for the main thread, the interpreter notifies the poller of signals.
    Raises ValueError for an unknown name.
    """
    name = name or default_name or names()[0]
    if name == "epoll" and EpollPoller is not None:
        return EpollPoller(gets_signals)
    if name == "select":
        return SelectorsPoller()
    raise ValueError(f"no poller named {name!r} here; choose one of {names()}")


def make_inner_poller(outer: Poller) -> Poller:
    """Return a second poller of the same kind as *outer*, for *outer* to watch."""
    return make_poller("epoll" if outer.edge_triggered else "select", False)
