"""Collects all faults of the configuration, each with its place and without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.model import ConfigError, Fault
from pipeline.model.errors import shorten

M = TypeVar("M", bound=BaseModel)

_TABLE_DEPTH = 2  # [accounts.NAME], [input.OPERATION]
_HIDDEN = {"proxy", "headers", "ledger", "ledger_password"}  # they may hold a secret
_FLAT_TABLES = ("log", "notify", "metrics")


@dataclass(slots=True)
class Findings:
    """The faults so far.

    file       where keys come from, for messages
    variables  environment variable by the key that it sets
    """

    file: str
    variables: dict[tuple[str, ...], str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def add(
        self,
        path: tuple[str, ...],
        what: str,
        *,
        value: str | None = None,
        expected: str | None = None,
        todo: str | None = None,
    ) -> None:
        """Add a fault at a key: ("accounts", "shop", "in_flight"), ("timezone",)."""
        where = next((v for p, v in self.variables.items() if p == path[: len(p)]), self.file)
        what = f"{place(path)}: {what}" if path else what
        self.faults.append(Fault(what=what, file=where, value=value, expected=expected, todo=todo))

    def raise_if_any(self) -> None:
        """Raise ConfigError with all of them."""
        if self.faults:
            raise ConfigError(self.faults)


def place(path: tuple[str, ...]) -> str:
    """A key as it appears in the file.

    >>> place(("input", "xsolla.coupon", "missing"))
    '[input."xsolla.coupon"] missing'
    """
    if len(path) == _TABLE_DEPTH and path[0] in _FLAT_TABLES:
        return f"[{path[0]}] {path[1]}"
    if len(path) < _TABLE_DEPTH or path[0] not in ("accounts", "input"):
        return ".".join(path)
    name = path[1] if re.fullmatch(r"[\w-]+", path[1], re.ASCII) else f'"{path[1]}"'
    key = ".".join(path[2:])
    return f"[{path[0]}.{name}] {key}" if key else f"[{path[0]}.{name}]"


def checked(
    model: type[M],
    values: Mapping[str, Any],
    path: tuple[str, ...],
    findings: Findings,
    known: Iterable[str] = (),
) -> M | None:
    """Validate `values` as a `model`; None if there are faults, which go to `findings`.

    known  further keys that the table may hold, for suggestions
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        names = [*model.model_fields, *known]
        for one in error.errors(include_url=False, include_context=False):
            at = (*path, *map(str, one["loc"]))
            if one["type"] == "extra_forbidden":  # its value may be a secret under a wrong name
                findings.add(at, "unknown key", todo=did_you_mean(at[-1], names))
            elif one["type"] == "missing":
                findings.add(at, "is missing")
            else:
                findings.add(at, _translated(one["msg"]), value=_shown(one["input"], at))
        return None


def _translated(message: str) -> str:
    """A message of pydantic in the terms of the file.

    >>> _translated("Input should be a valid string")
    'should be a text'
    """
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message.replace("valid string", "text").replace("valid dictionary", "table")


def _shown(value: object, at: tuple[str, ...]) -> str | None:
    """The value for a message; None if it could be, or contain, a secret."""
    is_plain = isinstance(value, str | int | float | list)
    return shorten(value) if is_plain and not _HIDDEN & set(at) else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint at the most similar known name; None if none is similar.

    >>> did_you_mean("in_flght", ["in_flight", "vendor"])
    'Did you mean in_flight?'
    """
    nearest = get_close_matches(name.lower(), sorted(known), n=1)
    return f"Did you mean {nearest[0]}?" if nearest else None


def one_of(names: Iterable[str]) -> str:
    """The allowed names, for a message."""
    return "one of " + ", ".join(sorted(names))
