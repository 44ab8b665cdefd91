"""Keep patched compiled modules from being loaded a second time.

Without this, a reload or an import after ``del sys.modules[name]`` makes a new, unpatched module.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: Compiled modules with the blocking functions that the standard library's Python modules use.
COMPILED = frozenset(
    {"_multiprocessing", "_queue", "_socket", "_thread", "nt", "posix", "select", "time"}
)


class _FirstOnes:
    """A finder and loader that returns the kept module objects again."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[ModuleType, ModuleSpec | None]] = {}

    def keep(self, module: ModuleType) -> None:
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        self._kept.setdefault(module.__name__, (module, module.__spec__))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        loader: Any = self
        return ModuleSpec(name, loader) if name in self._kept else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._kept[spec.name][0]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._kept[module.__name__][1]  # the import system has set its own


keep = _FirstOnes().keep
