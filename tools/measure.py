"""Measures how large and how tangled the project is: `make measure`, `make measure ARGS="REV REV"`.

Without arguments it measures the files of the working folder that Git knows, else one column for
each revision. It needs the standard library and Git.

| measure | definition |
| --- | --- |
| files, lines | Python files of the package, and all of their lines |
| code lines of a function | lines of the body that hold code: no docstring, blank or comment line; those of a function within count for both |
| complexity | 1, and 1 more for each if, loop, except, case, conditional expression, condition of a comprehension, and each `and` or `or` between two operands |
| most arguments | of a function, without self and cls; of a constructor those of `__init__` |
| small, one importer | files under 60 lines that exactly one other file of the package imports, `__init__.py` left out |
| repeated class names | names that are given to two classes or more |
| words | pieces between spaces that hold a letter or a digit, code included; of docs/ without docs/reference |
| folders of a topic | top folders of the package where a class or function, or a name assigned outside of functions, has a word of the topic in its name |
"""  # noqa: E501 - a table

from __future__ import annotations

import ast
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

Tree = Mapping[str, str]
"""Text of each file by its path from the root, with slashes."""

TOPICS = {
    "plan": r"plan|plans|planned|planner|planning",
    "exchange": r"exchange|exchanges",
    "run on record": r"registry|runs|stored run|run (ledger|record|index|registry|entry)",
}
"""Words of each topic, as they stand in a name: a pattern over words in lower case."""

SMALL = 60
LONG = 30
_SUFFIXES = (".py", ".md", ".toml")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_BRANCHES = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler),
    *(ast.IfExp, ast.match_case),
)


# A tree is read


def on_disk(root: Path) -> Tree:
    """The files that Git knows, as they are in the working folder."""
    names = _git(root, "ls-files", "-z").decode().split("\0")
    paths = [root / name for name in names if name.endswith(_SUFFIXES)]
    return {str(path.relative_to(root)): path.read_text() for path in paths if path.is_file()}


def at_revision(root: Path, revision: str) -> Tree:
    """The files of a revision."""
    packed = io.BytesIO(_git(root, "archive", "--format=tar", revision))
    with tarfile.open(fileobj=packed) as archive:
        found = [member for member in archive if member.name.endswith(_SUFFIXES)]
        files = [(each.name, archive.extractfile(each)) for each in found if each.isfile()]
        return {name: file.read().decode() for name, file in files if file is not None}


def _git(root: Path, *arguments: str) -> bytes:
    command = [shutil.which("git") or "git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"measure: git {arguments[0]}: {done.stderr.decode().strip()}")
    return done.stdout


# A module is measured


@dataclass(frozen=True)
class Module:
    """A Python file of the package.

    name  as it is imported
    path  from the root
    """

    name: str
    path: PurePosixPath
    text: str

    @property
    def lines(self) -> int:
        """All of its lines."""
        return len(self.text.splitlines())

    @property
    def is_package(self) -> bool:
        """If it is an `__init__.py`."""
        return self.path.name == "__init__.py"

    def parsed(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, str(self.path))


def modules(tree: Tree, package: str) -> list[Module]:
    """The Python files of the package, by path."""
    paths = sorted(map(PurePosixPath, tree))
    return [
        Module(
            ".".join(path.with_suffix("").parts).removesuffix(".__init__"), path, tree[str(path)]
        )
        for path in paths
        if path.suffix == ".py" and path.parts[0] == package
    ]


def functions(module: ast.Module) -> Iterator[_Function]:
    """Functions and methods, also those within others."""
    return (node for node in ast.walk(module) if isinstance(node, _Function))


def code_lines(function: _Function, text: Sequence[str]) -> int:
    """Lines of a body that hold code.

    text  the lines of the file
    """
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    numbers = range(body[0].lineno - 1, body[-1].end_lineno or body[-1].lineno)
    return sum(
        bool(line) and not line.startswith("#") for n in numbers for line in [text[n].strip()]
    )


def complexity(function: _Function) -> int:
    """1, and 1 more for each branch.

    >>> complexity(ast.parse("def f(a, b): return 1 if a and b else 2").body[0])
    3
    """
    return 1 + sum(map(_branches, ast.walk(function)))


def _branches(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return len(node.ifs)
    return isinstance(node, _BRANCHES)


def arguments(function: _Function) -> int:
    """How many arguments it takes, without self and cls.

    >>> arguments(ast.parse("def f(self, a, /, b, *c, d, **e): ...").body[0])
    5
    """
    given = function.args
    named = [*given.posonlyargs, *given.args]
    bound = bool(named) and named[0].arg in {"self", "cls"}
    starred = (given.vararg is not None) + (given.kwarg is not None)
    return len(named) - bound + len(given.kwonlyargs) + starred


# Modules are compared


def imported(module: Module, known: frozenset[str]) -> set[str]:
    """The modules of the package that it imports, itself left out."""
    found: set[str] = set()
    for node in ast.walk(module.parsed()):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(module, node)
            inner = {f"{origin}.{alias.name}" for alias in node.names} & known
            found |= inner or {origin}
    return (found & known) - {module.name}


def _origin(module: Module, node: ast.ImportFrom) -> str:
    """The module that names are imported from, as an absolute name."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    above = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


def small_with_one_importer(found: Sequence[Module]) -> list[str]:
    """Paths of small files that exactly one other file imports."""
    known = frozenset(each.name for each in found)
    importers = Counter(name for each in found for name in imported(each, known))
    return [
        str(each.path)
        for each in found
        if not each.is_package and each.lines < SMALL and importers[each.name] == 1
    ]


def repeated_classes(parsed: Sequence[ast.Module]) -> dict[str, int]:
    """Names of classes that exist twice or more, with how often."""
    names = Counter(
        node.name
        for node in chain.from_iterable(map(ast.walk, parsed))
        if isinstance(node, ast.ClassDef)
    )
    return {name: count for name, count in names.most_common() if count > 1}


# Topics


def words(name: str) -> str:
    """The words of a name, in lower case.

    >>> words("StoredRun"), words("open_registry"), words("HTTPReply2")
    ('stored run', 'open registry', 'http reply 2')
    """
    return " ".join(each.lower() for each in _WORD.findall(name))


def defined(node: ast.AST) -> Iterator[str]:
    """Names of classes and functions, and names that are assigned outside of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | _Function):
            yield child.name
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        if not isinstance(child, _Function):
            yield from defined(child)


def folders_of(topic: str, found: Sequence[Module]) -> list[str]:
    """Top folders of the package in which the topic has a name; `.` is the package itself."""
    pattern = re.compile(rf"\b({TOPICS[topic]})\b")
    return sorted(
        {
            each.path.parts[1] if len(each.path.parts) > 2 else "."  # noqa: PLR2004 - below the package
            for each in found
            if any(pattern.search(words(name)) for name in defined(each.parsed()))
        }
    )


# Documentation


def word_count(text: str) -> int:
    """Pieces between spaces that hold a letter or a digit.

    >>> word_count("| Rows in - *one* result |")
    4
    """
    return sum(any(map(str.isalnum, piece)) for piece in text.split())


def pages(tree: Tree) -> dict[str, int]:
    """Words of each page of docs/, without docs/reference."""
    return {
        path: word_count(text)
        for path, text in tree.items()
        if path.startswith("docs/") and path.endswith(".md")
        if not path.startswith("docs/reference/")
    }


# The table


def spread(values: Sequence[int], *shares: float) -> str:
    """Percentiles of values and their largest, with slashes; the nearest that is among them.

    >>> spread([1, 2, 3, 4, 5, 6, 7, 8, 9, 30], 0.5, 0.9)
    '5/9/30'
    >>> spread([], 0.5)
    '-'
    """
    if not values:
        return "-"
    ordered = sorted(values)
    found = [ordered[max(0, -int(-share * len(ordered) // 1) - 1)] for share in shares]
    return "/".join(map(str, [*found, ordered[-1]]))


def package_of(tree: Tree) -> str:
    """The folder of the package, as pyproject.toml names it."""
    tool = tomllib.loads(tree["pyproject.toml"])["tool"]
    return str(tool["flit"]["module"]["name"])


def measured(tree: Tree) -> dict[str, str]:
    """Each measure of a tree, as it stands in the table."""
    found = modules(tree, package_of(tree))
    return {**_of_code(found), **_of_topics(found), **_of_docs(tree)}


def _of_code(found: Sequence[Module]) -> dict[str, str]:
    parsed = [each.parsed() for each in found]
    sizes = [
        code_lines(function, module.text.splitlines())
        for module, syntax in zip(found, parsed, strict=True)
        for function in functions(syntax)
    ]
    every = [function for syntax in parsed for function in functions(syntax)]
    counts = [(arguments(each), each.name == "__init__") for each in every]
    repeated = repeated_classes(parsed)
    return {
        "files": f"{len(found):,}",
        "lines": f"{sum(each.lines for each in found):,}",
        "lines of a file, p50/p90/max": spread([each.lines for each in found], 0.5, 0.9),
        "code lines of a function, p50/p90/max": spread(sizes, 0.5, 0.9),
        f"functions over {LONG} code lines": str(sum(size > LONG for size in sizes)),
        "complexity, p90/max": spread([*map(complexity, every)], 0.9),
        "most arguments": str(max((count for count, _ in counts), default=0)),
        "most arguments of a constructor": str(
            max((n for n, is_one in counts if is_one), default=0)
        ),
        f"files under {SMALL} lines with one importer": str(len(small_with_one_importer(found))),
        "class names used twice or more": str(len(repeated)),
        "most used class names": ", ".join(f"{k} {v}" for k, v in [*repeated.items()][:4]) or "-",
    }


def _of_topics(found: Sequence[Module]) -> dict[str, str]:
    table = {}
    for topic in TOPICS:
        folders = folders_of(topic, found)
        table[f"folders of: {topic}"] = f"{len(folders)}: {', '.join(folders)}"
    return table


def _of_docs(tree: Tree) -> dict[str, str]:
    sizes = [*pages(tree).values()]
    return {
        "pages of docs": str(len(sizes)),
        "words of docs": f"{sum(sizes):,}",
        "words of a page, p50/p90/max": spread(sizes, 0.5, 0.9),
        "words of README.md": f"{word_count(tree.get('README.md', '')):,}",
    }


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """A table in Markdown, with a column for each tree.

    >>> print(table({"now": {"files": "3"}, "then": {"files": "4"}}))
    | | now | then |
    | --- | --- | --- |
    | files | 3 | 4 |
    """
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    names = dict.fromkeys(chain.from_iterable(columns.values()))
    lines += [[name, *(each.get(name, "") for each in columns.values())] for name in names]
    return "\n".join(f"|{'|'.join(f' {c} ' if c else ' ' for c in line)}|" for line in lines)


def main() -> None:
    """Measure the working folder, or each revision that is named."""
    root = Path.cwd()
    trees = {each: at_revision(root, each) for each in sys.argv[1:]}
    trees = trees or {"now": on_disk(root)}
    sys.stdout.write(table({name: measured(tree) for name, tree in trees.items()}) + "\n")


if __name__ == "__main__":
    main()
