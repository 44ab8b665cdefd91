"""Makes ``import gevent`` import treadle; a ``.pth`` file of the environment imports this at start.

Only ``gevent.tests`` and ``gevent.testing`` come from gevent's wheel, which is installed in the
other environment. This module imports nothing that an interpreter has not imported at its start:
tests check which modules are imported, and how long their child processes take.
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
            # install() put its finder first; this one must come before it for gevent.tests.
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
