"""Imported by each interpreter of the weft environment at its start (a ``.pth`` file says so).

The first ``import gevent`` then means weft. Only ``gevent.tests`` and ``gevent.testing`` come from
gevent's wheel, which is installed in the other environment.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path

BORROWED = ("gevent.tests", "gevent.testing")


class WheelFinder(MetaPathFinder):
    """Finds gevent's tests where the wheel is installed, though gevent itself is weft."""

    def __init__(self, wheel):
        self.wheel = wheel
        self.installed = False

    def find_spec(self, fullname, path, target=None):
        if fullname == "gevent" and not self.installed:
            self.installed = True
            import weft.compat

            weft.compat.install(imports=False)
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
    site = Path(sys.prefix, "lib", "python{}.{}".format(*sys.version_info), "site-packages")
    wheel = str(Path(sys.prefix).parent / "gevent" / site.relative_to(sys.prefix) / "gevent")
    sys.meta_path.insert(0, WheelFinder(wheel))


install()
