"""Real programs under gevent and under weft, side by side: ``python -m benchmarks.programs``."""
