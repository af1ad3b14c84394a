"""docs/reference, written from the code: `make reference` does it, tests/test_docs.py compares.

A page is a function that returns its text. A new one is a line in PAGES.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.cli import main
from pipeline.cli.operations import _facts
from pipeline.config.configuration import InputSettings
from pipeline.config.keys import AccountKeys, TopLevel
from pipeline.config.output_keys import TABLES
from pipeline.config.secrets import secret_keys
from pipeline.loader.fields import fields_of
from pipeline.model import Answer, JobRow, NoReply, Reply, Status, Verdict
from pipeline.model.retry import RetryPolicy
from pipeline.vendors import Operation, Vendor, load_vendors
from pipeline.vendors.kit.classify import (
    NEVER_LEFT_SOURCE,
    NOT_CONFIRMED_SOURCE,
    NOT_THE_VENDOR_SOURCE,
    SILENCE_SOURCE,
    WITHIN_SOURCE,
    classify_read,
    meaning,
)
from pipeline.workers import own_answers
from pipeline.workers.batches import Row
from pipeline.workers.row import COVERED, Facts, Finish, Wait, after_update
from tests.loader.parquet_outcomes import outcomes
from tests.markdown import HEADER_LINES, code, page, table
from tests.reference_monitoring import monitoring
from tests.vendors.specimens import sample_job, settings_of

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
SILENCES = (
    ("connect_failed", False, False),
    ("connect_timeout", False, False),
    ("proxy_failed", False, False),
    ("tls_failed", False, True),
    ("timeout", True, False),
    ("disconnected", True, False),
    ("broken_reply", True, False),
    ("early_reply", True, False),
    ("surplus_reply", True, False),
    ("sign_in_refused", False, True),
    ("sign_in_failed", False, True),
)
"""Why no reply came: the code, whether the request may have arrived, whether it stays so."""


# ------------------------------------------------------------------------------------ commands


def commands() -> str:
    top = click.Context(main, info_name="pipeline", **main.context_settings)
    named = [(name, main.load(name)) for name in main.list_commands(top)]
    about = (
        "Every command also tells this itself: `pipeline COMMAND --help`. `--config FILE` stands "
        "before the command."
    )
    index = table(
        ["command", "what it does"],
        [
            (f"[{code('pipeline ' + name)}](#pipeline-{name})", one.get_short_help_str(200))
            for name, one in named
        ],
    )
    return page(
        "Commands", about, index, *(_command(top, name, command) for name, command in named)
    )


def _command(top: click.Context, name: str, command: click.Command) -> list[str]:
    ctx = click.Context(command, info_name=name, parent=top)
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    about = inspect.cleandoc(command.help or "").splitlines()
    own = (param for param in command.params if isinstance(param, click.Option))
    records = filter(None, (param.get_help_record(ctx) for param in own))
    options = table(["option", "meaning"], [(code(option), told) for option, told in records])
    epilog = ["", command.epilog] if command.epilog else []
    return [
        *(f"## `pipeline {name}`", "", "```text", usage, "```", "", *about),
        *(["", *options] if len(options) > HEADER_LINES else []),
        *epilog,
    ]


# ------------------------------------------------------------------------------- configuration


def configuration() -> str:
    about = (
        "Every key, its meaning, type and default, and the variable that overrides it: `SHOP` "
        "stands for the name of an account, `XSOLLA_COUPON` for an operation. If the default is "
        "none, the vendor's own holds, or nothing. Examples, secrets and signing in: "
        "[configuration.md](../configuration.md)."
    )
    tables = {"accounts", "input", *TABLES}
    parts = [
        _keys("Top of the file", TopLevel, "PIPELINE_", without=tables),
        _keys("`[accounts.NAME]`, of every vendor", AccountKeys, "PIPELINE_ACCOUNTS__SHOP__"),
    ]
    for vendor in load_vendors().values():
        secrets = secret_keys(vendor)
        title = f'`[accounts.NAME]` with `vendor = "{vendor.name}"`'
        prefix = "PIPELINE_ACCOUNTS__SHOP__"
        parts.append(_keys(title, vendor.settings, prefix, secrets=secrets))
    prefix = "PIPELINE_INPUT__XSOLLA_COUPON__"
    parts.append(_keys('`[input."OPERATION"]`', InputSettings, prefix))
    for name, model in TABLES.items():
        prefix = f"PIPELINE_{name.upper()}__"
        parts.append(_keys(f"`[{name}]`", model, prefix, secrets={"webhook"}))
    return page("Configuration", about, *parts)


def _keys(
    title: str,
    model: type[BaseModel],
    prefix: str,
    *,
    without: Iterable[str] = (),
    secrets: Iterable[str] = (),
) -> list[str]:
    rows = [
        (
            code(name),
            info.description,
            "a reference to a secret" if name in secrets else _takes(name, info),
            _default(info),
            code(f"{prefix}{name.upper()}"),
        )
        for name, info in model.model_fields.items()
        if name not in without
    ]
    return [f"## {title}", "", *table(["key", "meaning", "takes", "default", "variable"], rows)]


SPECIAL = {
    "quota": 'requests per time: `"20/s"`, a list of them, or `"auto"`',
    "day_starts": 'a time with its offset: `"00:00+00:00"`',
    "headers": "a table",
}
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _takes(name: str, info: FieldInfo) -> str:
    return SPECIAL.get(name) or _in_words(info.annotation, info.metadata)


def _in_words(kind: Any, metadata: Iterable[object] = ()) -> str:
    """What a type takes, in words.

    >>> _in_words(int), _in_words(dict[str, str]), _in_words(tuple[str, ...] | None)
    ('a whole number', 'a table', 'a list of: text')
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _in_words(arguments[0], (*metadata, *arguments[1:]))
    if origin is typing.Literal:
        return " or ".join(code(f'"{each}"') for each in arguments)
    kinds = [each for each in arguments if each is not type(None)]
    if len(kinds) < len(arguments):
        return " or ".join(_in_words(each, metadata) for each in kinds)
    if origin in (tuple, list, frozenset, set):
        return f"a list of: {_in_words(arguments[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return "a table"
    named = WORDS.get(kind) or getattr(kind, "__name__", str(kind))
    return named + _bounds(metadata)


def _bounds(metadata: Iterable[object]) -> str:
    flat = [each for one in metadata for each in getattr(one, "metadata", [one])]
    told = [
        f"{sign} {getattr(one, name):,}"
        for name, sign in (("ge", "at least"), ("gt", "above"), ("le", "at most"))
        for one in flat
        if getattr(one, name, None) is not None
    ]
    return f", {', '.join(told)}" if told else ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "must be given"
    value = info.default
    if value is None or value is PydanticUndefined or value in ({}, ()):
        return "none"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, tuple):
        return code(json.dumps(value))
    return code(f'"{value}"' if isinstance(value, str) else value)


# ---------------------------------------------------------------------------------- operations


def operations() -> str:
    about = (
        "The same as `pipeline operations NAME`. Rules, sources and what was only inferred: "
        "[operations.md](../operations.md). An asterisk: needed in every row."
    )
    return page("Operations", about, *_operations())


def _operations() -> Iterator[list[str]]:
    for vendor in load_vendors().values():
        for operation in vendor.operations:
            rows = [
                (
                    code(column.label) + (" *" if column.is_required else ""),
                    column.cell.kind.value + (" or null" if column.is_nullable else ""),
                    column.cell.help,
                    code(column.cell.example) if column.cell.example else "",
                )
                for field in fields_of(operation.job_type).values()
                for column in field.columns
            ]
            columns = table(["column", "cell", "what it is", "example"], rows)
            facts = [f"- {fact}" for fact in _facts(vendor, operation)[1:]]
            yield [f"## `{operation.name}`", "", f"{operation.summary}.", "", *columns, "", *facts]


# --------------------------------------------------------------------------------------- hints


def hints() -> str:
    about = (
        "What `_hint` says to each `_error_code`, read from the code that says it. What the codes "
        "mean for a row: [errors.md](../errors.md). Codes of `invalid` rows have no table: their "
        "hint names the cell."
    )
    return page("Hints", about, _by_http(), _without_reply(), _of_ours(), *_of_vendors())


def _rows(answers: Iterable[Answer]) -> list[str]:
    """A line for all codes that the same is said to."""
    codes: dict[tuple[str, str], list[str]] = {}
    for answer in answers:
        codes.setdefault((ACTS[answer.verdict.value], answer.hint), []).append(code(answer.code))
    rows = [(", ".join(named), act, hint) for (act, hint), named in codes.items()]
    return table(["code", "what the pipeline does", "hint"], rows)


ACTS = {
    "ok": "nothing is left to do",
    "rejected": "ends the row",
    "split": "sends the group apart",
    "throttled": "waits, repeats",
    "transient": "repeats where that may be",
    "fatal": "stops the account",
}


def _by_http() -> list[str]:
    statuses = [status for status in HTTPStatus if status >= HTTPStatus.MULTIPLE_CHOICES]
    answers = [classify_read(Reply(status, {}, b"")) for status in statuses]
    return ["## By status", "", "Where a vendor's own codes say no more.", "", *_rows(answers)]


def _without_reply() -> list[str]:
    answers = [
        classify_read(NoReply(reason, "", may_have_arrived=may, is_permanent=stays))
        for reason, may, stays in SILENCES
    ]
    return ["## No reply", "", *_rows(answers)]


def _of_ours() -> list[str]:
    said = vars(own_answers).values()
    told = {each.code: each.hint for each in said if isinstance(each, Answer) and each.code}
    told |= {name: hint for _status, name, _what, hint in COVERED.values()}
    rows = [(code(name), hint) for name, hint in sorted(told.items())]
    return ["## Of the pipeline itself", "", *table(["code", "hint"], rows)]


def _of_vendors() -> Iterator[list[str]]:
    for vendor in load_vendors().values():
        known = _known(vendor)
        if known:
            rows = [(code(name), hint) for name, hint in known.items()]
            yield [f"## {vendor.name.capitalize()}", "", *table(["code", "hint"], rows)]


def _known(vendor: Vendor[Any]) -> dict[str, str]:
    """The hints beside `decode`, by code; a key that is a status is `http_` and the status."""
    module = inspect.getmodule(vendor.operations[0].decode)
    tables = [getattr(module, name, {}) for name in ("_HINTS", "_HINTS_BY_STATUS")]
    return {_name(key): hint for hints in tables for key, hint in hints.items()}


def _name(key: str | int) -> str:
    """A code as it stands in a report.

    >>> _name(404), _name(1102), _name("403010")
    ('http_404', '1102', '403010')
    """
    return f"http_{key}" if re.fullmatch("[1-5][0-9]{2}", str(key)) else str(key)


# ------------------------------------------------------------------------------------ verdicts


def verdicts() -> str:
    about = (
        "What each reply to an update means, read from the code that decides it: the verdict, "
        "whether the update was applied (`effect`), what becomes of a row at its first attempt, "
        "and who says so. `assumed`: no page of a vendor and no standard says it; we decided. The "
        "short names of sources (`SPEC`, `UPDATE`) are explained at the top of the vendor's "
        "`__init__.py` in `pipeline/vendors/`. Bodies are empty where none is named. Which rows "
        "may be repeated: "
        "[operations.md](../operations.md). When an account stops: "
        "[errors.md](../errors.md#refused-rows-or-a-refused-account). What is read is settled by "
        "what the entity holds."
    )
    parts = [
        _verdicts(vendor, operation)
        for vendor in load_vendors().values()
        for operation in vendor.operations
    ]
    return page("Verdicts", about, *parts, _of_silences())


HEADER = (
    *("reply", "verdict", "effect"),
    *("a row that may be repeated", "a row that may not", "source"),
)
OTHERS = (299, 399, 499, 599)  # stand for what has no name
MARKUP = Reply(200, {"content-type": "text/html"}, b"<html>Sign in</html>")


class PrecheckAction(NamedTuple):
    """A reply to an update in words, what it means, and who says so."""

    words: str
    answer: Answer
    source: str


def _verdicts(vendor: Vendor[Any], operation: Operation[Any, Any]) -> list[str]:
    settings = settings_of(vendor)
    job = sample_job(operation)
    confirmation = operation.confirmation(settings, job)

    def said(words: str, reply: Reply, source: str) -> PrecheckAction:
        (answer,) = operation.decode(settings, (job,), reply)
        return PrecheckAction(words, answer, source)

    found = [
        said(confirmation.words, confirmation.example, confirmation.source),
        *(said(*known) for known in operation.known),
        said("a success with HTML", MARKUP, NOT_THE_VENDOR_SOURCE),
        *(
            said(f"a success with an error {status} in its body", _error(status), WITHIN_SOURCE)
            for status in (401, 404, 422, 429, 500)
        ),
    ]
    alone = {known.reply.status for known in operation.known if not known.reply.body}
    empty = confirmation.example.status if not confirmation.example.body else None
    for status in sorted({*HTTPStatus, *OTHERS} - alone - {empty}):
        if status >= HTTPStatus.OK:
            by_status = NOT_CONFIRMED_SOURCE if status < 300 else meaning(status).source
            words = f"any other {status // 100}xx" if status in OTHERS else str(int(status))
            found.append(said(words, Reply(status, {}, b""), by_status))
    can_be_read = operation.reading is not None
    rows = _together((each.words, *_becomes(each, can_be_read=can_be_read)) for each in found)
    return [f"## `{operation.name}`", "", *table(HEADER, rows)]


def _error(status: int) -> Reply:
    return Reply(200, {}, json.dumps({"statusCode": status, "errorMessage": "No"}).encode())


def _of_silences() -> list[str]:
    found = [
        PrecheckAction(
            code(reason),
            classify_read(NoReply(reason, "", may_have_arrived=may, is_permanent=stays)),
            SILENCE_SOURCE if may else NEVER_LEFT_SOURCE,
        )
        for reason, may, stays in SILENCES
    ]
    rows = _together((each.words, *_becomes(each, can_be_read=True)) for each in found)
    about = "Of every operation; at Oracle, where nothing is read, `unknown` stands for a read."
    return ["## No reply", "", about, "", *table(HEADER, rows)]


def _becomes(said: PrecheckAction, *, can_be_read: bool) -> tuple[str, ...]:
    answer = said.answer
    acts = [_act(answer, is_repeatable=may, can_be_read=can_be_read) for may in (True, False)]
    return answer.verdict.value, answer.effect.value, *acts, said.source


def _act(answer: Answer, *, is_repeatable: bool, can_be_read: bool) -> str:
    row = Row(JobRow(1, "", "", is_repeatable, "{}"))
    action = after_update(row, answer, Facts(RetryPolicy(), can_be_read=can_be_read))
    if row.needs_read:
        word = "is read"
    elif answer.verdict is Verdict.FATAL and not row.in_doubt:
        word = code((Status.REJECTED if answer.http_status else Status.NOT_ATTEMPTED).value)
    elif isinstance(action, Wait):
        return "is repeated"
    else:
        word = code((action.status if isinstance(action, Finish) else Status.UNKNOWN).value)
    return f"{word}, or the account stops" if answer.verdict is Verdict.FATAL else word


def _together(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows that follow one another and differ in their first cell alone become one.

    >>> _together([("400", "x"), ("402", "x"), ("403", "y")])
    [('400, 402', 'x'), ('403', 'y')]
    """
    groups = groupby(rows, key=lambda row: row[1:])
    return [(", ".join(row[0] for row in same), *rest) for rest, same in groups]


# ------------------------------------------------------------------------------------- parquet


def parquet() -> str:
    """Parquet files as other systems write them, and the result of each."""
    about = (
        "Each file is a coupon with one column changed, in a configuration with "
        '`timezone = "Europe/Berlin"` and `ignore = ["etl_*"]`. pyarrow writes those of Spark and '
        "BigQuery, with the settings and types of those systems. The rules: "
        "[inputs.md](../inputs.md#parquet)."
    )
    return page("Parquet types", about, table(["written by", "column", "result"], outcomes()))


PAGES: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "configuration": configuration,
    "hints": hints,
    "monitoring": monitoring,
    "operations": operations,
    "verdicts": verdicts,
}
"""The pages by name: docs/reference/NAME.md."""

SLOW_PAGES: Mapping[str, Callable[[], str]] = {"parquet": parquet}
"""Pages that take a minute to write: tests/loader/test_parquet_files.py compares them by line."""


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, written in {**PAGES, **SLOW_PAGES}.items():
        (FOLDER / f"{name}.md").write_text(written())
