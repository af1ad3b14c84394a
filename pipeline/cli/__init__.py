"""The command line: arguments in, one function of another folder called, an exit code out.

Exit codes: 0 no row is left to do, 1 some are, 2 nothing was sent, 3 stopped early, 4 another
process sends, 130 and 143 interrupted.

Not here: what a command does. A command without a terminal must be able to do the same through
`run`, `plan`, `watch` or `doctor`; its tables and pages come from `ui`.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from pipeline.cli.lazy_commands import CommandPlace, LazyGroup

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
        from pipeline.cli.messages import print_error  # noqa: PLC0415 - only a failure needs it

        print_error(self._error)


class _Aborted(_Failed):
    exit_code = STOPPED


class _Interrupted(_Failed):
    exit_code = INTERRUPTED


class _Commands(LazyGroup):
    """Commands in the order of first use; pipeline errors become messages."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for former in _FORMER_FLAGS.keys() & set(args):
            click.echo(
                f"{former} was renamed to {_FORMER_FLAGS[former]}; update your command", err=True
            )
        for arg in args:
            _check_utf8(arg)
        return super().parse_args(ctx, [_FORMER_FLAGS.get(arg, arg) for arg in args])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:  # its message repeats arguments as typed
            raise click.UsageError(_on_one_line(error.format_message()), error.ctx) from None
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            if isinstance(error, _our_errors()):
                raise _failed(error) from None
            if isinstance(error, OSError) and error.filename is not None:
                raise _Aborted(_about_file(error)) from None
            raise
        except KeyboardInterrupt:
            raise _Interrupted("interrupted") from None


# What only a failure needs is imported when a command fails.


def _our_errors() -> tuple[type[Exception], ...]:
    from pipeline.model import PipelineError  # noqa: PLC0415
    from pipeline.simulator import SimulatorError  # noqa: PLC0415

    return PipelineError, SimulatorError


def _failed(error: Exception) -> _Failed:
    from pipeline.model import RunAborted  # noqa: PLC0415

    return _Aborted(error) if isinstance(error, RunAborted) else _Failed(error)


def _about_file(error: OSError) -> str:
    """What is wrong with a file that nobody expected to be unusable."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    todo = ". Who may use it?" if isinstance(error, PermissionError) else ""
    return f"{name} cannot be used: {error.strerror}{todo}"


def _check_utf8(arg: str) -> None:
    """Raise UsageError for an argument that no record, report or request can hold."""
    if arg.isascii():
        return
    from pipeline.model.formatting import escaped, is_utf8  # noqa: PLC0415

    if not is_utf8(arg):
        cure = "Write it in UTF-8; if it is the name of a file, rename it"
        raise click.UsageError(f"'{escaped(arg)}' is not UTF-8. {cure}")


def _on_one_line(text: str) -> str:
    from pipeline.model.formatting import one_line  # noqa: PLC0415

    return one_line(text)


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


main.add_places(
    (
        CommandPlace(
            "run", "pipeline.cli.run", "Send the rows of FILES and report what became of each."
        ),
        CommandPlace(
            "plan", "pipeline.cli.plan", "Show what a file would change, without changing it."
        ),
        CommandPlace(
            "check",
            "pipeline.cli.check",
            "Validate FILES as a run would, and send nothing.",
        ),
        CommandPlace(
            "verify", "pipeline.cli.plan", "Compare what a run applied with the current state."
        ),
        CommandPlace("undo", "pipeline.cli.plan", "Undo a run: restore the previous values."),
        CommandPlace(
            "watch", "pipeline.cli.watch", "Send each file dropped in inputs/, until stopped."
        ),
        CommandPlace("resume", "pipeline.cli.resume", "Continue a run that was stopped or killed."),
        CommandPlace(
            "worker", "pipeline.cli.worker", "Send shares of a run that another process began."
        ),
        CommandPlace("runs", "pipeline.cli.runs", "List recorded runs, their results and reports."),
        CommandPlace("doctor", "pipeline.cli.doctor", "Check the setup and name what to fix."),
        CommandPlace(
            "operations",
            "pipeline.cli.operations",
            "List operations and their columns, types and rules.",
        ),
        CommandPlace(
            "init",
            "pipeline.cli.init",
            help="Create a working folder: pipeline.toml, inputs/, reports/. Or print a schedule.",
        ),
        CommandPlace("simulator", "pipeline.cli.simulate", "Serve emulated vendors, for tests."),
    )
)
