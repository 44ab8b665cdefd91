"""Functions of the thread module, taken before anything patches them."""

from _thread import allocate_lock, get_ident, start_new_thread

__all__ = ["allocate_lock", "get_ident", "nap", "start_new_thread"]

_never = allocate_lock()
_never.acquire()


def nap() -> None:
    """Let other native threads run, for a millisecond; the caller's hub stands still."""
    _never.acquire(timeout=0.001)
