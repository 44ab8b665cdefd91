"""Private submodules of ``gevent.resolver`` under the alias."""
