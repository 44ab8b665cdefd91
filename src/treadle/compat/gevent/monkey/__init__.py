"""Submodules of ``gevent.monkey`` under the alias; the package itself is treadle.monkey."""
