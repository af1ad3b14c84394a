"""Shared by commands: option types, the configuration, the simulator and file arguments."""

from __future__ import annotations

import glob
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from pipeline.config import Config, load_config
from pipeline.loader import RowSelection, parse_rows
from pipeline.model import UsageError
from pipeline.model.file_names import is_hidden
from pipeline.model.object_path import ObjectPath, is_object, object_path
from pipeline.run import SAMPLES, Prepared, discard
from pipeline.run.stop_signals import stop_signals
from pipeline.runs import STATES, open_store
from pipeline.runs.stop_if import StopIf, parse_stop_if
from pipeline.vendors import load_vendors

DATA = (".csv", ".csv.gz", ".parquet")
REFUSED_WITH_REASON = (".xlsx", ".xls")
_TAKEN = DATA + REFUSED_WITH_REASON
T = TypeVar("T")

LATEST = "latest"
_LONGEST_NUMBER = 19  # digits; a store holds 64 bits

WORKERS = click.IntRange(0, 64)
"""A number of workers that one command starts."""


class ParsedOption(click.ParamType[T]):
    """An option that `parse` reads. The message of its ValueError is shown.

    name  placeholder of the value in the help
    """

    def __init__(self, name: str, parse: Callable[[str], T]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """The parsed value; a default is passed through."""
        if not isinstance(value, str):
            return cast("T", value)
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


ROWS = ParsedOption[RowSelection]("rows", parse_rows)
"""`17,40-60`: a selection of rows."""

CONDITION = ParsedOption[StopIf]("condition", parse_stop_if)
"""`errors > 2%`: a condition that stops a run."""


class AllowOption(click.ParamType[bool]):
    """The value of `--allow`, which is always `irreversible`."""

    name = "irreversible"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Return True. Fails on any other word."""
        if value != self.name and value is not True:
            self.fail(f"{value!r}: expected {self.name}", param, ctx)
        return True


def parse_share(text: str) -> float:
    """A share from 0 to 1. Raises ValueError.

    >>> parse_share("1%"), parse_share("0.5 %")
    (0.01, 0.005)
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *%", text.strip())
    if found is None or float(found[1]) > 100:  # noqa: PLR2004 - percent
        raise ValueError(f"{text!r} is not a percentage; expected for example 1%")
    return float(found[1]) / 100


SHARE = ParsedOption[float]("percent", parse_share)


def read_config(path: Path | None, content: bytes | None = None) -> Config:
    """Load the configuration; its store is closed at the end of the command. Raises ConfigError.

    content  as `load_config` takes it
    """
    config = load_config(
        path, environ=os.environ, vendors=load_vendors(), cwd=Path.cwd(), content=content
    )
    click.get_current_context().call_on_close(config.kept_store.close)
    return config


def uninterrupted(prepare: Callable[[], Prepared]) -> Prepared:
    """Call `prepare`; one of `stop_signals` ends the command after it, a second one at once.

    An exception raised by a signal handler inside the csv module or polars can be lost, and a part
    of the file with it.
    """
    came: list[int] = []

    def defer(number: int, _frame: object) -> None:
        came.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, defer) for number in stop_signals()}
    prepared = None
    try:
        prepared = prepare()
        return prepared
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            if prepared is not None:
                discard(prepared)
            sys.exit(128 + came[0])


@contextmanager
def embedded_simulator(config: Config, *, strict_ids: bool) -> Iterator[Config]:
    """The configuration with every account at a simulator that runs while the block does."""
    # only --simulate needs a server and an event loop
    from anyio.from_thread import start_blocking_portal  # noqa: PLC0415

    from pipeline.simulator import SimulatorOptions, default_script, serve  # noqa: PLC0415

    options = SimulatorOptions(
        script=default_script(),
        strict_ids=strict_ids,
        merchant_id=None,  # accept the account's own
        log_bodies=False,
    )
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(options)) as running,
    ):
        yield config.simulated(running.base_urls)


def named(run: str, config: Config) -> str:
    """The name of a run; `latest` is the newest. Raises UsageError if there is none.

    run  a name, `latest`, or a number as `pipeline runs` lists it
    """
    runs = open_store(config).runs
    if run.isdecimal() and len(run) < _LONGEST_NUMBER:
        numbered = (each.name for each in runs.since(int(run)) if each.sequence == int(run))
        return next(numbered, run)
    if run != LATEST:
        return run
    found = runs.all(states=STATES, most=1)
    if not found:
        raise UsageError("there is no run yet")
    return found[0].name


def expand(given: Iterable[str], config: Config) -> list[Path | ObjectPath]:
    """Files of the given paths, folders and globs; without any, those in the drop folder.

    The URL of an object names that object.

    Raises UsageError if a folder or glob contains no file.
    """
    texts = list(given)
    if not texts and config.inputs_bucket is not None:
        raise UsageError(
            f"name a file: only `run`, without --simulate, and `watch` take objects from "
            f"{config.inputs_bucket}"
        )
    if not texts:
        found = _in_folder(config.inputs)
        samples = config.inputs / SAMPLES
        own = [path for path in found if not path.is_relative_to(samples)]
        return [path for path in own if not _is_linked(path, config.inputs)]
    files = [path for text in texts for path in _files_of(text)]
    return list(dict.fromkeys(files))


def _is_linked(path: Path, above: Path) -> bool:
    """True if a symbolic link leads from `above` to the file; a dropper may have made it."""
    steps = (path, *path.parents)
    return any(each.is_symlink() for each in steps if each != above and each.is_relative_to(above))


def _files_of(text: str) -> Sequence[Path | ObjectPath]:
    if is_object(text):
        return [given_object(text)]
    path = Path(text)
    if path.is_dir():
        found = _in_folder(path)
    elif path.exists() or not glob.has_magic(text):
        return [path]
    else:
        found = sorted(Path(name) for name in glob.glob(text, recursive=True))  # noqa: PTH207 - takes absolute patterns too
        found = [path for path in found if path.is_file() and not _is_hidden_part(path, text)]
    if not found:
        raise UsageError(f"{text}: no file matches ({', '.join(DATA)})")
    return found


def given_object(text: str) -> ObjectPath:
    """The object of a URL in the command. Raises UsageError."""
    try:
        return object_path(text)
    except ValueError as error:
        raise UsageError(f"the URL of an object {error}") from None


class InputPath(click.Path):
    """The path of a file, or the URL of an object."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | ObjectPath:
        """The path."""
        if isinstance(value, str) and is_object(value):
            return given_object(value)
        return Path(str(super().convert(value, param, ctx)))


def _in_folder(folder: Path) -> list[Path]:
    """The files in a folder and those below it. Raises UsageError if one cannot be looked into."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # gone meanwhile, or not there yet
            why = f"{error.filename} cannot be looked into: {error.strerror}"
            raise UsageError(f"{why}. Correct its permissions, or name files")

    found = []
    for above, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not is_hidden(name)]
        paths = [Path(above, name) for name in names if not is_hidden(name)]
        found += [path for path in paths if path.name.endswith(_TAKEN) and path.is_file()]
    return sorted(found)


def _is_hidden_part(path: Path, pattern: str) -> bool:
    """True if the path has hidden parts that the pattern does not name, such as `_temporary`.

    >>> _is_hidden_part(Path("out/_temporary/a.csv"), "out/**/*.csv")
    True
    >>> _is_hidden_part(Path("_out/a.csv"), "_out/*.csv")
    False
    """
    asked = [part for part in Path(pattern).parts if is_hidden(part)]
    hidden = [part for part in path.parts if is_hidden(part) and part not in {".", ".."}]
    return not all(any(fnmatchcase(part, each) for each in asked) for part in hidden)
