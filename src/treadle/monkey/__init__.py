"""Make the blocking parts of the standard library cooperative, with the API of gevent.monkey.

Call :func:`patch_all` before anything else in a program (``treadle run`` does this). It replaces
the primitives beneath the standard library's classes: ``time.sleep``, the sockets, ``select``, the
locks and threads of ``_thread``, ``SimpleQueue``, ``os.fork``. The classes themselves stay.

References that modules took to the originals before patching are rebound as well. A module-level
name is left alone if one of its underscore-separated words is native, orig, original, real or
unpatched, such as ``native_sleep`` or ``_real_socket``: it is meant to hold the original.
"""

from __future__ import annotations

import gc
import sys as _sys
from typing import Any

from treadle.events import (
    DoNotPatch,
    GeventDidPatchAllEvent,
    GeventDidPatchBuiltinModulesEvent,
    GeventWillPatchAllEvent,
    notify_and_call_entry_points,
)
from treadle.monkey._main import run
from treadle.monkey._modules import MonkeyPatchWarning, patch_module, warn
from treadle.monkey._patches import (
    patch_asyncio,
    patch_dns,
    patch_multiprocessing,
    patch_os,
    patch_queue,
    patch_select,
    patch_selectors,
    patch_signal,
    patch_socket,
    patch_ssl,
    patch_subprocess,
    patch_sys,
    patch_thread,
    patch_time,
)
from treadle.monkey._references import find_references, originals
from treadle.monkey._repair import rebind_all
from treadle.monkey._report import report
from treadle.monkey._saved import (
    get_original,
    is_anything_patched,
    is_module_patched,
    is_object_patched,
    patch_item,
    remove_item,
    saved,
)

__all__ = [
    "MonkeyPatchWarning",
    "get_original",
    "is_anything_patched",
    "is_module_patched",
    "is_object_patched",
    "main",
    "patch_all",
    "patch_asyncio",
    "patch_builtins",
    "patch_contextvars",
    "patch_dns",
    "patch_item",
    "patch_module",
    "patch_multiprocessing",
    "patch_os",
    "patch_queue",
    "patch_select",
    "patch_selectors",
    "patch_signal",
    "patch_socket",
    "patch_ssl",
    "patch_subprocess",
    "patch_sys",
    "patch_thread",
    "patch_time",
    "remove_item",
    "saved",
    "unpatched_references",
]

#: The key in :data:`saved` of the arguments of ``patch_all()``. gevent uses the same key.
_SETTINGS = "_gevent_saved_patch_all_module_settings"


def patch_builtins() -> None:
    """Do nothing: several greenlets can import safely without it. For compatibility with gevent."""


def patch_contextvars() -> None:
    """Do nothing: each greenlet has its own context without it. For compatibility with gevent."""


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
    """Patch every part of the standard library whose argument is true.

    Call it before anything else in the program. It also rebinds references that other modules took
    to the originals, and replaces existing native locks that are not held.

    A second call patches the parts that were off before; it issues a :class:`MonkeyPatchWarning`
    if its arguments differ from the earlier ones. *sys* makes :func:`input` on terminals and
    ``sys.stdin`` cooperative. *builtins* and *contextvars* change nothing. Other keyword arguments
    are passed to the subscribers of :mod:`treadle.events`.

    Return True if it patched, False if a subscriber vetoed it, and None if all of it was patched
    already.
    """
    settings = {name: value for name, value in locals().items() if name != "kwargs"}
    wanted = _not_yet_patched(settings)
    if not wanted:
        return None
    try:
        notify_and_call_entry_points(GeventWillPatchAllEvent(wanted, kwargs))
    except DoNotPatch:
        return False
    saved.setdefault(_SETTINGS, {}).update(wanted)
    _warn_if_not_in_main_thread()
    if os:
        patch_os()
    if thread:
        patch_thread(Event=Event)
    if time:
        patch_time()
    if socket:
        patch_socket(dns=dns, aggressive=aggressive)
    if select:
        patch_select(aggressive=aggressive)
        patch_selectors(aggressive=aggressive)
        patch_asyncio()
    if ssl:
        patch_ssl()
    if subprocess:
        patch_subprocess()
        patch_multiprocessing()
    if signal:
        patch_signal()
    if queue:
        patch_queue()
    if sys:
        patch_sys()
    left = rebind_all()
    notify_and_call_entry_points(GeventDidPatchBuiltinModulesEvent(wanted, kwargs))
    notify_and_call_entry_points(GeventDidPatchAllEvent(wanted, kwargs))
    if left:
        lines = "".join(f"\n  {line}" for line in report(left))
        warn(f"too late for some references; patch before their modules are imported:{lines}")
    return True


def _not_yet_patched(settings: dict[str, bool]) -> dict[str, bool]:
    before = saved.get(_SETTINGS, {})
    if before and settings != before:
        warn(
            "patch_all() was called more than once, with different arguments: "
            "whatever one of the calls asked for is patched"
        )
    return {name: on for name, on in settings.items() if name not in before or on > before[name]}


def _warn_if_not_in_main_thread() -> None:
    threading: Any = _sys.modules.get("threading")
    if threading is not None and threading.current_thread() is not threading.main_thread():
        warn(
            "patching outside the main thread: call treadle.monkey.patch_all() in the main thread, "
            "before others start"
        )


def unpatched_references() -> list[str]:
    """Return the remaining references to originals, as lines ``module:line: name ...``.

    ``treadle doctor`` prints this list.
    """
    gc.collect()
    return report(find_references(originals()))


def main() -> None:
    """Patch, then run the script or module that ``sys.argv`` names: ``python -m treadle.monkey``.

    Options come before the name. ``--no-PART`` leaves one part of the library unpatched. One or
    more ``--PART`` patch only these parts. ``--module`` runs a module by its name. ``--verbose``
    prints what is patched. The parts have the names of the arguments of :func:`patch_all`.
    """
    run(patch_all)
