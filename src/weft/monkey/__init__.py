"""Make the standard library's blocking parts cooperate: what gevent.monkey offers.

Call :func:`patch_all` first thing in a program (``weft run`` does it for you). It replaces the
primitives beneath the standard library's classes, which stay what they are: ``time.sleep``, the
sockets, ``select``, the locks and threads of ``_thread``, ``SimpleQueue``, ``os.fork``.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

from weft.monkey._repair import LockUpgrade, rebind_imported_names
from weft.monkey._saved import (
    get_original,
    is_anything_patched,
    is_module_patched,
    is_object_patched,
    note_change_inside,
    patch_item,
    patch_module,
    patch_module_by_name,
    remove_item,
    saved,
)

__all__ = [
    "MonkeyPatchWarning",
    "get_original",
    "is_anything_patched",
    "is_module_patched",
    "is_object_patched",
    "patch_all",
    "patch_asyncio",
    "patch_dns",
    "patch_item",
    "patch_module",
    "patch_multiprocessing",
    "patch_os",
    "patch_queue",
    "patch_select",
    "patch_socket",
    "patch_ssl",
    "patch_subprocess",
    "patch_sys",
    "patch_thread",
    "patch_time",
    "remove_item",
    "saved",
]


class MonkeyPatchWarning(RuntimeWarning):
    """Patching came too late for something, or two calls contradict each other."""


def patch_time() -> None:
    """Make :func:`time.sleep` let other greenlets run."""
    patch_module_by_name("time")


def patch_os() -> None:
    """Make :func:`os.fork` give the child a clean hub, and :func:`os.close` wake who waits."""
    patch_module_by_name("os")


def patch_subprocess() -> None:
    """Make the waits and the pipes of :class:`subprocess.Popen` let other greenlets run."""
    patch_module_by_name("subprocess", ["Popen"])


def patch_multiprocessing() -> None:
    """Make the semaphores and connections of :mod:`multiprocessing` let other greenlets run.

    Where the interpreter was built without them, and on Windows, it does nothing.
    """
    try:
        native = importlib.import_module("_multiprocessing")
        connection: Any = importlib.import_module("multiprocessing.connection")
        source = importlib.import_module("weft._multiprocessing")
    except ImportError:
        return
    if sys.platform == "win32" or is_object_patched("_multiprocessing", "SemLock"):
        return
    patch_module(native, source)
    source.make_cooperative(connection.Connection)
    note_change_inside(connection, "Connection")


def patch_queue() -> None:
    """Make :class:`queue.SimpleQueue` let other greenlets run; the others follow the locks."""
    patch_module_by_name("queue", ["SimpleQueue"])
    patch_item(
        importlib.import_module("_queue"),
        "SimpleQueue",
        importlib.import_module("weft.queue").SimpleQueue,
    )


DNS_NAMES = frozenset(
    {"getaddrinfo", "getfqdn", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo"}
)


def patch_dns() -> None:
    """Make the look-ups of :mod:`socket` let other greenlets run."""
    patch_module_by_name("socket", DNS_NAMES)


def patch_socket(dns: bool = True, aggressive: bool = True) -> None:
    """Make sockets let other greenlets run.

    With *dns* false, name look-ups stay as they are. *aggressive* is accepted for gevent's sake:
    everything :mod:`weft.socket` implements is always replaced.
    """
    implemented = importlib.import_module("weft.socket").__implements__
    patch_module_by_name("socket", [name for name in implemented if name not in DNS_NAMES])
    if dns:
        patch_dns()


def patch_ssl() -> None:
    """Make TLS sockets let other greenlets run, whoever made their contexts, and whenever.

    The classes stay. What each context calls to make a socket makes one of the same class, or of
    the program's own, upon :class:`weft.ssl.SSLSocket`. Without :mod:`ssl` it does nothing.
    """
    try:
        ssl: Any = importlib.import_module("ssl")
    except ImportError:
        return
    if is_object_patched("ssl", "SSLSocket"):
        return
    cooperative = importlib.import_module("weft.ssl").cooperative
    create = ssl.SSLSocket._create.__func__

    def create_cooperative(cls: type, *args: Any, **kwargs: Any) -> Any:
        return create(cooperative(cls), *args, **kwargs)

    ssl.SSLSocket._create = classmethod(create_cooperative)
    note_change_inside(ssl, "SSLSocket")


def patch_select(aggressive: bool = True) -> None:
    """Make :mod:`select` and :mod:`selectors` let other greenlets run; nothing is removed."""
    importlib.import_module("weft._core.poller").pin_selector()
    patch_module_by_name("select")
    patch_module_by_name("selectors")


def patch_asyncio() -> None:
    """Let each greenlet have a running loop of its own; see also :func:`patch_select`."""
    importlib.import_module("weft._loops").install()


def patch_thread(
    threading: bool = True,
    _threading_local: bool = True,
    Event: bool = True,
    logging: bool = True,
    existing_locks: bool = True,
) -> None:
    """Make threads greenlets, and locks cooperate.

    *existing_locks* upgrades the native locks that modules and the standard library's objects
    hold already, unless somebody holds them. *Event* and *logging* are accepted for gevent's
    sake: both follow the locks. *threading* false leaves :mod:`threading` itself as it is.
    """
    thread = patch_module_by_name("thread")
    if not threading:
        return
    local = importlib.import_module("weft.local").local
    module = importlib.import_module("threading")
    if _threading_local:
        patch_item(thread, "_local", local)
        patch_item(module, "local", local)
        patch_item(importlib.import_module("_threading_local"), "local", local)
    weft_thread = importlib.import_module("weft.thread")
    patch_module(module, importlib.import_module("weft.threading"))
    rebind_imported_names()
    if existing_locks:
        LockUpgrade(weft_thread.allocate_lock, weft_thread.RLock).replace_everywhere()


def patch_sys(stdin: bool = True, stdout: bool = True, stderr: bool = True) -> None:
    """Accepted for gevent's sake; standard streams are not replaced."""


def patch_all(
    socket: bool = True,
    dns: bool = True,
    time: bool = True,
    select: bool = True,
    thread: bool = True,
    os: bool = True,
    ssl: bool = True,
    subprocess: bool = True,
    sys: bool = False,
    aggressive: bool = True,
    Event: bool = True,
    builtins: bool = True,
    signal: bool = True,
    queue: bool = True,
    contextvars: bool = True,
    **kwargs: Any,
) -> bool | None:
    """Patch everything that is not switched off; call it first thing in the program.

    *signal*, *builtins* and *contextvars* are accepted for gevent's sake and
    change nothing yet. References that other modules took before are re-bound, and so are locks.
    True on the first call; calling it again is harmless and patches what was off before. Other
    keyword arguments are ignored, as in gevent, with None as the result if nothing was done.
    """
    first = not is_anything_patched()
    _warn_if_not_in_main_thread()
    if os:
        patch_os()
    if time:
        patch_time()
    if thread:
        patch_thread(Event=Event)
    if socket:
        patch_socket(dns=dns, aggressive=aggressive)
    if ssl:
        patch_ssl()
    if select:
        patch_select(aggressive=aggressive)
        patch_asyncio()
    if subprocess:
        patch_subprocess()
        patch_multiprocessing()
    if queue:
        patch_queue()
    rebind_imported_names()
    return True if first else None


def _warn_if_not_in_main_thread() -> None:
    threading: Any = sys.modules.get("threading")
    if threading is not None and threading.current_thread() is not threading.main_thread():
        warnings.warn(
            "patching outside the main thread: call weft.monkey.patch_all() in the main thread, "
            "before others start",
            MonkeyPatchWarning,
            stacklevel=3,
        )
