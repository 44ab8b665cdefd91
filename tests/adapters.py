"""Modules that need the program they adapt to; tests/programs installs it and imports them."""

ADAPTERS = ("treadle.celery", "treadle.gunicorn", "treadle.psycopg2")


def is_adapter(module: str) -> bool:
    """Return whether *module* is, or is part of, one of ADAPTERS."""
    return module.startswith(ADAPTERS)
