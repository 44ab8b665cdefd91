"""Tests of how programs end."""
