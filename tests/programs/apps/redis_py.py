"""redis-py: one client and its pool of connections, shared by all."""

import crowd  # patches: before all else
from redis import Redis

client = Redis.from_url(crowd.URL, decode_responses=True)


def wait(number: int) -> int:
    """Wait for what another call sends after 0.2 s at the latest."""
    assert client.blpop([f"nothing:{number}"], timeout=0.2) is None
    return number


def load(number: int) -> int:
    """A transaction and a read."""
    name = f"load:{number}"
    with client.pipeline() as transaction:
        transaction.set(name, number).incr(name).expire(name, 60).execute()
    return int(client.get(name)) - 1


crowd.main(wait, load)
