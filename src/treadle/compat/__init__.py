"""Let programs that say ``import gevent`` run on treadle.

Call :func:`install` as the first line of a program, or use ``treadle run --gevent``. It works
whether or not gevent is installed. ``gevent`` itself, and the private modules that libraries look
into, are modules of their own, in the folder ``gevent`` beside this file; every other ``gevent.X``
is the very module object of ``treadle.X``.
"""

from __future__ import annotations

import importlib
import sys

from treadle._config import read_gevent_environment
from treadle.compat._finder import AliasFinder
from treadle.events import plugin_owners

__all__ = ["install"]


def install(*, imports: bool = True) -> None:
    """Let ``import gevent`` mean treadle from now on; a second call does nothing.

    Unless *imports* is false, ``gevent`` and ``gevent.monkey`` are imported at once: libraries ask
    ``sys.modules``, rather than import, whether gevent is in use and has patched.

    Settings are then read from ``GEVENT_...`` environment variables too, where the ``TREADLE_...``
    one is not set. Raises ImportError if the real gevent was imported before.
    """
    if any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        return
    if "gevent" in sys.modules:
        raise ImportError(
            "gevent is imported already; call treadle.compat.install() before anything imports it, "
            "or start the program with 'treadle run --gevent'"
        )
    read_gevent_environment()
    sys.meta_path.insert(0, AliasFinder())
    plugin_owners.append("gevent")
    if imports:
        importlib.import_module("gevent.monkey")
