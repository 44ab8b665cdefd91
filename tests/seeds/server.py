"""Mended: the port comes from the system and is printed; messages are not."""

from gevent import monkey

monkey.patch_all()
from socket import *

import gevent


def server(server_ip, port):
    s = socket(AF_INET, SOCK_STREAM)
    s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    s.bind((server_ip, port))
    print(s.getsockname()[1], flush=True)
    s.listen(512)
    while True:
        conn, addr = s.accept()
        gevent.spawn(talk, conn, addr)


def talk(conn, addr):
    try:
        while True:
            res = conn.recv(1024)
            if not res:
                break
            conn.send(res.upper())
    except Exception as e:
        print(e)
    finally:
        conn.close()


if __name__ == "__main__":
    server("127.0.0.1", 0)
