"""The documentation is executed, so that it cannot lie.

What README.md, CONTRIBUTING.md and docs/**/*.md hold in fences is run in order, per file in one
temporary folder that holds a copy of inputs/:

    ```console              every line `$ command` is run by bash, with `pipeline` on the PATH, as
                            it is installed in README.md and as `quick_command` elsewhere;
                            lines with `> ` continue it, others show what it prints
        $ pipeline ...      must end with exit code 0
        $ ...   # exit 2    must end with 2
    ```console no-run       for what stands before an installation, or releases: only git clone,
                            git tag, cd and make with targets that exist
    ```toml                 is a configuration without a fault
    ```python               runs to its end
    ```LANGUAGE file=NAME   is written to that file first, and run no further unless it is toml

A port that a page gives to a command (`--port 8471`) is another, free one wherever the page names
it. Variables that one command exports hold for the next. Shell commands stand in `console` fences
only.
"""

import ast
import importlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, Self

import click
import pytest

from pipeline.config import load_config
from pipeline.model import ConfigError, Status
from pipeline.model.formatting import MEANING
from pipeline.vendors import load_vendors
from tests import reference
from tests.quick_command import quick_command
from tests.quick_start import AT_IMPORT
from tools import licences

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
SHELLS = {"bash", "sh", "shell", "zsh", "shell-session"}
TIMEOUT_S = 60.0
MULTI = re.MULTILINE | re.DOTALL


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>\S[^\n`]*)?\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
EXPECTED = re.compile(r"\s+# exit (\d+)\s*$")


class Block(NamedTuple):
    """A fence: its line in the file, language, marks (`no-run`, `file=NAME`) and text."""

    line: int
    language: str
    marks: frozenset[str]
    text: str

    @property
    def file(self) -> str | None:
        """Where the block is written."""
        return next((m.removeprefix("file=") for m in self.marks if m.startswith("file=")), None)


def blocks(markdown: str) -> Iterator[Block]:
    for found in FENCE.finditer(markdown):
        language, *marks = (found["info"] or "text").split()
        indent = found["indent"]
        text = re.sub(f"^{indent}", "", found["body"], flags=re.MULTILINE)
        line = markdown.count("\n", 0, found.start()) + 1
        yield Block(line, language, frozenset(marks), text)


class Command(NamedTuple):
    """One command of a console block and the exit code that it must end with."""

    text: str
    code: int


def commands(console: str) -> list[Command]:
    lines: list[str] = []
    is_open = False
    for line in console.splitlines():
        if line.startswith("$ "):
            lines.append(line[2:])
        elif is_open or (lines and line.startswith("> ")):
            lines[-1] += "\n" + line.removeprefix("> ")
        is_open = line.endswith("\\")
    return [_command(text) for text in lines]


def _command(text: str) -> Command:
    expected = EXPECTED.search(text)
    return Command(EXPECTED.sub("", text), int(expected[1]) if expected else 0)


def targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))


class Reader:
    """Does what a page says, as a reader would, in a folder of their own.

    programs  a folder on the PATH before that of the installed ones
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.state = folder.parent / f"{folder.name}.exports"
        self.state.write_text("")
        self.output = folder.parent / f"{folder.name}.output"
        self.groups: list[int] = []
        path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environ = {
            **{name: value for name, value in os.environ.items() if name.startswith(AT_IMPORT)},
            "PATH": os.pathsep.join(path),
            "HOME": str(folder),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for group in self.groups:  # what a page left running
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def fault(self, block: Block) -> str | None:
        """What is wrong with a block; None where it does what it says."""
        if block.language in SHELLS:
            return "a shell block is never run: write it as console, with `$ ` before each command"
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        if block.language == "toml":
            return self._configuration(block.text)
        if block.language == "console":
            return self._not_run(block) if "no-run" in block.marks else self._console(block)
        if "no-run" in block.marks:
            return "no-run is for console blocks only"
        if block.language == "python" and not block.file:
            return self._ended(["python", "-c", block.text], 0)
        return None

    def _configuration(self, text: str) -> str | None:
        path = self.folder / ".block.toml"
        path.write_text(text)
        try:
            load_config(path, environ={}, vendors=load_vendors(), cwd=self.folder)
        except ConfigError as error:
            return str(error)
        finally:
            path.unlink()
        return None

    def _not_run(self, block: Block) -> str | None:
        known = targets((ROOT / "Makefile").read_text())
        for text, _ in commands(block.text):
            words = shlex.split(text, comments=True)
            named = [word for word in words[1:] if "=" not in word]
            if words[0] == "make" and set(named) <= known:
                continue
            if words[:2] not in (["git", "clone"], ["git", "tag"]) and words[0] != "cd":
                known_words = "git clone, no git tag, no cd and no make with a target that exists"
                return f"{text!r} is no {known_words}"
        return None

    def _console(self, block: Block) -> str | None:
        found = commands(block.text)
        if not found:
            return "a console block without a command: each starts with `$ `"
        for text, code in found:
            script = f". {self.state}\n{text}\ncode=$?\nexport -p > {self.state}\nexit $code"
            wrong = self._ended(["bash", "-c", script], code)
            if wrong:
                return f"{text}\n{wrong}"
        return None

    def _ended(self, command: list[str], code: int) -> str | None:
        with self.output.open("w+") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.groups.append(process.pid)
            try:
                ended = process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                return f"took longer than {TIMEOUT_S:g} s"
        if ended == code:
            return None
        return f"exit code {ended}, expected {code}:\n{self.output.read_text()[-3000:]}"


def with_free_ports(markdown: str) -> str:
    """The page with each port that it listens on replaced, so that pages can run side by side."""
    given = sorted(set(re.findall(r"--port (\d{4})\b", markdown)))
    with ExitStack() as held:  # all at once, so that no two are the same
        for port in given:
            free = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            markdown = re.sub(rf"\b{port}\b", str(free), markdown)
    return markdown


def faults(markdown: str, folder: Path, *, is_installed: bool = False) -> list[str]:
    """What of a page does not do what it says, in order."""
    programs = folder.parent / f"{folder.name}.programs"
    programs.mkdir(exist_ok=True)
    with ExitStack() as stack:
        if not is_installed:
            stack.enter_context(quick_command(programs))
        reader = stack.enter_context(Reader(folder, programs))
        told = [(block.line, reader.fault(block)) for block in blocks(with_free_ports(markdown))]
    return [f"line {line}: {fault}" for line, fault in told if fault]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "reader"
    own.mkdir()
    return own


# The documentation as it stands


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_a_page_does_what_it_says(page: Path, folder: Path) -> None:
    shutil.copytree(ROOT / "inputs", folder / "inputs")
    is_installed = page.name == "README.md" and page.parent == ROOT
    assert faults(page.read_text(), folder, is_installed=is_installed) == []


def anchors(markdown: str) -> set[str]:
    """What can be linked to on a page: its headings, as a reader of Markdown names them."""
    prose = FENCE.sub("", markdown)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {name.strip().replace(" ", "-") for name in plain}


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_a_page_links_to_headings_that_are_there(page: Path) -> None:
    linked = re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", page.read_text())
    wrong = [
        f"{file}#{anchor}"
        for file, anchor in linked
        if anchor not in anchors((page.parent / file if file else page).read_text())
    ]
    assert wrong == []


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_a_page_links_to_what_is_there(page: Path) -> None:
    linked = re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", page.read_text())
    assert [link for link in linked if not (page.parent / link).exists()] == []


def test_every_command_has_help_and_stands_in_the_documentation() -> None:
    main = importlib.import_module("pipeline.cli").main
    assert isinstance(main, click.Group)
    told = "\n".join(page.read_text() for page in DOCS)
    assert main.commands
    assert [name for name, one in main.commands.items() if not one.get_short_help_str()] == []
    assert [name for name in main.commands if not re.search(rf"\bpipeline {name}\b", told)] == []


def test_every_page_can_be_reached_from_the_list_of_pages() -> None:
    listed = (ROOT / "docs" / "README.md").read_text()
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES]
    assert [page for page in pages if page != "README.md" and f"({page})" not in listed] == []


PATH = re.compile(r"(?<![\w/.])(?:pipeline|tests|tools)/[\w./-]*\w")


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_a_page_names_files_that_are_there(page: Path) -> None:
    named = PATH.findall(page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_a_page_begins_with_the_question_that_it_answers() -> None:
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page.parent != reference.FOLDER]
    begin = re.compile(r"# [^\n]+\n\nThis page answers: [^?]+\?")
    assert len(pages) > 20
    assert [name_of(page) for page in pages if not begin.match(page.read_text())] == []


def test_every_code_without_an_answer_of_the_vendor_is_explained() -> None:
    hints = (reference.FOLDER / "hints.md").read_text()
    parts = re.findall(r"^## (?:No reply|Of the pipeline itself)$(.*?)(?=^## )", hints, MULTI)
    codes = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \|", "".join(parts), MULTI)))
    explained = (ROOT / "docs" / "errors.md").read_text()
    assert len(codes) > 12
    assert [code for code in codes if f"`{code}`" not in explained] == []


VARIES = re.compile(r"\.\.\.|\d\S*|`[^`]*`|\(.*?\)|[,:;]")  # in a message, and what parts it


def test_the_messages_that_are_explained_are_those_of_the_code() -> None:
    said = "\n".join(texts_of_code())
    page = (ROOT / "docs" / "errors.md").read_text()
    tables = re.findall(r"^\| (?:message|reason) \|.*?\n\|[-| ]+\n(.*?)\n(?!\|)", page, MULTI)
    rows = [line.split(" | ")[0].lstrip("| ") for table in tables for line in table.splitlines()]
    parts = [part.strip() for row in rows for part in VARIES.split(row)]
    assert len(rows) > 35
    assert [part for part in parts if len(part) > 7 and part not in said] == []


def texts_of_code() -> Iterator[str]:
    """Each literal text of the package; in one with values in it, a space for each value."""
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(_text(part) for part in node.values)


def _text(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else " "


def test_the_figures_in_the_readme_are_those_of_the_benchmarks() -> None:
    marked = re.compile("<!-- figures -->(.*)<!-- /figures -->", re.DOTALL)
    shown = marked.search((ROOT / "README.md").read_text())
    measured = marked.search((ROOT / "docs" / "benchmarks.md").read_text())
    assert shown
    assert measured
    figures = re.findall(r"[0-9][0-9,.]*[0-9]", shown[1])
    assert len(figures) > 5
    assert [figure for figure in figures if figure not in measured[1]] == []


def test_the_readme_explains_a_status_as_the_program_does() -> None:
    line = re.compile(r"^  ([a-z_]+) +\d+  (?:success|errors) +(.*)$", re.MULTILINE)
    shown = line.findall((ROOT / "README.md").read_text())
    assert len(shown) > 3
    assert shown == [(name, MEANING[Status(name)]) for name, _ in shown]


def test_every_operation_stands_in_the_documentation() -> None:
    told = "\n".join(page.read_text() for page in DOCS)
    names = [op.name for vendor in load_vendors().values() for op in vendor.operations]
    assert [name for name in names if name not in told] == []


# The reference


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_of_the_reference_says_what_the_code_says(name: str) -> None:
    written = (reference.FOLDER / f"{name}.md").read_text()
    assert written == reference.PAGES[name](), "make reference"


def test_each_reply_has_a_verdict_and_a_source() -> None:
    statuses = {str(int(status)) for status in HTTPStatus if status >= HTTPStatus.OK}
    classes = {f"any other {number}xx" for number in (2, 3, 4, 5)}
    _, *parts = reference.verdicts().split("\n## ")
    *operations, silences = parts
    assert len(operations) == sum(len(v.operations) for v in load_vendors().values())
    for part in operations:
        rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line[:2] == "| "][2:]
        named = {word for reply, *_ in rows for word in reply.split(", ")}
        told = {word.split(" ")[0] for word in named if word[0].isdigit()} | named
        assert statuses | classes <= told, part[:40]
        assert all(len(row) == len(reference.HEADER) and all(row) for row in rows)
        assert sum("`updated`" in row for row in rows) == 1, "one reply confirms"
    assert all(f"`{reason}`" in silences for reason, *_ in reference.SILENCES)


def test_the_reference_holds_no_other_page() -> None:
    made = {*reference.PAGES, *reference.SLOW_PAGES, licences.PAGE.stem}
    assert {page.stem for page in reference.FOLDER.glob("*.md")} == made


def test_every_key_has_a_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", reference.configuration(), re.MULTILINE)
    assert len(rows) > 30
    assert [key for key, meaning in rows if meaning in ("", "None")] == []


# The reader itself


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("```console\n$ false\n```\n", "exit code 1, expected 0"),
        ("```console\n$ true  # exit 2\n```\n", "exit code 0, expected 2"),
        ("```console\n$ true\n$ echo told; exit 3\n```\n", "told"),
        ("```console\npipeline run\n```\n", "without a command"),
        ("```console\n$ no-such-program\n```\n", "exit code 127"),
        ("```bash\nrm -rf x\n```\n", "never run"),
        ("```console no-run\n$ make no-such-target\n```\n", "no make with a target"),
        ("```console no-run\n$ pipeline run\n```\n", "is no git clone"),
        ("```python no-run\n1 / 0\n```\n", "for console blocks only"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```toml\ntimzone = 'UTC'\n```\n", "Did you mean timezone?"),
        ("1. One\n\n   ```console\n   $ false\n   ```\n", "line 3"),
    ],
)
def test_a_page_that_lies_is_found(markdown: str, expected: str, folder: Path) -> None:
    found = faults(markdown, folder)
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    "markdown",
    [
        "```console\n$ true\nwhat it prints\n$ exit 2   # exit 2\n```\n",
        "```console\n$ export KEY=value\n```\n\n```console\n$ test $KEY = value\n```\n",
        "```csv file=in/rows.csv\na,b\n1,2\n```\n\n```console\n$ grep -q 1,2 in/rows.csv\n```\n",
        "```console\n$ cat > x <<'EOF'\n> one\n> EOF\n$ grep -q one x\n$ test \\\n  -f x\n```\n",
        "```console no-run\n$ git clone x y && cd y\n$ make run PYTHON=python3\n```\n",
        "```python\nimport os\nassert os.path.basename(os.getcwd()) == 'reader'\n```\n",
        "```toml file=x.toml\ntimezone = 'UTC'\n```\n\n```console\n$ test -f x.toml\n```\n",
        "```console\n$ sleep 100 &\n```\n",
        "```text\n$ false\n```\n\n```\nplain\n```\n",
        "```console\n$ echo --port 8470 > x\n$ if grep -q 847[0] x; then exit 1; fi\n```\n",
    ],
)
def test_a_page_that_does_what_it_says_has_no_fault(markdown: str, folder: Path) -> None:
    assert faults(markdown, folder) == []
