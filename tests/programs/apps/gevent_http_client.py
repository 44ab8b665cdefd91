"""geventhttpclient: its own client, and its sessions, which resemble those of requests."""

import json

import crowd  # first, because it patches
from geventhttpclient import HTTPClient, UserAgent

client = HTTPClient.from_url(crowd.URL, concurrency=crowd.SIZE, network_timeout=30)
agent = UserAgent(concurrency=crowd.SIZE)


def fetch(number: int, delay: float = 0) -> int:
    answer = client.get(f"/{number}?delay={delay}")
    assert answer.status_code == 200
    return int(json.loads(answer.read())["path"].removeprefix("/"))


crowd.main(lambda number: fetch(number, 0.2), fetch)
