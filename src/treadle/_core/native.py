"""Functions of the thread module, taken before anything patches them."""

from _thread import allocate_lock, get_ident, start_new_thread

__all__ = ["allocate_lock", "get_ident", "start_new_thread"]
