"""A pool for Celery's workers that runs each task in a greenlet.

    treadle run -m celery -A shop worker -P treadle -c 100
    CELERY_CUSTOM_WORKER_POOL=treadle.celery:TaskPool celery -A shop worker -P custom -c 100

Celery has short names only for its own pools. ``treadle run`` adds the name ``treadle`` to them,
and patches before anything is imported. If the variable is set, Celery imports this module before
anything else. Its import patches the standard library and installs the alias for ``import gevent``,
because Celery and kombu have special code for gevent that treadle needs too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from treadle import compat, monkey
from treadle.timeout import Timeout

compat.install()
monkey.patch_all()

# Imported after patching, because the modules they import must be patched.
from celery.concurrency import gevent  # noqa: E402
from celery.exceptions import SoftTimeLimitExceeded  # noqa: E402

__all__ = ["TaskPool"]


class TaskPool(gevent.TaskPool):
    """Celery's gevent pool, with soft time limits added.

    A task that exceeds its soft limit gets SoftTimeLimitExceeded where it waits. A task that
    exceeds its hard limit, or is revoked with ``terminate``, is killed where it waits. A task that
    computes without waiting is not interrupted. Growing, shrinking and shutdown are Celery's.
    """

    def on_apply(
        self,
        target: Callable[..., Any],
        *args: Any,
        soft_timeout: float | None = None,
        timeout_callback: Callable[[bool, float], object] | None = None,
        **options: Any,
    ) -> Any:
        """Start a task, after waiting until the pool has room for it. Celery calls this."""
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
    """Call *target*, and raise SoftTimeLimitExceeded in it after *seconds*.

    *target* handles that exception. If it was raised, *timeout_callback* is called afterwards.
    """
    with Timeout(seconds, SoftTimeLimitExceeded(seconds)) as limit:
        result = target(*args, **kwargs)
        if not limit.pending and timeout_callback is not None:
            timeout_callback(True, seconds)
        return result
