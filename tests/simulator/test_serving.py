"""The simulator as a whole: quota over the wire, header rules, the log, the control pages, ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from pipeline.simulator import SimulatorError, SimulatorOptions, serve
from tests.busyness import busyness
from tests.waiting import until_async

from .client import (
    COUPON,
    OFFERS,
    XCORE,
    XCORE_PATCH,
    basic,
    connect,
    journey,
    offers,
    product,
)

NAME = {"name": {"en-US": "x"}}


async def test_a_request_as_a_proxy_gets_it_is_served(start):
    running, client = await start()
    authority = f"http://vendor.example/xsolla/api{COUPON}"
    seen = [await client.ask("PUT", target, NAME) for target in (authority, COUPON)]
    assert [each.status for each in seen] == [204, 204]
    assert {each["id"] for each in running.log()} == {"C1"}


# ---- quota ----


async def test_the_quota_refuses_in_the_vendors_shape(start):
    running, client = await start(quotas=("2/h",), retry_after="seconds")
    seen = [await client.ask(method, COUPON, NAME) for method in ("PUT", "GET", "PUT")]
    assert [each.status for each in seen] == [204, 200, 429]  # reads count too
    assert seen[2].json["statusCode"] == 429
    assert 3590 <= int(seen[2].headers["retry-after"]) <= 3600
    stats = running.stats()
    assert (stats["refused_by_quota"], stats["applied"]) == (1, 1)
    assert stats["most_arrived"]["2/h"] == 3
    assert stats["most_let_in"]["2/h"] == 2


async def test_every_vendor_request_counts_and_no_other(start):
    running, client = await start(quotas=("3/h",))
    await client.ask("GET", "/_simulator/stats")
    await client.ask("GET", "/elsewhere/x")
    wrong = [
        await client.ask("PUT", COUPON, NAME, headers={"Authorization": None}),
        await client.ask("PUT", "/v2/nowhere", NAME),
        await client.ask("PUT", COUPON, {}),
    ]
    assert [each.status for each in wrong] == [401, 404, 422]
    assert (await client.ask("PUT", COUPON, NAME)).status == 429
    assert "retry-after" not in (await client.ask("PUT", COUPON, NAME)).headers
    assert running.stats()["refused_by_quota"] == 2


async def test_waiting_out_a_window_lets_in_again(start):
    _, client = await start(quotas=("1/s",), window="sliding")
    assert [(await client.ask("PUT", COUPON, NAME)).status for _ in range(2)] == [204, 429]
    await asyncio.sleep(1.0)
    assert (await client.ask("PUT", COUPON, NAME)).status == 204


@pytest.mark.quiet("a request of 0.2 s must not take 0.5 s")
async def test_a_request_counts_half_a_round_trip_after_it_was_sent(start, tmp_path):
    running, client = await start(latency_s=0.2)
    with busyness(tmp_path) as machine:
        began_s = time.monotonic()
        await client.ask("PUT", COUPON, NAME)
        took_s = time.monotonic() - began_s
    assert 0.2 <= took_s < 0.5 + machine.late_s
    assert 0.1 <= next(running.log())["arrived_s"] < 0.2 + machine.late_s


async def test_jitter_is_drawn_around_the_latency(start):
    running, client = await start(latency_s=0.02, latency_jitter_s=0.02, seed=3)
    times_s = []
    for _ in range(12):
        began_s = time.monotonic()
        await client.ask("PUT", COUPON, NAME)
        times_s.append(time.monotonic() - began_s)
    assert max(times_s) - min(times_s) > 0.005
    assert running.stats()["max_in_flight"] == 1


# ---- header rules ----


@pytest.mark.parametrize(
    ("headers", "extra", "status"),
    [
        ({}, "", 204),
        ({"Host": None}, "", 400),
        ({}, "Host: other\r\n", 400),  # given twice
        ({}, f"Authorization: {basic('44056', 'simulator-key')}\r\n", 400),
        ({}, "Content-Type: application/json\r\n", 400),
        ({}, "content-length: 24\r\n", 400),
        ({"Content-Type": None}, "", 422),
        ({}, "Content-Encoding: gzip\r\n", 415),
        ({}, "Content-Encoding: identity\r\n", 204),
        ({}, "X-Trace: a\r\nX-Trace: b\r\n", 204),  # only the names that steer must be single
    ],
)
async def test_header_rules(start, headers, extra, status):
    _, client = await start()
    assert (await client.ask("PUT", COUPON, NAME, headers=headers, extra=extra)).status == status


async def test_an_update_without_a_length_is_refused(start):
    _, client = await start()
    chunked: dict[str, str | None] = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    seen = await client.ask("PUT", COUPON, b"2\r\n{}\r\n0\r\n\r\n", headers=chunked)
    assert seen.status == 411
    chunked |= {**journey(await client.adobe_token()), **XCORE_PATCH}
    seen = await client.ask("PATCH", XCORE, b"2\r\n[]\r\n0\r\n\r\n", headers=chunked)
    assert (seen.status, seen.json["status"]) == (411, 411)


async def test_each_vendor_refuses_by_quota_in_its_own_shape(start):
    running, client = await start(quotas=("1/h",), retry_after="seconds")
    adobe = {**journey(await client.adobe_token()), **XCORE_PATCH}
    oracle = {"Authorization": f"Bearer {await client.oracle_token()}"}
    for let_in in (True, False):  # the quota is each vendor's own
        patched = await client.ask("PATCH", XCORE, [], headers=adobe)
        put = await client.ask("PUT", OFFERS, offers(product(1)), headers=oracle)
        assert (patched.status, put.status) == ((200, 200) if let_in else (429, 429))
    assert patched.json == {"error_code": "429050", "message": "Too many requests"}
    assert put.body == b"Too Many Requests\n"
    assert all(int(seen.headers["retry-after"]) > 3500 for seen in (patched, put))
    assert running.stats()["refused_by_quota"] == 2


async def test_a_client_that_asks_before_its_body_is_told_to_continue(start):
    _, client = await start()
    await client.send("PUT", COUPON, NAME, headers={"Expect": "100-continue"})
    assert (await client.receive()).status == 100
    assert (await client.receive()).status == 204


async def test_what_is_no_request_is_counted(start):
    running, client = await start()
    client.writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
    assert b" 400 " in await client.reader.read()
    assert running.stats()["malformed"] == 1
    assert list(running.log()) == []


async def test_a_request_cut_short_has_not_arrived(start):
    running, client = await start()
    await client.send("PUT", COUPON, NAME, headers={"Content-Length": "5000"})
    client.writer.close()
    await until_async(lambda: running.stats()["incomplete"])
    assert list(running.log()) == []


# ---- log, state, control ----


async def test_an_id_arrives_as_one_segment(start):
    running, client = await start()
    raw = "/v2/project/44056/admin/coupon/..%2F..%2Fx%3Fy%23z"
    assert (await client.ask("PUT", raw, NAME)).status == 204
    line = next(running.log())
    assert line["raw_path"] == f"/xsolla/api{raw}"
    assert line["id"] == "../../x?y#z"
    assert [entity["id"] for entity in running.state()] == ["../../x?y#z"]


async def test_a_line_says_all_of_a_request_but_its_secret(start):
    running, client = await start()
    await client.ask("PUT", COUPON, NAME, headers={"Cookie": "a=b", "X-Trace": "t"})
    line = next(running.log())
    assert 0 <= line.pop("arrived_s") < 60
    assert line == {
        "seq": 1,
        "vendor": "xsolla",
        "operation": "xsolla.coupon",
        "method": "PUT",
        "raw_path": f"/xsolla/api{COUPON}",
        "scope": "44056",
        "id": "C1",
        "connection": 1,
        "reused": False,
        "headers": {
            "host": "127.0.0.1",
            "authorization": "Basic ***",
            "content-type": "application/json",
            "content-length": "24",
            "cookie": "***",
            "x-trace": "t",
        },
        "body": '{"name": {"en-US": "x"}}',
        "fault": None,
        "applied": True,
        "status": 204,
        "completed": 1,
    }


@pytest.mark.parametrize(
    ("ids", "entity_id"),
    [
        ((product(1),), product(1)),  # the one
        ((product(2), product(1)), None),  # none stands for the group
        ((), None),
    ],
)
async def test_a_line_names_all_that_a_group_holds(start, ids, entity_id):
    running, client = await start()
    headers = {"Authorization": f"Bearer {await client.oracle_token()}"}
    seen = await client.ask("PUT", OFFERS, offers(*ids), headers=headers)
    line = list(running.log())[-1]
    assert (line["id"], line["ids"], line["scope"]) == (entity_id, list(ids), "")
    assert line["applied"] is (seen.status == 200) is bool(ids)


async def test_bodies_may_be_left_out_of_the_log(start):
    running, client = await start(log_bodies=False)
    await client.ask("PUT", COUPON, NAME)
    assert next(running.log())["body"] is None


async def test_a_full_log_counts_what_it_drops(start):
    running, client = await start(max_log_bytes=1000)
    for _ in range(4):
        await client.ask("PUT", COUPON, NAME)
    stats = running.stats()
    assert stats["log_lines"] + stats["log_lines_dropped"] == stats["requests"] == 4
    assert len(list(running.log())) == stats["log_lines"]
    assert 0 < stats["log_lines"] < 4


async def test_log_state_and_stats_agree_with_what_clients_saw(start):
    running, _ = await start(
        faults={"503": 0.2, "500-after": 0.2, "reset-after": 0.2, "reset-before": 0.1}, seed=7
    )
    seen: dict[str, int | None] = {}

    async def work(worker: int) -> None:
        for n in range(20):
            async with connect(running) as client:
                await client.send("PUT", COUPON.replace("C1", f"{worker}-{n}"), NAME)
                try:
                    seen[f"{worker}-{n}"] = (await client.receive()).status
                except ConnectionResetError:
                    seen[f"{worker}-{n}"] = None

    await asyncio.gather(*(work(worker) for worker in range(5)))
    log = list(running.log())
    assert {line["id"]: line["status"] for line in log} == seen
    assert sorted(line["seq"] for line in log) == list(range(1, 101))
    assert [line["completed"] for line in log] == list(range(1, 101))
    applied = {line["id"] for line in log if line["applied"]}
    assert {entity["id"] for entity in running.state()} == applied
    stats = running.stats()
    assert stats["requests"] == sum(stats["statuses"].values()) == 100
    assert stats["applied"] == len(applied)
    assert stats["broken"] == 0
    assert set(stats["faults"]) == {"503", "500-after", "reset-after", "reset-before"}


async def test_the_control_pages_show_the_same_and_leave_no_trace(start):
    running, client = await start()
    for entity_id in ("A", "B", "A"):
        await client.ask("PUT", COUPON.replace("C1", entity_id), NAME)
    lines = (await client.ask("GET", "/_simulator/log")).body.splitlines()
    assert [json.loads(line) for line in lines] == list(running.log())
    some = (await client.ask("GET", "/_simulator/log?offset=1&limit=1")).body.splitlines()
    assert some == lines[1:2]
    entities = (await client.ask("GET", "/_simulator/state")).body.splitlines()
    assert [json.loads(line) for line in entities] == [
        {"kind": "xsolla.coupon", "scope": "44056", "id": entity_id, "body": NAME}
        for entity_id in ("A", "B")
    ]
    stats = (await client.ask("GET", "/_simulator/stats")).json
    assert (stats["requests"], stats["operations"]) == (3, {"PUT xsolla.coupon": 3})
    assert (await client.ask("GET", "/_simulator/log?offset=x")).status == 400
    assert (await client.ask("GET", "/_simulator/reset")).status == 404
    assert (await client.ask("POST", "/_simulator/reset")).status == 200
    assert (await client.ask("GET", "/_simulator/log")).body == b""
    assert running.stats()["requests"] == 0
    assert list(running.state()) == []


async def test_a_long_state_is_paged_without_loss(start):
    running, client = await start()
    for n in range(1201):
        await client.ask("PUT", COUPON.replace("C1", f"{n:04}"), NAME)
    assert [int(entity["id"]) for entity in running.state()] == list(range(1201))


async def test_a_log_path_keeps_the_log(tmp_path: Path):
    path = tmp_path / "log.ndjson"
    async with serve(SimulatorOptions(log_path=path)) as running, connect(running) as client:
        await client.ask("PUT", COUPON, NAME)
    assert json.loads(path.read_text())["status"] == 204


async def test_a_log_path_or_port_that_cannot_be_used_is_named(tmp_path: Path):
    with pytest.raises(SimulatorError, match="log_path"):
        async with serve(SimulatorOptions(log_path=tmp_path / "none" / "log")):
            pass
    async with serve() as running:
        port = int(running.url.rpartition(":")[2])
        with pytest.raises(SimulatorError, match=f"cannot listen on 127.0.0.1, port {port}"):
            async with serve(SimulatorOptions(port=port)):
                pass


# ---- ends ----


@pytest.mark.quiet("an end must not take a second")
async def test_the_end_waits_for_nobody(tmp_path: Path):
    async with AsyncExitStack() as clients:
        machine = clients.enter_context(busyness(tmp_path))
        async with serve(SimulatorOptions(faults={"timeout-after": 1.0})) as running:
            client = await clients.enter_async_context(connect(running))
            await client.send("PUT", COUPON, NAME)
            await until_async(lambda: len(list(running.state())) == 1)
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 1.0 + machine.late_s


async def test_a_broken_off_answer_is_logged_as_none_given(tmp_path: Path):
    path = tmp_path / "log.ndjson"
    options = SimulatorOptions(log_path=path, faults={"slow": 1.0}, slow_s=60.0)
    async with AsyncExitStack() as clients, serve(options) as running:
        client = await clients.enter_async_context(connect(running))
        await client.send("PUT", COUPON, NAME)
        await until_async(lambda: len(list(running.state())) == 1)
    line = json.loads(path.read_text())
    assert (line["status"], line["applied"]) == (None, True)


_FOREVER = """
from pipeline.simulator import SimulatorOptions, run_forever
run_forever(SimulatorOptions(), lambda running: print(running.base_urls["xsolla"], flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number):
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _FOREVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        url = process.stdout.readline().strip()
        stats_url = url.replace("/xsolla/api", "/_simulator/stats")
        with urllib.request.urlopen(stats_url, timeout=60) as stats:
            assert json.load(stats)["requests"] == 0
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
