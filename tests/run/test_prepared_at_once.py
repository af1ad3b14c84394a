"""Processes that prepare runs of one credential at the same instant, in other numbers of shares."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.config import Config, load_config
from pipeline.model import OtherSharesError
from pipeline.run import prepare, reopen
from pipeline.runs import RunOptions, open_store
from pipeline.vendors import load_vendors
from tests.cli.command import environment
from tests.quick_start import CODE, QuickPopen
from tests.run.machines import STORES, keep_in, ledger_line
from tests.workplace import ENVIRON, configure, coupon, drop

ROUNDS = 4
OTHER = """shares = {shares}
merchant_id = 7
[accounts.other]
vendor = "xsolla"
base_url = "http://127.0.0.1:9"
project_id = 44057
merchant_id = 7
api_key = "env:SHOP_KEY"
quota = "100000/s"
in_flight = 16
shares = {shares}
"""
PREPARE = """
import os, sys
from pathlib import Path
from pipeline.config import load_config
from pipeline.model import OtherSharesError
from pipeline.run import prepare
from pipeline.runs import RunOptions, open_store
from pipeline.vendors import load_vendors

toml, file, account = sys.argv[1:]
config = load_config(Path(toml), environ=os.environ, vendors=load_vendors(), cwd=Path.cwd())
open_store(config).runs.names()
print("ready", flush=True)
sys.stdin.readline()
try:
    prepare(Path(file), config, RunOptions(account=account)).lease.release()
    print("prepared")
except OtherSharesError:
    print("refused")
"""

pytestmark = pytest.mark.parametrize("store", STORES)


@pytest.mark.parametrize("second", ["shop", "other"])
def test_of_two_that_are_prepared_at_once_in_other_shares_one_goes_on(
    tmp_path: Path, postgres, store: str, second: str
) -> None:
    """Also if they are two accounts of one credential, whose destinations differ."""
    keep_in(store, tmp_path, postgres.new_database)
    for round_ in range(ROUNDS):
        begun: list[subprocess.Popen[str]] = []
        for number, (account, shares) in enumerate([("shop", 4), (second, 2)]):
            configure(tmp_path, "http://127.0.0.1:9", more=OTHER.format(shares=shares))
            toml = tmp_path / f"{shares}.toml"
            toml.write_text(ledger_line(tmp_path) + (tmp_path / "pipeline.toml").read_text())
            file = drop(tmp_path, coupon(round_ + 1), name=f"{round_}-{number}.csv")
            begun.append(
                QuickPopen(
                    [*CODE, PREPARE, toml, file, account],
                    cwd=tmp_path,
                    env=environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for each in begun:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in begun:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        said = sorted(each.communicate()[0].strip() for each in begun)
        assert said == ["prepared", "refused"]
        config = load_config(
            tmp_path / "4.toml", environ=ENVIRON, vendors=load_vendors(), cwd=tmp_path
        )
        with closing(config.kept_store):
            runs = open_store(config)
            (name,) = runs.runs.names()  # nothing is left of the other one
            runs.runs.forget(name)
            runs.files(name).remove()


def test_a_run_that_was_killed_before_it_was_compared_is_not_resumed_beside_the_first(
    tmp_path: Path, postgres, store: str
) -> None:
    keep_in(store, tmp_path, postgres.new_database)
    names: list[str] = []
    for shares in (2, 4):
        configure(tmp_path, "http://127.0.0.1:9", more=OTHER.format(shares=shares))
        toml = tmp_path / "pipeline.toml"
        toml.write_text(ledger_line(tmp_path) + toml.read_text())
        config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=tmp_path)
        with closing(config.kept_store):
            names.append(_as_if_alone(tmp_path, config, shares))
    with closing(config.kept_store), pytest.raises(OtherSharesError, match=f"run {names[0]} is"):
        reopen(names[1], config)


def _as_if_alone(folder: Path, config: Config, shares: int) -> str:
    """A prepared run that saw no other one: those on record before are hidden meanwhile."""
    store = open_store(config)
    before = [store.runs.get(name) for name in store.runs.names()]
    for each in before:
        assert each is not None
        store.runs.change_state(each.name, "reported")
    file = drop(folder, coupon(shares), name=f"{shares}.csv")
    prepared = prepare(file, config, RunOptions(account="shop"))
    prepared.lease.release()
    for each in before:
        assert each is not None
        store.runs.change_state(each.name, each.state)
    return prepared.run
