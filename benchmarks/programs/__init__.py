"""Measures real programs on gevent and on treadle: ``python -m benchmarks.programs``."""
