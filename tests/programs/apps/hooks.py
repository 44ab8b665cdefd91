"""gunicorn settings for a test: each hook writes one line."""

import os
from pathlib import Path
from typing import Any


def say(text: str) -> None:
    with Path(os.environ["HOOKS_LOG"]).open("a") as file:
        file.write(f"{text}\n")


def post_worker_init(worker: Any) -> None:
    say("post_worker_init")


def pre_request(worker: Any, req: Any) -> None:
    say(f"pre_request {req.method} {req.path} {dict(req.headers)['X-SAY']}")


def post_request(worker: Any, req: Any, environ: dict[str, Any], resp: Any) -> None:
    say(f"post_request {environ['PATH_INFO']} {resp.status} {resp.sent}")


def worker_int(worker: Any) -> None:
    say("worker_int")


def worker_abort(worker: Any) -> None:
    say("worker_abort")


def worker_exit(server: Any, worker: Any) -> None:
    say("worker_exit")
