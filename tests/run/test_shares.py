"""An account that is sent in shares: the same promises, and the same limits."""

from __future__ import annotations

import json

import anyio
import pytest

from pipeline.model import ConfigError
from pipeline.run import RunEnvironment, carry_out, prepare, reopen
from pipeline.runs import RunOptions
from pipeline.simulator import serve
from tests.workplace import ENVIRON, configure, coupon, drop


async def test_a_run_is_resumed_with_the_shares_that_it_began_with(tmp_path):
    path = drop(tmp_path, *map(coupon, range(1, 30)))
    async with serve() as vendor:
        base_url = vendor.base_urls["xsolla"]
        config = configure(tmp_path, base_url, more="shares = 4")
        prepared = await anyio.to_thread.run_sync(prepare, path, config, RunOptions())
        prepared.lock.release()
        changed = configure(tmp_path, base_url, more="shares = 2")
        with pytest.raises(ConfigError, match="began with shares = 4 for account shop"):
            prepare(path, changed, RunOptions())  # the same content would be resumed
        reopen(prepared.run, changed, is_for_report=True).lock.release()  # nothing is sent
        summary = await carry_out(reopen(prepared.run, config), RunEnvironment(environ=ENVIRON))
    assert summary.exit_code == 0


async def test_a_run_of_before_there_were_shares_had_one(tmp_path):
    path = drop(tmp_path, coupon(1))
    config = configure(tmp_path, "http://127.0.0.1:9")
    prepared = await anyio.to_thread.run_sync(prepare, path, config, RunOptions())
    prepared.lock.release()
    assert not json.loads((prepared.folder / "run.json").read_bytes())["shares"]
    changed = configure(tmp_path, "http://127.0.0.1:9", more="shares = 2")
    with pytest.raises(ConfigError, match="began with shares = 1 for account shop"):
        reopen(prepared.run, changed)
