"""Make asyncio's running loop belong to the greenlet that runs it, not to the whole thread.

asyncio stores the running loop per thread and, since CPython 3.14, the current task too. While any
loop runs, a greenlet that waits removes both from the thread, and restores them after the wait. So
several greenlets can be inside ``asyncio.run()`` at once, and other greenlets see no running loop.
A loop that never waits yields to other greenlets once per iteration.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any
from weakref import WeakSet

from treadle._core.aside import guard_loops
from treadle._core.greenlet import getcurrent
from treadle._core.hub import get_current_hub as get_hub
from treadle._core.sleep import sleep


def install() -> None:
    """Patch asyncio's modules: now if they are imported, otherwise right after their import."""
    for name, change in _CHANGES.items():
        if name in sys.modules:
            change(sys.modules[name])
        elif not any(isinstance(f, _Finder) and f.name == name for f in sys.meta_path):
            sys.meta_path.insert(0, _Finder(name))


def _guard(events: Any) -> None:
    set_native: Callable[[Any], None] = events._set_running_loop
    get: Callable[[], Any] = events._get_running_loop
    if getattr(set_native, "__module__", None) == __name__:
        return
    #: The greenlets in which a loop runs.
    running: WeakSet[Any] = WeakSet()

    def suspend() -> Any:
        loop = get()
        if loop is None:
            return None
        task = swap_task(loop, None)
        set_native(None)
        return loop, task

    def resume(state: Any) -> None:
        loop, task = state
        set_native(loop)
        swap_task(loop, task)

    def _set_running_loop(loop: Any) -> None:
        """Set the running loop of the current greenlet; None if no loop runs any more."""
        if loop is None:
            running.discard(getcurrent())
        else:
            running.add(getcurrent())
        set_native(loop)
        guard_loops(*((suspend, resume) if running else (None, None)))

    events._set_running_loop = _set_running_loop
    package: Any = sys.modules["asyncio"]
    package._set_running_loop = _set_running_loop


def _swap_in_thread(loop: Any, task: Any) -> Any:
    return sys.modules["asyncio.tasks"]._swap_current_task(loop, task)


def _swap_nothing(loop: Any, task: Any) -> Any:
    """Do nothing: before CPython 3.14, asyncio stores the current task by loop."""


swap_task: Callable[[Any, Any], Any] = (
    _swap_in_thread if sys.version_info >= (3, 14) else _swap_nothing
)


def _share_turns(base_events: Any) -> None:
    """Make each iteration of a loop switch to other greenlets, whatever its selector is."""
    loop_class = base_events.BaseEventLoop
    run_once: Callable[[Any], None] = loop_class._run_once
    if run_once.__module__ == __name__:
        return

    def _run_once(self: Any) -> None:
        hub = get_hub()
        before = hub.turns
        run_once(self)
        if hub.turns == before:
            sleep(0)

    loop_class._run_once = _run_once


#: Module name -> the function that patches the module.
_CHANGES: dict[str, Callable[[Any], None]] = {
    "asyncio.events": _guard,
    "asyncio.base_events": _share_turns,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module, once, with the other finders, and has it patched after its import."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        _CHANGES[module.__name__](module)
