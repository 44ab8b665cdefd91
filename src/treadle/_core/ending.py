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
        if not isinstance(module, ModuleType) or module.__name__.split(".")[0] != "treadle":
            continue
        copy = copies.get(module)
        if copy is None:
            copy = copies[module] = ModuleType(module.__name__)
            copy.__dict__.update(module.__dict__)
        sys.modules[name] = copy


# Called after the functions that are registered later. Those may still import treadle's modules.
atexit.register(keep_modules)
