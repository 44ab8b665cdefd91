"""Real programs under gevent and under treadle, side by side: ``python -m benchmarks.programs``."""
