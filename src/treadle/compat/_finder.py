"""The import finder that maps ``gevent`` and its submodules to treadle."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

ALIAS = "gevent"
HOME = "treadle"
#: The release whose API and behaviour the alias stands for.
VERSION = "26.9.0"
#: Private modules of gevent -> the module that has all their names. Pickles name the compiled ones.
PRIVATE = {
    "gevent._gevent_c_hub_local": "gevent._hub_local",
    "gevent._gevent_c_abstract_linkable": "gevent._abstract_linkable",
    "gevent._gevent_c_greenlet_primitives": "gevent._greenlet_primitives",
    "gevent._gevent_c_hub_primitives": "gevent._hub_primitives",
    "gevent._gevent_c_tracer": "treadle.observe.tracer",
    "gevent._gevent_c_ident": "treadle.hub",
    "gevent._gevent_c_imap": "treadle.pool",
    "gevent._gevent_c_semaphore": "treadle.lock",
    "gevent._gevent_c_waiter": "treadle.hub",
    "gevent._gevent_cevent": "treadle.event",
    "gevent._gevent_cgreenlet": "treadle.greenlet",
    "gevent._gevent_clocal": "treadle.local",
    "gevent._gevent_cqueue": "treadle.queue",
    "gevent._imap": "treadle.pool",
    "gevent._semaphore": "treadle.lock",
    "gevent._socket3": "treadle.socket",
    "gevent._waiter": "treadle.hub",
    "gevent.monkey._errors": "treadle.monkey",
    "gevent.monkey._state": "treadle.monkey",
}
#: The folder of the package ``gevent``, whose modules replace gevent's own.
OWN_MODULES = Path(__file__).parent


class AliasLoader(importlib.abc.InspectLoader):
    """Loads ``gevent.X`` by returning the module object of ``treadle.X`` itself."""

    def __init__(self, home: str) -> None:
        self.home = home
        self._own_spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.home)
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just set the alias's spec. reload() and runpy need the module's own.
        module.__spec__ = self._own_spec
        stand_for = getattr(module, "_stand_for_gevent", None)
        if stand_for is not None:
            stand_for(VERSION)

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
    """Finds ``gevent`` and its submodules in treadle; modules that treadle lacks are not found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != ALIAS and not fullname.startswith(ALIAS + "."):
            return None
        folder = OWN_MODULES.joinpath(*fullname.split(".")[:-1])
        own = PathFinder.find_spec(fullname, [str(folder)])
        # Packages here, except gevent itself, only hold modules; the package itself is treadle's.
        if own is not None and (fullname == ALIAS or own.submodule_search_locations is None):
            return own
        home = PRIVATE.get(fullname, HOME + fullname[len(ALIAS) :])
        if not _exists(home):
            return None
        loader = AliasLoader(home)
        return ModuleSpec(fullname, loader, is_package=loader.is_package(fullname))

    def find_distributions(self, context: Any = None) -> Iterator[Any]:
        """Yield the distribution of gevent; only ``importlib.metadata`` calls this.

        Yield nothing if *context* names another distribution.
        """
        name = getattr(context, "name", None)
        if name is None or name.lower() == ALIAS:
            from treadle.compat._metadata import (
                AliasDistribution,  # imports modules that must be patched first
            )

            yield AliasDistribution(ALIAS, VERSION)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False  # its package is missing
