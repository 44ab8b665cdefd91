"""simple_websocket's client, a connection for each call."""

import crowd  # patches: before all else
from simple_websocket import Client


def ask(number: int, delay: float = 0) -> int:
    websocket = Client(crowd.URL)
    try:
        websocket.send(f"{delay} {number}")
        return int(websocket.receive())
    finally:
        websocket.close()


crowd.main(lambda number: ask(number, 0.2), ask)
