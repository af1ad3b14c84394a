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
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        server = _Server(listener)
        accepting = threading.Thread(target=server.accept)
        accepting.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            server.join()


class _Server:
    """A thread for each command, from its start to its end."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._threads: list[threading.Thread] = []
        self._running: dict[socket.socket, QuickPopen] = {}

    def accept(self) -> None:
        with suppress(OSError):  # it is shut down
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def join(self) -> None:
        for each in self._threads:
            each.join()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            length, streams, _, _ = socket.recv_fds(connection, 4, 3)
            if not length:
                return
            asked = json.loads(connection.recv(struct.unpack("!I", length)[0], socket.MSG_WAITALL))
            self._end_killed()
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
            self._running[connection] = process
            telling = threading.Thread(target=_tell, args=(process, connection))
            telling.start()
            while number := connection.recv(1):
                process.send_signal(number[0])
            _kill(process)
            telling.join()
            del self._running[connection]

    def _end_killed(self) -> None:
        """What was killed before this command was started is gone when it starts."""
        for connection, process in list(self._running.items()):
            with suppress(OSError):  # nothing is there to be read, so its other end is open
                if not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    _kill(process)


def _kill(process: QuickPopen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tell(process: QuickPopen, connection: socket.socket) -> None:
    code = process.wait()
    with suppress(OSError):  # whoever started it is gone
        connection.sendall(struct.pack("!i", code))
