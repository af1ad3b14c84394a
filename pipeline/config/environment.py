"""Applies environment variables over the file: PIPELINE_ACCOUNTS__SHOP__IN_FLIGHT=32."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.config.findings import Findings, did_you_mean, place
from pipeline.config.keys import TopLevel
from pipeline.model import Fault

PREFIX = "PIPELINE_"


def override(
    table: dict[str, Any],
    environ: Mapping[str, str],
    operations: set[str],
    findings: Findings,
) -> None:
    """Apply the environment to the file's `table`. Faults go to `findings`.

    operations  names of operations that `[input]` may hold

    A variable of one part that is not a key is ignored, because other programs use the prefix too
    (PIPELINE_WORKSPACE). An unknown variable with a path is a fault.
    """
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX):
            continue
        parts = variable[len(PREFIX) :].split("__")
        top = normal(parts[0])
        if top in TopLevel.model_fields:
            value = _value(environ[variable])
            _set(table, parts, variable, value, operations=operations, findings=findings)
        elif len(parts) > 1:
            what = f"{variable} overrides nothing: there is no key {top!r}"
            todo = did_you_mean(top, TopLevel.model_fields)
            findings.faults.append(Fault(what=what, file="the environment", todo=todo))


def _set(
    table: dict[str, Any],
    parts: list[str],
    variable: str,
    value: Any,
    *,
    operations: set[str],
    findings: Findings,
) -> None:
    path: tuple[str, ...] = ()
    below: Any = table
    for part in parts[:-1]:
        name = _named(part, [*below, *(operations if path == ("input",) else ())])
        path = (*path, name)
        below = below.setdefault(name, {})
        if not isinstance(below, dict):
            what = f"{variable} overrides nothing: {place(path)} is not a table"
            findings.faults.append(Fault(what=what, file="the environment"))
            return
    name = _named(parts[-1], below)
    below[name] = value
    findings.variables[(*path, name)] = variable


def _named(part: str, known: Iterable[str]) -> str:
    """The key for a part of a variable's name.

    >>> _named("MY_SHOP", ["my-shop"]), _named("IN_FLIGHT", [])
    ('my-shop', 'in_flight')
    """
    return next((name for name in known if normal(name) == normal(part)), part.lower())


def normal(name: str) -> str:
    """A name without the differences that a variable's name cannot show.

    >>> normal("xsolla.coupon")
    'xsolla_coupon'
    """
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def _value(text: str) -> Any:
    """A variable's text as a TOML value if it is one, else as text.

    >>> _value("32"), _value('["20/s"]'), _value("20/s")
    (32, ['20/s'], '20/s')
    """
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return found["value"] if len(found) == 1 else text
