"""Keeps treadle's modules whole while the interpreter takes modules apart, as its last step.

Finalizers that run then may close files over pipes, which write what they have buffered, and use
sockets and locks. The interpreter clears the modules that it finds in ``sys.modules``, those first
that were imported last, and a function whose module is cleared has lost all the names that it uses.
"""

from __future__ import annotations

import atexit
import sys
from types import ModuleType


def keep_modules() -> None:
    """Put copies of treadle's modules in their places, which the interpreter may clear."""
    copies: dict[ModuleType, ModuleType] = {}
    for name, module in list(sys.modules.items()):
        # Not by the module's own ways: one may be lazy and load now, or only say that it is one.
        if not issubclass(type(module), ModuleType):
            continue
        names = object.__getattribute__(module, "__dict__")
        own_name = str(names.get("__name__"))
        if own_name.split(".")[0] != "treadle":
            continue
        copy = copies.get(module)
        if copy is None:
            copy = copies[module] = ModuleType(own_name)
            copy.__dict__.update(names)
        sys.modules[name] = copy


# Called after the functions that are registered later. Those may still import treadle's modules.
atexit.register(keep_modules)
