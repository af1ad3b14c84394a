"""Words that gave way to plainer ones stay away from names, messages and documentation.

A word enters the table once nothing uses it. Where something stored has such a name, the file that
reads it is excepted, with the reason.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_docs import DOCS
from tests.test_layers import FILES
from tests.test_layers import ROOT as PIPELINE

PAGES = sorted((PIPELINE / "ui/html/templates").glob("*.html"))

REPLACED = {
    "appointment": "schedule window",
    "be told": "be notified",
    "befores": "previous states",
    "brake": "fail-fast check",
    "broke off": "stopped",
    "broken off": "stopped",
    "call off": "cancel",
    "calls it off": "cancels",
    "calls off": "cancels",
    "carried on": "resumed",
    "carries it on": "resumes it",
    "carries on": "resumes",
    "carry on": "resume",
    "carrying on": "resuming",
    "census": "IssueCounts",
    "dislike": "reject",
    "door": "AccountLimiter",
    "doors": "AccountLimiter",
    "fate": "decision",
    "fates": "decisions",
    "gate": "RateLimiter",
    "gates": "RateLimiter",
    "guest": "stale row",
    "heaps": "bursts",
    "heard": "on_answer",
    "hopeless": "stop reason",
    "knows of": "has",
    "laid": "merged",
    "lane": "AccountSender",
    "lanes": "AccountSender",
    "lie": "is",
    "lies": "is",
    "lies in": "is in",
    "looking": "precheck",
    "mend": "fix",
    "mended": "fixed",
    "mending": "fixing",
    "mends": "fixes",
    "outlook": "estimate",
    "overtake": "stale row",
    "overtakes": "stale row",
    "prospect": "estimate",
    "put away": "move",
    "puts away": "moves",
    "putting away": "moving",
    "readback": "verification read",
    "rehearsal": "simulated run",
    "rehearsals": "simulated runs",
    "rehearse": "simulate",
    "rehearses": "simulates",
    "set aside": "quarantine",
    "sets aside": "quarantines",
    "setting aside": "quarantining",
    "shelf": "cards",
    "splitter": "Bisector",
    "stood": "was",
    "surroundings": "RunEnvironment",
    "teller": "Notifier",
    "tells of": "reports",
    "tenure": "QuotaLease",
    "through in time": "finishes in time",
    "told": "reported",
    "troubles": "recent errors",
    "vouches": "has the checksum",
    "went on": "was resumed",
    "wording": "formatting",
}
"""A word in lower case, and what is used instead. Two words also stand for `one_two`."""

KEPT = {
    ("pipeline/cli/__init__.py", "brake"): "a former flag, which is taken and told of",
    ("pipeline/config/output_keys.py", "gate"): "a former name in configurations",
    ("pipeline/run/report_facts.py", "brake"): "use_brake is a key of stored summaries",
    ("pipeline/store/on_files/records.py", "befores"): "befores.db is a file of older runs",
    ("pipeline/store/previous_states.py", "befores"): "the table in that file",
    ("docs/howto/fix-and-redrop.md", "door"): "a SKU of the samples",
    ("docs/howto/from-python.md", "door"): "a SKU of the samples",
    ("docs/own-account.md", "door"): "a SKU of the samples",
}
"""A file, a word that it keeps, and the reason."""

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def replaced_in(text: str) -> list[str]:
    """Return the replaced words in a text or in a name.

    >>> replaced_in("WallDoor"), replaced_in("it sets_aside"), replaced_in("indoors")
    (['door'], ['sets aside'], [])
    """
    words = f" {' '.join(WORD.findall(text)).lower()} "
    return [word for word in REPLACED if f" {word} " in words]


def names_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every name that a file defines or uses."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield line, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield line, name
            case ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
                yield line, name
            case ast.Import(names=parts) | ast.ImportFrom(names=parts):
                yield from ((line, part.name) for part in parts)


def texts_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every string: messages and docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def faults_of_code(source: str) -> list[tuple[int, str]]:
    """Line and word of each replaced word in the names, messages and docstrings of a file."""
    tree = ast.parse(source)
    found = [*names_of(tree), *texts_of(tree)]
    return list(dict.fromkeys((line, word) for line, text in found for word in replaced_in(text)))


def faults(path: Path, *, is_excepted: bool = True) -> list[str]:
    """Replaced words in a file, without those that it keeps."""
    text, name = path.read_text(), path.relative_to(PIPELINE.parent).as_posix()
    if path.suffix == ".py":
        found = faults_of_code(text)
    else:
        lines = enumerate(text.splitlines(), 1)
        found = [(number, word) for number, line in lines for word in replaced_in(line)]
    return [
        f"{name}:{line} {word}: use {REPLACED[word]}"
        for line, word in found
        if not is_excepted or (name, word) not in KEPT
    ]


@pytest.mark.parametrize(
    "path", [*FILES, *PAGES, *DOCS], ids=lambda p: str(p.relative_to(PIPELINE.parent))
)
def test_a_file_uses_no_replaced_word(path: Path) -> None:
    assert faults(path) == []


@pytest.mark.parametrize(("name", "word"), KEPT)
def test_an_exception_is_still_needed(name: str, word: str) -> None:
    found = faults(PIPELINE.parent / name, is_excepted=False)
    assert any(f" {word}: " in fault for fault in found)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("class Tenure: ...", "tenure"),
        ("open_door()", "door"),
        ("def f(befores): ...", "befores"),
        ("f(puts_away=1)", "puts away"),
        ("x = 'whoever sets\\n aside'", "sets aside"),
        ("from a import Census", "census"),
        ("x.splitter", "splitter"),
    ],
)
def test_a_replaced_word_is_found(source: str, word: str) -> None:
    assert faults_of_code(source) == [(1, word)]
