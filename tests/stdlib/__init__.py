"""CPython's own tests, run patched and unpatched and compared: python -m tests.stdlib."""
