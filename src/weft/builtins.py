"""What patching changes in the standard library's builtins: nothing; gevent's module of this name.

The import system's locks cooperate by themselves.
"""

__implements__: list[str] = []
__target__ = "builtins"
__all__: list[str] = []
