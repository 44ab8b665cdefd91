"""``treadle serve``: WSGI applications in production; workers, and a supervisor that keeps them."""
