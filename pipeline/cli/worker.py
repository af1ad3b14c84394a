"""`pipeline worker`: send shares of a run, as one of its workers."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import click
from anyio import to_thread

from pipeline import run as engine  # its parts that send are imported when they are first used
from pipeline.cli.console import terminal
from pipeline.cli.schedule_options import schedule_window
from pipeline.cli.setup import read_config
from pipeline.config import Config
from pipeline.model.formatting import one_line
from pipeline.run import ScheduleWindow
from pipeline.run.reopen import join
from pipeline.run.share_rules import takeable
from pipeline.run.worker_processes import CONTENT_FLAG
from pipeline.runs import open_store

LEFT, STOPPED, INTERRUPTED = 1, 3, 128
LOOK_EVERY_S = 1.0

NOTHING = "no run has a share to send; `pipeline run FILE --workers N` begins such a run"
WAITS = "waiting for runs: `pipeline run FILE --workers N` begins one"

_CODES = {"stopped": STOPPED, "ordered": INTERRUPTED + signal.SIGTERM, "undriven": LEFT}
"""The exit codes of how the work on a run ended."""


@click.command(short_help="Send shares of a run that another process began.")
@click.argument("run", required=False)
@click.option("--wait", is_flag=True, help="Do not end: wait for further runs.")
@click.option("--until", metavar="TIME", help="Take no further row from this time on: 07:30.")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
@click.option(CONTENT_FLAG, "is_content_given", is_flag=True, hidden=True)
@click.pass_obj
def worker(
    config_file: Path | None,
    /,
    *,
    run: str | None,
    wait: bool,
    until: str | None,
    quiet: bool,
    is_content_given: bool,
) -> None:
    """Send shares of RUN until none is left. `pipeline run --workers N` begins such a run.

    Without RUN, shares of all unfinished runs are sent that are given out. Any number of workers
    may join, on every machine that reaches the store.
    """
    config = read_config(config_file, sys.stdin.buffer.read() if is_content_given else None)
    console = terminal(stderr=True, quiet=quiet)

    def say(words: str) -> None:
        console.print(one_line(words), markup=False)

    window = schedule_window(config, until=until)
    sys.exit(anyio.run(partial(_work, config, run, window, say, stays=wait and run is None)))


async def _work(
    config: Config,
    run: str | None,
    window: ScheduleWindow,
    say: Callable[[str], None],
    *,
    stays: bool,
) -> int:
    codes = {0}
    shared = engine.Session()
    environment = engine.RunEnvironment(shared=shared, window=window, tell=say)
    is_first = True
    async with engine.signals_obeyed(shared):
        while shared.interrupted is None:
            names = [run] if run is not None else await to_thread.run_sync(_given_out, config)
            if is_first and not names:
                say(WAITS if stays else NOTHING)
            is_first = False
            for name in names:
                codes.add(await _work_on(config, name, environment, say))
            if not stays:
                break
            await anyio.sleep(LOOK_EVERY_S)
    return max(codes) if shared.interrupted is None else INTERRUPTED + shared.interrupted


async def _work_on(
    config: Config, run: str, environment: engine.RunEnvironment, say: Callable[[str], None]
) -> int:
    """Work on one run; returns the exit code."""
    prepared = await to_thread.run_sync(join, run, config)
    end = await engine.work(prepared, environment, who=f"{socket.gethostname()}:{os.getpid()}")
    if end == "undriven":
        say(f"run {run}: no share is given out; `pipeline resume {run} --workers N` goes on")
    return _CODES.get(end, 0)


def _given_out(config: Config) -> list[str]:
    """The unfinished runs with shares that may be taken, oldest first."""
    runs = open_store(config).runs
    names = [run.name for run in reversed(runs.all(states=("sending",)))]
    return [name for name in names if takeable(runs.shares(name), ())]
