"""Faults of requests, by chance or by script. Random draws and turns are arguments."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any

from pipeline.simulator.errors import SimulatorError

OK = "ok"

#: name -> what happens to the request
FAULTS: Mapping[str, str] = {
    "429": "not applied; 429 without Retry-After",
    "429-seconds": "not applied; 429 with Retry-After in seconds",
    "429-date": "not applied; 429 with Retry-After as a date",
    "425": "not applied; 425 Too Early: the row may be sent again, nothing is wrong with the rate",
    "500": "not applied; 500",
    "503": "not applied; 503",
    "500-after": "applied; 500",
    "reset-before": "not applied; the connection is reset",
    "reset-after": "applied; the connection is reset",
    "timeout-after": "applied; no answer until the client leaves",
    "close-reused": "not applied; a reused connection is closed unanswered; on a new one no fault",
    "slow": "applied; the true answer after slow_s",
    "half-body": "applied; 200 and headers that promise more bytes than come before the close",
    "html": "not applied; 502 with an HTML page",
    "html-200": "not applied; 200 with an HTML login page",
    "redirect": "not applied; 307 to /elsewhere on this server",
    "endless-body": "applied; 200 (422 if the request is wrong) with a body that never ends",
    "garbage": "not applied; bytes that are not HTTP, then the connection is closed",
}

UNAPPLIED = frozenset(name for name, text in FAULTS.items() if text.startswith("not applied"))

_RULE_KEYS = ("method", "path", "body", "replies", "retry_after_s", "slow_s")


@dataclass(frozen=True, slots=True)
class Rule:
    """The faults of requests to matching paths, in turn.

    path           pattern, searched in the percent-decoded path without the query
    replies        names of FAULTS or "ok"; the last one repeats. Turns are counted per path, and
                   separately for each text that `body` finds
    method         None: any
    body           pattern, searched in the body, for entities that no path names; None: any
    retry_after_s  for 429-seconds and 429-date; None: the option of that name
    slow_s         for slow; None: the option of that name
    """

    path: re.Pattern[str]
    replies: tuple[str, ...]
    method: str | None = None
    retry_after_s: float | None = None
    slow_s: float | None = None
    body: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A fault of one request, with the seconds that it needs."""

    name: str
    retry_after_s: float
    slow_s: float


def rule_for(
    script: tuple[Rule, ...], method: str, path: str, body: bytes
) -> tuple[int, str] | None:
    """The index of the first rule that matches a request, and the key that counts its turns.

    The key is the path, followed by the text that the rule found in the body, if it searches the
    body. None if no rule matches.

    >>> script = (Rule(re.compile("/a$"), ("503",), "PUT"), Rule(re.compile("/b$"), ("500",)))
    >>> rule_for(script, "PUT", "/x/a", b""), rule_for(script, "GET", "/x/a", b"")
    ((0, '/x/a'), None)
    >>> rule_for((Rule(re.compile("/a$"), ("503",), body=re.compile("7+")),), "PUT", "/a", b"[77]")
    (0, '/a 77')
    """
    for index, rule in enumerate(script):
        if rule.method not in (None, method) or not rule.path.search(path):
            continue
        if rule.body is None:
            return index, path
        found = rule.body.search(body.decode("utf-8", "replace"))
        if found is not None:
            return index, f"{path} {found.group()}"
    return None


def reply_at(rule: Rule, turn: int) -> str:
    """The rule's reply to request number `turn`, counted from 0; the last reply repeats.

    >>> [reply_at(Rule(re.compile(""), ("503", "ok")), turn) for turn in range(3)]
    ['503', 'ok', 'ok']
    """
    return rule.replies[min(turn, len(rule.replies) - 1)]


def by_chance(chances: Mapping[str, float], draw: float) -> str | None:
    """The fault for a draw from [0, 1); None for no fault. Each fault has a range of its chance.

    >>> [by_chance({"500": 0.25, "slow": 0.5}, draw) for draw in (0.2, 0.25, 0.75)]
    ['500', 'slow', None]
    """
    edge = 0.0
    for name, chance in chances.items():
        edge += chance
        if draw < edge:
            return name
    return None


def check_chances(chances: Mapping[str, float]) -> None:
    """Raise SimulatorError for unknown faults, chances outside 0..1 and a sum above 1."""
    for name, chance in chances.items():
        _check_reply(name, "faults", FAULTS)
        if not 0.0 <= chance <= 1.0:
            raise SimulatorError(f"faults: {name} = {chance!r}: expected a chance from 0 to 1")
    if sum(chances.values()) > 1.0 + 1e-9:
        raise SimulatorError(f"faults: the chances sum to {sum(chances.values()):g}, more than 1")


def load_script(path: Path) -> tuple[Rule, ...]:
    """Read a script: a TOML file of `[[rule]]` tables with the fields of Rule.

    Raises SimulatorError with file, rule and key, also if the file cannot be read.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SimulatorError(f"{path}: cannot read the script: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SimulatorError(f"{path}: the script is not UTF-8: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SimulatorError(f"{path}: not TOML: {error}") from error
    _check_keys(document, ("rule",), str(path))
    tables = document.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SimulatorError(f"{path}: `rule` is not a list of tables: write [[rule]]")
    return tuple(_rule(table, f"{path}: rule {n}") for n, table in enumerate(tables, start=1))


def default_script() -> tuple[Rule, ...]:
    """The script that ships with the simulator: some ids name a fault."""
    return load_script(Path(__file__).with_name("default.toml"))


def _rule(table: dict[str, Any], where: str) -> Rule:
    _check_keys(table, _RULE_KEYS, where)
    method = table.get("method")
    if method is not None and not isinstance(method, str):
        raise SimulatorError(f'{where}: method = {method!r}: expected text such as "PUT"')
    return Rule(
        path=_pattern(table, "path", where),
        replies=_replies(table.get("replies"), where),
        method=method.upper() if method else None,
        retry_after_s=_seconds(table, "retry_after_s", where),
        slow_s=_seconds(table, "slow_s", where),
        body=_pattern(table, "body", where) if "body" in table else None,
    )


def _pattern(table: dict[str, Any], key: str, where: str) -> re.Pattern[str]:
    value = table.get(key)
    if not isinstance(value, str):
        raise SimulatorError(f"{where}: {key} = {value!r}: expected a regular expression as text")
    try:
        return re.compile(value)
    except re.error as error:
        raise SimulatorError(f"{where}: {key} = {value!r}: {error}") from error


def _replies(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise SimulatorError(
            f"{where}: replies = {value!r}: expected a list with at least one name"
        )
    for name in value:
        _check_reply(name, f"{where}: replies", (*FAULTS, OK))
    return tuple(value)


def _seconds(table: dict[str, Any], key: str, where: str) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        raise SimulatorError(f"{where}: {key} = {value!r}: expected seconds, 0 or more")
    return float(value)


def _check_keys(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise SimulatorError(f"{where}: unknown key {key!r}: expected {', '.join(known)}")


def _check_reply(name: object, where: str, known: Mapping[str, str] | tuple[str, ...]) -> None:
    if name in known:
        return
    near = get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    raise SimulatorError(f"{where}: unknown name {name!r}: {hint}")
