"""The standard builtins: gevent's module of this name.

Patching changes nothing in them: the import system's locks cooperate by themselves.
"""

import builtins as _builtins

__implements__: list[str] = []
__target__ = "builtins"
__imports__ = [name for name in dir(_builtins) if not name.startswith("__")]
__all__: list[str] = []

globals().update({name: getattr(_builtins, name) for name in [*__imports__, "__import__"]})
