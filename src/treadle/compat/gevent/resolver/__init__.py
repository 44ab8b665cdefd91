"""Private modules of ``gevent.resolver`` under the alias."""
