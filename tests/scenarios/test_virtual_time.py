from __future__ import annotations

import asyncio
import time

import anyio
import anyio.to_thread
import pytest
from aiolimiter import AsyncLimiter

from tests.scenarios.virtual_time import StuckError, VirtualLoop, run


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_ten_minutes_take_no_time():
    async def main() -> float:
        await anyio.sleep(600)
        return now_s()

    started_s = time.monotonic()
    assert run(main) == 600
    assert time.monotonic() - started_s < 60


def test_everything_happens_in_the_order_of_its_time():
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, delays_s: list[float]) -> None:
        for delay_s in delays_s:
            await anyio.sleep(delay_s)
            seen.append((name, now_s()))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleeper, "a", [3, 3, 3])
            tasks.start_soon(sleeper, "b", [1, 4])
            tasks.start_soon(sleeper, "c", [100])

    run(main)
    assert seen == [("b", 1), ("a", 3), ("b", 5), ("a", 6), ("a", 9), ("c", 100)]


def test_who_waits_for_a_rounding_error_gets_there():
    async def main() -> int:
        until_s, waits = 0.1 + 0.2, 0
        await anyio.sleep(0.3)
        while now_s() < until_s:  # by 6e-17 s
            await anyio.sleep(until_s - now_s())
            waits += 1
        return waits

    assert run(main) == 1


def test_a_busy_thread_holds_time_still():
    seen: list[float] = []

    async def sleeper() -> None:
        await anyio.sleep(0.001)
        seen.append(now_s())

    async def main() -> float:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleeper)
            await anyio.to_thread.run_sync(time.sleep, 0.1)
            at_s = now_s()
            assert seen == []
        return at_s

    assert run(main) == 0
    assert seen == [0.001]


def test_a_thread_that_was_busy_once_does_not_hold_time():
    async def main() -> float:
        for _ in range(3):
            await anyio.to_thread.run_sync(int)
            await anyio.sleep(100)
        return now_s()

    assert run(main) == 300


def test_two_threads_at_once_are_both_waited_for():
    async def main() -> float:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, time.sleep, 0.02)
            tasks.start_soon(anyio.to_thread.run_sync, time.sleep, 0.10)
        return now_s()

    assert run(main) == 0


class LateLoop(VirtualLoop):
    """Asks what threads do only after one has brought something, and is woken later still."""

    @property
    def busy_threads(self) -> int:
        busy = super().busy_threads
        time.sleep(0.1 if busy else 0.0)
        return busy

    def _write_to_self(self) -> None:
        time.sleep(0.2)
        super()._write_to_self()  # type: ignore[misc]


def test_what_a_thread_brings_at_the_last_moment_goes_before_the_next_timer():
    async def main() -> float:
        with anyio.move_on_after(90):
            await anyio.to_thread.run_sync(time.sleep, 0.02)
        return now_s()

    assert anyio.run(main, backend_options={"loop_factory": LateLoop}) == 0


def test_timeouts_are_virtual_too():
    async def main() -> float:
        with anyio.move_on_after(30):
            await anyio.sleep_forever()
        return now_s()

    assert run(main) == 30


def test_a_limiter_keeps_its_rate_by_virtual_time():
    async def main() -> float:
        limiter = AsyncLimiter(1, 0.5)
        for _ in range(101):
            await limiter.acquire()
        return now_s()

    assert run(main) == pytest.approx(50)


def test_where_everybody_waits_for_ever_it_is_an_error_and_no_hang():
    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.Event().wait)
            tasks.start_soon(anyio.Event().wait)

    with pytest.raises(StuckError, match="every task waits"):
        run(main)


def test_threads_that_it_cannot_see_are_refused():
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, int)

    with pytest.raises(NotImplementedError, match=r"anyio\.to_thread"):
        run(main)
