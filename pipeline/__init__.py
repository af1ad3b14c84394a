"""Rows in, vendor updates out, one true result per row.

The folders, in the order in which a row travels:

    cli        arguments, the command they start, its exit code
    config     `pipeline.toml` and the environment: accounts, quotas, paths
    watch      dropped files: claimed, sent once each, moved
    run        one run from start to finish: prepare, execute, resume
    runs       the runs on record: options, folders, registry, retention
    loader     a file becomes a snapshot, its rows become typed jobs
    jobs       the jobs file: subsets, joins with the jobs of other runs
    workers    the worker pool: jobs become results
    exchanges  a request and its reply as text, without secrets
    vendors    each vendor: columns, requests, the meaning of replies
    pacing     when a request may leave: quota, rate, pause, circuit breaker
    sign_in    an account's credentials: headers, tokens
    http_client  requests over HTTP, one by one; every outcome is a value
    store      what outlives a process: ledger, locks, files
    object_storage  objects in buckets: read in parts, written, listed, claimed
    reporter   result files and the summary
    ui         what people see: terminal and HTML
    notify     events become log lines, metrics and messages
    plan       plans before a run, verification and undo after it
    doctor     checks of the set-up
    airflow    operator and sensor for Airflow, apart from all others
    model      the values that all folders share
    simulator  emulated vendors, for tests

Not here: logic. This file exports the public API, each name from the folder that defines it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import Config, load_config
    from pipeline.model import (
        ConfigError,
        InputError,
        PipelineError,
        RowResult,
        RunAborted,
        Status,
    )
    from pipeline.reporter import Summary
    from pipeline.run import run_file, run_file_async
    from pipeline.runs import RunOptions

__all__ = [
    "Config",
    "ConfigError",
    "InputError",
    "PipelineError",
    "RowResult",
    "RunAborted",
    "RunOptions",
    "Status",
    "Summary",
    "load_config",
    "run_file",
    "run_file_async",
]

_FOLDERS = {
    "config": ("Config", "load_config"),
    "reporter": ("Summary",),
    "run": ("run_file", "run_file_async"),
    "runs": ("RunOptions",),
}


def __getattr__(name: str) -> Any:
    """Import a name on first use: a process that checks one Parquet file needs no run."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    folder = next((each for each, names in _FOLDERS.items() if name in names), "model")
    return getattr(import_module(f"{__name__}.{folder}"), name)


def __dir__() -> list[str]:
    return __all__
