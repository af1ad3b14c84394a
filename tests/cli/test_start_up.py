"""What a command imports before it does anything: counted, not timed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pipeline.cli import main
from pipeline.cli.lazy_commands import LazyGroup
from tests.cli.command import environment
from tests.workplace import configure, coupon, drop

LISTED = """\
import json, sys
sys.argv = ["pipeline", *json.loads(sys.argv[1])]
from pipeline.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
HEAVY = {
    *("polars", "aiohttp", "pydantic", "prometheus_client", "jinja2", "rich", "anyio", "asyncio"),
    *("sqlite3", "httptools", "pipeline.model"),
}
"""Nothing that only lists or rejects words needs one of these."""
MAX_MODULES = 200
"""Of a listing: 120 with Python 3.11, 171 for the version (metadata), most of them click's."""


OF_SENDING = {
    *("aiohttp", "asyncio", "httptools", "prometheus_client", "jinja2", "pipeline.simulator"),
    *("pipeline.workers.pool", "pipeline.reporter", "pipeline.sign_in"),
}
"""Nothing that only reads a file needs one of these."""


def imported(*arguments: str, folder: Path | None = None) -> set[str]:
    """The modules of a command that has ended."""
    done = subprocess.run(
        [sys.executable, "-c", LISTED, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment(),
    )
    assert done.returncode in {0, 2}, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), (), ("--version",)])
def test_a_listing_imports_no_engine(arguments):
    modules = imported(*arguments)
    assert modules & HEAVY == set()
    assert len(modules) < MAX_MODULES, len(modules)


def test_a_check_of_a_file_imports_nothing_that_sends(tmp_path):
    configure(tmp_path, "http://127.0.0.1:1")
    drop(tmp_path, *map(coupon, range(1, 11)))
    assert imported("check", folder=tmp_path) & OF_SENDING == set()


@pytest.mark.parametrize("command", ["operations", "init"])
def test_a_command_without_a_file_or_a_request_imports_nothing_that_sends(command):
    assert imported(command, "--help") & OF_SENDING == set()


def test_a_list_of_runs_imports_nothing_that_connects(tmp_path):
    configure(tmp_path, "http://127.0.0.1:1")
    assert imported("runs", folder=tmp_path) & {"aiohttp", "httptools", "jinja2"} == set()


def test_a_run_imports_what_sends_once_its_file_is_read():
    """And never what only other commands need."""
    others = {
        *("aiohttp.web", "pipeline.plan", "pipeline.watch", "pipeline.simulator", "jinja2"),
        "prometheus_client",
    }
    assert imported("run", "--help") & {*others, "aiohttp", "pipeline.workers.pool"} == set()


GARBAGE = """\
import gc
from pipeline.cli.lazy_commands import CommandPlace, LazyGroup

class Garbage:
    def __del__(self):
        print("was looked for")

group = LazyGroup("any")
group.add_places([CommandPlace("main", "json.tool")])
group.load("main")
gc.disable()
one = Garbage()
one.itself = one
del one
"""


def test_a_command_that_ends_looks_for_no_garbage():
    """A search takes 0.1 s and more; the system takes back the memory at once."""
    done = subprocess.run(
        [sys.executable, "-c", GARBAGE], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_listing_says_what_each_command_says_of_itself(width):
    settings = {**main.context_settings, "terminal_width": width}
    top = click.Context(main, info_name="pipeline", **settings)
    complete = click.Group("pipeline", help=main.help, params=main.params)
    complete.list_commands = lambda _ctx: list(complete.commands)
    for name in main.commands:
        complete.add_command(main.load(name), name)
    own = click.Context(complete, info_name="pipeline", **settings)
    assert main.get_help(top) == complete.get_help(own)


def test_a_command_has_the_name_under_which_it_is_listed():
    assert {name: main.load(name).name for name in main.commands} == {n: n for n in main.commands}


def test_a_command_that_is_there_already_is_used_as_it_is():
    group = LazyGroup("any")
    command = click.Command("ready", callback=lambda: None)
    group.add_command(command)
    assert group.load("ready") is command
    assert group.resolve_command(click.Context(group), ["ready"]) == ("ready", command, [])


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("pipeline ru", {"run", "runs"}),  # names
        ("pipeline run --str", {"--strict", "--strict-ids"}),  # options of a command
    ],
)
def test_a_shell_completes_names_and_options(words, found):
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main(prog_name='pipeline')"],
        capture_output=True,
        text=True,
        check=True,
        env={
            "_PIPELINE_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
    )
    assert {line.rpartition(",")[2] for line in done.stdout.split()} == found
