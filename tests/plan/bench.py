"""A working folder and an embedded simulator for plans; its own state is the judge."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import polars as pl
from aiohttp import ClientSession, encode_basic_auth

from pipeline.config import Config, load_config
from pipeline.model import Status
from pipeline.plan import MadePlan, Verified, make_plan, undo_plan, verify_run
from pipeline.reporter import Summary
from pipeline.run import RunEnvironment, carry_out, prepare, reopen
from pipeline.runs import RunOptions
from pipeline.runs.stop_if import parse_stop_if
from pipeline.simulator import SimulatorOptions, serve
from tests.workplace import BILLING, CONFIG, ENVIRON, JOURNEY, quick_vendors

COUPON, BONUS = "xsolla.coupon", "xsolla.bonus-promotion"
OFFER, STATUS = "adobe.fallback-offer", "oracle.offer-status"
PROJECT = "44056"
SETTLE_AFTER_S = 0.5
"""Nothing of the simulator's works on for longer, whatever the vendors may do."""


VENDORS = quick_vendors(SETTLE_AFTER_S)
NOTHING: tuple[Any, ...] = (None, [], {})


@dataclass(frozen=True)
class Bench:
    """One simulator and one configuration that leads to it."""

    folder: Path
    running: Any
    config: Config
    web: ClientSession

    def file(self, name: str, rows: Sequence[Mapping[str, str]]) -> Path:
        """A CSV file of rows; a column that a row lacks is empty."""
        path = self.folder / name
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        return path

    async def plan(self, path: Path, operation: str | None = None, **options: Any) -> MadePlan:
        """A plan of a file."""
        asked = RunOptions(operation=operation, **options)
        return await make_plan(path, self.folder / "plan.parquet", self.config, self.way,
                               options=asked)  # fmt: skip

    async def run(self, path: Path, operation: str | None = None, **options: Any) -> Summary:
        """A run of a file or plan."""
        if "stop_if" in options:
            options["stop_if"] = tuple(map(parse_stop_if, options["stop_if"]))
        agree = options.pop("agree", lambda _trial: True)
        asked = RunOptions(operation=operation, **options)
        prepared = await anyio.to_thread.run_sync(prepare, path, self.config, asked)
        return await carry_out(prepared, RunEnvironment(environ=ENVIRON, agree=agree))

    async def resume(self, run: str, agree: Any = lambda _trial: True) -> Summary:
        """Resume a run."""
        prepared = await anyio.to_thread.run_sync(reopen, run, self.config)
        return await carry_out(prepared, RunEnvironment(environ=ENVIRON, agree=agree))

    def reconfigured(self, text: str) -> Bench:
        """The same with another configuration."""
        (self.folder / "pipeline.toml").write_text(text)
        config = load_config(None, environ=ENVIRON, vendors=VENDORS, cwd=self.folder)
        return replace(self, config=config)

    async def undo(self, run: str) -> tuple[MadePlan, Summary | None]:
        """Undo a run; no summary if there was nothing to send."""
        made = await self.undo_plan(run)
        return made, await self.run(made.path) if made.planned.sends else None

    async def undo_plan(self, run: str) -> MadePlan:
        """The plan of that."""
        return await undo_plan(run, self.folder / f"undo-{run}.parquet", self.config, self.way)

    async def verify(self, run: str, sample: int | None = None) -> Verified:
        """A run read back."""
        return await verify_run(run, self.config, self.way, sample=sample)

    @property
    def way(self) -> RunEnvironment:
        """Of a command of its own."""
        return RunEnvironment(environ=ENVIRON)

    async def put(self, operation: str, entity: str, body: Mapping[str, Any]) -> None:
        """What somebody else writes at Xsolla, past this program."""
        tail = f"coupon/{entity}" if operation == COUPON else f"promotion/{entity}/bonus"
        url = f"{self.running.base_urls['xsolla']}/v2/project/{PROJECT}/admin/{tail}"
        headers = {"Authorization": encode_basic_auth(PROJECT, "simulator-key")}
        async with self.web.put(url, json=body, headers=headers) as reply:
            assert reply.status == 204, await reply.text()

    def held(self) -> dict[tuple[str, str], Any]:
        """What was written, by operation and id; what says nothing is left out."""
        return {
            (entity["kind"], entity["id"]): _plain(entity["body"])
            for entity in self.running.state()
        }

    def updates(self) -> list[dict[str, Any]]:
        """Requests that were to change something, as the simulator logged them."""
        return [e for e in self.running.log() if e["method"] in {"PUT", "PATCH"}]

    def reads(self) -> int:
        """How many entities, or pages, were read."""
        return sum(e["method"] == "GET" for e in self.running.log() if e["operation"])

    def report(self, summary: Summary) -> pl.DataFrame:
        """Both result files as one frame, in row order."""
        folder = self.config.reports / summary.run
        frames = []
        for output in summary.outputs.values():
            path = folder / output.name
            is_parquet = path.suffix == ".parquet"
            frame = pl.read_parquet(path) if is_parquet else pl.read_csv(path, infer_schema=False)
            frames.append(frame.select(pl.col("^_.*$").cast(pl.String)))
        return pl.concat(frames).sort(pl.col("_row").cast(pl.Int64))


def _plain(body: Any) -> Any:
    """A body without members that hold nothing, and without what the vendor itself writes."""
    if not isinstance(body, dict):
        return body
    own = {"etag", "modified", "lastModifiedDate"}
    inner = {
        name: _plain(value)
        for name, value in body.items()
        if name not in own and not name.startswith("repo:")
    }
    return {name: value for name, value in inner.items() if value not in NOTHING}


def counts(summary: Summary | None) -> dict[str, int]:
    """Rows per status, those that there are."""
    assert summary is not None
    return {status.value: n for status, n in summary.statuses.items() if n}


def kinds(made: MadePlan) -> dict[str, int]:
    """Rows of a plan per kind."""
    return {kind.value: count for kind, count in made.planned.kinds.items()}


def of_status(report: pl.DataFrame, status: Status) -> list[int]:
    """Rows that ended so."""
    return report.filter(pl.col("_status") == status.value)["_row"].cast(pl.Int64).to_list()


@asynccontextmanager
async def bench(
    folder: Path, *, missing: str = "refuse", more: str = "attempts = 8", **options: Any
) -> AsyncIterator[Bench]:
    """A bench in `folder`; `options` are the simulator's."""
    async with serve(SimulatorOptions(**options)) as running, ClientSession() as web:
        url = "{0.scheme}://{0.netloc}".format(urlsplit(running.base_urls["xsolla"]))
        base_url = running.base_urls["xsolla"]
        texts = [
            CONFIG.format(base_url=base_url, quota='"100000/s"', in_flight=16, more=more),
            JOURNEY.format(url=url, in_flight=16, more=more),
            BILLING.format(url=url, in_flight=16, max_batch=20, more=more),
            *(f'[input."{name}"]\nmissing = "{missing}"\n' for name in (COUPON, BONUS)),
        ]
        (folder / "pipeline.toml").write_text("\n".join(texts))
        config = load_config(None, environ=ENVIRON, vendors=VENDORS, cwd=folder)
        yield Bench(folder, running, config, web)


def cells(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as cells: lists and objects as JSON, null as the word."""
    return {
        name: "null" if value is None else value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def limits(ids: Iterable[str], limit: int) -> list[dict[str, str]]:
    """Rows that set one limit of coupons."""
    return [{"external_id": each, "redeem_user_limit": str(limit)} for each in ids]
