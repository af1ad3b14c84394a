"""`--on`: where the workers of a run are started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.cli.setup import ParsedOption
from pipeline.config import Config
from pipeline.model import UsageError

if TYPE_CHECKING:
    from pipeline.run.worker_processes import StartWorkers

RAY = "ray"
JOBS_PORT = 8265
CLIENT_PORT = 10001
ADDRESS = "RAY_ADDRESS"

Open = Callable[[Callable[[str], None]], AbstractContextManager["StartWorkers"]]
"""Opens what starts workers, while a block runs; is called with what tells people."""


def jobs_address(on: str) -> str:
    """Where a cluster takes jobs; empty for `ray`. Raises ValueError.

    >>> jobs_address("http://head:8265"), jobs_address("ray://head:10001"), jobs_address("ray")
    ('http://head:8265', 'http://head:8265', '')
    """
    if on == RAY:
        return ""
    url = urlsplit(on)
    expected = f"expected ray, or the address of a cluster's jobs: http://HOST:{JOBS_PORT}"
    if url.username or url.password:
        raise ValueError(f"the address of the jobs must not hold a password; {expected}")
    if url.scheme in {"http", "https"} and url.hostname:
        return on
    if url.scheme == RAY and url.hostname and url.port in {None, CLIENT_PORT}:
        return f"http://{url.hostname}:{JOBS_PORT}"
    raise ValueError(f"{on!r}: {expected}")


def _on(text: str) -> str:
    jobs_address(text)
    return text


ON = ParsedOption[str]("place", _on)


def cluster_address(environ: Mapping[str, str]) -> str | None:
    """The cluster that the environment names; None: there is none. Raises UsageError.

    >>> cluster_address({"RAY_ADDRESS": "10.0.0.7:6379"}), cluster_address({})
    ('10.0.0.7:6379', None)
    """
    address = environ.get(ADDRESS, "")
    if "://" in address:
        raise UsageError(
            f"{ADDRESS} is {address}, and --on ray needs HOST:6379 or auto. Unset it, and write "
            f"--on http://HOST:{JOBS_PORT} to reach a cluster from outside"
        )
    return None if address in {"", "local"} else address


def started_by(
    workers: int | None,
    placed: StartWorkers | None,
    tell: Callable[[str], None],
    config: Config,
    until: datetime | None,
) -> StartWorkers | None:
    """What makes the workers of a run; None if this process sends its rows.

    workers  how many; None: none
    placed   what `--on` opened; None: they are processes of this machine
    tell     called with what they say: once, if several say the same
    """
    if workers is None or placed is not None:
        return placed
    from pipeline.run.links import announce_once  # noqa: PLC0415 - needs what sends
    from pipeline.run.worker_processes import WorkerProcesses  # noqa: PLC0415 - as above

    say = announce_once(tell)
    return lambda run: WorkerProcesses(run, say, config, until)


def opened_by(
    on: str | None,
    workers: int | None,
    config: Config,
    until: datetime | None,
    environ: Mapping[str, str],
) -> Open | None:
    """What opens the place that `--on` names; None: workers are processes of this machine.

    Raises UsageError if it does not fit the other options, or the ledger.
    """
    if on is None:
        return None
    if workers is None:
        raise UsageError("--on needs --workers N")
    jobs = jobs_address(on)
    address = None if jobs else cluster_address(environ)
    if (jobs or address) and config.database is None:
        raise UsageError(
            f"--on {on} starts workers on other machines ({jobs or address}), and the ledger is a "
            f'file of this one. Set ledger = "postgresql://..."'
            + ("" if jobs else f", or unset {ADDRESS} to start them here")
        )
    # only who uses it waits for what sends
    from pipeline.run.ray_workers import ray_actors, ray_jobs  # noqa: PLC0415

    if jobs:
        return partial(ray_jobs, jobs, config.file, until)
    return partial(ray_actors, address, workers, config.file, until)
