"""Reports unknown columns: those that may be misspelt one by one, others in one fault. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

from pipeline.loader.suggestions import listed
from pipeline.model import Fault
from pipeline.model.errors import SHOWN_VALUE_CHARS, clipped, shorten

SHOWN = 5
_NEAR_TRIED = 200  # names compared with the known ones
_IGNORE_CHARS = 2_000  # of the line to paste
_PREFIX_CHARS = 3  # a shorter one matches too much
_SEPARATORS = "_-. "


def unknown_columns(
    names: Sequence[str],
    *,
    near: Callable[[str], tuple[str, str] | None],
    section: str,
    labels: Iterable[str],
    kept: Sequence[str],
    file: str,
) -> list[Fault]:
    """The faults for unknown columns.

    Each that may be misspelt has a fault, up to SHOWN of them; the rest share one.

    names    the unknown columns, trimmed, at least one
    near     returns a similar known name and the section of the configuration to rename it in
    section  section of the configuration to ignore them in
    labels   known names and patterns
    kept     names that must not be ignored by accident: the file's other columns, and fields

    >>> known = dict(near=lambda _: None, section="[s]", labels=["id"], kept=["id"], file="a.csv")
    >>> unknown_columns([f"dwh_{n}" for n in range(300)], **known)[0].todo
    'Under [s] write ignore = ["dwh_*"]'
    """
    guesses = {name: guess for name in names[:_NEAR_TRIED] if (guess := near(name))}
    misspelt = list(guesses)[:SHOWN]
    faults = [_one(name, guesses[name], section, labels, file) for name in misspelt]
    rest = [name for name in names if name not in misspelt]
    if len(rest) == 1:
        return [*faults, _one(rest[0], None, section, labels, file)]
    return [*faults, _many(rest, section, labels, [*kept, *misspelt], file)] if rest else faults


def _one(
    name: str,
    guess: tuple[str, str] | None,
    section: str,
    labels: Iterable[str],
    file: str,
) -> Fault:
    near, place = guess or ("", section)
    quoted = _quoted(name)
    rename = f'rename = {{ {quoted} = "{near}" }}, or ' if near else ""
    return Fault(
        file=file,
        column=shorten(name, most=120),
        what="unknown column" + (f", perhaps {near}" if near else ""),
        expected=None if near else f"one of {listed(labels)}",
        todo=f"Under {place} write {rename}ignore = [{quoted}]",
    )


def _many(
    names: Sequence[str], section: str, labels: Iterable[str], kept: Sequence[str], file: str
) -> Fault:
    shown = ", ".join(clipped(name, SHOWN_VALUE_CHARS) for name in names[:SHOWN])
    return Fault(
        file=file,
        what=f"{len(names)} unknown columns: {shown} and {len(names) - SHOWN} more"
        if len(names) > SHOWN
        else f"{len(names)} unknown columns: {shown}",
        expected=f"columns such as {listed(labels)}",
        todo=_ignoring(names, kept, section),
    )


def _ignoring(names: Sequence[str], kept: Sequence[str], section: str) -> str:
    globs = ignoring(names, kept)
    line = ", ".join(map(_quoted, globs))
    if len(line) <= _IGNORE_CHARS:
        return f"Under {section} write ignore = [{line}]"
    return (
        f"Name them in ignore = [...] under {section} (* and ? stand for any characters there), "
        "or leave them out of the export"
    )


def ignoring(names: Sequence[str], kept: Iterable[str]) -> list[str]:
    """Patterns for `ignore` that match all of `names` and none of `kept`.

    >>> ignoring(["dwh_a", "dwh_b", "x"], ["id"])
    ['dwh_*', 'x']
    >>> ignoring(["name_a", "name_b"], ["name_c"])
    ['name_a', 'name_b']
    """
    folded = [name.casefold() for name in kept]
    starts: dict[str, list[str]] = {}
    for name in names:
        starts.setdefault(_start(name), []).append(name)
    found: list[str] = []
    for start, members in starts.items():
        glob = f"{_escaped(start)}*"
        is_clear = len(start) >= _PREFIX_CHARS and len(members) > 1
        if is_clear and not any(fnmatchcase(name, glob.casefold()) for name in folded):
            found.append(glob)
        else:
            found += map(_escaped, members)
    return found


def _start(name: str) -> str:
    """The first word of a name and its separator; empty if the name has only one word.

    >>> _start("dwh_loaded_at"), _start("loaded")
    ('dwh_', '')
    """
    at = next((i for i, char in enumerate(name) if i and char in _SEPARATORS), None)
    return "" if at is None else name[: at + 1]


def _escaped(name: str) -> str:
    """A pattern that matches exactly this name."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
