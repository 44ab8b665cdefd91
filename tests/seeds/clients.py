"""Mended: the endless loop sends as often as the command line says; replies are counted."""

from gevent import monkey

monkey.patch_all()
import sys
import threading
from socket import *
from threading import Thread

replies = []


def client(server_ip, port, messages):
    c = socket(AF_INET, SOCK_STREAM)
    c.connect((server_ip, port))

    for count in range(messages):
        text = "%s say hello %s" % (threading.current_thread().name, count)
        c.send(text.encode("utf-8"))
        msg = c.recv(1024)
        replies.append(msg.decode("utf-8") == text.upper())
    c.close()


if __name__ == "__main__":
    port, number, messages = map(int, sys.argv[1:])
    threads = []
    for i in range(number):
        t = Thread(target=client, args=("127.0.0.1", port, messages))
        t.start()
        threads.append(t)
    for t in threads:
        t.join()
    print(sum(replies), "right replies")
