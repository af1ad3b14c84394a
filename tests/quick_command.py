"""A program `pipeline` for the PATH of a shell, which starts the command as `QuickPopen` does.

The program asks the process of the tests, over a socket, and ends as the command ends. Signals that
it gets go to the command; if it is killed, so is the command, with all that it started.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from tests.quick_start import COMMAND, QuickPopen

PROGRAM = """
import json, os, signal, socket, struct, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect("\\0" + sys.argv[1])
    asked = {"arguments": sys.argv[2:], "folder": os.getcwd(), "environ": dict(os.environ)}
    message = json.dumps(asked).encode()
    socket.send_fds(server, [struct.pack("!I", len(message))], [0, 1, 2])
    server.sendall(message)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: server.sendall(bytes([number])))
    code = struct.unpack("!i", server.recv(4))[0]
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""
_numbers = count()


@contextmanager
def quick_command(folder: Path) -> Iterator[None]:
    """`pipeline` is in `folder`, and can be started until the end."""
    name = f"quick-command-{os.getpid()}-{next(_numbers)}"
    words = [sys.executable, "-IS", "-c", PROGRAM, name]
    program = folder / "pipeline"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    serving: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        accepting = threading.Thread(target=_accept, args=(listener, serving))
        accepting.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for each in serving:
                each.join()


def _accept(listener: socket.socket, serving: list[threading.Thread]) -> None:
    with suppress(OSError):  # it is shut down
        while True:
            connection, _ = listener.accept()
            serving.append(threading.Thread(target=_serve, args=(connection,)))
            serving[-1].start()


def _serve(connection: socket.socket) -> None:
    """One command, from its start to its end."""
    with connection:
        length, streams, _, _ = socket.recv_fds(connection, 4, 3)
        if not length:
            return
        asked = json.loads(connection.recv(struct.unpack("!I", length)[0], socket.MSG_WAITALL))
        process = QuickPopen(
            [*COMMAND, *asked["arguments"]],
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            cwd=asked["folder"],
            env=asked["environ"],
            start_new_session=True,
        )
        for stream in streams:
            os.close(stream)
        telling = threading.Thread(target=_tell, args=(process, connection))
        telling.start()
        while number := connection.recv(1):
            process.send_signal(number[0])
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        telling.join()


def _tell(process: QuickPopen, connection: socket.socket) -> None:
    code = process.wait()
    with suppress(OSError):  # whoever started it is gone
        connection.sendall(struct.pack("!i", code))
