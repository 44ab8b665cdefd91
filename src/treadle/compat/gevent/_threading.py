"""``gevent._threading`` under the alias: locks and queues of native threads, never patched."""

from treadle._core.native import allocate_lock as Lock
from treadle._core.native import get_ident as get_thread_ident
from treadle._core.native import start_new_thread
from treadle.queue import Empty as EmptyTimeout
from treadle.queue import Queue

__all__ = ["EmptyTimeout", "Lock", "Queue"]
