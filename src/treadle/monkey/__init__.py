"""Make the standard library's blocking parts cooperate: what gevent.monkey offers.

Call :func:`patch_all` first thing in a program (``treadle run`` does it for you). It replaces the
primitives beneath the standard library's classes, which stay what they are: ``time.sleep``, the
sockets, ``select``, the locks and threads of ``_thread``, ``SimpleQueue``, ``os.fork``.

References that were taken before are repaired, but for a module's names that say they are meant
for the original, as ``native_sleep`` or ``_real_socket`` do: by one of the words native, orig,
original, real and unpatched between underscores.
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

#: Where :data:`saved` has what ``patch_all()`` was told: gevent's key.
_SETTINGS = "_gevent_saved_patch_all_module_settings"


def patch_builtins() -> None:
    """Accepted for gevent's sake: imports by many greenlets are safe as they are."""


def patch_contextvars() -> None:
    """Accepted for gevent's sake: each greenlet has a context of its own as it is."""


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

    References that other modules took before are re-bound, and so are locks. Calling it again
    patches what was off before, and warns if it is told otherwise than before. *sys* is about
    :func:`input` on terminals, *builtins* and *contextvars* change nothing; other keyword arguments
    are for the subscribers of :mod:`treadle.events`. True if it patched, False if a subscriber
    vetoed that, None if all was patched already.
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
    """References to originals that are left, as ``module:line: name ...``; see ``doctor``."""
    gc.collect()
    return report(find_references(originals()))


def main() -> None:
    """What ``python -m treadle.monkey`` does: run a script or module of ``sys.argv``, patched.

    Options before its name: ``--no-PART`` leaves a part of the library as it is, ``--PART`` (one
    or more) patches nothing else, ``--module`` runs a module by its name, ``--verbose`` tells what
    is patched. The parts are called as the arguments of :func:`patch_all`.
    """
    run(patch_all)
