"""A socket that tells when the bytes that are read from it arrived: Linux stamps them."""

from __future__ import annotations

import socket
import struct
import sys
import time
from typing import Any, Final

from pipeline.http_client.patient_loop import PatientSelector

CAN_DATE = sys.platform == "linux"

_TIMESTAMP: Final = 35  # SO_TIMESTAMPNS
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if CAN_DATE else 0


class DatedSocket(socket.socket):
    """Tells a selector when bytes arrived, while that is patient. Call `date_for` first."""

    def date_for(self, patience: PatientSelector) -> None:
        """Have what arrives from now on stamped, and tell `patience`."""
        self._patience = patience
        self.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As usual."""
        patience = self._patience
        if not patience.is_patient:
            return super().recv_into(buffer, nbytes, flags)
        into = memoryview(buffer)[:nbytes] if nbytes else buffer
        size, ancillary, _, _ = self.recvmsg_into([into], _ANCILLARY_BYTES, flags)
        age_s: float | None = None
        for _, kind, value in ancillary:
            if kind == _TIMESTAMP and len(value) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                age_s = time.time() - seconds - nanoseconds * 1e-9
        if size:  # an end of stream has no stamp
            patience.on_read(self.fileno(), age_s)
        return size
