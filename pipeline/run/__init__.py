"""One run from start to finish: prepare, execute, resume.

The only folder in which loader, workers, store and reporter meet.

Not here: how each of them works, several files at once (`cli`, `watch`), and runs that have ended
(`runs`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.run.baseline import recorded_latency_s
from pipeline.run.binding import SAMPLES
from pipeline.run.credentials import check_secrets
from pipeline.run.prepare import prepare
from pipeline.run.prepared import Prepared, discard
from pipeline.run.recorded_state import rows_left
from pipeline.run.reopen import reopen
from pipeline.run.same_input import same_finished, same_unfinished, sent_before
from pipeline.run.schedule_window import CalledOffError, ScheduleWindow, to_the_minute
from pipeline.run.warnings import warnings_about

if TYPE_CHECKING:
    from pipeline.run.delivery import deliver
    from pipeline.run.destination_locks import BusyError
    from pipeline.run.environment import Progress, RunEnvironment, Watch
    from pipeline.run.execute import signals_obeyed
    from pipeline.run.session import Session
    from pipeline.run.share_worker import work
    from pipeline.run.whole_run import carry_out, report_only, run_file, run_file_async

__all__ = [
    "SAMPLES",
    "BusyError",
    "CalledOffError",
    "Prepared",
    "Progress",
    "RunEnvironment",
    "ScheduleWindow",
    "Session",
    "Watch",
    "carry_out",
    "check_secrets",
    "deliver",
    "discard",
    "prepare",
    "recorded_latency_s",
    "reopen",
    "report_only",
    "rows_left",
    "run_file",
    "run_file_async",
    "same_finished",
    "same_unfinished",
    "sent_before",
    "signals_obeyed",
    "to_the_minute",
    "warnings_about",
    "work",
]

_SENDING = {
    "BusyError": "destination_locks",
    "Progress": "environment",
    "RunEnvironment": "environment",
    "Session": "session",
    "Watch": "environment",
    "carry_out": "whole_run",
    "deliver": "delivery",
    "report_only": "whole_run",
    "run_file": "whole_run",
    "run_file_async": "whole_run",
    "signals_obeyed": "execute",
    "work": "share_worker",
}
"""Name -> the file that defines it. A check of a file needs no engine, so these are imported when
they are first used."""


def __getattr__(name: str) -> Any:
    if name not in _SENDING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_SENDING[name]}"), name)
