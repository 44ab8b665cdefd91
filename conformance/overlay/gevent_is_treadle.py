"""Imported by each interpreter of the treadle environment at its start (a ``.pth`` file says so).

The first ``import gevent`` then means treadle. Only ``gevent.tests`` and ``gevent.testing`` come
from gevent's wheel, which is installed in the other environment. Nothing is imported here that an
interpreter has not at its start: tests measure what is, and how long their children take.
"""

import sys
from _frozen_importlib_external import PathFinder
from os import path

BORROWED = ("gevent.tests", "gevent.testing")


class WheelFinder:
    """Finds gevent's tests where the wheel is installed, though gevent itself is treadle."""

    def __init__(self, wheel):
        self.wheel = wheel
        self.installed = False

    def find_spec(self, fullname, path, target=None):
        if fullname == "gevent" and not self.installed:
            self.installed = True
            import treadle.compat

            treadle.compat.install(imports=False)
            # In front again, for gevent.tests.
            sys.meta_path.remove(self)
            sys.meta_path.insert(0, self)
            return sys.meta_path[1].find_spec(fullname, path, target)
        if fullname in BORROWED:
            return PathFinder.find_spec(fullname, [self.wheel])
        if fullname.startswith(tuple(name + "." for name in BORROWED)):
            return PathFinder.find_spec(fullname, path)
        return None


def install():
    site = path.join("lib", "python{}.{}".format(*sys.version_info), "site-packages")
    wheel = path.join(path.dirname(sys.prefix), "gevent", site, "gevent")
    sys.meta_path.insert(0, WheelFinder(wheel))


install()
