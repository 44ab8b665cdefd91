"""Run programs that ``import gevent`` on treadle.

Call :func:`install` in the first line of a program, or use ``treadle run --gevent``. It works
whether or not gevent is installed. ``gevent`` itself, and the private modules that libraries use,
are separate modules in the folder ``gevent`` beside this file. So are the public modules that
are there: they add what only gevent has. Every other ``gevent.X`` is the module object of
``treadle.X`` itself.
"""

from __future__ import annotations

import importlib
import sys

from treadle._config import read_gevent_environment
from treadle._core.greenlet import set_report_awaited
from treadle.compat._finder import AliasFinder
from treadle.events import plugin_owners

__all__ = ["install"]


def install(*, imports: bool = True) -> None:
    """Make ``import gevent`` import treadle from now on; a second call does nothing.

    Unless *imports* is false, import ``gevent`` and ``gevent.monkey`` at once: to learn whether
    gevent is in use and has patched, libraries look into ``sys.modules`` instead of importing it.

    From now on, settings are also read from ``GEVENT_...`` environment variables where the
    ``TREADLE_...`` one is not set. Raise ImportError if the real gevent is already imported.
    """
    if any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        return
    if "gevent" in sys.modules:
        raise ImportError(
            "gevent is imported already; call treadle.compat.install() before anything imports it, "
            "or start the program with 'treadle run --gevent'"
        )
    read_gevent_environment()
    set_report_awaited(True)  # gevent reports every error of a greenlet
    sys.meta_path.insert(0, AliasFinder())
    plugin_owners.append("gevent")
    if imports:
        importlib.import_module("gevent.monkey")
