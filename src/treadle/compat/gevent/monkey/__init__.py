"""Modules of ``gevent.monkey`` under the alias, which itself is treadle's."""
