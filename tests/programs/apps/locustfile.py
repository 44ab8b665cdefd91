"""Users of the site for locust: each waits 0.2 s for a page, and posts some data."""

from locust import FastHttpUser, HttpUser, constant, task


class Visitor(HttpUser):
    wait_time = constant(0)

    @task
    def read(self) -> None:
        with self.client.get("/1?delay=0.2", name="page", catch_response=True) as answer:
            if answer.text != '{"path": "/1"}':
                answer.failure("another page")


class FastVisitor(FastHttpUser):
    wait_time = constant(0)

    @task
    def send(self) -> None:
        self.client.post("/2?delay=0.2", name="form", data="x" * 1000)
