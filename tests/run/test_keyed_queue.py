"""Runs that share a key run one after the other; all others run at once."""

from __future__ import annotations

import anyio
import pytest

from pipeline.run.keyed_queue import KeyedQueue


@pytest.mark.parametrize(
    ("keys", "waves"),
    [
        (["a", "a"], [[0], [1]]),  # one account: in order
        (["a", "b"], [[0, 1]]),  # two accounts: at once
        (["a", "b", "a"], [[0, 1], [2]]),
        (["a", "ab", "b"], [[0], [1], [2]]),  # a run over both waits, and is waited for
        (["", ""], [[0, 1]]),  # a run without destinations blocks nobody
    ],
)
async def test_order(keys, waves):
    queue = KeyedQueue()
    turns = [queue.join(each) for each in keys]
    started: list[int] = []
    release = anyio.Event()

    async def run(number: int) -> None:
        async with turns[number]:
            started.append(number)
            await release.wait()

    found = []
    async with anyio.create_task_group() as tasks:
        for number in range(len(keys)):
            tasks.start_soon(run, number)
        for _ in waves:
            await anyio.wait_all_tasks_blocked()
            found.append(sorted(started))
            started.clear()
            done, release = release, anyio.Event()
            done.set()
    assert found == waves


async def test_a_run_that_is_cancelled_while_it_waits_lets_the_next_one_start():
    queue = KeyedQueue()
    first, second, third = (queue.join("a") for _ in range(3))
    async with first:
        with anyio.move_on_after(0):
            async with second:
                pytest.fail("started beside the first")
    with anyio.fail_after(5):
        async with third:
            pass
