from __future__ import annotations

import asyncio
import gc

import pytest

from pipeline.model import ConfigError
from pipeline.run.event_loop import COLLECT_AFTER, choose_loop, rare_collections, run_async
from tests.cli.command import pipeline
from tests.workplace import configure, coupon, drop


@pytest.mark.parametrize(
    ("asked", "is_installed", "says"),
    [
        ("uvloop", False, "is not installed. Install the extra `uvloop`"),
        ("trio", True, "names no event loop: trio; expected asyncio or uvloop"),
        ("UVLOOP", True, "names no event loop"),
    ],
)
def test_an_event_loop_that_cannot_be_used(asked, is_installed, says):
    with pytest.raises(ConfigError) as error:
        choose_loop(asked, is_installed=is_installed)
    assert says in str(error.value)
    assert "PIPELINE_EVENT_LOOP" in str(error.value)


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_the_event_loop_is_the_one_that_is_asked_for(name, monkeypatch):
    async def main() -> str:
        is_own = isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
        return "asyncio" if is_own else "uvloop"

    monkeypatch.setenv("PIPELINE_EVENT_LOOP", name)
    assert run_async(main) == name


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_a_run_on_each_event_loop(name, tmp_path):
    configure(tmp_path, "http://127.0.0.1:1", quota='"500/s"')
    drop(tmp_path, *map(coupon, range(1, 201)))
    ended = pipeline(tmp_path, "run", "--simulate", "--yes", PIPELINE_EVENT_LOOP=name)
    assert (ended.code, "All 200 rows updated" in ended.words) == (0, True), ended.words
    refused = pipeline(tmp_path, "run", "--simulate", "--yes", PIPELINE_EVENT_LOOP="other")
    assert (refused.code, "asyncio or uvloop" in refused.words) == (2, True), refused.words


def test_garbage_is_collected_less_often_while_it_runs_and_as_before_afterwards():
    async def main() -> tuple[int, int, int]:
        return gc.get_threshold()

    before = gc.get_threshold()
    assert run_async(main)[0] >= COLLECT_AFTER
    with rare_collections():
        assert run_async(main)[0] >= COLLECT_AFTER
        assert gc.get_threshold()[0] >= COLLECT_AFTER
    assert gc.get_threshold() == before
