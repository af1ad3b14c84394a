"""The sensor: waits until a run of another task, DAG or program has ended."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from pipeline.airflow.command import Installation, decide, result_of
from pipeline.airflow.process import find_run, query
from pipeline.airflow.trigger import OfferPipelineTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class OfferPipelineSensor(BaseSensorOperator):
    """Wait until the run with an id has ended; return what the operator returns.

    A run that was stopped or killed has not ended: it can be resumed.

    run_id  as given to `pipeline run --run-id`, or to an operator
    fail_on_failed_rows  False: succeed although rows are left to do (exit code 1)
    deferrable  give the worker's place back while waiting
    cwd, config, env, python  as for the operator
    """

    template_fields: Sequence[str] = ("run_id", "cwd", "config", "env", "python")
    template_fields_renderers = {"env": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color = "#d7ece1"

    def __init__(
        self,
        *,
        run_id: str,
        cwd: str | None = None,
        config: str | None = None,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        fail_on_failed_rows: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_id = run_id
        self.cwd = cwd
        self.config = config
        self.env = env
        self.python = python
        self.fail_on_failed_rows = fail_on_failed_rows
        self.deferrable = deferrable

    @property
    def installation(self) -> Installation:
        """The pipeline whose runs are meant."""
        return Installation(
            python=self.python, cwd=self.cwd, config=self.config, env=self.env or {}
        )

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002 - Airflow calls it so
        """Look once."""
        run = find_run(self.installation, self.run_id)
        if run is None or not run.is_ended:
            self.log.info("Run %s: %s", self.run_id, "not on record" if run is None else run.state)
            return PokeReturnValue(is_done=False)
        result = result_of(query(self.installation, "runs", run.name, "--json")[0], self.run_id)
        decision, why = decide(run.exit_code, fail_on_failed_rows=self.fail_on_failed_rows)
        if decision != "succeed":
            raise AirflowFailException(f"run {run.name}: {result['why']}: {why}")
        return PokeReturnValue(is_done=True, xcom_value=result)

    def execute(self, context: Context) -> Any:
        """Wait here, or leave it to the trigger."""
        if not self.deferrable:
            return super().execute(context)
        found = self.poke(context)
        if found.is_done:
            return found.xcom_value
        self.defer(
            timeout=timedelta(seconds=self.timeout),
            trigger=OfferPipelineTrigger(
                run_id=self.run_id, poll_interval=self.poke_interval, **asdict(self.installation)
            ),
            method_name="execute_complete",
        )
        return None

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """After the trigger: the result of the run."""
        if error := event.get("error"):
            raise AirflowException(error)
        return self.poke(context).xcom_value
