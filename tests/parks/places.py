"""All places."""

from parks import descriptors, primitives, processes, sockets
from parks.place import PLACES

__all__ = ["PLACES", "descriptors", "primitives", "processes", "sockets"]
