"""Another host, as a network namespace whose cable can be cut: for root on Linux."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NETWORK = "198.51.100"  # kept free for documentation, so nobody is reached by mistake
BRIDGE = "02:00:00:00:00:01"
BLOCKS = 64  # of four addresses each


def why_not() -> str | None:
    """Why there can be no other host here; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    if shutil.which("ip") is None:
        return "the program ip is missing"
    return None


class Cable:
    """A cable between this host and a namespace, with a network of its own.

    near_address  this host's address, as it is reached from there and from here
    """

    def __init__(self, namespace: str, number: int, name: str) -> None:
        self._namespace = namespace
        self._bridge, self._near_end, self._far_end = (f"{namespace}{name}{end}" for end in "bnf")
        first = 4 * (number % BLOCKS)
        self.near_address = f"{NETWORK}.{first + 1}"
        self._far_address = f"{NETWORK}.{first + 2}"

    def make(self) -> None:
        """Make it. A bridge between the two lets a cut be silent, as a broken switch is: neither
        side loses its address or hears that the other is gone. The end outside it must not stand in
        for it: Linux takes what is for any of its addresses.
        """
        _ip(f"link add {self._bridge} address {BRIDGE} type bridge")
        _ip(f"addr add {self.near_address}/30 dev {self._bridge}")
        _ip(f"link set {self._bridge} up")
        _ip(f"link add {self._near_end} type veth peer name {self._far_end}")
        _ip(f"link set {self._far_end} netns {self._namespace}")
        _ip(f"link set {self._near_end} arp off up")
        _ip(f"-n {self._namespace} addr add {self._far_address}/30 dev {self._far_end}")
        _ip(f"-n {self._namespace} link set {self._far_end} up")
        self.mend()

    def remove(self) -> None:
        """Remove what there is of it."""
        for command in (f"link del {self._near_end}", f"link del {self._bridge}"):
            with suppress(subprocess.CalledProcessError):
                _ip(command)

    def cut(self) -> None:
        """Packets vanish, both ways."""
        _ip(f"link set {self._near_end} nomaster")

    def mend(self) -> None:
        """Packets pass again."""
        _ip(f"link set {self._near_end} master {self._bridge}")


class FarHost:
    """A namespace, with a cable to the vendor and one to the database."""

    def __init__(self, number: int) -> None:
        self._name = f"far{number}"
        self.vendor = Cable(self._name, 2 * number, "v")
        self.database = Cable(self._name, 2 * number + 1, "d")

    def make(self) -> None:
        """Make it."""
        _ip(f"netns add {self._name}")
        _ip(f"-n {self._name} link set lo up")
        self.vendor.make()
        self.database.make()

    def remove(self) -> None:
        """Remove what there is of it."""
        with suppress(subprocess.CalledProcessError):
            _ip(f"netns del {self._name}")
        self.vendor.remove()
        self.database.remove()

    def command(self, *words: str) -> list[str]:
        """A command that runs there."""
        return ["ip", "netns", "exec", self._name, *words]

    def undelivered(self, port: int) -> int:
        """Connections to a port here whose bytes its kernel has not delivered, and still sends."""
        command = self.command("cat", "/proc/net/tcp")
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        sockets = [line.split() for line in lines.splitlines()[1:]]
        return sum(
            int(remote.partition(":")[2], 16) == port and int(queues.partition(":")[0], 16) > 0
            for _, _, remote, _, queues, *_ in sockets
        )


@contextmanager
def far_host(number: int | None = None) -> Iterator[FarHost]:
    """Another host, removed at the end.

    number  of those at work at once; None: of this process
    """
    host = FarHost(os.getpid() if number is None else number)
    try:
        host.make()
        yield host
    finally:
        host.remove()


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)
