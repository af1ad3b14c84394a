"""The command line: arguments in, one function of another folder called, an exit code out.

Exit codes: 0 no row is left to do, 1 some are, 2 nothing was sent, 3 stopped early, 4 another
process sends, 130 and 143 interrupted.

Not here: what a command does. A command without a terminal must be able to do the same through
`run`, `plan`, `watch` or `doctor`; its tables and pages come from `ui`.
"""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.check import check
from pipeline.cli.doctor import doctor
from pipeline.cli.init import init
from pipeline.cli.messages import print_error
from pipeline.cli.operations import operations
from pipeline.cli.plan import plan, undo, verify
from pipeline.cli.resume import resume
from pipeline.cli.run import run
from pipeline.cli.runs import runs
from pipeline.cli.simulate import simulator
from pipeline.cli.watch import watch
from pipeline.model import PipelineError, RunAborted
from pipeline.model.formatting import one_line
from pipeline.simulator import SimulatorError

__all__ = ["main"]

NOTHING_SENT, STOPPED, INTERRUPTED = 2, 3, 130


_FORMER_FLAGS = {"--no-brake": "--no-fail-fast", "--keep-before": "--record-previous"}
"""Flags of version 0.1, which schedules may still give, and their names since."""


class _Failed(click.ClickException):
    """A pipeline error that click shows as a message with an exit code, without a traceback."""

    exit_code = NOTHING_SENT

    def __init__(self, error: object) -> None:
        super().__init__(str(error))
        self._error = error

    def show(self, file: object = None) -> None:  # noqa: ARG002 - click's own signature
        print_error(self._error)


class _Aborted(_Failed):
    exit_code = STOPPED


class _Interrupted(_Failed):
    exit_code = INTERRUPTED


class _Commands(click.Group):
    """Commands in the order of first use; pipeline errors become messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own signature
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for former in _FORMER_FLAGS.keys() & set(args):
            click.echo(
                f"{former} was renamed to {_FORMER_FLAGS[former]}; update your command", err=True
            )
        return super().parse_args(ctx, [_FORMER_FLAGS.get(arg, arg) for arg in args])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:  # its message repeats arguments as typed
            raise click.UsageError(one_line(error.format_message()), error.ctx) from None
        except (PipelineError, SimulatorError) as error:
            failed = _Aborted if isinstance(error, RunAborted) else _Failed
            raise failed(error) from None
        except KeyboardInterrupt:
            raise _Interrupted("interrupted") from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="offer-pipeline", prog_name="pipeline")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file. Default: PIPELINE_CONFIG, else pipeline.toml here.",
)
@click.pass_context
def main(ctx: click.Context, config: Path | None) -> None:
    """Rows in, vendor updates out, one true result per row."""
    ctx.obj = config


for _command in (
    *(run, plan, check, verify, undo, watch, resume, runs, doctor, operations, init, simulator),
):
    main.add_command(_command)
