"""Imported by each interpreter of the weft environment at its start (a ``.pth`` file says so).

From then on ``import gevent`` means weft. Only ``gevent.tests`` and ``gevent.testing`` come from
gevent's wheel, which is installed in the other environment.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path

import weft.compat

BORROWED = ("gevent.tests", "gevent.testing")


class WheelFinder(MetaPathFinder):
    """Finds gevent's tests where the wheel is installed, though gevent itself is weft."""

    def __init__(self, wheel):
        self.wheel = wheel

    def find_spec(self, fullname, path, target=None):
        if fullname in BORROWED:
            return PathFinder.find_spec(fullname, [self.wheel])
        if fullname.startswith(tuple(name + "." for name in BORROWED)):
            return PathFinder.find_spec(fullname, path)
        return None


def install():
    site = Path(sys.prefix, "lib", "python{}.{}".format(*sys.version_info), "site-packages")
    wheel = str(Path(sys.prefix).parent / "gevent" / site.relative_to(sys.prefix) / "gevent")
    weft.compat.install()
    sys.meta_path.insert(0, WheelFinder(wheel))


install()
