"""``treadle serve``: serves WSGI applications in worker processes that a supervisor manages."""
