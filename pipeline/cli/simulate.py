"""`pipeline simulator`: the emulated vendors as a server, for rehearsals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.simulator import (
    FAULTS,
    Running,
    SimulatorOptions,
    default_script,
    load_script,
    run_forever,
)


class FaultChance(click.ParamType[tuple[str, float]]):
    """`503=0.01`: a fault and how likely it is."""

    name = "fault=chance"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """A fault's name and a number from 0 to 1."""
        if isinstance(value, tuple):
            return value
        name, _, chance = str(value).partition("=")
        try:
            return name, float(chance)
        except ValueError:
            self.fail(f"{value!r}: expected for example 503=0.01", param, ctx)


@click.command(
    short_help="Serve emulated vendors, for rehearsals.",
    epilog=f"Faults: {', '.join(FAULTS)}.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, help="0 takes any free one.")
@click.option("--quota", "quotas", multiple=True, help='For example "20/s". May be repeated.')
@click.option(
    "--window", type=click.Choice(["sliding", "fixed"]), default="sliding", show_default=True
)
@click.option(
    "--retry-after",
    type=click.Choice(["none", "seconds", "date"]),
    default="seconds",
    show_default=True,
    help="What a 429 by quota tells.",
)
@click.option(
    "--rate-limit",
    type=click.Choice(["none", "draft", "x"]),
    default="none",
    show_default=True,
    help="Headers that tell what is left: RateLimit or X-RateLimit-*.",
)
@click.option("--latency-ms", default=0.0, help="Round trip.")
@click.option("--jitter-ms", default=0.0, help="The round trip varies by plus or minus this.")
@click.option("--fault", "faults", type=FaultChance(), multiple=True, help="For example 503=0.01.")
@click.option("--script", type=click.Path(path_type=Path), help="TOML file of rules per id.")
@click.option("--seed", default=0, help="Of faults and jitter.")
@click.option("--strict-ids", is_flag=True, help="Only the vendor's sample ids exist.")
@click.option("--token-lifetime-s", type=float, help="Of every token; else the vendor's own.")
@click.option("--log", type=click.Path(path_type=Path), help="Keep the log of requests there.")
def simulator(
    *,
    latency_ms: float,
    jitter_ms: float,
    faults: tuple[tuple[str, float], ...],
    script: Path | None,
    log: Path | None,
    **options: Any,
) -> None:
    """Serve emulated vendors, strict and with faults, for rehearsals.

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
    run_forever(built, _announce)


def _announce(running: Running) -> None:
    for vendor, base_url in running.base_urls.items():
        click.echo(f"{vendor}: {base_url}")
    click.echo(f"log: {running.url}/_simulator/log  (Ctrl-C ends)")
