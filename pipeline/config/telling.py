"""Who is told what: the tables [log], [notify] and [metrics]."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Occasion = Literal["end", "failure", "gate", "nothing_arrived"]


def _occasions(given: object) -> object:
    return tuple(given) if isinstance(given, list) else given


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class LogKeys(_Table):
    """How a command speaks; `format` None: for the person who started it."""

    format: Literal["json", "text"] | None = None
    level: Literal["error", "warning", "info", "row"] = "info"


class NotifyKeys(_Table):
    """The webhook: a reference to its URL, which is a secret; None where nobody is told.

    format     what the receiver takes: slack's `text`, a card for Teams, or every field as JSON
    on         what is told
    timeout_s  for one attempt; there are two
    """

    webhook: str | None = Field(default=None, repr=False)
    format: Literal["slack", "teams", "json"] = "slack"
    on: Annotated[tuple[Occasion, ...], BeforeValidator(_occasions)] = (
        "failure",
        "gate",
        "nothing_arrived",
    )
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0


class MetricsKeys(_Table):
    """Where metrics are written: a file that a textfile collector reads; None: nowhere."""

    file: str | None = None


TABLES: dict[str, type[Any]] = {"log": LogKeys, "notify": NotifyKeys, "metrics": MetricsKeys}
