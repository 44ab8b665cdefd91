"""Structured concurrency: tests of groups, scopes and shields, and random programs against a model."""
