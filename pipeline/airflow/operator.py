"""The operator: sends a file with a process of its own, and ends as its run did."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from pipeline.airflow.command import (
    NOTHING_SENT,
    Installation,
    decide,
    result_of,
    run_arguments,
)
from pipeline.airflow.process import RunProcess, find_run, query, stop_run
from pipeline.airflow.trigger import OfferPipelineTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

DEFAULT_RUN_ID = (
    "{{ ti.dag_id }}.{{ ti.task_id }}.{{ run_id }}"
    "{% if ti.map_index >= 0 %}.{{ ti.map_index }}{% endif %}"
)
"""The same for every try of a task in a DAG run, and for nothing else."""

CHECK_EVERY_S = 1.0


class OfferPipelineOperator(BaseOperator):
    """Send a file, and return counts and paths of its report.

    A later try with the same `run_id` resumes the run, or returns the result of one that ended. If
    its process still works, the task watches it.

    file       CSV, Parquet or plan
    run_id     idempotency key: one per file to send
    operation, account  of every row; None: from the file, its folder or the configuration
    arguments  further options of `pipeline run`
    cwd        working folder, with `pipeline.toml`
    config     path of `pipeline.toml`, if it is elsewhere
    env        variables beside those of the task
    python     interpreter that has the pipeline
    fail_on_failed_rows  False: the task succeeds although rows are left to do (exit code 1)
    deferrable  give the worker's place back while rows are sent
    poll_interval  seconds between two looks at a run of another process
    """

    template_fields: Sequence[str] = (
        *("file", "run_id", "operation", "account", "arguments"),
        *("cwd", "config", "env", "python"),
    )
    template_fields_renderers = {"env": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color = "#d7ece1"

    def __init__(
        self,
        *,
        file: str,
        run_id: str = DEFAULT_RUN_ID,
        operation: str | None = None,
        account: str | None = None,
        arguments: Sequence[str] = (),
        cwd: str | None = None,
        config: str | None = None,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        fail_on_failed_rows: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.file = file
        self.run_id = run_id
        self.operation = operation
        self.account = account
        self.arguments = arguments
        self.cwd = cwd
        self.config = config
        self.env = env
        self.python = python
        self.fail_on_failed_rows = fail_on_failed_rows
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self._process: RunProcess | None = None
        self._is_watching = False

    @property
    def installation(self) -> Installation:
        """The pipeline that sends."""
        return Installation(
            python=self.python, cwd=self.cwd, config=self.config, env=self.env or {}
        )

    def execute(self, context: Context) -> dict[str, Any]:
        """Send, resume or watch; return the result.

        Raises AirflowFailException if a person is needed, AirflowException if the next try resumes.
        """
        self._watch_other_process()
        exit_code, error = self._send()
        if exit_code == NOTHING_SENT and self._watch_other_process():  # both were reading the file
            return self._end(context, self._recorded_exit_code())
        return self._end(context, exit_code, error)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """After the trigger: the result of the run."""
        if error := event.get("error"):
            raise AirflowException(error)
        return self._end(context, self._recorded_exit_code())

    def on_kill(self) -> None:
        """Stop the run. It finishes its requests in flight and writes its report, without us."""
        if self._process is not None:
            self.log.info("Stopping process %s; it writes its report", self._process.pid)
            self._process.stop()
        elif self._is_watching:
            stop_run(self.installation, self.run_id)

    def _watch_other_process(self) -> bool:
        """Wait for a process that works on the run already; False if there is none."""
        run = find_run(self.installation, self.run_id)
        if run is None or not run.is_under_way:
            return False
        if PurePath(run.source).name != PurePath(self.file).name:
            raise AirflowFailException(
                f"run id {self.run_id} belongs to run {run.name} of {run.source}, which is under "
                f"way. Give {self.file} an id of its own"
            )
        self.log.info("Process %s works on run %s already; watching it", run.pid, run.name)
        self._is_watching = True
        while run is not None and run.is_under_way:
            self._defer_if_asked()
            time.sleep(self.poll_interval)
            run = find_run(self.installation, self.run_id)
        self._is_watching = False
        return True

    def _send(self) -> tuple[int, str]:
        """The exit code of the run, and the last error that it logged."""
        arguments = run_arguments(
            self.file,
            self.run_id,
            operation=self.operation,
            account=self.account,
            more=self.arguments,
        )
        self._process = process = RunProcess(self.installation, arguments)
        exit_code, error = None, ""
        while exit_code is None:
            exit_code = process.wait(CHECK_EVERY_S)
            for line in process.new_lines():
                self.log.log(line.level, line.text)
                error = line.text if line.level >= logging.ERROR or not line.event else error
                if line.event == "run_started":
                    self._defer_if_asked()
        self._process = None
        process.close()
        return exit_code, error

    def _defer_if_asked(self) -> None:
        if self.deferrable:
            trigger = OfferPipelineTrigger(
                run_id=self.run_id,
                poll_interval=self.poll_interval,
                owns_run=True,
                **asdict(self.installation),
            )
            self.defer(trigger=trigger, method_name="execute_complete")

    def _end(self, context: Context, exit_code: int | None, error: str = "") -> dict[str, Any]:
        decision, why = decide(exit_code, fail_on_failed_rows=self.fail_on_failed_rows)
        result = self._result(exit_code)
        if decision == "succeed" and result is not None:
            return result
        if result is not None:
            context["ti"].xcom_push(key="return_value", value=result)  # a failed task returns none
            why = f"{result['why']}: {why}; report in {result['report']}"
        why = f"{self.file}: {why}{f': {error}' if error else ''}"
        raise (AirflowFailException if decision == "fail" else AirflowException)(why)

    def _recorded_exit_code(self) -> int | None:
        run = find_run(self.installation, self.run_id)
        return None if run is None or run.is_under_way else run.exit_code

    def _result(self, exit_code: int | None) -> dict[str, Any] | None:
        """The result of the run; None without a report, or if the run is not of this file."""
        run = find_run(self.installation, self.run_id)
        is_known = run is not None and run.has_report
        if run is None or not is_known or (exit_code == NOTHING_SENT and run.state != "refused"):
            return None
        return result_of(query(self.installation, "runs", run.name, "--json")[0], self.run_id)
