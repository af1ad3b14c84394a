"""Three clients against the real simulator in real time: python -m tests.scenarios.real [NAMES].

The command of this project, the plain client, and reqstorm, a published tool that sends requests
from a CSV file at a rate. It is not a dependency: it is installed into a folder that is removed
again, unless --reqstorm names its command. Takes about ten minutes; prints a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from pipeline.model import NoReply, Reply, Request
from pipeline.model.quota import parse_quota
from tests.scenarios.plain import ATTEMPTS, send_plain
from tests.scenarios.scenario import Settings
from tests.workplace import COLUMNS, CONFIG, coupon

KEY = "simulator-key"
IN_FLIGHT = 8
TIMEOUT_S = 10.0
BODY = {
    "name": {"en-US": "a coupon"},
    "bonus": [{"sku": "elven_shield", "quantity": 1}],
    "date_start": "2026-12-01T00:00:00+01:00",
    "date_end": None,
    "redeem_total_limit": 1,
    "redeem_user_limit": 1,
    "redeem_code_limit": 1,
}
HEADERS = {
    "Authorization": "Basic " + base64.b64encode(f"44056:{KEY}".encode()).decode(),
    "Content-Type": "application/json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a simulator does, and what clients think that it allows.

    allows      the simulator's quota
    configured  the clients'
    options     of the simulator
    down        seconds after the first request at which it is killed, and started again
    """

    rows: int
    allows: str
    configured: str
    options: Sequence[str] = ()
    down: tuple[float, float] | None = None

    def best_s(self) -> float:
        """How long it takes at best."""
        rate = min(parse_quota(text).per_second for text in (self.allows, self.configured))
        return self.rows / rate + (self.down[1] - self.down[0] if self.down else 0.0)


HEAD = (
    "| case | client | time | of the best possible | requests | of them 429 | rows not applied "
    "| applied, but called lost |\n" + "| --- " * 8 + "|"
)

CASES: Mapping[str, Case] = {
    "steady at a quota": Case(rows=600, allows="20/s", configured="20/s"),
    "limit lower than configured, Retry-After": Case(
        rows=400, allows="10/s", configured="20/s", options=["--retry-after", "seconds"]
    ),
    "503 for one in twenty": Case(
        rows=600, allows="20/s", configured="20/s", options=["--fault", "503=0.05"]
    ),
    "outage of 20 s": Case(rows=600, allows="20/s", configured="20/s", down=(8.0, 28.0)),
}


class Simulator:
    """One in a process of its own, which may be killed and started again on the same port."""

    def __init__(self, case: Case, folder: Path) -> None:
        self._case = case
        self._folder = folder
        self._logs: list[tuple[Path, float]] = []
        self._port = 0
        self.start()

    def start(self) -> None:
        """Listen; returns once it does."""
        path = self._folder / f"log{len(self._logs)}.jsonl"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pipeline", "simulator", "--port", str(self._port)),
                *("--quota", self._case.allows, "--latency-ms", "60", "--jitter-ms", "10"),
                *("--log", str(path), *self._case.options),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        for line in self._process.stdout:
            name, _, value = line.strip().partition(": ")
            if name == "xsolla":
                self.base_url = value
                self._port = urlsplit(value).port or 0
            if name == "log":
                break
        self._logs.append((path, time.monotonic()))

    def kill(self) -> None:
        """Nobody answers from now on."""
        self._process.terminate()
        self._process.wait()

    def log(self) -> list[dict[str, Any]]:
        """Every request that arrived so far, `at_s` by one clock."""
        return [
            {**entry, "at_s": started_s + entry["arrived_s"]}
            for path, started_s in self._logs
            for entry in map(json.loads, path.read_text().splitlines())
        ]


# The clients. Each sends a file of coupons and says how many of its rows it calls done.


async def pipeline(case: Case, base_url: str, folder: Path) -> int:
    """The command of this project."""
    config = CONFIG.format(
        base_url=base_url,
        quota=f'"{case.configured}"',
        in_flight=IN_FLIGHT,
        more=f"timeout_s = {TIMEOUT_S}",
    )
    (folder / "pipeline.toml").write_text(config)
    await _command(
        *(sys.executable, "-m", "pipeline", "run", "--yes", "--quiet"),
        *("--operation", "xsolla.coupon", "rows.csv"),
        folder=folder,
    )
    summary = json.loads((folder / "reports/latest/summary.json").read_text())
    return int(summary["statuses"].get("updated", 0))


async def plain(case: Case, base_url: str, _folder: Path) -> int:
    """The plain client, over aiohttp."""
    settings = Settings(quota=[case.configured], in_flight=IN_FLIGHT, timeout_s=TIMEOUT_S)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=HEADERS) as session:
        given_up = await send_plain(
            settings,
            case.rows,
            partial(_put, session, base_url),
            lasts_s=1e9,
            clock=asyncio.get_running_loop().time,
            seed=0,
        )
    return case.rows - given_up


async def _put(session: aiohttp.ClientSession, base_url: str, request: Request) -> Reply | NoReply:
    url = f"{base_url}/v2/project/44056/admin/coupon/c{request.path[2:]}"
    try:
        async with session.put(url, json=BODY) as response:
            return Reply(response.status, response.headers, await response.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        return NoReply("failed", str(error), may_have_arrived=True)


async def reqstorm(command: str, case: Case, base_url: str, folder: Path) -> int:
    """The published tool, with as many attempts as the others."""
    headers = [word for name, value in HEADERS.items() for word in ("-H", f"{name}: {value}")]
    await _command(
        *(command, "rows.csv", "-X", "PUT", *headers, "--json", json.dumps(BODY)),
        *("--template", f"{base_url}/v2/project/44056/admin/coupon/{{external_id}}"),
        *("--rate", case.configured, "-c", str(IN_FLIGHT), "--timeout", str(TIMEOUT_S)),
        *("--retries", str(ATTEMPTS - 1), "-o", "results.jsonl", "--quiet"),
        folder=folder,
    )
    results = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    return sum(200 <= (result.get("status") or 0) < 300 for result in results)


async def _command(*words: str, folder: Path) -> None:
    environ = {**os.environ, "SHOP_KEY": KEY, "PYTHONPATH": str(Path.cwd())}
    with (folder / "output.txt").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *words, cwd=folder, env=environ, stdout=output, stderr=output
        )
        await process.wait()


Client = Callable[[Case, str, Path], Any]


async def _play(case: Case, client: Client, folder: Path) -> str:
    """The figures of a client in a case, as cells of a table."""
    lines = [COLUMNS, *map(coupon, range(1, case.rows + 1))]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    simulator = Simulator(case, folder)
    outage = asyncio.create_task(_outage(case, simulator))
    try:
        done = await client(case, simulator.base_url, folder)
    finally:
        outage.cancel()
        simulator.kill()
    return _figures(case, simulator.log(), done)


async def _outage(case: Case, simulator: Simulator) -> None:
    if case.down is None:
        return
    from_s, until_s = case.down
    while not simulator.log():
        await asyncio.sleep(0.2)
    await asyncio.sleep(from_s)
    await asyncio.to_thread(simulator.kill)
    await asyncio.sleep(until_s - from_s)
    await asyncio.to_thread(simulator.start)


def _figures(case: Case, log: Sequence[Mapping[str, Any]], done: int) -> str:
    arrived_s = [entry["at_s"] for entry in log]
    took_s = max(arrived_s) - min(arrived_s)
    refused = sum(entry["status"] == 429 for entry in log)
    applied = len({entry["id"] for entry in log if entry["applied"]})
    return " | ".join(
        (
            f"{took_s:.1f} s",
            f"{applied / case.rows * case.best_s() / took_s:.3f}",
            str(len(log)),
            f"{refused / len(log):.1%}",
            str(case.rows - applied),
            str(applied - done),
        )
    )


@contextmanager
def _reqstorm_command(given: str | None) -> Iterator[str]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "--quiet", "install", "reqstorm"]
        subprocess.run(pip, check=True)
        yield f"{folder}/bin/reqstorm"


def main() -> None:
    """Play the named cases, or all."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", help=", ".join(CASES))
    arguments.add_argument("--reqstorm", help="its command, where it is installed already")
    chosen = arguments.parse_args()
    print(HEAD, flush=True)
    with _reqstorm_command(chosen.reqstorm) as command:
        clients = {
            "pipeline": pipeline,
            "plain client": plain,
            "reqstorm": partial(reqstorm, command),
        }
        for name, case in CASES.items():
            if chosen.names and name not in chosen.names:
                continue
            for title, client in clients.items():
                with tempfile.TemporaryDirectory() as folder:
                    cells = asyncio.run(_play(case, client, Path(folder)))
                print(f"| {name} | {title} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
