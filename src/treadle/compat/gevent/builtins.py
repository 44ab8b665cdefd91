"""``gevent.builtins`` under the alias: the standard builtins.

Patching replaces none of them, because the locks of the import system are cooperative without it.
"""

import builtins as _builtins

__implements__: list[str] = []
__target__ = "builtins"
__imports__: list[str] = [name for name in dir(_builtins) if not name.startswith("__")]
__all__: list[str] = []

globals().update({name: getattr(_builtins, name) for name in [*__imports__, "__import__"]})
