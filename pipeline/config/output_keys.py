"""The tables [log], [notify] and [metrics]."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Occasion = Literal["end", "failure", "stopped", "nothing_arrived"]


_FORMER_STOPPED = "gate"
"""The name of "stopped" in version 0.1: configurations keep it."""


def _occasions(given: object) -> object:
    if not isinstance(given, list):
        return given
    return tuple("stopped" if each == _FORMER_STOPPED else each for each in given)


class _Table(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, defer_build=True, allow_inf_nan=False
    )


class LogKeys(_Table):
    """The output of commands; `format` None: for people."""

    format: Literal["json", "text"] | None = Field(
        default=None, description="Log lines instead of output for people."
    )
    level: Literal["error", "warning", "info", "row"] = Field(
        default="info", description="The lowest level logged; row: also each failed row."
    )


class NotifyKeys(_Table):
    """Notifications. `webhook` is a reference to a URL, which is a secret; None: no webhook."""

    webhook: str | None = Field(default=None, repr=False, description="Where messages go.")
    format: Literal["slack", "teams", "json"] = Field(
        default="slack",
        description="What the receiver accepts: text, a card for Teams, or every field as JSON.",
    )
    on: Annotated[tuple[Occasion, ...], BeforeValidator(_occasions)] = Field(
        default=("failure", "stopped", "nothing_arrived"), description="When a message is sent."
    )
    timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        default=5.0, description="For each of two attempts."
    )


class MetricsKeys(_Table):
    """Metrics. `file` is for a textfile collector; None: no metrics."""

    file: str | None = Field(default=None, description="Where metrics are written when a run ends.")


TABLES: dict[str, type[Any]] = {"log": LogKeys, "notify": NotifyKeys, "metrics": MetricsKeys}
