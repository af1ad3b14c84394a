"""What somebody can do who may drop files and nothing else; `docs/threats.md` states it.

The dropper is another user. A row of `ATTACKS` is a script of theirs, run in a drop folder that is
their own, before the next night of the pipeline. Whatever it is, nothing outside of the drop folder
changes or is sent, and the file of somebody else is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.config import load_config
from pipeline.run import prepare
from pipeline.runs import RunOptions
from pipeline.vendors import load_vendors
from tests.cli.command import typed
from tests.watch.dropper import as_dropper, give, needs_root, picture, reachable_folder
from tests.workplace import COLUMNS, ENVIRON, Simulator, configure, coupon, simulator

pytestmark = needs_root


class Attack(NamedTuple):
    """A script of the dropper, and what comes of it.

    sent    entities that reach the vendor beside the other's file
    failed  what `reason.txt` says, in part; None: nothing is set aside
    told    what the command says, in part
    left    files that stay where they were, below the drop folder
    """

    script: str
    sent: tuple[str, ...] = ()
    failed: str | None = None
    told: str = ""
    left: tuple[str, ...] = ()


ROWS = "cp $OWN/own.csv"
BAD = "cp $OWN/bad.csv"
CLAIM = ".processing/20200101T000000.000000Z-aaaa"

ATTACKS = {
    # links in place of folders
    "processing-leads-out": Attack("ln -s $VICTIM .processing", told=".processing is a link"),
    "processing-leads-up": Attack("ln -s .. .processing", told=".processing is a link"),
    "processing-is-a-file": Attack(
        f"echo x >.processing; {ROWS} a.csv; touch a.csv.done",
        told="a.csv cannot be claimed: .processing is a link, or not a folder",
        left=("a.csv",),
    ),
    "done-leads-out": Attack(
        f"ln -s $VICTIM .done; {ROWS} a.csv; touch a.csv.done",
        sent=("own",),
        told="a.csv cannot be moved: .done is a link",
    ),
    "failed-leads-out": Attack(
        f"ln -s $VICTIM .failed; {BAD} a.csv; touch a.csv.done",
        told="a.csv cannot be moved: .failed is a link",
    ),
    "folder-leads-out": Attack("ln -s $VICTIM more", told="more is a link to a folder"),
    "folder-leads-to-root": Attack("ln -s / more", told="more is a link to a folder"),
    "claim-leads-out": Attack(
        "mkdir .processing; ln -s $VICTIM .processing/20200101T000000.000000Z-aaaa"
    ),
    # links in place of files
    "file-leads-out": Attack(
        "ln -s $VICTIM/old.csv a.csv; touch a.csv.done", failed="it is a link"
    ),
    "file-leads-to-a-secret": Attack(
        "ln -s $VICTIM/secret.csv a.csv; touch a.csv.done", failed="it is a link"
    ),
    "file-leads-nowhere": Attack("ln -s nowhere a.csv; touch a.csv.done", failed="it is a link"),
    "file-leads-to-state": Attack(
        "ln -s $VICTIM/../.pipeline/ledger.db a.csv; touch a.csv.done", failed="it is a link"
    ),
    "marker-leads-out": Attack(f"{ROWS} a.csv; ln -s $VICTIM/rc a.csv.done", sent=("own",)),
    "reason-leads-out": Attack(
        f"mkdir -p {CLAIM}; {BAD} {CLAIM}/a.csv; ln -s $VICTIM/rc {CLAIM}/reason.txt",
        failed="unknown column",
    ),
    "note-leads-out": Attack(
        f"mkdir -p {CLAIM}; {ROWS} {CLAIM}/a.csv; ln -s $VICTIM/rc {CLAIM}/claim.json.new;"
        f"ln -s $VICTIM/rc {CLAIM}/claim.json",
        sent=("own",),
    ),
    "report-leads-out": Attack(
        f"mkdir -p {CLAIM}; {ROWS} {CLAIM}/a.csv; ln -s $VICTIM {CLAIM}/report", sent=("own",)
    ),
    "second-name": Attack(f"{ROWS} b; ln b a.csv; touch a.csv.done", failed="it has a second name"),
    # what is no file
    "pipe": Attack("mkfifo a.csv; touch a.csv.done", failed="it is not a regular file"),
    "pipe-as-note": Attack(
        f"mkdir -p {CLAIM}; {ROWS} {CLAIM}/a.csv; mkfifo {CLAIM}/claim.json", sent=("own",)
    ),
    "folder-named-as-a-file": Attack("mkdir a.csv; touch a.csv.done"),
    "folder-as-reason": Attack(
        f"mkdir -p {CLAIM}/reason.txt; {BAD} {CLAIM}/a.csv", failed="unknown column"
    ),
    # claims that are none of ours
    "claim-of-a-stopped-run": Attack(
        f"mkdir -p {CLAIM}; {ROWS} {CLAIM}/a.csv;"
        f'echo \'{{"file": "xsolla.coupon/a.csv", "run": "\'$STOPPED\'"}}\' >{CLAIM}/claim.json',
        sent=("own",),  # and no row of the run
    ),
    "claim-of-a-file-elsewhere": Attack(
        f"mkdir -p {CLAIM}; {ROWS} {CLAIM}/a.csv;"
        f'echo \'{{"file": "../../victim/a.csv", "run": ""}}\' >{CLAIM}/claim.json',
        sent=("own",),
    ),
    "claim-in-another-operations-folder": Attack(
        f"mkdir -p {CLAIM}; {ROWS} {CLAIM}/a.csv;"
        f'echo \'{{"file": "oracle.offer-status/a.csv", "run": ""}}\' >{CLAIM}/claim.json',
        sent=("own",),
    ),
    "claim-without-end": Attack(
        f"mkdir -p {CLAIM}; {ROWS} {CLAIM}/a.csv; truncate -s 2G {CLAIM}/claim.json", sent=("own",)
    ),
    "claim-nested-without-end": Attack(
        f"mkdir -p {CLAIM}; {ROWS} {CLAIM}/a.csv;printf '[%.0s' $(seq 9000) >{CLAIM}/claim.json",
        sent=("own",),
    ),
    "claim-of-a-name-that-cannot-be": Attack(
        f"mkdir -p {CLAIM}; {ROWS} {CLAIM}/a.csv;"
        f'printf %s \'{{"file": "xsolla.coupon/\\ud800/a.csv", "run": "\\ud800"}}\''
        f" >{CLAIM}/claim.json",
        sent=("own",),
    ),
    # names
    "name-of-255-bytes": Attack(f"{ROWS} $(printf 'n%.0s' $(seq 251)).csv", sent=("own",)),
    "name-with-a-line-end": Attack(f"{ROWS} 'a\nb.csv'; touch 'a\nb.csv.done'", sent=("own",)),
    "name-that-is-no-utf-8": Attack(
        f"f=$(printf 'a\\377.csv'); {ROWS} $f; touch $f.done", failed="its name is not UTF-8"
    ),
    "name-of-an-option": Attack(f"{ROWS} ./-rf.csv; touch ./-rf.csv.done", sent=("own",)),
    "name-that-is-shell": Attack(
        f"{BAD} '$(touch $VICTIM-PWNED).csv'; touch '$(touch $VICTIM-PWNED).csv.done'",
        failed="unknown column",
    ),
    "name-of-a-terminal": Attack(
        f"f=$(printf 'a\\033[2J.csv'); {BAD} $f; touch $f.done", failed="unknown column"
    ),
    # what is beside the data
    "temporary-folder": Attack(
        f"mkdir -p _temporary/0; {ROWS} _temporary/0/a.csv; touch _temporary/0/a.csv.done",
        left=("_temporary/0/a.csv",),
    ),
    "hidden-folder": Attack(f"mkdir .x; {ROWS} .x/a.csv; touch .x/a.csv.done", left=(".x/a.csv",)),
    "deep-folders": Attack(
        f"d=$(printf 'd/%.0s' $(seq 60)); mkdir -p $d; {ROWS} $d/a.csv",
        told="it is nested too deeply",
    ),
    "many-claims": Attack(
        f"for i in $(seq 40); do mkdir -p .processing/$i; {BAD} .processing/$i/a.csv; done",
        failed="unknown column",
    ),
}


@pytest.fixture(scope="session")
def vendor() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def shop(vendor: Simulator) -> Iterator[Path]:
    """A folder in which `inputs/xsolla.coupon` is the dropper's; a victim; a run that stopped."""
    with reachable_folder() as folder:
        configure(folder, vendor.base_url)
        give(folder / "inputs" / "xsolla.coupon")
        own = give(folder / "own")
        table(own / "own.csv", "own")
        (own / "bad.csv").write_text("not,a\n1,2\n")
        victim = folder / "victim"
        (victim / "precious").mkdir(parents=True)
        (victim / "precious" / "photo.jpg").write_text("irreplaceable")
        (victim / "rc").write_text("# a line of my own configuration\n")
        table(victim / "old.csv", "victim")
        table(victim / "secret.csv", "secret").chmod(0o600)
        yield folder


def table(path: Path, entity: str, more: str = "") -> Path:
    """A file of one coupon; `more` is an operation for a file that says it by itself."""
    head, row = COLUMNS, coupon(1, entity)
    if more:
        head, row = f"{head},operation", f"{row},{more}"
    path.write_text(f"{head}\n{row}\n")
    return path


def applied(vendor: Simulator, first: int) -> list[str]:
    return [entry["id"] for entry in list(vendor.get("log"))[first:] if entry["applied"]]


def stopped_run(shop: Path) -> str:
    """A recorded run that was prepared and never executed."""
    table(shop / "campaign.csv", "campaign")
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=shop)
    prepared = prepare(shop / "campaign.csv", config, RunOptions(operation="xsolla.coupon"))
    prepared.lease.release()
    return prepared.run


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_reaches_nothing_outside_and_stops_nobody_else(shop, vendor, name):
    attack = ATTACKS[name]
    stopped = stopped_run(shop) if "STOPPED" in attack.script else ""
    other = table(shop / "inputs" / "other.csv", "other", "xsolla.coupon")
    (shop / "inputs" / "other.csv.done").touch()
    before, first = picture(shop / "victim"), len(list(vendor.get("log")))
    drop = shop / "inputs" / "xsolla.coupon"
    made = as_dropper(
        attack.script, drop, VICTIM=shop / "victim", OWN=shop / "own", STOPPED=stopped
    )
    assert made.returncode == 0, made.stderr
    done = typed(shop, "run", "--yes")
    assert done.code in {0, 1}, done
    assert picture(shop / "victim") == before
    assert not (shop / "victim-PWNED").exists()
    assert sorted(applied(vendor, first)) == sorted(["other", *attack.sent]), done
    assert not other.exists()
    assert "Traceback" not in done.err
    assert attack.told in done.words
    reasons = [path.read_text() for path in drop.glob(".failed/*/reason.txt")]
    if attack.failed is None:
        assert not reasons
    else:
        assert reasons
        assert all(attack.failed in each for each in reasons)
    for each in attack.left:
        assert (drop / each).exists()


@pytest.mark.parametrize(
    ("entity", "cells"),
    [
        ("plain", {"row 1": "env:SHOP_KEY"}),  # a reference to a secret is text here
        ("plain", {"row 1": "command:touch PWNED"}),
        ("plain", {"row 1": "=cmd|calc"}),
        ("..", {}),
        ("../../../elsewhere", {}),
        ("a/b?c#d", {}),
        ("http://elsewhere.example/x", {}),
    ],
)
def test_a_cell_is_text_and_leads_nowhere(shop, vendor, entity, cells):
    path = table(shop / "inputs" / "xsolla.coupon" / "a.csv", entity)
    text = path.read_text()
    for old, new in cells.items():
        text = text.replace(old, new)
    path.write_text(text)
    path.with_name("a.csv.done").touch()
    first = len(list(vendor.get("log")))
    done = typed(shop, "run", "--yes")
    assert done.code in {0, 1, 2}, done
    assert not (shop / "PWNED").exists()
    for entry in list(vendor.get("log"))[first:]:
        assert entry["id"] == entity  # one part of the address, however it looks
        assert "simulator-key" not in json.dumps(entry["body"])
        assert all(new in entry["body"] for new in cells.values())
