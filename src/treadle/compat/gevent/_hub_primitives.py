"""``gevent._hub_primitives`` under the alias: functions that wait."""

from treadle.hub import iwait, wait
from treadle.socket import wait_read, wait_readwrite, wait_write

__all__ = ["iwait_on_objects", "wait_on_objects", "wait_read", "wait_readwrite", "wait_write"]

iwait_on_objects = iwait
wait_on_objects = wait
