"""redis-py: all calls share one client and its pool of connections."""

import crowd  # first, because it patches
from redis import Redis

client = Redis.from_url(crowd.URL, decode_responses=True)


def wait(number: int) -> int:
    """Wait 0.2 s for an item of a list that stays empty."""
    assert client.blpop([f"nothing:{number}"], timeout=0.2) is None
    return number


def load(number: int) -> int:
    """Run a transaction and a read."""
    name = f"load:{number}"
    with client.pipeline() as transaction:
        transaction.set(name, number).incr(name).expire(name, 60).execute()
    return int(client.get(name)) - 1


crowd.main(wait, load)
