"""The replacements that patching puts into the standard library's threading module."""

from __future__ import annotations

import _thread
import functools
import threading
import weakref

from greenlet import GreenletExit

from treadle._core.greenlet import Greenlet, getcurrent
from treadle.local import local
from treadle.thread import (
    EndLock,
    LockType,
    RLock,
    allocate_lock,
    get_ident,
    start_new_thread,
)

Lock = LockType

__implements__: list[str] = []
_NAMES = vars(threading)
__target__ = "threading"
__all__ = ["Lock", "RLock", "allocate_lock", "get_ident", "local", "start_new_thread"]

if not hasattr(threading, "_DeleteDummyThreadOnDel"):

    class _DummyThread(threading._DummyThread):
        """The thread object of a greenlet that no Thread started; removed when it ends."""

        def __init__(self) -> None:
            super().__init__()
            greenlet = getcurrent()
            forget = functools.partial(vars(threading)["_active"].pop, get_ident(), None)
            if isinstance(greenlet, Greenlet):
                greenlet.rawlink(lambda _: forget())
            else:
                weakref.finalize(greenlet, forget).atexit = False

    _DummyThread.__module__ = "threading"
    __implements__ = ["_DummyThread"]

else:  # threading itself removes dummy threads, with an object stored in a thread-local
    #: Holds, per greenlet, the object that removes its dummy thread when the greenlet ends.
    _thread_local_info = local()

    class _DeleteDummyThreadOnDel(threading._DeleteDummyThreadOnDel):  # type: ignore[name-defined,misc]
        """Removes a dummy thread, unless the interpreter has cleared threading's globals."""

        def __del__(self, names: dict[str, object] = _NAMES) -> None:
            if names.get("_active_limbo_lock") is not None:
                super().__del__()

    _DeleteDummyThreadOnDel.__module__ = "threading"
    __implements__ = ["_DeleteDummyThreadOnDel", "_thread_local_info"]

if hasattr(threading, "_get_main_thread_ident"):  # since CPython 3.13
    #: threading calls it in a forked child. There the greenlet that forked is the main thread.
    _get_main_thread_ident = get_ident
    __implements__ += ["_get_main_thread_ident"]


_report = threading.excepthook


def excepthook(args: threading.ExceptHookArgs, /) -> None:
    """Report what a thread has raised, but for a kill, which is no failure of a greenlet either."""
    if args.exc_type is None or not issubclass(args.exc_type, GreenletExit):
        _report(args)


excepthook.__module__ = "threading"
__implements__ += ["excepthook"]


def adopt_main_thread() -> None:
    """Make joins of the main thread cooperative; call this after all locks are patched."""
    main = vars(threading)["_main_thread"]
    # The main thread has a handle since CPython 3.13, under another name since 3.14.
    handle = next((name for name in ("_handle", "_os_thread_handle") if hasattr(main, name)), None)
    if handle is not None:
        setattr(main, handle, getattr(_thread, "_make_thread_handle")(main.ident))  # noqa: B009
    elif main._tstate_lock is not None:
        awaited = vars(threading)["_shutdown_locks"]
        awaited.discard(main._tstate_lock)
        main._tstate_lock = EndLock()
        main._tstate_lock.acquire()
        awaited.add(main._tstate_lock)
