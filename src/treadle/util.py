"""Looking at what runs: what gevent.util offers."""

from __future__ import annotations

import contextlib
import functools
import gc
import pprint
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, TracebackType
from typing import Any, TextIO

from greenlet import getcurrent, greenlet

from treadle._core.local import dictionaries_of
from treadle._tracer import GreenletTracer, HubSwitchTracer, MaxSwitchTracer
from treadle.hub import get_hub

__all__ = [
    "GreenletTree",
    "assert_switches",
    "format_run_info",
    "print_run_info",
    "wrap_errors",
]

RULE = "*" * 80


class wrap_errors:
    """Calls *func*, and returns what it raises if that is one of *errors*.

    *errors* is an exception class or a tuple of them. Otherwise it looks like *func*.
    """

    def __init__(
        self,
        errors: type[BaseException] | tuple[type[BaseException], ...],
        func: Callable[..., Any],
    ) -> None:
        self.__errors = errors
        self.__func = func
        functools.update_wrapper(self, func)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.__func(*args, **kwargs)
        except self.__errors as exc:
            return exc

    def __str__(self) -> str:
        return str(self.__func)

    def __repr__(self) -> str:
        return repr(self.__func)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__func, name)


def print_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: int | None = None,
    file: TextIO | None = None,
) -> None:
    """Print what :func:`format_run_info` returns to *file*, standard error by default."""
    for line in format_run_info(thread_stacks, greenlet_stacks, limit):
        print(line, file=sys.stderr if file is None else file)


def format_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: int | None = None,
    current_thread_ident: int | None = None,
) -> list[str]:
    """Lines for people to read about all threads and greenlets of the process.

    *thread_stacks* and *greenlet_stacks* say whether to print where they are, *limit* how many
    frames of each. Where greenlets were spawned is always printed. *current_thread_ident* is the
    native thread to be marked as current, by default the caller's.
    """
    ident = get_hub().thread_ident if current_thread_ident is None else current_thread_ident
    return [
        *_thread_lines(thread_stacks, limit, ident),
        *_greenlet_lines(greenlet_stacks, limit),
    ]


#: gevent's older name of :func:`format_run_info`.
dump_stacks = format_run_info


def _thread_lines(stacks: bool, limit: int | None, current: int) -> Iterable[str]:
    threading: Any = sys.modules.get("threading")
    threads = {} if threading is None else {each.ident: each for each in threading.enumerate()}
    yield RULE
    yield "* Threads"
    for ident, frame in sys._current_frames().items():
        yield RULE
        thread = threads.get(ident)
        name = getattr(thread, "name", None)
        mark = ") (CURRENT" if ident == current else ""
        yield f"Thread {ident:#x} ({name}{mark})\n"
        yield "".join(traceback.format_stack(frame, limit)) if stacks else "\t...stack elided..."


def _greenlet_lines(stacks: bool, limit: int | None) -> Iterable[str]:
    yield from (RULE, "* Greenlets", RULE)
    forest = GreenletTree.forest()
    forest.sort(key=lambda tree: "" if tree.is_current_tree else repr(tree.greenlet))
    for tree in forest:
        yield "---- Thread boundary"
        # Where the greenlets of another thread are cannot be seen from here.
        yield from tree.format_lines(
            {
                "running_stacks": stacks and tree.is_current_tree,
                "running_stack_limit": limit,
            }
        )


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
    """A greenlet and those it spawned.

    ``str()`` shows the tree in short, :meth:`format` at length. What it does not have itself it
    takes from the greenlet.
    """

    #: What :meth:`format` shows if nothing else is said.
    DEFAULT_DETAILS: Mapping[str, Any] = {
        "running_stacks": True,
        "running_stack_limit": None,
        "spawning_stacks": True,
        "locals": True,
    }
    #: Whether it is the tree of the thread that asked.
    is_current_tree = False

    def __init__(self, greenlet: Any) -> None:
        #: The greenlet at its root.
        self.greenlet = greenlet
        #: The trees of those it spawned.
        self.child_trees: list[GreenletTree] = []

    @property
    def root(self) -> bool:
        """Whether it is a thread's main greenlet."""
        return self.greenlet.parent is None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.greenlet, name)

    def add_child(self, tree: GreenletTree) -> None:
        """Put another tree under this one; itself is ignored."""
        if tree is not self:
            self.child_trees.append(tree)

    # -- finding them

    @classmethod
    def forest(cls) -> list[GreenletTree]:
        """A tree for each thread's main greenlet."""
        return list(cls._all_trees()[0].values())

    @classmethod
    def current_tree(cls) -> GreenletTree:
        """The tree of the current thread's main greenlet."""
        return cls._all_trees()[1]

    @classmethod
    def _all_trees(cls) -> tuple[dict[Any, GreenletTree], GreenletTree]:
        main = _root_of(getcurrent())
        trees: dict[Any, GreenletTree] = {main: cls(main)}
        trees[main].is_current_tree = True
        roots = {main: trees[main]}
        for each in gc.get_objects():
            if not isinstance(each, greenlet) or getattr(each, "greenlet_tree_is_ignored", False):
                continue
            spawner = _spawner_of(each)
            # Raw greenlets have none, and others' may be gone.
            above = _root_of(each) if spawner is None else spawner
            tree = trees.setdefault(above, cls(above))
            if above is _root_of(above):
                roots.setdefault(above, tree)
            tree.add_child(trees.setdefault(each, cls(each)))
        return roots, roots[main]

    # -- showing them

    def format(self, details: bool | Mapping[str, Any] = True) -> str:
        """The tree as text; *details* as for :meth:`format_lines`."""
        return "\n".join(self.format_lines(details))

    def __str__(self) -> str:
        return self.format(False)

    def format_lines(self, details: bool | Mapping[str, Any] = True) -> list[str]:
        """The tree as lines.

        *details* false shows the names alone; a mapping with keys of :attr:`DEFAULT_DETAILS`
        replaces those.
        """
        if not details:
            shown: dict[str, Any] = {}
        else:
            shown = dict(self.DEFAULT_DETAILS)
            shown.update(details if isinstance(details, Mapping) else {})
        label, *lines = self._render(shown, 0)
        return [label.text, *(line.text for line in lines)]

    def _render(self, details: Mapping[str, Any], depth: int) -> list[_Line]:
        data = "" if not details else " :" if depth == 0 else "  "
        lines = [_Line(self._label())]
        if details:
            lines += [_Line(f"{data}    {text}", True) for text in self._data(details)]
        children = sorted(self.child_trees, key=_order)
        for child in children:
            last = child is children[-1]
            head, *rest = child._render(details, depth + 1)
            lines.append(_Line(f" +--- {head.text}"))
            for line in rest:
                if line.is_data:
                    mark = ":" if depth == 0 and not last else " "
                    lines.append(_Line(f" {mark}    {line.text}", True))
                else:
                    lines.append(_Line(f" {' ' if last else '|'}   {line.text}"))
        return lines

    def _label(self) -> str:
        label = repr(self.greenlet)
        if self.greenlet:
            return label
        if not getattr(self.greenlet, "ready", bool)():
            return f"{label}; not running"
        label += "; finished"
        if self.greenlet.value is not None:
            return f"{label} with value {repr(self.greenlet.value)[:30]}"
        if getattr(self.greenlet, "exception", None) is not None:
            return f"{label} with exception {self.greenlet.exception!r}"
        return label

    def _data(self, details: Mapping[str, Any]) -> Iterable[str]:
        of = self.greenlet
        yield f"Parent: {of.parent!r}"
        monitor = getattr(of, "periodic_monitoring_thread", None)
        if monitor is not None:
            yield f"Monitoring Thread:{monitor!r}"
        if of and details["running_stacks"]:
            yield "Running:"
            stack = traceback.format_stack(of.gr_frame, details["running_stack_limit"])
            yield from "".join(stack).splitlines()
        spawning_stack = getattr(of, "spawning_stack", None)
        if spawning_stack and details["spawning_stacks"]:
            yield "Spawned at:"
            yield from "".join(traceback.format_stack(spawning_stack)).splitlines()
        shared = getattr(of, "spawn_tree_locals", None)
        if shared and shared is not getattr(_spawner_of(of), "spawn_tree_locals", None):
            yield "Spawn Tree Locals"
            yield from pprint.pformat(shared).splitlines()
        if details["locals"]:
            yield from self._local_data()

    def _local_data(self) -> Iterable[str]:
        locals_ = [found for found in dictionaries_of(self.greenlet) if found[1]]
        if not locals_:
            return
        yield "Greenlet Locals:"
        for (kind, ident), attributes in locals_:
            yield f"  Local {kind} at {ident:#x}"
            yield from _indented(4, pprint.pformat(attributes))


class _Line:
    """A line of a tree; data hangs on the greenlet above it."""

    __slots__ = ("is_data", "text")

    def __init__(self, text: str, is_data: bool = False) -> None:
        self.text = text
        self.is_data = is_data


def _order(tree: GreenletTree) -> tuple[int, bool, int]:
    """Raw greenlets first, then by age; those that have ended after those that have not."""
    ready = getattr(tree.greenlet, "ready", bool)
    return getattr(tree.greenlet, "minimal_ident", -1), ready(), id(tree.greenlet.parent)


class _FailedToSwitch(AssertionError):
    """A block of code let nobody else run."""


class assert_switches:
    """Raises AssertionError at the end of a ``with`` block in which no other greenlet could run.

    With *max_blocking_time* in seconds, only if nobody could for longer than that; with *hub_only*,
    if the loop had no turn for so long. The text says where it is and what else is there. What
    the block itself raises is left alone.
    """

    def __init__(self, max_blocking_time: float | None = None, hub_only: bool = False) -> None:
        self.max_blocking_time = max_blocking_time
        self.hub_only = hub_only
        #: Watches the switches while the block runs.
        self.tracer: GreenletTracer | None = None
        self.hub: Any = None
        self._entered = 0.0

    def __enter__(self) -> assert_switches:
        self.hub = get_hub()
        if not self.max_blocking_time:
            self.tracer = GreenletTracer()
        elif self.hub_only:
            self.tracer = HubSwitchTracer(self.hub, self.max_blocking_time)
        else:
            self.tracer = MaxSwitchTracer(self.hub, self.max_blocking_time)
        self._entered = time.perf_counter()
        self.tracer.monitor_current_greenlet_blocking()
        return self

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        tracer, self.tracer = self.tracer, None
        hub, self.hub = self.hub, None
        assert tracer is not None
        tracer.kill()
        blocked = None if typ is not None else tracer.did_block_hub(hub)
        if not blocked:
            return
        seconds = time.perf_counter() - self._entered
        to = "To the hub" if self.hub_only else "To any greenlet"
        allowed = self.max_blocking_time
        limit = f" (max allowed {allowed:.4f} seconds)" if allowed else ""
        lines = [f"{to} in {seconds:.4f} seconds{limit}"]
        lines += [*tracer.report(hub, tracer.active_greenlet), "Info:", *format_run_info()]
        raise _FailedToSwitch("\n".join(lines))


def clear_stack_frames(frame: FrameType | None) -> None:
    """Let the frame, and those that called it, forget their variables where they can."""
    while frame is not None:
        with contextlib.suppress(RuntimeError):  # it still runs
            frame.clear()
        frame = frame.f_back
