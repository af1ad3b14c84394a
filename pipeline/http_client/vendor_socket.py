"""Makes the sockets of connections to vendors."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import Any

AddressInfo = tuple[Any, ...]
"""Family, kind, protocol, name and address, as of `socket.getaddrinfo`."""

USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)  # not on every system


def socket_maker(unacknowledged_s: float) -> Callable[[AddressInfo], socket.socket]:
    """What makes sockets whose bytes the system gives up if they are not acknowledged for so long.

    Otherwise it would deliver a request after a network was parted for minutes, when another
    process has the lease of its row, and has sent newer ones. Infinity: as long as the system does.
    """

    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, *_ = info
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        if unacknowledged_s < math.inf and USER_TIMEOUT is not None:
            milliseconds = max(1, int(max(0.0, unacknowledged_s) * 1000))
            made.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, milliseconds)
        return made

    return make
