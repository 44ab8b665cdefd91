"""simple_websocket's client, with one connection for each call."""

import crowd  # first, because it patches
from simple_websocket import Client


def ask(number: int, delay: float = 0) -> int:
    websocket = Client(crowd.URL)
    try:
        websocket.send(f"{delay} {number}")
        return int(websocket.receive())
    finally:
        websocket.close()


crowd.main(lambda number: ask(number, 0.2), ask)
