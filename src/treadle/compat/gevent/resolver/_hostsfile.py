"""``gevent.resolver._hostsfile`` under the alias."""

from treadle.resolver._hosts import Hosts


class HostsFile:
    """The table of hosts in a file, ``/etc/hosts`` by default."""

    def __init__(self, fname=None):
        self.fname = fname or "/etc/hosts"

    def iter_all_host_addr_pairs(self):
        """``(name, address)`` for each name: IPv4 first; of several addresses the last."""
        hosts = Hosts(self.fname)
        for (_, name), answer in sorted(hosts.items()):
            if not answer.addresses[-1].startswith("fe80"):
                yield name, answer.addresses[-1]
