"""A pool for Celery's workers, in which each task has a greenlet.

    treadle run -m celery -A shop worker -P treadle -c 100
    CELERY_CUSTOM_WORKER_POOL=treadle.celery:TaskPool celery -A shop worker -P custom -c 100

Celery knows short names of its own pools alone; ``treadle run`` adds treadle's to them, and patches
before anything is imported. Celery imports this module first of all where the variable names it,
and importing it patches the standard library and installs the alias for ``import gevent``: Celery
and kombu have ways of their own with gevent, that are right here too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from treadle import compat, monkey
from treadle.timeout import Timeout

compat.install()
monkey.patch_all()

# Only now: what they import has to be patched.
from celery.concurrency import gevent  # noqa: E402
from celery.exceptions import SoftTimeLimitExceeded  # noqa: E402

__all__ = ["TaskPool"]


class TaskPool(gevent.TaskPool):
    """Celery's pool of greenlets, which also keeps soft time limits.

    A task that exceeds its soft limit gets SoftTimeLimitExceeded where it waits, and one that
    exceeds its hard limit, or is revoked with ``terminate``, is killed there; one that computes
    without ever waiting is not interrupted. Growing, shrinking and shutdown are Celery's.
    """

    def on_apply(
        self,
        target: Callable[..., Any],
        *args: Any,
        soft_timeout: float | None = None,
        timeout_callback: Callable[[bool, float], object] | None = None,
        **options: Any,
    ) -> Any:
        """Start a task when there is a place for it; Celery calls it."""
        seconds = soft_timeout or self.options.get("soft_timeout")
        if seconds:
            target = partial(_call_within, seconds, timeout_callback, target)
        return super().on_apply(target, *args, timeout_callback=timeout_callback, **options)


def _call_within(
    seconds: float,
    timeout_callback: Callable[[bool, float], object] | None,
    target: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call *target*, which deals with the exception that comes after so many seconds."""
    with Timeout(seconds, SoftTimeLimitExceeded(seconds)) as limit:
        result = target(*args, **kwargs)
        if not limit.pending and timeout_callback is not None:
            timeout_callback(True, seconds)
        return result
