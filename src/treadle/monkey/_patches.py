"""What each part of the standard library gets: one function for each."""

from __future__ import annotations

import _imp
import _queue
import _thread
import builtins
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
from treadle.monkey._repair import rebind_all
from treadle.monkey._saved import is_object_patched, note_change_inside, patch_item
from treadle.monkey._stdin import input as cooperative_input
from treadle.monkey._stdin import wait_before_reads
from treadle.signal import adopt_handlers

DNS_NAMES = frozenset(
    {"getaddrinfo", "getfqdn", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo"}
)


@vetoable
def patch_time() -> None:
    """Make :func:`time.sleep` let other greenlets run."""
    patch_module_by_name("time")


@vetoable
def patch_os() -> None:
    """Make calls on children, pipes and locks of files let other greenlets run.

    Besides, :func:`os.fork` gives the child a clean hub, and :func:`os.close` wakes who waits.
    """
    if patch_module_by_name("os"):
        source, target = source_and_target("fcntl")
        replace(target, source, implemented(source))
        _wait_before_reads_of_stdin()


def patch_sys(stdin: bool = True, stdout: bool = True, stderr: bool = True) -> None:
    """Make :func:`input` let other greenlets run on a terminal, and ``sys.stdin`` anywhere.

    Output is left as it is; *stdout* and *stderr* are accepted for gevent's sake.
    """
    if stdin:
        _wait_before_reads_of_stdin()
        patch_item(builtins, "input", cooperative_input)


def _wait_before_reads_of_stdin() -> None:
    if not is_object_patched("sys", "stdin") and wait_before_reads(sys.stdin):
        note_change_inside(sys, "stdin")


@vetoable
def patch_subprocess() -> None:
    """Make the waits and the pipes of :class:`subprocess.Popen` let other greenlets run."""
    patch_module_by_name("subprocess", ["Popen"])


@vetoable
def patch_multiprocessing() -> None:
    """Make the semaphores and connections of :mod:`multiprocessing` let other greenlets run.

    Where the interpreter was built without them, and on Windows, it does nothing.
    """
    try:
        # They import socket and threading, which are patched first.
        import _multiprocessing  # type: ignore[import-not-found]
        from multiprocessing import connection

        from treadle.monkey import _multiprocessing as source
    except ImportError:
        return
    if sys.platform == "win32" or is_object_patched("_multiprocessing", "SemLock"):
        return
    if patch_module(_multiprocessing, source):
        source.make_cooperative(connection.Connection)
        note_change_inside(connection, "Connection")


@vetoable
def patch_queue() -> None:
    """Make :class:`queue.SimpleQueue` let other greenlets run; the others follow the locks."""
    if patch_module_by_name("queue", ["SimpleQueue"]):
        source, target = source_and_target("queue")
        patch_item(_queue, "SimpleQueue", source.SimpleQueue)
        for name in ("LifoQueue", "PriorityQueue", "Queue"):
            note_change_inside(target, name)


@vetoable
def patch_dns() -> None:
    """Make the look-ups of :mod:`socket` let other greenlets run."""
    patch_module_by_name("socket", DNS_NAMES)


@vetoable
def patch_socket(dns: bool = True, aggressive: bool = True) -> None:
    """Make sockets let other greenlets run.

    With *dns* false, name look-ups stay as they are. *aggressive* is accepted for gevent's sake:
    everything :mod:`treadle.socket` implements is always replaced.
    """
    names = implemented(source_and_target("socket")[0])
    patch_module_by_name("socket", [name for name in names if dns or name not in DNS_NAMES])


@vetoable
def patch_ssl() -> None:
    """Make TLS sockets let other greenlets run, whoever made their contexts, and whenever.

    The classes stay. What each context calls to make a socket makes one of the same class, or of
    the program's own, upon :class:`treadle.ssl.SSLSocket`. Without :mod:`ssl` it does nothing.
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
    """Make :mod:`select` let other greenlets run; *aggressive* or not, nothing is removed.

    psycopg 3, if it is imported afterwards, is told to wait by it, unless ``PSYCOPG_WAIT_FUNC``
    already says how to.
    """
    # Its C function lets nobody run while it waits, and it looks for gevent's patching alone.
    os.environ.setdefault("PSYCOPG_WAIT_FUNC", "wait_poll")
    pin_selector()
    patch_module_by_name("select")


@vetoable
def patch_selectors(aggressive: bool = True) -> None:
    """Make :mod:`selectors` let other greenlets run; *aggressive* or not, nothing is removed."""
    patch_module_by_name("selectors")


def patch_asyncio() -> None:
    """Let each greenlet have a running loop of its own; see also :func:`patch_select`."""
    running.install()


@vetoable
def patch_signal() -> None:
    """Raise what signal handlers raise in the main greenlet; threads block signals for themselves.

    The handlers of before are included, unless it is called outside the main thread.
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
    """Make threads greenlets, and locks cooperate.

    *existing_locks* upgrades the native locks that modules and the standard library's objects
    hold already, unless somebody holds them. *Event* and *logging* are accepted for gevent's
    sake: both follow the locks, and :class:`threading.Event` counts as patched if *Event* is true.
    *threading* false leaves :mod:`threading` itself as it is.
    """
    source, target = source_and_target("thread")
    names = implemented(source)
    if not will_patch(target, source, names):
        return False
    replace(target, source, names)
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
        import _threading_local  # imports threading, which its caller has just imported

        for module, name in ((_thread, "_local"), (target, "local"), (_threading_local, "local")):
            patch_item(module, name, cooperative_local)
    replace(target, source, names)
    return True
