"""Modules that need the program they are for: tests/programs has it, and imports them."""

ADAPTERS = ("treadle.celery", "treadle.gunicorn", "treadle.psycopg2")


def is_adapter(module: str) -> bool:
    """Whether *module* is, or is part of, one of them."""
    return module.startswith(ADAPTERS)
