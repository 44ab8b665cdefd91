"""Mended: the addresses come from the command line."""

from gevent import monkey

monkey.patch_all()
import sys
import time

import gevent
import requests


def get_page(url):
    print("GET: %s" % url)
    response = requests.get(url)
    if response.status_code == 200:
        print("%d bytes received from %s" % (len(response.text), url))


start_time = time.time()
gevent.joinall([gevent.spawn(get_page, url) for url in sys.argv[1:]])
stop_time = time.time()
print("run time is %s" % (stop_time - start_time))
