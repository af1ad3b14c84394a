"""Operator, sensor and trigger for Airflow: a run is a process beside the task.

Airflow's Python need not have the libraries of the pipeline: nothing here imports them, and the run
may use another interpreter. Each name is imported from its file on first use.

Not here: what a run does. Tasks start the command, and ask it for what is on record.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.airflow.operator import OfferPipelineOperator
    from pipeline.airflow.sensor import OfferPipelineSensor
    from pipeline.airflow.trigger import OfferPipelineTrigger

__all__ = ["OfferPipelineOperator", "OfferPipelineSensor", "OfferPipelineTrigger"]


def __getattr__(name: str) -> Any:
    """Import a name on first use: the commands are tested where there is no Airflow."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = name.removeprefix("OfferPipeline").lower()
    return getattr(import_module(f"{__name__}.{file}"), name)
