"""Commands of a task, and what their output and exit codes mean for it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

FAILED_ROWS, NOTHING_SENT, STOPPED, BUSY = 1, 2, 3, 4
FIRST_SIGNAL = 128

Decision = Literal["succeed", "fail", "retry"]

_MEANING = {
    0: "no row is left to do",
    FAILED_ROWS: "some rows are left to do: see the error file",
    NOTHING_SENT: "nothing was sent",
    STOPPED: "the run stopped early: remove the cause, then `pipeline resume`",
    BUSY: "another process sends to the account; the next try sends",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """An installed and configured pipeline.

    python  interpreter that has the pipeline
    cwd     working folder; None: that of the task
    config  path of `pipeline.toml`; None: found as the command finds it
    env     variables beside those of the task
    """

    python: str
    cwd: str | None = None
    config: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        """The command line with these arguments.

        >>> Installation(python="python3", config="shop.toml").command("runs", "--json")
        ['python3', '-P', '-m', 'pipeline', '--config', 'shop.toml', 'runs', '--json']
        """
        config = [] if self.config is None else ["--config", self.config]
        return [self.python, "-P", "-m", "pipeline", *config, *arguments]


def run_arguments(
    file: str,
    run_id: str,
    *,
    operation: str | None = None,
    account: str | None = None,
    more: Sequence[str] = (),
) -> list[str]:
    """Arguments that send a file, or resume the run with this id.

    >>> run_arguments("night.csv", "offers.7", operation="xsolla.coupon", more=["--tolerate", "1%"])
    ['run', '--yes', '--log', 'json', '--run-id', 'offers.7', '--operation', 'xsolla.coupon', \
'--tolerate', '1%', '--', 'night.csv']
    """
    named = {"--run-id": run_id, "--operation": operation, "--account": account}
    options = [part for name, value in named.items() if value for part in (name, value)]
    return ["run", "--yes", "--log", "json", *options, *more, "--", file]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A run as `pipeline runs --json` lists it.

    state      "under_way", "unfinished", "refused" or "finished"
    exit_code  None: no process has ended it yet, or its process was killed
    pid        process that works on it; None: none, or not written down
    has_report  a report is there, of all rows that have a result so far
    """

    name: str
    source: str
    state: str
    exit_code: int | None
    pid: int | None
    has_report: bool

    @property
    def is_under_way(self) -> bool:
        """A process works on it."""
        return self.state == "under_way"

    @property
    def is_ended(self) -> bool:
        """Every row has its final result, or nothing will be sent."""
        return self.state in {"finished", "refused"}


def recorded_run(values: Mapping[str, Any]) -> RecordedRun:
    """From a line of `pipeline runs --json`.

    >>> recorded_run({"run": "a", "source": "a.csv", "state": "finished", "exit_code": 1})
    RecordedRun(name='a', source='a.csv', state='finished', exit_code=1, pid=None, has_report=False)
    """
    return RecordedRun(
        name=str(values["run"]),
        source=str(values["source"]),
        state=str(values["state"]),
        exit_code=values.get("exit_code"),
        pid=values.get("pid"),
        has_report=values.get("report") is not None,
    )


def result_of(values: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """The values that a task returns: counts, and the paths of its report.

    values  the line that `pipeline runs RUN --json` prints
    """
    summary, report = values["summary"], values["report"]
    names = {name: each["name"] for name, each in summary["outputs"].items()}
    paths = {**names, "summary": "summary.json", "page": "report.html"}
    return {
        "run": values["run"],
        "run_id": run_id,
        "why": summary["why"],
        "exit_code": summary["exit_code"],
        "is_simulated": summary["is_simulated"],
        "rows": summary["rows"],
        "statuses": dict(summary["statuses"]),
        "requests": summary["requests"],
        "seconds": summary["seconds"],
        "report": report,
        **{name: f"{report}/{each}" for name, each in paths.items()},
    }


def decide(exit_code: int | None, *, fail_on_failed_rows: bool) -> tuple[Decision, str]:
    """The outcome of the task, and the reason.

    exit_code  of the run; None: its process was killed
    fail       a person is needed: another try would end as this one did
    retry      the next try resumes the run

    >>> decide(1, fail_on_failed_rows=True)
    ('fail', 'some rows are left to do: see the error file')
    >>> decide(1, fail_on_failed_rows=False)[0], decide(143, fail_on_failed_rows=True)[0]
    ('succeed', 'retry')
    """
    if exit_code is None or exit_code < 0 or exit_code > FIRST_SIGNAL:
        return "retry", "the process of the run was stopped; the next try resumes it"
    meaning = _MEANING.get(exit_code, f"unexpected exit code {exit_code}")
    if exit_code == 0 or (exit_code == FAILED_ROWS and not fail_on_failed_rows):
        return "succeed", meaning
    is_final = exit_code in {FAILED_ROWS, NOTHING_SENT, STOPPED}
    return "fail" if is_final else "retry", meaning


class LogLine(NamedTuple):
    """A line that a run wrote.

    level     of Python's logging: 20 info, 30 warning, 40 error
    event     name of the event; empty if it is none
    """

    level: int
    event: str
    text: str


def log_line(text: str) -> LogLine:
    """Read a line of `--log json`, or any other line.

    >>> log_line('{"time": "t", "level": "error", "event": "run_failed", "why": "no file"}')
    LogLine(level=40, event='run_failed', text='run_failed why="no file"')
    >>> log_line("Error: no such option")
    LogLine(level=20, event='', text='Error: no such option')
    """
    try:
        values = json.loads(text)
        event, level = values.pop("event"), values.pop("level")
    except (ValueError, KeyError, TypeError, AttributeError):
        return LogLine(20, "", text.rstrip())
    values.pop("time", None)
    known = {"error": 40, "warning": 30}
    shown = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    return LogLine(known.get(level, 20), str(event), " ".join([str(event), *shown]))
