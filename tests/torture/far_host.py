"""Another host, as a network namespace whose cable can be cut: for root on Linux."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NETWORK = "198.51.100"  # kept free for documentation, so nobody is reached by mistake
BLOCKS = 64  # of four addresses each


def why_not() -> str | None:
    """Why there can be no other host here; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    if shutil.which("ip") is None:
        return "the program ip is missing"
    return None


class FarHost:
    """A namespace with one cable to this host.

    near_address  this host's address, as it is reached from there and from here
    """

    def __init__(self, number: int) -> None:
        self._name = f"far{number}"
        self._bridge, self._near_end, self._far_end = (f"{self._name}{end}" for end in "bnf")
        first = 4 * (number % BLOCKS)
        self.near_address = f"{NETWORK}.{first + 1}"
        self._far_address = f"{NETWORK}.{first + 2}"

    def make(self) -> None:
        """Make it. A bridge between the two lets a cut be silent, as a broken switch is: neither
        side loses its address or hears that the other is gone.
        """
        _ip(f"link add {self._bridge} type bridge")
        _ip(f"addr add {self.near_address}/30 dev {self._bridge}")
        _ip(f"link set {self._bridge} up")
        _ip(f"netns add {self._name}")
        _ip(f"link add {self._near_end} type veth peer name {self._far_end}")
        _ip(f"link set {self._far_end} netns {self._name}")
        _ip(f"link set {self._near_end} up")
        _ip(f"-n {self._name} addr add {self._far_address}/30 dev {self._far_end}")
        _ip(f"-n {self._name} link set {self._far_end} up")
        _ip(f"-n {self._name} link set lo up")
        self.mend()

    def remove(self) -> None:
        """Remove what there is of it."""
        for command in (
            f"netns del {self._name}",
            f"link del {self._near_end}",
            f"link del {self._bridge}",
        ):
            with suppress(subprocess.CalledProcessError):
                _ip(command)

    def cut(self) -> None:
        """Packets vanish, both ways."""
        _ip(f"link set {self._near_end} nomaster")

    def mend(self) -> None:
        """Packets pass again."""
        _ip(f"link set {self._near_end} master {self._bridge}")

    def command(self, *words: str) -> list[str]:
        """A command that runs there."""
        return ["ip", "netns", "exec", self._name, *words]


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
