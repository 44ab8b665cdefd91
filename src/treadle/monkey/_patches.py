"""One patching function for each part of the standard library."""

from __future__ import annotations

import _imp
import _queue
import _thread
import builtins
import gc
import io
import os
import sys
from types import ModuleType
from typing import Any

from treadle._core import importlock
from treadle._core.poller import pin_selector
from treadle.aio import running
from treadle.local import local as cooperative_local
from treadle.monkey._modules import (
    did_patch,
    implemented,
    patch_module,
    patch_module_by_name,
    replace,
    source_and_target,
    vetoable,
    will_patch,
)
from treadle.monkey._objects import contains
from treadle.monkey._once import patch_again
from treadle.monkey._open import open as cooperative_open
from treadle.monkey._repair import rebind_all
from treadle.monkey._saved import (
    is_object_patched,
    note_change_inside,
    patch_item,
    take_name,
    take_place,
)
from treadle.monkey._stdin import input as cooperative_input
from treadle.monkey._stdin import wait_before_reads
from treadle.signal import adopt_handlers

DNS_NAMES = frozenset(
    {"getaddrinfo", "getfqdn", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo"}
)


@vetoable
def patch_time() -> None:
    """Make :func:`time.sleep` cooperative: other greenlets run meanwhile."""
    patch_module_by_name("time")


@vetoable
def patch_os() -> None:
    """Make the waits of :mod:`os` for child processes and pipes, and file locks, cooperative.

    Also make the files that :func:`open` returns for pipes, FIFOs and terminals cooperative.

    Also make :func:`os.fork` give the child a clean hub, :func:`os.close` wake the greenlets that
    wait for the file descriptor, and ``sys.stdin`` cooperative.
    """
    if patch_module_by_name("os"):
        source, target = source_and_target("fcntl")
        replace(target, source, implemented(source))
        for module in (io, builtins):
            patch_item(module, "open", cooperative_open)
            take_place(cooperative_open, module, "open")
        _wait_before_reads_of_stdin()


def patch_sys(stdin: bool = True, stdout: bool = True, stderr: bool = True) -> None:
    """Make :func:`input` on a terminal, and reads of ``sys.stdin``, cooperative.

    Output is not patched; *stdout* and *stderr* are accepted for compatibility with gevent.
    """
    if stdin:
        _wait_before_reads_of_stdin()
        patch_item(builtins, "input", cooperative_input)


def _wait_before_reads_of_stdin() -> None:
    if not is_object_patched("sys", "stdin") and wait_before_reads(sys.stdin):
        note_change_inside(sys, "stdin")


@vetoable
def patch_subprocess() -> None:
    """Make the waits and the pipes of :class:`subprocess.Popen` cooperative."""
    patch_module_by_name("subprocess", ["Popen"])


@vetoable
def patch_multiprocessing() -> None:
    """Make the semaphores and connections of :mod:`multiprocessing` cooperative.

    Do nothing on Windows, and where the interpreter was built without them.
    """
    try:
        # These import socket and threading, which are patched before.
        import _multiprocessing  # type: ignore[import-not-found]
        from multiprocessing import connection, reduction

        from treadle.monkey import _multiprocessing as source
    except ImportError:
        return
    if sys.platform == "win32" or is_object_patched("_multiprocessing", "SemLock"):
        return
    if patch_module(_multiprocessing, source):
        source.make_cooperative(connection.Connection)
        patch_item(reduction, "DupFd", source.handing_over(reduction.DupFd))
        note_change_inside(connection, "Connection")


@vetoable
def patch_queue() -> None:
    """Make :class:`queue.SimpleQueue` cooperative; the other queues use the patched locks."""
    if patch_module_by_name("queue", ["SimpleQueue"]):
        source, target = source_and_target("queue")
        patch_item(_queue, "SimpleQueue", source.SimpleQueue)
        for name in ("LifoQueue", "PriorityQueue", "Queue"):
            note_change_inside(target, name)


@vetoable
def patch_dns() -> None:
    """Make the DNS lookups of :mod:`socket` cooperative."""
    patch_module_by_name("socket", DNS_NAMES)


@vetoable
def patch_socket(dns: bool = True, aggressive: bool = True) -> None:
    """Make sockets cooperative.

    If *dns* is false, DNS lookups are not patched. *aggressive* is accepted for compatibility with
    gevent: everything that :mod:`treadle.socket` implements is always replaced.
    """
    source, target = source_and_target("socket")
    names = [name for name in implemented(source) if dns or name not in DNS_NAMES]
    if patch_module(target, source, names):
        # Many modules have it as the default of their parameters.
        patch_again(target, "_GLOBAL_DEFAULT_TIMEOUT", vars(target)["_GLOBAL_DEFAULT_TIMEOUT"])


@vetoable
def patch_ssl() -> None:
    """Make TLS sockets cooperative, including those of contexts made before patching.

    The classes of :mod:`ssl` stay. Every context makes its sockets with ``SSLSocket._create()``,
    which now makes an instance of :class:`treadle.ssl.SSLSocket`, or, for a program's own socket
    class, of a subclass of both. Do nothing if there is no :mod:`ssl`.
    """
    try:
        source, ssl = source_and_target("ssl")
    except ImportError:
        return
    names = ["SSLSocket"]
    if is_object_patched("ssl", "SSLSocket") or not will_patch(ssl, source, names):
        return
    _make_sockets_by(source.cooperative, ssl.SSLSocket)
    note_change_inside(ssl, "SSLSocket")
    did_patch(ssl, source, names)


def _make_sockets_by(cooperative: Any, ssl_socket: Any) -> None:
    create = ssl_socket._create.__func__

    def create_cooperative(cls: type, *args: Any, **kwargs: Any) -> Any:
        return create(cooperative(cls), *args, **kwargs)

    ssl_socket._create = classmethod(create_cooperative)


@vetoable
def patch_select(aggressive: bool = True) -> None:
    """Make :mod:`select` cooperative; nothing is removed from it, whatever *aggressive* is.

    Also set ``PSYCOPG_WAIT_FUNC``, if it is unset, so that a psycopg 3 imported afterwards waits
    with the patched :func:`select.poll`.
    """
    # psycopg 3's own C wait function blocks all greenlets. psycopg avoids it only for gevent.
    os.environ.setdefault("PSYCOPG_WAIT_FUNC", "wait_poll")
    pin_selector()
    patch_module_by_name("select")


@vetoable
def patch_selectors(aggressive: bool = True) -> None:
    """Make :mod:`selectors` cooperative; nothing is removed from it, whatever *aggressive* is.

    Existing selectors are included, such as that of an asyncio loop that runs already.
    """
    source, target = source_and_target("selectors")
    kinds = [getattr(target, name) for name in implemented(source)]
    if patch_module(target, source):
        for holder in gc.get_referrers(*kinds):
            if contains(kinds, type(holder)):
                source.make_cooperative(holder)


def patch_asyncio() -> None:
    """Let each greenlet run its own asyncio event loop; see also :func:`patch_select`."""
    running.install()


@vetoable
def patch_signal() -> None:
    """Raise what signal handlers raise in the main greenlet; make waits for signals cooperative.

    Each thread that is a greenlet gets its own signal mask. Handlers that are set already are
    included if the caller is the main thread.
    """
    patch_module_by_name("signal")
    adopt_handlers()


@vetoable
def patch_thread(
    threading: bool = True,
    _threading_local: bool = True,
    Event: bool = True,
    logging: bool = True,
    existing_locks: bool = True,
) -> bool | None:
    """Make new threads greenlets, and locks cooperative.

    If *threading* is false, the module :mod:`threading` itself is not patched. If
    *_threading_local* is false, :class:`threading.local` is not patched. *existing_locks* replaces
    the native locks that modules and the standard library's objects already refer to, except those
    that are held. *Event* and *logging* are accepted for compatibility with gevent: both use the
    patched locks anyway. :func:`is_object_patched` reports :class:`threading.Event` as patched if
    *Event* is true. Return False on a veto.
    """
    source, target = source_and_target("thread")
    names = implemented(source)
    if not will_patch(target, source, names):
        return False
    replace(target, source, names)
    if not hasattr(target, source.LockType.__qualname__):  # before CPython 3.13
        # Pickle finds threading.Lock by this name, also in a process that is not patched.
        source.LockType.__qualname__ = "allocate_lock"
    replace(_imp, importlock, implemented(importlock))
    threads = source_and_target("threading")
    patched_threading = threading and _patch_threading(*threads, _threading_local)
    if patched_threading:
        rebind_all(existing_locks)
        threads[0].adopt_main_thread()
        if Event:
            note_change_inside(threads[1], "Event")
    did_patch(target, source, names, "thread")
    if patched_threading:
        did_patch(threads[1], threads[0], implemented(threads[0]))
    return None


def _patch_threading(source: ModuleType, target: ModuleType, local: bool) -> bool:
    names = implemented(source)
    if not will_patch(target, source, names):
        return False
    if local:
        import _threading_local  # imports threading, which the caller has just imported

        take_name(cooperative_local, vars(_thread)["_local"])
        for module, name in ((_thread, "_local"), (target, "local"), (_threading_local, "local")):
            patch_item(module, name, cooperative_local)
    replace(target, source, names)
    return True
