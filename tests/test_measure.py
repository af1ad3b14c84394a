"""The measures of `make measure`, on trees that are small enough to count by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tools.measure import measured

PROJECT = '[tool.flit.module]\nname = "shop"\n'
ROOT = Path(__file__).parents[1]

BRANCHY = """
    class Cart:
        def __init__(self, a, b, *, c):
            '''Three arguments, one code line.

            if this were code it would count.
            '''

            # a comment
            self.a = a if b and c else None  # 1, the expression, the `and`

    def total(items):
        for item in items:
            if item and item.price or item.free:
                pass
            elif item is None:
                break
        return [each for each in items if each]
"""
PLAN = """
    from shop import cart
    from shop.cart import Cart

    class Planner:
        steps = 3
        def explain(self): ...
"""
EXPLAIN = """
    from .. import cart
    plan: list = []

    def explain(planet):
        exchanges = planet
        return exchanges
"""


@pytest.mark.parametrize(
    ("files", "measure", "expected"),
    [
        ({"shop/__init__.py": ""}, "files", "1"),
        ({"shop/__init__.py": "", "tests/a.py": "x = 1"}, "files", "1"),  # the package alone
        ({"shop/a.py": "x = 1\n\n# end\n"}, "lines", "3"),
        ({"shop/a.py": "x = 1\n", "shop/b.py": "\n" * 9}, "lines of a file, p50/p90/max", "1/9/9"),
        ({"shop/a.py": "x = 1\n"}, "code lines of a function, p50/p90/max", "-"),
        ({"shop/a.py": BRANCHY}, "code lines of a function, p50/p90/max", "1/6/6"),
        ({"shop/a.py": "def f():\n    '''Only words.'''\n"}, "functions over 30 code lines", "0"),
        ({"shop/a.py": "def f():\n" + "    f()\n" * 30}, "functions over 30 code lines", "0"),
        ({"shop/a.py": "def f():\n" + "    f()\n" * 31}, "functions over 30 code lines", "1"),
        ({"shop/a.py": "def f(): ...\n"}, "complexity, p90/max", "1/1"),
        ({"shop/a.py": BRANCHY}, "complexity, p90/max", "7/7"),
        ({"shop/a.py": BRANCHY}, "most arguments", "3"),
        ({"shop/a.py": BRANCHY}, "most arguments of a constructor", "3"),
        ({"shop/a.py": "def f(a, b, c, d): ...\n"}, "most arguments of a constructor", "0"),
        ({"shop/cart.py": "", "shop/a.py": PLAN}, "files under 60 lines with one importer", "1"),
        ({"shop/cart.py": "\n" * 60, "shop/a.py": PLAN},
         "files under 60 lines with one importer", "0"),
        ({"shop/cart.py": "", "shop/a.py": PLAN, "shop/x/b.py": EXPLAIN},
         "files under 60 lines with one importer", "0"),  # a relative import is one, too
        ({"shop/__init__.py": "", "shop/a.py": "import shop"},
         "files under 60 lines with one importer", "0"),
        ({"shop/a.py": BRANCHY, "shop/b.py": PLAN}, "class names used twice or more", "0"),
        ({"shop/a.py": BRANCHY, "shop/b.py": BRANCHY}, "most used class names", "Cart 2"),
        ({"shop/x/a.py": PLAN}, "folders of: plan", "1: x"),
        ({"shop/x/a.py": PLAN, "shop/y/z/b.py": EXPLAIN}, "folders of: plan", "2: x, y"),
        ({"shop/a.py": PLAN}, "folders of: plan", "1: ."),
        ({"shop/x/a.py": EXPLAIN}, "folders of: exchange", "0: "),  # a local name defines nothing
        ({"shop/x/a.py": "from z import Registry, runs\n"}, "folders of: run on record", "0: "),
        ({"shop/x/a.py": "class StoredRun: ...\n"}, "folders of: run on record", "1: x"),
        ({"shop/x/a.py": "def run_row(): ...\n"}, "folders of: run on record", "0: "),
        ({"docs/a.md": "# One\n\n- two *three*\n", "docs/reference/b.md": "four"},
         "words of docs", "3"),
        ({"docs/a.md": "one", "docs/x/b.md": "one two"}, "words of a page, p50/p90/max", "1/2/2"),
        ({"README.md": "| one - two |"}, "words of README.md", "2"),
    ],
)  # fmt: skip
def test_a_planted_tree_has_the_measure(files, measure, expected):
    tree = {path: dedent(text) for path, text in files.items()}
    assert measured({"pyproject.toml": PROJECT, **tree})[measure] == expected


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One with two commits and a change that is not committed."""
    for lines in (1, 2, 3):
        (tmp_path / "shop").mkdir(exist_ok=True)
        (tmp_path / "shop" / "a.py").write_text("x = 1\n" * lines)
        (tmp_path / "pyproject.toml").write_text(PROJECT)
        if lines == 1:
            git(tmp_path, "init", "-q")
        if lines < 3:
            git(tmp_path, "add", ".")
            git(tmp_path, "commit", "-qm", f"{lines}")
    (tmp_path / "shop" / "unknown.py").write_text("x = 1\n")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


@pytest.mark.parametrize(
    ("arguments", "head", "lines"),
    [
        ([], "| | now |", "| lines | 3 |"),
        (["HEAD~1", "HEAD"], "| | HEAD~1 | HEAD |", "| lines | 1 | 2 |"),
    ],
)
def test_revisions_are_columns(repository, arguments, head, lines):
    done = measure(repository, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == head
    assert lines in done.stdout.splitlines()


def test_a_revision_that_is_none_is_named(repository):
    done = measure(repository, "v9")
    assert done.returncode == 1
    assert "v9" in done.stderr
    assert "Traceback" not in done.stderr


def measure(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.measure", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
