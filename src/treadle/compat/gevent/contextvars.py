"""The standard context variables, which each greenlet has for itself: see :mod:`contextvars`.

gevent's module of this name; there is nothing left to replace.
"""

from contextvars import Context, ContextVar, Token, copy_context

__implements__: list[str] = []
__target__ = "contextvars"
__all__ = ["Context", "ContextVar", "Token", "copy_context"]
