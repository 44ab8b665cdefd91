"""``gevent._compat`` under the alias: the differences between interpreters that remain."""

import importlib
import io
import os
import sys
from _imp import acquire_lock as imp_acquire_lock
from _imp import release_lock as imp_release_lock
from abc import ABC
from os import PathLike, fsdecode, fsencode, fspath
from time import get_clock_info, monotonic, perf_counter

PY311 = sys.version_info >= (3, 11)
PY312 = sys.version_info >= (3, 12)
PY313 = sys.version_info >= (3, 13)
PY314 = sys.version_info >= (3, 14)
PYPY = hasattr(sys, "pypy_version_info")
WIN = sys.platform.startswith("win")
LINUX = sys.platform.startswith("linux")
OSX = MAC = sys.platform == "darwin"
# treadle has no pure Python variants of its compiled modules.
GLOBAL_PURE_PYTHON = PURE_PYTHON = False

string_types = (str,)
integer_types = (int,)
text_type = str
native_path_types = (str, bytes)
hostname_types = (str, bytes, bytearray)
thread_mod_name = "_thread"

NativeStrIO = io.StringIO
iteritems = dict.items
itervalues = dict.values
xrange = range
izip = zip
_fspath = fspath


def pure_python_module(mod_name):
    """Return False: no compiled module can be replaced by a pure Python one."""
    return False


def reraise(t, value, tb=None):
    """Raise *value* with the traceback *tb*."""
    raise value.with_traceback(tb)


def exc_clear():
    """Do nothing: Python 3 needs no ``sys.exc_clear()``."""


def get_this_psutil_process():
    """Return psutil's object for this process; None without psutil or if access is denied."""
    try:
        psutil = importlib.import_module("psutil")
        process = psutil.Process()
        process.memory_full_info()
    except ImportError:
        return None
    except psutil.AccessDenied:
        return None
    return process
