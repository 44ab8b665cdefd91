"""The HTTP engine: protocols without I/O, and what carries them over treadle's sockets."""
