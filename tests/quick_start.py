"""Starts `python -m pipeline` without importing it anew each time: that costs a second of CPU.

A server that has imported the package forks for each start. The fork is a process as any other: a
child of the test with its own pid, signals, folder, environment, arguments and streams, and it runs
`pipeline.__main__`, or the code of `python -c`. A command that starts workers has such a server for
them: it was forked before the command began. `python -m tests.quick_start FD` is the server; it
serves one process of tests.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import inspect
import io
import json
import os
import pkgutil
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

COMMAND = [sys.executable, "-m", "pipeline"]
DECODER = [sys.executable, "-m", "pipeline.loader.decode_check"]
CODE = [sys.executable, "-c"]
STARTS_WORKERS = "--workers"
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
VARIABLE = "TESTS_START_ANEW"
"""If it is set, each start imports the package."""
AT_IMPORT = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC", "POLARS", "_RJEM", VARIABLE)
"""Prefixes of variables that a process reads before its first line, or as it imports."""
OPEN_FILES = 256
"""No process of the tests has more."""
PASSED = 8
"""Descriptors that a process can get at its start: its streams and others."""
ROOT = Path(__file__).parents[1]
ELSEWHERE = ("pipeline.airflow.", "pipeline.ray.")
"""Modules that need what is not installed here."""
LATER = ("anyio._backends._asyncio", "polars._utils.parquet", "rich.status", "rich._emoji_codes")
"""Modules of others that a run imports once it needs them."""

processes: list[subprocess.Popen[Any]] = []
"""Those that this one has started and that may still run."""

_PR_SET_CHILD_SUBREAPER = 36
_LENGTH = struct.Struct("!I")


class QuickPopen(subprocess.Popen[Any]):
    """`subprocess.Popen`, forked from the server if it starts `python -m pipeline` or `python -c`
    with nothing that only a start anew can do.
    """

    def _execute_child(self, *given: Any) -> None:
        anew = super()._execute_child  # type: ignore[misc]
        names = list(inspect.signature(anew).parameters)
        asked = dict(zip(names, given, strict=True))
        processes.append(self)
        if not _can_fork(asked):
            anew(*given)
            return
        pipes = [asked[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        self.pid = _server().start(
            [number if each == -1 else each for number, each in enumerate(pipes)],
            words=asked["args"][1:],
            folder=os.fspath(asked["cwd"] or Path.cwd()),
            environ=os.environ if asked["env"] is None else asked["env"],
            is_leader=asked["start_new_session"],
            passed=asked["pass_fds"],
        )
        self._child_created = True
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(asked[name] for name in ends))  # type: ignore[attr-defined]


def _with_quick_popen(function: types.FunctionType) -> Any:
    names = {**vars(subprocess), "Popen": QuickPopen}
    found = types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    found.__kwdefaults__ = function.__kwdefaults__
    return found


QUICK_SUBPROCESS = types.SimpleNamespace(
    **{**vars(subprocess), "Popen": QuickPopen, "run": _with_quick_popen(subprocess.run)}
)
"""`subprocess` for a module of the pipeline that starts processes."""


def end_processes(after: int) -> None:
    """Kill what was started after so many processes, and close its streams."""
    for process in processes[after:]:
        if process.pid and process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):  # nobody reads what was written to it
                    stream.close()
    del processes[after:]


def _can_fork(asked: Mapping[str, Any]) -> bool:
    words, env = asked["args"], os.environ if asked["env"] is None else asked["env"]
    return (
        sys.platform == "linux"
        and isinstance(words, list)
        and any(words[: len(each)] == each for each in (COMMAND, CODE, DECODER))
        and not any(asked[name] for name in ("preexec_fn", "shell", "executable"))
        and all(number < OPEN_FILES for number in asked["pass_fds"] or ())
        and VARIABLE not in os.environ
        and _at_import(env) == _at_import(os.environ)
    )


def _at_import(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(AT_IMPORT)}


@cache
def _server() -> _Server:
    _adopt_orphans(True)  # so that what it forks can become a child of this process
    _adopt_orphans(False)
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.quick_start", str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=(theirs.fileno(),),
        )

    def close() -> None:
        """It ends as its socket is closed."""
        ours.close()
        process.wait()

    atexit.register(close)
    return _Server(ours, process.pid)


class _Server:
    """The other end of the socket.

    pid  of the server
    """

    def __init__(self, ours: socket.socket, pid: int) -> None:
        self.pid = pid
        self._lock = threading.Lock()
        self._socket = ours

    def start(
        self,
        streams: list[int],
        *,
        words: Iterable[object],
        folder: str,
        environ: Mapping[str, str],
        is_leader: bool,
        passed: Sequence[int] = (),
    ) -> int:
        """The number of the process, which is a child of this one."""
        asked = {
            "words": [os.fspath(each) for each in words],  # type: ignore[call-overload]
            "folder": folder,
            "environ": dict(environ),
            "is_leader": is_leader,
            "passed": [*passed],
            "umask": _umask(),
        }
        message = json.dumps(asked).encode()
        with self._lock:
            _adopt_orphans(True)  # so that what the server forks becomes a child of this process
            try:
                socket.send_fds(self._socket, [_LENGTH.pack(len(message))], [*streams, *passed])
                self._socket.sendall(message)
                return _LENGTH.unpack(_exactly(self._socket, _LENGTH.size))[0]
            except BaseException:
                # for example a test's time is up: the next one would read the answer to this one
                self._socket.close()
                _server.cache_clear()
                raise
            finally:
                _adopt_orphans(False)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _adopt_orphans(does: bool) -> None:  # noqa: FBT001 - as the system call
    """Let processes whose parent ends become children of this one, instead of the first's."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(does), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = connection.recv(size - len(found))
        if not piece:
            raise EOFError("the server of quick starts has ended")
        found += piece
    return found


# ---- the server ----


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Returns in each process that is started, with what was asked; in the server at the end."""
    while True:
        length, streams, _, _ = socket.recv_fds(connection, _LENGTH.size, PASSED)
        if not length:
            return None
        asked = json.loads(_exactly(connection, _LENGTH.unpack(length)[0]))
        reads, writes = os.pipe()
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid == 0:
                connection.detach()  # it is closed with all others
                _become(asked, streams)
                return dict(asked)
            os.write(writes, _LENGTH.pack(pid))
            os._exit(0)  # the other one is an orphan now, and goes to the tests
        os.waitpid(between, 0)
        pid = os.read(reads, _LENGTH.size)
        try:
            connection.sendall(pid)
        except OSError:  # who asked has given up
            os.kill(_LENGTH.unpack(pid)[0], signal.SIGKILL)
            return None
        for number in (reads, writes, *streams):
            os.close(number)


def _become(asked: Mapping[str, Any], streams: list[int]) -> None:
    """What a process has from its parent, as if it were started by the tests."""
    if asked["is_leader"]:
        os.setsid()
    kept = [fcntl.fcntl(each, fcntl.F_DUPFD, OPEN_FILES) for each in streams[3:]]
    for number, stream in enumerate(streams[:3]):
        os.dup2(stream, number)
    os.closerange(3, OPEN_FILES)
    for number, each in zip(asked["passed"], kept, strict=True):
        os.dup2(each, number)
        os.close(each)
    os.chdir(asked["folder"])
    os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update(asked["environ"])
    for each in ENDING:
        signal.signal(each, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[0] = asked["folder"] if _is_command(asked) else ""
    sys.argv = ["-m" if _is_command(asked) else "-c", *asked["words"][2:]]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the process's own
    sys.stdout = _text(1, errors="strict", is_by_line=os.isatty(1))
    sys.stderr = _text(2, errors="backslashreplace", is_by_line=True)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr


def _is_command(asked: Mapping[str, Any]) -> bool:
    return bool(asked["words"][0] == "-m")


def _text(number: int, *, errors: str, is_by_line: bool) -> io.TextIOWrapper:
    binary = open(number, "wb", closefd=False)  # noqa: SIM115 - the process's own
    return io.TextIOWrapper(binary, errors=errors, line_buffering=is_by_line)


def _exit(code: object) -> NoReturn:
    """End as the interpreter does, but do not take apart each module: that copies all of them."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError):  # it is closed
            stream.flush()
    os._exit(code or 0)


def _import_all() -> None:
    package = importlib.import_module("pipeline")
    for each in pkgutil.walk_packages(package.__path__, "pipeline."):
        if not f"{each.name}.".startswith(ELSEWHERE) and not each.name.endswith(".__main__"):
            importlib.import_module(each.name)
    for name in LATER:
        importlib.import_module(name)


def _serve_workers() -> dict[str, Any] | None:
    """Fork a server for what this process starts. Returns None in this one, and in each that is
    started what was asked; the server ends with this one.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):  # whoever reads what this process writes waits for no server
            os.dup2(nowhere, stream)
        os.close(nowhere)
        started = _serve(theirs)
        if started is None:
            os._exit(0)
        return started
    theirs.close()
    server = _Server(ours, pid)
    globals()["_server"] = cache(lambda: server)
    subprocess.Popen = QuickPopen  # type: ignore[misc]
    return None


def _run(words: Sequence[str]) -> None:
    """What the interpreter does with these words."""
    if words[0] == "-m":
        if words[1:2] == DECODER[2:]:
            del sys.modules[words[1]]  # it runs anew, as it does elsewhere
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), main.__dict__)  # noqa: S102 - of a test


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_all()
    gc.collect()
    gc.freeze()
    gc.disable()
    with warnings.catch_warnings():
        # of forks beside the threads of Polars: it starts those that it needs in each process
        warnings.simplefilter("ignore")
        started = _serve(socket.socket(fileno=int(sys.argv[1])))
        while started is not None and STARTS_WORKERS in started["words"]:
            worker = _serve_workers()
            if worker is None:
                break
            started = worker
    if started is not None:
        gc.enable()
        try:
            _run(started["words"])
        except SystemExit as end:
            _exit(end.code)
        _exit(None)
