"""treadle beside its peers, measured in one run: `python -m benchmarks` (see README.md here)."""
