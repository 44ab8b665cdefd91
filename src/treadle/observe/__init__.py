"""Inspect a running program: waiting greenlets, spawn trees, and greenlets that block the hub."""
