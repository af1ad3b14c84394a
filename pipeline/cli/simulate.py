"""`pipeline simulator`: serve the emulated vendors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline.cli.console import emit
from pipeline.simulator import (
    FAULTS,
    Running,
    SimulatorOptions,
    default_script,
    load_script,
    run_forever,
)


class FaultChance(click.ParamType[tuple[str, float]]):
    """`503=0.01`: a fault and its probability."""

    name = "fault=chance"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """The fault's name and its probability, 0 to 1."""
        if isinstance(value, tuple):
            return value
        name, _, chance = str(value).partition("=")
        try:
            return name, float(chance)
        except ValueError:
            self.fail(f"{value!r}: expected for example 503=0.01", param, ctx)


@click.command(
    short_help="Serve emulated vendors, for tests.",
    epilog=f"Faults: {', '.join(FAULTS)}.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8080, show_default=True, help="Port to listen on; 0: any free port."
)
@click.option("--quota", "quotas", multiple=True, help='Rate limit, such as "20/s". Repeatable.')
@click.option(
    "--window",
    type=click.Choice(["sliding", "fixed"]),
    default="sliding",
    show_default=True,
    help="How the quota is counted.",
)
@click.option(
    "--retry-after",
    type=click.Choice(["none", "seconds", "date"]),
    default="seconds",
    show_default=True,
    help="Retry-After of a 429.",
)
@click.option(
    "--rate-limit",
    type=click.Choice(["none", "draft", "x"]),
    default="none",
    show_default=True,
    help="RateLimit or X-RateLimit-* headers.",
)
@click.option("--latency-ms", default=0.0, help="Round trip time.")
@click.option("--jitter-ms", default=0.0, help="The round trip time varies by up to this much.")
@click.option(
    "--fault",
    "faults",
    type=FaultChance(),
    multiple=True,
    help="Such as 503=0.01. Repeatable.",
)
@click.option("--script", type=click.Path(path_type=Path), help="Rules per id, a TOML file.")
@click.option("--seed", default=0, help="Seed of faults and jitter.")
@click.option("--strict-ids", is_flag=True, help="Only the vendor's sample ids exist.")
@click.option(
    "--token-lifetime-s", type=float, help="Lifetime of tokens. Default: the vendor's own."
)
@click.option(
    "--log", type=click.Path(path_type=Path), help="Write the log of requests to this file."
)
def simulator(
    *,
    latency_ms: float,
    jitter_ms: float,
    faults: tuple[tuple[str, float], ...],
    script: Path | None,
    log: Path | None,
    **options: Any,
) -> None:
    """Serve emulated vendors, with strict checks and faults, for tests.

    The log of every request is at /_simulator/log, the state at /_simulator/state.
    """
    built = SimulatorOptions(
        latency_s=latency_ms / 1000,
        latency_jitter_s=jitter_ms / 1000,
        faults=dict(faults),
        script=load_script(script) if script else default_script(),
        log_path=log,
        **options,
    )
    run_forever(built, partial(_announce, built))


def _announce(options: SimulatorOptions, running: Running) -> None:
    for vendor, base_url in running.base_urls.items():
        emit(f"{vendor}: {base_url}")
    pair = f"client_id {options.client_id}, client_secret {options.client_secret}"
    emit(f"credentials: api_key {options.api_key}; {pair}")
    emit(f"log: {running.url}/_simulator/log  (press Ctrl-C to stop)")
