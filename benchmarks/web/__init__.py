"""Measures web servers side by side: ``python -m benchmarks.web``."""
