"""Ordinary blocking Python, run concurrently on one thread."""
