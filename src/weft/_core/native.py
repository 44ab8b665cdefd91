"""Functions of the thread module, taken before anything patches them."""

from _thread import get_ident, start_new_thread

__all__ = ["get_ident", "start_new_thread"]
