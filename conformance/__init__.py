"""Runs gevent's own test suite on weft: ``python -m conformance``."""
