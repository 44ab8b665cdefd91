"""Locust users that do not wait between requests, and a report of what the requests cost.

The report covers the time between the start of all users and the stop of the test.
"""

import json
import time
from typing import Any

from locust import FastHttpUser, HttpUser, constant, events, task

REPORT = "report: "
begun: dict[str, float] = {}


class Visitor(HttpUser):
    wait_time = constant(0)

    @task
    def read(self) -> None:
        self.client.get("/1")


class FastVisitor(FastHttpUser):
    wait_time = constant(0)

    @task
    def read(self) -> None:
        self.client.get("/2")


def clocks(environment: Any) -> dict[str, float]:
    total = environment.stats.total
    return {
        "units": total.num_requests - total.num_failures,
        "wall": time.perf_counter(),
        "cpu": time.process_time(),
    }


@events.init.add_listener
def note_environment(environment: Any, **_: Any) -> None:
    @events.spawning_complete.add_listener
    def begin(**_: Any) -> None:
        begun.update(clocks(environment))

    @events.test_stopping.add_listener
    def end(**_: Any) -> None:
        ended = clocks(environment)
        print(REPORT + json.dumps({name: ended[name] - begun[name] for name in ended}))
