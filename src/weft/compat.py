"""Let programs that say ``import gevent`` run on weft.

Call :func:`install` as the first line of a program, or use ``weft run --gevent``.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from weft._config import config, environment_key
from weft.events import plugin_owners

__all__ = ["install"]

ALIAS = "gevent"
HOME = "weft"


def _home_of(fullname: str) -> str | None:
    """The weft module that a gevent module's name means; None for other names."""
    if fullname == ALIAS or fullname.startswith(ALIAS + "."):
        return HOME + fullname[len(ALIAS) :]
    return None


class AliasLoader(importlib.abc.InspectLoader):
    """Loads ``gevent.X`` by answering the very module object of ``weft.X``."""

    def __init__(self, home: str) -> None:
        self.home = home
        self._own_spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.home)
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just put the alias's spec in its place; reload and runpy go by it.
        module.__spec__ = self._own_spec

    def _home_loader(self) -> Any:
        spec = importlib.util.find_spec(self.home)
        assert spec is not None
        return spec.loader

    def is_package(self, fullname: str) -> bool:
        return bool(self._home_loader().is_package(self.home))

    def get_source(self, fullname: str) -> str | None:
        source: str | None = self._home_loader().get_source(self.home)
        return source

    def get_code(self, fullname: str) -> CodeType | None:
        code: CodeType | None = self._home_loader().get_code(self.home)
        return code


class AliasFinder(importlib.abc.MetaPathFinder):
    """Finds ``gevent`` and its submodules in weft; what weft lacks is not found at all."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        home = _home_of(fullname)
        if home is None or importlib.util.find_spec(home) is None:
            return None
        loader = AliasLoader(home)
        return ModuleSpec(fullname, loader, is_package=loader.is_package(fullname))


def install() -> None:
    """Let ``import gevent`` mean weft from now on; a second call does nothing.

    The environment variable ``GEVENT_RESOLVER`` then counts, unless ``WEFT_RESOLVER`` is set.
    Raises ImportError if the real gevent was imported before.
    """
    present = sys.modules.get(ALIAS)
    if present is not None and present is not sys.modules[HOME]:
        raise ImportError(
            "gevent is imported already; call weft.compat.install() before anything imports it, "
            "or start the program with 'weft run --gevent'"
        )
    if not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, AliasFinder())
        plugin_owners.append(ALIAS)
    resolver = os.environ.get("GEVENT_RESOLVER")
    if resolver and environment_key("resolver") not in os.environ:
        config.resolver = resolver
