"""Structured concurrency: tests of groups, scopes, shields, and random programs against a model."""
