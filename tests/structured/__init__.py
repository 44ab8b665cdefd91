"""Structured concurrency: random programs of groups, scopes and shields against a model."""
