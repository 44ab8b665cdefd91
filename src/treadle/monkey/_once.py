"""Keep modules patched that are loaded a second time.

Without this, a reload or an import after ``del sys.modules[name]`` makes a new, unpatched module.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: Compiled modules with the blocking functions that the standard library's Python modules use.
COMPILED = frozenset(
    {"_multiprocessing", "_queue", "_socket", "_thread", "nt", "posix", "select", "time"}
)


#: Modules in Python whose functions block when they are loaded again. The others in Python block by
#: those of these and of the compiled ones.
PATCHED_AGAIN = frozenset({"os", "signal", "socket"})


class _FirstOnes:
    """A finder and loader that returns the kept module objects again."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[ModuleType, ModuleSpec | None]] = {}

    def keep(self, module: ModuleType) -> None:
        _find_first(self)
        self._kept.setdefault(module.__name__, (module, module.__spec__))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        loader: Any = self
        return ModuleSpec(name, loader) if name in self._kept else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._kept[spec.name][0]

    def exec_module(self, module: ModuleType) -> None:
        spec = self._kept[module.__name__][1]  # the import system has set its own
        module.__spec__ = spec
        module.__loader__ = None if spec is None else spec.loader


class _PatchedOnes:
    """A finder of modules that are loaded again as usual, and then patched again."""

    def __init__(self) -> None:
        #: Module name -> attribute name -> its value after patching.
        self._patches: dict[str, dict[str, Any]] = {}

    def note(self, module: ModuleType, attr: str, value: Any) -> None:
        _find_first(self)
        self._patches.setdefault(module.__name__, {})[attr] = value

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._patches:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):  # copies of six before 1.16
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Patching(spec.loader, self._patches[name])
                return spec
        return None


class _Patching(Loader):
    """Loads a module by its own loader, and patches it."""

    def __init__(self, loader: Loader, patches: dict[str, Any]) -> None:
        self._loader = loader
        self._patches = patches

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        for attr, value in self._patches.items():
            setattr(module, attr, value)


def _find_first(finder: Any) -> None:
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)


keep = _FirstOnes().keep
patch_again = _PatchedOnes().note
