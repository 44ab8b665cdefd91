"""Run Django under gevent's or treadle's pywsgi until SIGTERM: ``django_server.py STYLE PORT``."""

import sys

if sys.argv[1] == "gevent":
    from gevent import monkey

    monkey.patch_all()
    from gevent import signal_handler
    from gevent.pywsgi import WSGIServer
else:
    from treadle import monkey

    monkey.patch_all()
    from treadle import signal_handler
    from treadle.pywsgi import WSGIServer

import os
import signal

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
application = get_wsgi_application()
call_command("migrate", run_syncdb=True, verbosity=0)
server = WSGIServer(("127.0.0.1", int(sys.argv[2])), application, log=None)
signal_handler(signal.SIGTERM, server.stop)
server.serve_forever()
