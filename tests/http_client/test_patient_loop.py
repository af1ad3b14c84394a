"""While the quota alone decides when requests leave, what arrives is handled together."""

from __future__ import annotations

import asyncio
import math
import os
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import anyio
import pytest

from pipeline.http_client.dated_socket import CAN_DATE, DatedSocket
from pipeline.http_client.patient_loop import UNDATED_S, PatientLoop, PatientSelector
from pipeline.model import Status
from pipeline.model.quota import parse_quota
from tests.workers.drive import ACCOUNT, Script, drive, job

NOW_S = 1.0
SOON_S = NOW_S + UNDATED_S / 2
LATE_S = NOW_S + 100 * UNDATED_S


@pytest.mark.parametrize(
    ("patience", "timeout", "naps"),
    [
        ([SOON_S], None, [UNDATED_S / 2]),
        ([SOON_S], 9.0, [UNDATED_S / 2]),
        ([SOON_S], 0.0005, [UNDATED_S / 2]),  # timers wait, too
        ([SOON_S], 0.0, []),  # something is to be done
        ([LATE_S, SOON_S], 9.0, [UNDATED_S / 2]),
        ([SOON_S, 0.0], 9.0, []),
        ([LATE_S, NOW_S - 0.001], 9.0, []),  # somebody has waited
        ([LATE_S], 9.0, [UNDATED_S]),  # nothing tells when bytes arrive: no longer wait
        ([], 9.0, []),
    ],
)
def test_it_looks_once_somebody_waits_no_longer(patience, timeout, naps):
    slept: list[float] = []
    with (
        PatientSelector(slept.append, clock=lambda: NOW_S) as selector,
        arrived(selector) as socket_number,
    ):
        for who, until_s in enumerate(patience):
            selector.set_patience(who, until_s)
        assert [key.fd for key, _ in selector.select(timeout)] == [socket_number]
        assert slept == pytest.approx(naps)
        for who, _ in enumerate(patience):
            selector.set_patience(who, None)
        assert not selector.is_patient


@contextmanager
def arrived(selector: PatientSelector) -> Iterator[int]:
    """The number of a pipe on which a byte has arrived."""
    reads, writes = os.pipe()
    os.write(writes, b"x")
    selector.register(reads, selectors.EVENT_READ)
    yield reads
    os.close(reads)
    os.close(writes)


@pytest.mark.parametrize(
    ("age_s", "arrived_s", "longest_s"),
    [
        (0.005, 9.995, 0.016),
        (0.0, 10.0, 0.016),
        (0.020, 0.0, 0.016),  # it was not there at the last look: the clock was set
        (-0.001, 0.0, 0.016),
        (None, 0.0, UNDATED_S),
    ],
)
def test_bytes_arrived_after_the_last_look(age_s, arrived_s, longest_s):
    now_s = 9.984
    slept: list[float] = []
    with PatientSelector(slept.append, clock=lambda: now_s) as selector:
        selector.set_patience("somebody", 10.016)
        selector.on_read(7, 0.0)
        selector.select(0)
        now_s = 10.0
        selector.select(0)
        selector.on_read(7, age_s)
        assert selector.arrived_s(7) == pytest.approx(arrived_s)
        selector.select(1e-9)
        assert slept == pytest.approx([longest_s])
        assert selector.arrived_s(7) == 0.0


def test_no_date_is_left_over_for_what_is_read_later_without_patience():
    with PatientSelector(lambda _seconds: None, clock=lambda: 10.0) as selector:
        selector.set_patience("somebody", 10.016)
        selector.select(0)
        selector.on_read(7, 0.0)
        selector.set_patience("somebody", 0.0)
        selector.select(0)
        assert selector.arrived_s(7) == 0.0


@pytest.mark.skipif(not CAN_DATE, reason="only Linux stamps what arrives")
def test_a_socket_knows_when_bytes_arrived_that_are_read_later():
    late_s = 0.020
    for _ in range(50):  # a busy machine may be late with the stamp, or with the look before it
        with listening() as address, PatientSelector(lambda _seconds: None) as selector:
            selector.set_patience("somebody", math.inf)
            selector.select(0)
            sent_s, read_s, arrived_s = exchange(address, selector, late_s)
        assert read_s > sent_s + late_s
        if not arrived_s:  # without a date
            continue
        assert arrived_s >= sent_s - 0.001
        if arrived_s < sent_s + late_s / 2:
            return
    pytest.fail("no arrival was dated before it was read")


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def exchange(
    server: socket.socket, selector: PatientSelector, late_s: float
) -> tuple[float, float, float]:
    """When bytes were sent, when they were read, and when they arrived by the selector."""
    with DatedSocket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.date_for(selector)
        client.connect(server.getsockname())
        selector.register(client, selectors.EVENT_READ)
        peer, _ = server.accept()
        with peer:
            sent_s = time.monotonic()
            peer.sendall(b"abc")
            time.sleep(late_s)
            selector.select(0)
            buffer = bytearray(10)
            assert client.recv_into(buffer) == 3
            read_s = time.monotonic()
            assert bytes(buffer[:3]) == b"abc"
            arrived_s = selector.arrived_s(client.fileno())
            peer.shutdown(socket.SHUT_WR)
            assert client.recv_into(buffer) == 0
            return sent_s, read_s, arrived_s


@pytest.mark.parametrize(("quota", "rows", "is_seen"), [("500/s", 600, True), ("100/s", 20, False)])
def test_an_account_is_patient_while_it_waits_for_many_permits(quota, rows, is_seen):
    seen: set[bool] = set()

    async def watch(_pool: object, _script: Script) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PatientLoop)
        while True:
            seen.add(loop.patience.is_patient)
            await anyio.sleep(0.001)

    async def main() -> bool:
        account = replace(ACCOUNT, quotas=(parse_quota(quota),))
        jobs = [job(row, f"s{row}") for row in range(1, rows + 1)]
        results, _ = await drive(jobs, Script(), account=account, meanwhile=watch)
        assert {result.status for result in results} == {Status.UPDATED}
        assert len(results) == rows
        loop = asyncio.get_running_loop()
        return isinstance(loop, PatientLoop) and loop.patience.is_patient

    with asyncio.Runner(loop_factory=PatientLoop) as runner:
        assert not runner.run(main())
    assert (True in seen) is is_seen
