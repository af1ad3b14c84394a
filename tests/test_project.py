"""The project around the code: what is locked, ignored, licensed and said in the Makefile."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tools import licences
from tools.audit import verdict

ROOT = Path(__file__).parent.parent
LOCKS = ("run", "dev", "pip", "tools")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".csv", ".cfg", ".ini", ".yml", ".yaml", ".sh", ""}
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(home|root|tmp|Users|work|workspace|mnt)/\w")
REGISTRY = re.compile(r"\b(pypi|pythonhosted)\.(org|python\.org)\b")


def lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", lock(name), re.MULTILINE))


def required(group: str) -> list[Requirement]:
    if group in {"pip", "tools"}:
        lines = (ROOT / "requirements" / f"{group}.in").read_text().splitlines()
        return [Requirement(line.partition(" #")[0]) for line in lines]
    project = PYPROJECT["project"]
    texts = [*project["dependencies"], *PYPROJECT["build-system"]["requires"]]
    texts += project["optional-dependencies"]["dev"] if group == "dev" else []
    return [Requirement(text) for text in texts]


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def project_files() -> Iterator[Path]:
    """The files that belong to the project: neither ignored nor made by a run."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix in TEXT_SUFFIXES:
            yield path


# What is locked


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_of_a_lock_is_a_pin_a_hash_or_a_reason(name: str) -> None:
    allowed = re.compile(
        r"[a-z0-9-]+==[0-9][\w.!+]* \\"  # no marker and no address
        r"| {4}--hash=sha256:[0-9a-f]{64}( \\)?"
        r"| {4}# +(via( [\w-]+| offer-pipeline \(pyproject\.toml(::[\w.-]+)?\))?"
        r"|(via )?-[cr] requirements/\w+\.(txt|in)|[\w-]+"
        r"|offer-pipeline \(pyproject\.toml(::[\w.-]+)?\))"
    )
    unsafe = "# The following packages are considered to be unsafe in a requirements file:"
    lines = [line for line in lock(name).splitlines() if line not in {"", unsafe}]
    wrong = [line for line in lines if not allowed.fullmatch(line)]
    assert wrong == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_what_the_project_asks_for(name: str) -> None:
    locked = pins(name)
    missing = [
        str(need)
        for need in required(name)
        if not need.specifier.contains(locked.get(canonical(need.name), "0"))
    ]
    assert missing == [], "make lock"


def test_tests_run_with_the_versions_that_people_run() -> None:
    run, dev = pins("run"), pins("dev")
    assert run
    assert {name: dev.get(name) for name in run} == run


def test_what_people_run_holds_no_tool() -> None:
    tools = {
        canonical(Requirement(t).name) for t in PYPROJECT["project"]["optional-dependencies"]["dev"]
    }
    assert tools & pins("run").keys() == set()


# What the Makefile says


def make(*arguments: str) -> str:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def phony() -> list[str]:
    found = re.search(r"^\.PHONY: (help .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    return found[1].split()


def test_make_help_names_every_target() -> None:
    named = re.findall(r"^make ([\w-]+) +\S", make("help"), re.MULTILINE)
    assert sorted(named) == sorted(phony())
    assert {"run", "test", "check", "bench"} <= set(named)


def test_check_runs_linter_formatter_types_and_layers() -> None:
    recipe = make("--dry-run", "--old-file=.venv/dev", "check")
    for tool in (
        "ruff check",
        "ruff format --check",
        "mypy",
        "pytest -q tests/test_layers.py tests/test_words.py",
    ):
        assert tool in recipe


def test_the_build_server_runs_nothing_else_than_people_do() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line.startswith("make ")]
    assert commands == ["make check", "make test"]


def test_hooks_are_steps_of_check_and_download_nothing() -> None:
    recipe = make("--dry-run", "--old-file=.venv/dev", "check").splitlines()
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    assert {repository["repo"] for repository in repositories} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    assert [hook["entry"] for hook in hooks] == recipe[: len(hooks)]
    assert len(hooks) == 3


def test_a_wheel_is_built_from_the_locked_tools(tmp_path: Path) -> None:
    make("--old-file=.venv/project", "wheel", f"DIST={tmp_path}")
    (wheel,) = tmp_path.iterdir()
    name = PYPROJECT["project"]["name"].replace("-", "_")
    assert wheel.name == f"{name}-{PYPROJECT['project']['version']}-py3-none-any.whl"


# What is and what is not in the repository


def test_no_file_names_a_machine_or_a_registry() -> None:
    told = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in project_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line) or REGISTRY.search(line)
    ]
    assert told == []


@pytest.mark.parametrize(
    ("line", "is_fault"),
    [
        ("see /" + "home/me/data.csv", True),
        ('path = "/' + 'tmp/x"', True),
        ("from https://files.pythonhosted" + ".org/packages", True),
        ("ca_file = '/etc/ssl/brm-ca.pem'", False),
        ("ledger = '/var/lib/pipeline/ledger.db'", False),
        ("GET /api/tmp/x, ~/src/x and ./home/x", False),
    ],
)
def test_machine_paths_are_told_from_others(line: str, is_fault: bool) -> None:  # noqa: FBT001
    assert bool(MACHINE_PATH.search(line) or REGISTRY.search(line)) is is_fault


@pytest.mark.parametrize(
    ("path", "is_ignored"),
    [
        # people's data, accounts and reports
        ("inputs/xsolla.coupon/tonight.csv", True),
        ("inputs/tonight.parquet", True),
        ("reports/20260101T000000Z-tonight-abcd/errors.csv", True),
        ("reports/latest", True),
        (".pipeline/ledger.db", True),
        ("pipeline.toml", True),
        # what tools make
        (".venv/run", True),
        ("pipeline/__pycache__/run.cpython-311.pyc", True),
        (".hypothesis/examples/x", True),
        # what belongs to the project
        ("inputs/.gitkeep", False),
        ("inputs/samples/xsolla.coupon/coupons.csv", False),
        ("reports/.gitkeep", False),
        ("pipeline/reporter/columns.py", False),
        ("docs/pipeline.toml", False),
    ],
)
def test_what_people_leave_here_is_never_committed_by_accident(
    tmp_path: Path,
    path: str,
    is_ignored: bool,  # noqa: FBT001
) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    asked = subprocess.run(["git", "check-ignore", "--quiet", path], cwd=tmp_path, check=False)
    assert (asked.returncode == 0) is is_ignored


def test_the_licence_is_the_one_that_the_package_names() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_tells_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text
    assert f"## [{PYPROJECT['project']['version']}]" in text


def test_types_are_published() -> None:
    assert (ROOT / "pipeline" / "py.typed").exists()


# What it is made of


@pytest.mark.parametrize(
    ("report", "code", "words"),
    [
        pytest.param(None, 3, "NOTHING IS KNOWN", id="no-report"),
        pytest.param(
            [{"name": "a", "skip_reason": "not found"}], 3, "NOTHING IS KNOWN", id="skipped"
        ),
        pytest.param(
            [{"name": "a", "version": "1", "vulns": []}], 3, "1 of 2 locked", id="one-not-looked-up"
        ),
        pytest.param(
            [
                {"name": "a", "version": "1", "vulns": []},
                {"name": "b", "version": "2", "vulns": []},
            ],
            0, "2 of 2 locked packages looked up: no known", id="clean",
        ),
        pytest.param(
            [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}],
            1, "a 1: CVE-1, fixed in 2", id="vulnerable-and-one-not-looked-up",
        ),
    ],
)  # fmt: skip
def test_an_audit_that_looked_nothing_up_is_no_good_news(
    report: list[dict[str, object]] | None, code: int, words: str
) -> None:
    found, lines = verdict(None if report is None else {"dependencies": report}, locked=2)
    assert found == code
    assert words in "\n".join(lines)


def test_the_licences_are_those_of_the_lock() -> None:
    assert licences.PAGE.read_text() == licences.page(), "run `make licences`"
