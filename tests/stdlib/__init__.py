"""CPython's own tests, patched, test by test beside the same unpatched: python -m tests.stdlib."""
