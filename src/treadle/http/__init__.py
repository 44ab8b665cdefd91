"""The HTTP engine: protocol code without I/O, and connections that run it on treadle's sockets."""
