"""Log, webhook and metrics of a command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.cli.console import ConsoleOutput
from pipeline.cli.messages import warn
from pipeline.config import Config
from pipeline.notify import Notifier, open_notifier
from pipeline.notify.events import Level
from pipeline.run.baseline import last_ends


@contextmanager
def command_notifier(
    config: Config,
    *,
    log: str | None = None,
    log_level: Level | None = None,
    metrics_file: Path | None = None,
    serves_metrics: bool = False,
) -> Iterator[Notifier]:
    """Open the notifier; the command's options override the configuration.

    serves_metrics  keep metrics although no file is written
    """
    with open_notifier(
        config,
        os.environ,
        log=ConsoleOutput(is_stderr=True),
        log_format=log,
        level=log_level,
        metrics_file=metrics_file,
        serves_metrics=serves_metrics,
        warn=warn,
    ) as notifier:
        if notifier.metrics is not None:
            ended_s, well_s = last_ends(config)
            notifier.metrics.known(ended_s=ended_s, well_s=well_s)
        yield notifier
