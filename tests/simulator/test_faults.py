"""Each fault as bytes on a connection, what it left behind, and which request meets it."""

from __future__ import annotations

import asyncio
import re
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator import FAULTS, Rule, SimulatorError, SimulatorOptions, default_script
from pipeline.simulator.faults import UNAPPLIED, by_chance, load_script

from .client import (
    BONUS,
    COUPON,
    DPS,
    DPS_PATCH,
    OFFERS,
    XCORE,
    XCORE_GET,
    XCORE_PATCH,
    connect,
    journey,
    offers,
    product,
)

NAME = {"name": {"en-US": "x"}}
WRONG = {"name": 1}

WHOLE = [
    "429",
    "429-seconds",
    "429-date",
    "500",
    "503",
    "500-after",
    "html",
    "html-200",
    "redirect",
]


def always(name: str, **more: float) -> dict[str, tuple[Rule, ...]]:
    return {"script": (Rule(re.compile(""), (name,), **more),)}


def the_line(running):
    (line,) = running.log()
    return line


@pytest.mark.parametrize("name", WHOLE)
async def test_a_fault_that_is_an_answer_keeps_the_connection(start, name):
    running, client = await start(**always(name))
    first, second = await client.ask("PUT", COUPON, NAME), await client.ask("PUT", COUPON, NAME)
    assert first.status == second.status == {"html": 502, "redirect": 307}.get(name, int_of(name))
    assert [line["status"] for line in running.log()] == [first.status] * 2
    assert {line["fault"] for line in running.log()} == {name}
    assert len(list(running.state())) == (name == "500-after")


def int_of(name: str) -> int:
    return int(re.search(r"\d{3}", name + "200").group())


@pytest.mark.parametrize(("name", "status"), [("429", 429), ("500", 500), ("503", 503)])
async def test_a_failure_has_the_vendors_error_shape(start, name, status):
    _, client = await start(**always(name))
    seen = await client.ask("PUT", COUPON, NAME)
    assert set(seen.json) == {"statusCode", "errorCode", "errorMessage", "transactionId"}
    assert seen.json["statusCode"] == status
    assert seen.headers["content-type"] == "application/json"
    assert "retry-after" not in seen.headers


@pytest.mark.parametrize(("name", "status"), [("429", 429), ("500", 500), ("503", 503)])
async def test_a_failure_has_the_shape_of_each_vendor(start, name, status):
    # a rule for all paths would speak of the token calls too
    rule = Rule(re.compile("/xcore/|/statusupdate/"), (name,))
    _, client = await start(script=(rule,))
    headers = {**journey(await client.adobe_token()), **XCORE_PATCH}
    patched = await client.ask("PATCH", XCORE, [], headers=headers)
    headers = {"Authorization": f"Bearer {await client.oracle_token()}"}
    put = await client.ask("PUT", OFFERS, offers(product(1)), headers=headers)
    assert patched.status == put.status == status
    if status == 429:
        assert patched.json["error_code"] == "429050"
    else:
        assert patched.json["status"] == status
    assert put.headers["content-type"] == "text/plain"


async def test_retry_after_in_seconds(start):
    _, client = await start(**always("429-seconds", retry_after_s=901.0))
    assert (await client.ask("PUT", COUPON, NAME)).headers["retry-after"] == "901"


async def test_retry_after_as_a_date_agrees_with_the_date_of_the_answer(start):
    _, client = await start(**always("429-date"), retry_after_s=3)
    headers = (await client.ask("PUT", COUPON, NAME)).headers
    told, sent = (parsedate_to_datetime(headers[name]) for name in ("retry-after", "date"))
    assert 3 <= (told - sent).total_seconds() <= 5


async def test_html_pages_are_html(start):
    for name in ("html", "html-200"):
        _, client = await start(**always(name))
        seen = await client.ask("PUT", COUPON, NAME)
        assert seen.headers["content-type"].startswith("text/html")
        assert b"<html>" in seen.body


async def test_a_redirect_leads_to_a_place_that_sees_what_was_sent_after(start):
    running, client = await start(**always("redirect"))
    seen = await client.ask("PUT", COUPON, NAME, headers={"Host": "127.0.0.1:80"})
    target = f"/elsewhere/xsolla/api{COUPON}"
    assert seen.headers["location"] == f"http://127.0.0.1:80{target}"
    assert (await client.ask("PUT", target, NAME)).status == 204
    line = list(running.log())[1]
    assert (line["vendor"], line["raw_path"], line["applied"]) == (None, target, False)
    assert line["headers"]["authorization"] == "Basic ***"
    assert running.stats()["elsewhere"] == 1
    assert running.stats()["most_arrived"]["any second"] == 1  # elsewhere is no vendor


@pytest.mark.parametrize("name", ["reset-before", "reset-after"])
async def test_a_reset_is_a_reset(start, name):
    running, client = await start(**always(name))
    await client.send("PUT", COUPON, NAME)
    with pytest.raises(ConnectionResetError):
        await client.receive()
    assert the_line(running)["status"] is None
    assert the_line(running)["applied"] is (name == "reset-after")
    assert len(list(running.state())) == (name == "reset-after")


async def test_a_timeout_after_never_answers_and_ends_with_the_client(start):
    running, _ = await start(**always("timeout-after"))
    async with connect(running) as client:
        await client.send("PUT", COUPON, NAME)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.receive(), 0.1)
        assert (the_line(running)["status"], the_line(running)["applied"]) == (None, True)
        assert running.stats()["in_flight"] == 1
    async with asyncio.timeout(30):
        while running.stats()["in_flight"]:
            await asyncio.sleep(0.01)


async def test_close_reused_spares_a_new_connection(start):
    running, client = await start(**always("close-reused"))
    assert (await client.ask("PUT", COUPON, NAME)).status == 204
    await client.send("PUT", COUPON.replace("C1", "C2"), NAME)
    assert await client.reader.read() == b""
    first, second = running.log()
    assert (first["fault"], first["reused"], first["applied"]) == (None, False, True)
    assert (second["fault"], second["reused"], second["applied"]) == ("close-reused", True, False)
    assert second["status"] is None
    assert second["connection"] == first["connection"]
    assert [entity["id"] for entity in running.state()] == ["C1"]


async def test_slow_gives_the_true_answer_late(start):
    _, client = await start(**always("slow", slow_s=0.2))
    began_s = time.monotonic()
    assert (await client.ask("PUT", COUPON, NAME)).status == 204
    assert time.monotonic() - began_s >= 0.2


async def test_half_a_body_ends_before_its_length(start):
    running, client = await start(**always("half-body"))
    await client.send("PUT", COUPON, NAME)
    head, _, body = (await client.reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert 0 < len(body) < int(re.search(rb"Content-Length: (\d+)", head).group(1))
    assert (the_line(running)["status"], the_line(running)["applied"]) == (200, True)


@pytest.mark.parametrize(("body", "status", "applied"), [(NAME, 200, True), (WRONG, 422, False)])
async def test_an_endless_body_outgrows_any_limit(start, body, status, applied):
    running, client = await start(**always("endless-body"))
    await client.send("PUT", COUPON, body)
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert len(await client.reader.readexactly(2_000_000)) == 2_000_000
    assert (the_line(running)["status"], the_line(running)["applied"]) == (status, applied)


async def test_garbage_is_not_http(start):
    running, client = await start(**always("garbage"))
    await client.send("PUT", COUPON, NAME)
    seen = await client.reader.read()
    assert seen
    assert not seen.startswith(b"HTTP/")
    assert (the_line(running)["status"], the_line(running)["applied"]) == (None, False)


def test_every_fault_says_whether_it_applies():
    texts = {name: text.partition(";")[0] for name, text in FAULTS.items()}
    assert set(texts.values()) == {"applied", "not applied"}
    assert {name for name, text in texts.items() if text == "not applied"} == UNAPPLIED


@pytest.mark.parametrize("name", sorted(set(FAULTS) - UNAPPLIED - {"timeout-after"}))
async def test_a_fault_never_applies_a_wrong_update(start, name):
    running, client = await start(**always(name, slow_s=0.01))
    await client.send("PUT", COUPON, WRONG)
    await asyncio.gather(client.reader.read(1), return_exceptions=True)
    assert the_line(running)["applied"] is False
    assert list(running.state()) == []


# ---- by chance ----


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (0.0, "500"),
        (0.1999, "500"),
        (0.2, "slow"),  # the first band ends
        (0.4999, "slow"),
        (0.5, None),  # the second band ends
        (0.9999, None),
    ],
)
def test_each_fault_has_a_band_as_wide_as_its_chance(draw, name):
    assert by_chance({"500": 0.2, "slow": 0.3}, draw) == name


@given(st.floats(0, 1, exclude_max=True))
def test_a_certain_fault_is_certain_and_an_impossible_one_never_comes(draw):
    assert by_chance({"500": 1.0}, draw) == "500"
    assert by_chance({"500": 0.0}, draw) is None


async def test_the_same_seed_gives_the_same_faults(start):
    async def statuses(seed: int) -> list[int]:
        _, client = await start(faults={"503": 0.5}, seed=seed)
        return [(await client.ask("PUT", COUPON, NAME)).status for _ in range(40)]

    first, again, other = await statuses(1), await statuses(1), await statuses(2)
    assert first == again != other
    assert set(first) == {204, 503}


# ---- by script ----

RULES = """
[[rule]]
method = "put"
path = "/coupon/A.*$"
replies = ["503", "503", "ok"]

[[rule]]
path = "/coupon/B c$"
replies = ["429-seconds"]
retry_after_s = 7
"""


async def test_a_script_is_followed_per_path(start, tmp_path: Path):
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    _, client = await start(script=load_script(file), faults={"500": 1.0})

    async def statuses(method: str, entity_id: str, times: int) -> list[int]:
        path = COUPON.replace("C1", entity_id)
        return [(await client.ask(method, path, NAME)).status for _ in range(times)]

    assert await statuses("PUT", "A1", 2) == [503, 503]
    assert await statuses("PUT", "A2", 4) == [503, 503, 204, 204]  # its own turns
    assert await statuses("PUT", "A1", 2) == [204, 204]  # the last repeats; no chance beside it
    assert await statuses("GET", "A1", 1) == [500]  # no rule for reading: by chance
    seen = await client.ask("PUT", COUPON.replace("C1", "B%20c"), NAME)  # the decoded path
    assert (seen.status, seen.headers["retry-after"]) == (429, "7")


BODY_RULE = """
[[rule]]
method = "PUT"
path = "/statusupdate/offers$"
body = '"[^"]*\\+7\\d"'
replies = ["503", "ok"]
"""


async def test_a_script_may_search_the_body(start, tmp_path: Path):
    file = tmp_path / "rules.toml"
    file.write_text(BODY_RULE)
    running, client = await start(script=load_script(file))
    headers = {"Authorization": f"Bearer {await client.oracle_token()}"}

    async def status(*numbers: int) -> int:
        body = offers(*map(product, numbers))
        return (await client.ask("PUT", OFFERS, body, headers=headers)).status

    assert await status(1) == 200  # nothing found, so no rule
    assert [await status(70), await status(70)] == [503, 200]
    assert await status(71) == 503  # its own turns, though the path is the same
    assert await status(1, 72, 2) == 503  # wherever it stands, and for all of the group
    assert await status(1, 72, 2) == 200
    assert [line["fault"] for line in running.log()][1:] == [None, "503", None, "503", "503", None]


async def test_bytes_that_are_no_text_meet_a_rule_for_bodies(start):
    script = (Rule(re.compile(""), ("503",), body=re.compile("no such text")),)
    _, client = await start(script=script)
    assert (await client.ask("PUT", COUPON, b"\xff\xfe")).status == 422


async def test_a_reset_of_the_simulator_starts_the_script_anew(start):
    running, client = await start(script=(Rule(re.compile(""), ("503", "ok")),))
    first = [(await client.ask("PUT", COUPON, NAME)).status for _ in range(2)]
    running.reset()
    assert [(await client.ask("PUT", COUPON, NAME)).status for _ in range(2)] == first == [503, 204]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rule = [", "not TOML"),
        ("[[rules]]", "unknown key 'rules': expected rule"),
        ("rule = 1", "write [[rule]]"),
        ("[rule]\npath = 'x'", "write [[rule]]"),
        ("[[rule]]\nreplies = ['ok']", "rule 1: path = None: expected a regular expression"),
        ("[[rule]]\npath = '('\nreplies = ['ok']", "rule 1: path = '(': missing )"),
        ("[[rule]]\npath = 'x'\nreplies = ['ok']\nbody = 5", "body = 5: expected a regular"),
        ("[[rule]]\npath = 'x'\nreplies = ['ok']\nbody = '['", "body = '[': unterminated"),
        ("[[rule]]\npath = 'x'", "rule 1: replies = None: expected a list"),
        ("[[rule]]\npath = 'x'\nreplies = []", "expected a list with at least one name"),
        ("[[rule]]\npath = 'x'\nreplies = 'ok'", "expected a list"),
        ("[[rule]]\npath = 'x'\nreplies = [503]", "unknown name 503: did you mean '503'?"),
        ("[[rule]]\npath = 'x'\nreplies = ['resett-after']", "did you mean 'reset-after'?"),
        ("[[rule]]\npath = 'x'\nreplies = ['ok']\nreply = 1", "rule 1: unknown key 'reply'"),
        ("[[rule]]\npath = 'x'\nreplies = ['ok']\nmethod = 1", "method = 1: expected text"),
        ("[[rule]]\npath = 'x'\nreplies = ['ok']\nslow_s = -1", "slow_s = -1: expected seconds"),
        ("[[rule]]\npath = 'x'\nreplies = ['ok']\nslow_s = inf", "slow_s = inf: expected seconds"),
        (
            "[[rule]]\npath = 'x'\nreplies = ['ok']\n[[rule]]\npath = 'y'\nreplies = ['no']",
            "rule 2: replies: unknown name 'no'",
        ),
    ],
)
def test_a_wrong_script_says_where(tmp_path: Path, text, words):
    file = tmp_path / "rules.toml"
    file.write_text(text)
    with pytest.raises(SimulatorError) as caught:
        load_script(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert words in str(caught.value)


def test_a_script_that_cannot_be_read_says_why(tmp_path: Path):
    with pytest.raises(SimulatorError, match="No such file"):
        load_script(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe4")
    with pytest.raises(SimulatorError, match="not UTF-8"):
        load_script(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"faults": {"reset": 0.1}}, "unknown name 'reset'"),
        ({"faults": {"500": 1.5}}, "expected a chance from 0 to 1"),
        ({"faults": {"500": 0.7, "503": 0.7}}, "sum to 1.4"),
        ({"quotas": ("20",)}, "quota '20'"),
        ({"window": "rolling"}, "expected sliding or fixed"),
        ({"retry_after": "ms"}, "expected none or seconds or date"),
        ({"latency_s": -1.0}, "latency_s = -1.0: expected seconds"),
    ],
)
def test_a_wrong_option_is_named(options, words):
    with pytest.raises(SimulatorError, match=re.escape(words)):
        SimulatorOptions(**options)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (COUPON, [204]),  # any other id is left alone
        (COUPON.replace("C1", "SIM-429-ALWAYS"), [429, 429, 429, 429]),
        (COUPON.replace("C1", "SIM-503-TWICE"), [503, 503, 204, 204]),
        (COUPON.replace("C1", "SIM-RESET-ALWAYS"), [None, None]),
        (COUPON.replace("C1", "SIM-429-ONCE"), [429, 204]),
        (BONUS, [204]),
        (BONUS.replace("111425", "990429"), [429, 429]),
        (BONUS.replace("111425", "990503"), [503, 503, 204]),
        (BONUS.replace("111425", "990104"), [None, None]),
    ],
)
async def test_the_default_script_does_what_its_ids_say(start, path, expected):
    running, _ = await start(script=default_script())
    body = {**NAME, "condition": None, "bonus": None}
    for _ in expected:
        async with connect(running) as client:
            await client.send("PUT", path, body)
            await asyncio.gather(client.receive(), return_exceptions=True)
    assert [line["status"] for line in running.log()] == expected
    async with connect(running) as client:
        assert (await client.ask("GET", path)).status == 200  # reading always works


FAILING = [
    ("o1", [200]),
    ("sim-429-always", [429, 429, 429]),
    ("sim-503-twice", [503, 503, 200]),
    ("sim-reset-always", [None, None]),
    ("sim-429-once", [429, 200]),
]


@pytest.mark.parametrize(("entity_id", "expected"), FAILING)
@pytest.mark.parametrize(("path", "sort"), [(XCORE, XCORE_PATCH), (DPS, DPS_PATCH)])
async def test_the_default_script_knows_ids_of_adobe(start, path, sort, entity_id, expected):
    running, client = await start(script=default_script())
    headers = {**journey(await client.adobe_token()), **sort}
    path = path.replace("o1", entity_id)
    for _ in expected:
        async with connect(running) as client:
            await client.send("PATCH", path, [], headers=headers)
            await asyncio.gather(client.receive(), return_exceptions=True)
    assert [line["status"] for line in running.log()][1:] == expected
    async with connect(running) as client:
        seen = await client.ask("GET", path, headers={**headers, **XCORE_GET})
    assert seen.status == 200  # reading always works


@pytest.mark.parametrize(
    ("number", "expected", "applied"),
    [
        (1, [200], True),
        (990429, [429, 429, 429], False),
        (990503, [503, 503, 200], True),
        (990104, [None, None], True),
        (1990429, [200], True),  # the whole number, not its end
        (9904290, [200], True),
    ],
)
async def test_the_default_script_knows_numbers_of_oracle(start, number, expected, applied):
    running, client = await start(script=default_script())
    headers = {"Authorization": f"Bearer {await client.oracle_token()}"}
    body = offers(product(5), product(number))
    for _ in expected:
        async with connect(running) as client:
            await client.send("PUT", OFFERS, body, headers=headers)
            await asyncio.gather(client.receive(), return_exceptions=True)
    assert [line["status"] for line in running.log()][1:] == expected
    assert len(list(running.state())) == (2 if applied else 0)


async def test_the_default_slow_id_is_slow_but_right(start):
    _, client = await start(script=default_script())
    began_s = time.monotonic()
    assert (await client.ask("PUT", COUPON.replace("C1", "SIM-SLOW"), NAME)).status == 204
    assert time.monotonic() - began_s >= 1.0
