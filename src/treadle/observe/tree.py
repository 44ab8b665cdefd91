"""The tree of greenlets by the greenlet that spawned them: gevent.util's ``GreenletTree``."""

from __future__ import annotations

import pprint
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from greenlet import getcurrent

from treadle._core.greenlet import all_greenlets
from treadle._core.local import dictionaries_of
from treadle.observe.text import safe_repr

__all__ = ["GreenletTree"]


def _spawner_of(of: Any) -> Any:
    spawner = getattr(of, "spawning_greenlet", None)
    return None if spawner is None else spawner()


def _root_of(of: Any) -> Any:
    while of.parent is not None and not getattr(of, "greenlet_tree_is_root", False):
        of = of.parent
    return of


def _indented(depth: int, text: str) -> list[str]:
    return [" " * depth + line for line in text.splitlines()]


class GreenletTree:
    """A greenlet and the trees of the greenlets it spawned.

    ``str()`` returns the names alone, and :meth:`format` all details. Other attributes are those of
    the greenlet.
    """

    #: The default details of :meth:`format`.
    DEFAULT_DETAILS: Mapping[str, Any] = {
        "running_stacks": True,
        "running_stack_limit": None,
        "spawning_stacks": True,
        "locals": True,
    }
    #: Whether it is the tree of the thread that made the forest.
    is_current_tree = False

    def __init__(self, greenlet: Any) -> None:
        #: The greenlet at its root.
        self.greenlet = greenlet
        #: The trees of the greenlets it spawned.
        self.child_trees: list[GreenletTree] = []

    @property
    def root(self) -> bool:
        """Whether the greenlet is a thread's main greenlet."""
        return self.greenlet.parent is None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.greenlet, name)

    def add_child(self, tree: GreenletTree) -> None:
        """Add *tree* to the children of this tree, unless it is this tree itself."""
        if tree is not self:
            self.child_trees.append(tree)

    # -- finding them

    @classmethod
    def forest(cls) -> list[GreenletTree]:
        """Return a tree for each thread's main greenlet."""
        return list(cls._all_trees()[0].values())

    @classmethod
    def current_tree(cls) -> GreenletTree:
        """Return the tree of the current thread's main greenlet."""
        return cls._all_trees()[1]

    @classmethod
    def _all_trees(cls) -> tuple[dict[Any, GreenletTree], GreenletTree]:
        main = _root_of(getcurrent())
        trees: dict[Any, GreenletTree] = {main: cls(main)}
        trees[main].is_current_tree = True
        roots = {main: trees[main]}
        for each in all_greenlets():
            if getattr(each, "greenlet_tree_is_ignored", False):
                continue
            spawner = _spawner_of(each)
            # No spawner: a plain greenlet, or tracking is off, or the spawner is gone.
            above = _root_of(each) if spawner is None else spawner
            tree = trees.setdefault(above, cls(above))
            if above is _root_of(above):
                roots.setdefault(above, tree)
            tree.add_child(trees.setdefault(each, cls(each)))
        return roots, roots[main]

    # -- showing them

    def format(self, details: bool | Mapping[str, Any] = True) -> str:
        """Return the tree as text; for *details* see :meth:`format_lines`."""
        return "\n".join(self.format_lines(details))

    def __str__(self) -> str:
        return self.format(False)

    def format_lines(self, details: bool | Mapping[str, Any] = True) -> list[str]:
        """Return the tree as a list of lines.

        If *details* is false, the lines show the names alone. If it is a mapping, it overrides keys
        of :attr:`DEFAULT_DETAILS`.
        """
        if not details:
            shown: dict[str, Any] = {}
        else:
            shown = dict(self.DEFAULT_DETAILS)
            shown.update(details if isinstance(details, Mapping) else {})
        return list(self._lines(shown))

    def _lines(self, details: Mapping[str, Any]) -> Iterable[str]:
        # Not recursive: a chain of greenlets may be longer than the stack may be deep. Each tree is
        # listed with what stands before its name, and before the names and the data below it.
        pending = [(self, 0, "", "", "")]
        while pending:
            tree, depth, head, before_names, before_data = pending.pop()
            yield head + tree._label()
            if details:
                for text in tree._data(details):
                    yield f"{before_data}{'  ' if depth else ' :'}    {text}"
            children = sorted(tree.child_trees, key=_order)
            for child in reversed(children):
                last = child is children[-1]
                names = f"{before_names} {' ' if last else '|'}   "
                data = f"{before_data} {' ' if depth or last else ':'}    "
                pending.append((child, depth + 1, f"{before_names} +--- ", names, data))

    def _label(self) -> str:
        label = safe_repr(self.greenlet)
        if self.greenlet:
            return label
        if not getattr(self.greenlet, "ready", bool)():
            return f"{label}; not running"
        label += "; finished"
        if self.greenlet.value is not None:
            return f"{label} with value {safe_repr(self.greenlet.value)[:30]}"
        if getattr(self.greenlet, "exception", None) is not None:
            return f"{label} with exception {safe_repr(self.greenlet.exception)}"
        return label

    def _data(self, details: Mapping[str, Any]) -> Iterable[str]:
        of = self.greenlet
        yield f"Parent: {safe_repr(of.parent)}"
        monitor = getattr(of, "periodic_monitoring_thread", None)
        if monitor is not None:
            yield f"Monitoring Thread:{monitor!r}"
        if of and details["running_stacks"]:
            yield "Running:"
            yield from self._stack(details["running_stack_limit"])
        spawning_stack = getattr(of, "spawning_stack", None)
        if spawning_stack and details["spawning_stacks"]:
            yield "Spawned at:"
            yield from "".join(traceback.format_stack(spawning_stack)).splitlines()
        shared = getattr(of, "spawn_tree_locals", None)
        if shared and shared is not getattr(_spawner_of(of), "spawn_tree_locals", None):
            yield "Spawn Tree Locals"
            yield from safe_repr(shared, pprint.pformat).splitlines()
        if details["locals"]:
            yield from self._local_data()

    def _stack(self, limit: int | None) -> Iterable[str]:
        frame = self.greenlet.gr_frame
        if frame is None and self.greenlet is not getcurrent():
            yield "  (in compiled code only)"
        else:
            yield from "".join(traceback.format_stack(frame, limit)).splitlines()

    def _local_data(self) -> Iterable[str]:
        locals_ = [found for found in dictionaries_of(self.greenlet) if found[1]]
        if not locals_:
            return
        yield "Greenlet Locals:"
        for (kind, ident), attributes in locals_:
            yield f"  Local {kind} at {ident:#x}"
            yield from _indented(4, safe_repr(attributes, pprint.pformat))


def _order(tree: GreenletTree) -> tuple[int, bool, int]:
    """Return a sort key: by ``minimal_ident``; greenlets without one first, finished ones last."""
    ready = getattr(tree.greenlet, "ready", bool)
    return getattr(tree.greenlet, "minimal_ident", -1), ready(), id(tree.greenlet.parent)
