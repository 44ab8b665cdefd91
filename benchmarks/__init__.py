"""Measures treadle and its peers in one run: `python -m benchmarks` (see README.md here)."""
