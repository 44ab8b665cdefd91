"""Mended: line breaks; the addresses come from the command line."""

from gevent import monkey

monkey.patch_all()
import sys
import time
from urllib import request

import gevent


def f(url):
    print("GET: %s" % url)
    resp = request.urlopen(url)
    data = resp.read()
    print("%d bytes received from %s." % (len(data), url))


start = time.time()
gevent.joinall([gevent.spawn(f, url) for url in sys.argv[1:]])
print(time.time() - start)
