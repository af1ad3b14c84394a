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
    vendors    one file per vendor: columns, requests, the meaning of replies
    pacing     when a request may leave: quota, rate, pause, circuit breaker
    store      what outlives a process: ledger, locks, files
    reporter   result files and the summary
    ui         what people see: terminal and HTML
    notify     events become log lines, metrics and messages
    plan       plans before a run, verification and undo after it
    doctor     checks of the set-up
    model      the values that all folders share
    simulator  emulated vendors, for rehearsals

Not here: code. This file exports the public API and holds nothing else.
"""

from pipeline.config import Config, load_config
from pipeline.model import ConfigError, InputError, PipelineError, RowResult, RunAborted, Status
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
