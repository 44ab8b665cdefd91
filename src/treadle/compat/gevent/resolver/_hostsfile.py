"""``gevent.resolver._hostsfile`` under the alias."""

from treadle.resolver._hosts import Hosts


class HostsFile:
    """The host names and addresses in a hosts file, ``/etc/hosts`` by default."""

    def __init__(self, fname=None):
        self.fname = fname or "/etc/hosts"

    def iter_all_host_addr_pairs(self):
        """Yield ``(name, address)`` for each name, IPv4 first, with its last address in the file.

        Names whose last address is link-local (``fe80...``) are left out.
        """
        hosts = Hosts(self.fname)
        for (_, name), answer in sorted(hosts.items()):
            if not answer.addresses[-1].startswith("fe80"):
                yield name, answer.addresses[-1]
