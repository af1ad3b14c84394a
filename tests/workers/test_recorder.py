from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from threading import get_ident

import anyio
import anyio.lowlevel
import pytest

from pipeline.model import RowResult, RunAborted, Status
from pipeline.workers.recorder import COMMIT_EVERY_S, MAX_PENDING, Recorder
from pipeline.workers.writer_thread import WriterThread
from tests.scenarios import virtual_time


def result(row: int) -> RowResult:
    return RowResult(row, "acme.price", "shop", Status.UPDATED)


async def claim(recorder, rows, previous_states=()) -> bool:
    """Claim `rows`, and wait for the commit."""
    recorded: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def on_recorded(is_recorded: bool) -> None:  # noqa: FBT001 - as the recorder calls it
        if not recorded.done():  # else its task was cancelled
            recorded.set_result(is_recorded)

    recorder.claim_then(rows, previous_states, on_recorded)
    return await recorded


class Disk:
    """Remembers every commit; takes `slow_s` for each."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.begun = 0
        self.commits: list[list[int]] = []
        self._slow_s = slow_s

    def write(self, claims, results, _exchanges, _previous_states) -> None:
        self.begun += 1
        time.sleep(self._slow_s)
        self.commits.append([each.row for each in results] if results else [-row for row in claims])


async def test_many_results_share_one_commit_and_callbacks_run_after_it():
    disk, called = Disk(), []
    recorder = Recorder(disk.write)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recorder.run)
        for row in range(1, 101):
            recorder.end([result(row)], lambda row=row: called.append((row, len(disk.commits))))
        recorder.close()
    assert disk.commits == [list(range(1, 101))]
    assert called == [(row, 1) for row in range(1, 101)]


def test_the_added_wait_is_bounded_and_an_awaited_result_does_not_wait_at_all():
    async def main() -> list[float]:
        recorder, waited_s = Recorder(Disk().write), []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.run)
            await anyio.sleep(0.01)
            for is_awaited in (False, True):
                done, ended_s = anyio.Event(), anyio.current_time()
                recorder.end([result(1)], done.set, is_awaited=is_awaited)
                await done.wait()
                waited_s.append(anyio.current_time() - ended_s)
            recorder.close()
        return waited_s

    assert virtual_time.run(main) == [pytest.approx(COMMIT_EVERY_S), 0.0]


async def test_results_that_wait_when_it_is_cancelled_are_still_written():
    disk = Disk(slow_s=0.05)
    recorder = Recorder(disk.write)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recorder.run)
        recorder.end([result(1)], lambda: None)
        while not disk.begun:
            await anyio.sleep(0.001)
        recorder.end([result(2)], lambda: None)
        tasks.cancel_scope.cancel()
    assert disk.commits == [[1], [2]]


async def test_a_slow_disk_holds_the_senders_back():
    disk = Disk(slow_s=0.1)
    recorder = Recorder(disk.write)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recorder.run)
        for row in range(1, MAX_PENDING + 1):
            recorder.end([result(row)], lambda: None)
        assert recorder.is_full
        has_room: list[bool] = []
        recorder.call_when_room(lambda: has_room.append(not recorder.is_full))
        while not has_room:
            await anyio.sleep(0.001)
        assert has_room == [True]  # called once
        recorder.close()
    assert sum(map(len, disk.commits)) == MAX_PENDING


async def test_what_cannot_be_written_is_raised_once_all_have_come():
    def refuse(*_what) -> None:
        raise RunAborted("disk full")

    failures: list[str] = []
    recorder = Recorder(refuse)
    recorder.on_failure = lambda error: failures.append(str(error))
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the group raises at its end
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.run)
            recorder.end([result(1)], lambda: pytest.fail("it is not on record"))
            assert not await claim(recorder, [2])
            recorder.end([result(3)], lambda: pytest.fail("it is not on record"))
            recorder.close()
    assert caught.group_contains(RunAborted)
    assert failures == ["disk full"]
    assert recorder.unrecorded == [result(1), result(3)]  # not forgotten: the report tells them
    assert not await claim(recorder, [4])


async def test_a_claim_is_on_record_before_it_is_answered():
    disk = Disk(slow_s=0.02)
    recorder = Recorder(disk.write)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recorder.run)
        assert await claim(recorder, [7, 8])
        assert disk.commits == [[-7, -8]]
        assert await claim(recorder, [])  # nothing to claim, nothing to wait for
        recorder.close()
    assert len(disk.commits) == 1


async def test_who_claims_is_called_back_in_the_loop_and_never_within_the_call():
    disk, called = Disk(slow_s=0.02), []
    recorder = Recorder(disk.write)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recorder.run)
        for rows in ([7, 8], [9], []):
            recorder.claim_then(rows, (), lambda *got: called.append((*got, get_ident())))
            assert not called
        await anyio.lowlevel.checkpoint()
        assert [got for got, _ in called] == [True]  # nothing to claim, nothing to wait for
        await claim(recorder, [10])
        assert called == [(True, get_ident())] * 3
        recorder.close()
    assert disk.commits == [[-7, -8, -9, -10]]


@pytest.mark.parametrize("error", [RunAborted("disk full"), ZeroDivisionError()], ids=str)
async def test_a_claim_that_cannot_be_recorded_is_answered_so(error):
    def refuse(*_what) -> None:
        raise error

    called: list[bool] = []
    recorder = Recorder(refuse)
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the group raises at its end
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.run)
            recorder.claim_then([1], (), called.append)
            recorder.close()
    assert caught.value.exceptions == (error,)
    assert called == [False]


async def test_claims_that_wait_go_together():
    disk = Disk(slow_s=0.05)
    recorder = Recorder(disk.write)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recorder.run)
        async with anyio.create_task_group() as claiming:
            for row in range(1, 51):
                claiming.start_soon(claim, recorder, [row])
        recorder.close()
    assert len(disk.commits) <= 2
    assert sorted(-row for rows in disk.commits for row in rows) == list(range(1, 51))


async def test_what_was_claimed_and_never_sent_is_released_at_the_end():
    released: list[int] = []
    recorder = Recorder(Disk().write, released.extend)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recorder.run)
        await claim(recorder, [1, 2])
        recorder.release_claims([2])
        recorder.close()
    assert released == [2]


def writers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if isinstance(each, WriterThread)]


@pytest.mark.parametrize("end", ["closed", "cancelled", "failed"])
async def test_one_thread_writes_everything_and_ends_with_the_run(end):
    """However the run ends; and a callback comes once per commit, in the loop's thread."""
    threads: set[int] = set()

    def write(*_what) -> None:
        threads.add(get_ident())
        if end == "failed" and len(called) == 10:
            raise RunAborted("disk full")

    called: list[int] = []
    recorder = Recorder(write, write)
    with suppress(ExceptionGroup):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.run)
            for row in range(1, 11):
                assert await claim(recorder, [row], [(row, "{}")])
                recorder.end([result(row)], lambda: called.append(get_ident()), is_awaited=True)
            await anyio.sleep(0.05)
            assert len(writers()) == 1
            recorder.end([result(11)], lambda: None)
            recorder.release_claims([12])
            if end == "cancelled":
                tasks.cancel_scope.cancel()
            else:
                recorder.close()
    assert called == [get_ident()] * 10
    assert len(threads) == 1
    assert threads != {get_ident()}
    assert writers() == []
    assert recorder.unrecorded == ([result(11)] if end == "failed" else [])


async def test_results_that_come_while_the_last_commit_is_written_are_written_too():
    """When a run is cancelled, its senders end their rows at the same time."""
    disk = Disk(slow_s=0.05)
    recorder = Recorder(disk.write)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recorder.run)
        recorder.end([result(1)], lambda: recorder.end([result(2)], lambda: None))
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert disk.commits == [[1], [2]]
    assert recorder.unrecorded == []


async def test_a_claim_after_the_end_is_refused():
    recorder = Recorder(Disk().write)
    recorder.close()
    await recorder.run()
    assert not await claim(recorder, [1])


async def test_an_error_in_a_callback_ends_the_run_and_loses_no_result():
    disk = Disk()
    recorder = Recorder(disk.write)
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the group raises at its end
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.run)
            recorder.end([result(1)], {}.popitem)
            await anyio.sleep(10)
            pytest.fail("it went on")
    assert caught.group_contains(KeyError)
    assert disk.commits == [[1]]
    assert writers() == []
