"""``gevent.contextvars`` under the alias: the names of the standard :mod:`contextvars`.

Patching replaces none of them, because each greenlet has its own context without it.
"""

from contextvars import Context, ContextVar, Token, copy_context

__implements__: list[str] = []
__target__ = "contextvars"
__all__ = ["Context", "ContextVar", "Token", "copy_context"]
