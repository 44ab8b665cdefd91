"""Tests of treadle.testing: what it finds in programs with planted bugs."""
