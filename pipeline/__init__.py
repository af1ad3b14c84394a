"""Rows in, vendor updates out, one true result per row.

The folders, in the order in which a row travels:

    load       a file becomes a snapshot, its rows become jobs
    vendors    what each vendor's API takes and answers, one file per vendor
    engine     jobs become results: transport, gate, lanes, pool
    policy     the decisions behind it: retry, quota, order, brake
    ledger     results become durable
    report     results become files and words for people
    model      the values that all of them pass on
    config     accounts, quotas and paths
    run        one run from start to finish
    tell       what runs do becomes logs, metrics and messages
    plan       rows with before and after: made of files, verified, taken back
    doctor     whether a set-up can work
    cli        arguments, and what they start
    simulator  emulated vendors, for rehearsals
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
