"""What patching changes in the standard library's threading module."""

from __future__ import annotations

import sys
import threading
import weakref

from weft._core.greenlet import getcurrent
from weft.local import local
from weft.thread import get_ident

__implements__: list[str] = []
__target__ = "threading"
__all__: list[str] = []

if sys.version_info < (3, 12):

    class _DummyThread(threading._DummyThread):
        """Stands for a greenlet that no Thread started, and goes with it.

        From 3.12 on threading itself forgets such objects, by way of a local object.
        """

        def __init__(self) -> None:
            super().__init__()
            weakref.finalize(
                getcurrent(),
                vars(threading)["_active"].pop,
                get_ident(),
                None,
            ).atexit = False

    _DummyThread.__module__ = "threading"
    __implements__ = ["_DummyThread"]

else:
    #: Keeps the object that takes a greenlet's dummy thread away when the greenlet ends.
    _thread_local_info = local()
    __implements__ = ["_thread_local_info"]
