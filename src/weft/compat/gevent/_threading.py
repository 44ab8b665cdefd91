"""``gevent._threading`` under the alias: locks and queues of native threads, never patched."""

from weft._core.native import allocate_lock as Lock
from weft._core.native import get_ident as get_thread_ident
from weft._core.native import start_new_thread
from weft.queue import Empty as EmptyTimeout
from weft.queue import Queue

__all__ = ["EmptyTimeout", "Lock", "Queue"]
