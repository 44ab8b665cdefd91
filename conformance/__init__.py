"""Runs gevent's own test suite on treadle: ``python -m conformance``."""
