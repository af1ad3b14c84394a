"""Writes docs/scale.md: where the limits of many machines are, by simulation.

    make limits

The figures are in docs/limits.json, each with its origin: a new measurement changes the page. Those
that `make bench` measures are read from docs/benchmarks.json. Beside the simulation stands what
`make bench-workers` and `make bench-postgres` measured last, if they were told to keep it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pipeline.run.share_rules import REST_S
from tests.benchmarks import figures as benchmarks
from tests.benchmarks.fleet import (
    MAX_AHEAD,
    RENEW_EVERY_S,
    TTL_S,
    Fleet,
    Outcome,
    Workload,
    simulate,
)

DOCS = Path(__file__).parent.parent.parent / "docs"
FIGURES = DOCS / "limits.json"
PAGE = DOCS / "scale.md"

BILLION = 10**9
BUSY = 0.7
"""Share of a core that a worker should use at most."""


class Case(NamedTuple):
    """A row of the table."""

    name: str
    load: Workload
    fleet: Fleet


HUNDRED = Fleet(workers=100)
CASES = (
    Case("720,000 rows, 1 account of 200/s", Workload(rows=720_000, per_s=200), Fleet()),
    Case("10⁹ rows, 1,000 of 20/s", Workload(rows=BILLION, accounts=1000, per_s=20), HUNDRED),
    Case(
        "the same, 100 files at a time",
        *(
            Workload(rows=BILLION, accounts=1000, per_s=20),
            Fleet(workers=100, planners=100),
        ),
    ),
    Case("10⁹ rows, 1,000 of 200/s", Workload(rows=BILLION, accounts=1000, per_s=200), HUNDRED),
    Case(
        "the same, 4 databases",
        *(
            Workload(rows=BILLION, accounts=1000, per_s=200),
            Fleet(workers=100, databases=4),
        ),
    ),
    Case("10⁹ rows, 1,000 without a quota", Workload(rows=BILLION, accounts=1000), HUNDRED),
    Case(
        "the same, 16 databases",
        *(
            Workload(rows=BILLION, accounts=1000),
            Fleet(workers=100, databases=16),
        ),
    ),
    Case(
        "10¹⁰ rows, 10,000 of 20/s, 4 databases",
        *(
            Workload(rows=10 * BILLION, accounts=10_000, per_s=20),
            Fleet(workers=100, databases=4),
        ),
    ),
    Case(
        "the same, 1,000 workers, 100 files at a time",
        *(
            Workload(rows=10 * BILLION, accounts=10_000, per_s=20),
            Fleet(workers=1000, databases=4, planners=100),
        ),
    ),
)
"""Ends with ten times more of each."""

TEXT = """\
# Many machines

This page answers: how many rows, accounts and workers does the design bear, and what is the first limit?

`make limits` writes it. It simulates runs in virtual time: the code that sends gives the policy (shares,
leases of {ttl_s:.0f} s renewed every {renew_s:.2f} s, commits), measurements give the costs. So it is a calculation;
so many machines were not tried.

| rows, accounts | workers | prepare | send | report | limit | rows/s | busiest core | database | a commit waits | spread |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{table}

One process per file prepares and reports. Limit: of sending; quota includes the requests in flight. Database: use
of its time. At 100 % commits queue and grow, which slows nothing until each holds all {max_ahead} rows that may be
claimed ahead. Spread: until each share has a worker, which waits {rest_s} s for every share that it has before
it takes another.

- **Quotas are the first limit.** 1,000 accounts of 20/s need {hours_small:.0f} hours for 10⁹ rows, however many
  machines there are; {workers_small} cores do it.
- **A file of 10⁹ rows is the next**: {prepare_h:.1f} hours of one core to prepare, {report_h:.1f} to report. Send many files.
- **Then the database**: at most {most_rows:,.0f} rows/s. Accounts that have nothing in common can have one per group.
- **Leases are not**: {leases:,.0f} are renewed in a second, of {renewals:,.0f} measured. But a worker needs
  {spread_min:.0f} minutes to take 100 shares: start one for every ten.
- **Space**: 10⁹ rows take {database_gb:,.0f} GB in the database until they are pruned, {files_gb:,.0f} GB in the
  run's files. A worker takes {worker_mb:.0f} MB.
- **Ten times the accounts and rows** need ten times the workers, so that they spread, and the time of {databases}
  databases; ten times the rows alone, ten times the hours.

**Not tried**: two real machines; a cluster; more than a few workers; several writers on a database of its own machine
(two, on the two cores of the database, wrote 27,000 to 77,000 rows/s together); a slower disk; failover to a
standby, which may lose acknowledged rows unless it is synchronous; pgbouncer; clocks that are set.

{measured}{read_back}`make limits` prints the costs that it takes from `docs/limits.json` and `docs/benchmarks.json`, each with its origin.
"""  # noqa: E501 - lines of a page


class Figure(NamedTuple):
    """What something costs, and where that is from."""

    value: float
    says: str
    origin: str


def figures_of(kept: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures by name.

    kept  docs/limits.json
    made  docs/benchmarks.json
    """
    return {name: _figure_of(each, made) for name, each in kept["figures"].items()}


def _figure_of(each: Mapping[str, Any], made: Mapping[str, Any]) -> Figure:
    if "benchmark" not in each:
        return Figure(each["value"], each["says"], each["origin"])
    where, day = each["benchmark"], made["made"][:10]
    if "cost" in where:
        (part,) = (part for part in made["costs"] if part["name"] == where["cost"])
        found = re.search(where["column"], "\n".join(part["lines"]))
        assert found is not None, where
        origin = f"`make bench` of {day}, {where['cost']} alone, {part['rows']:,} rows"
        return Figure(float(found[1]), each["says"], origin)
    (entry,) = (
        entry
        for entry in made["entries"]
        if (entry["name"], entry["scheme"]) == (where["entry"], where["scheme"])
    )
    value = median(run[where["figure"]] for run in entry["runs"])
    origin = f"`make bench` of {day}, {where['entry']}, {where['scheme']}, {made['rounds']} rounds"
    return Figure(float(f"{value:.3g}"), each["says"], origin)


def page(kept: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """The text of docs/scale.md; arguments as in `figures_of`."""
    figures = figures_of(kept, made)
    costs = {name: each.value for name, each in figures.items()}
    outcomes = [simulate(case.load, case.fleet, costs) for case in CASES]
    small, spread = outcomes[1], outcomes[-2]
    workers = math.ceil(
        BILLION / small.send_s * (costs["send_us"] + costs["record_us"]) / 1e6 / BUSY
    )
    return TEXT.format(
        **costs,
        ttl_s=TTL_S,
        renew_s=RENEW_EVERY_S,
        table="\n".join(map(_line, CASES, outcomes)),
        measured=beside(kept["measured"], costs),
        read_back=read_back(kept["read_back"]),
        hours_small=small.send_s / 3600,
        workers_small=workers,
        prepare_h=small.prepare_s / 3600,
        report_h=small.report_s / 3600,
        most_rows=outcomes[3].rows_per_s,
        rest_s=REST_S,
        max_ahead=MAX_AHEAD,
        databases=CASES[-1].fleet.databases,
        leases=outcomes[-1].renewals_per_s,
        renewals=costs["renewals_per_s"],
        spread_min=spread.spread_s / 60,
        database_gb=costs["record_bytes"] * BILLION / 1e9,
        files_gb=costs["file_bytes"] * BILLION / 1e9,
    )


MEASURED = """\
## Measured beside it

`make bench-workers ARGS="--rows {rows} --keep"` on {made}, once: {rows:,} rows over {workers} workers,
http to {server}. The simulation gives each worker a core of its own, and a server {latency_ms:.0f} ms away; here they,
the database and the server (which took {server_cores:.2f} cores while rows were sent) shared {cores}.

| | simulated | measured |
| --- | ---: | ---: |
| prepare | {simulated_prepare} | {measured_prepare} |
| send | {simulated_send} | {measured_send}, {rate:,.0f} rows/s |
| report | {simulated_report} | {measured_report} |
| CPU a row: prepare | {prepare_cost_us:.0f} µs | {prepare_us:.0f} µs |
| its worker, with what watches it | {send_cost_us:.0f} µs | {send_us:.0f} µs |
| report | {report_cost_us:.0f} µs | {report_us:.0f} µs |
| the database; the server | | {database_us:.0f} µs; {server_us:.0f} µs |
| tables of the database, a row | {record_cost_bytes:.0f} B | {record_bytes:.0f} B |
| its folder, with its log | | {database_folder_gb:.1f} GB |
| run's folder, a row | {file_bytes:.0f} B | {run_bytes:.0f} B |
| peak of a worker; of the first process; of a process of the database | {cost_mb:.0f} MB in all | \
{worker_mb:.0f} MB; {first_mb:.0f} MB; {database_mb:.0f} MB of its own |

"""  # noqa: E501 - lines of a page
STUB_LATENCY_S = 0.002
"""Of the stub while four workers keep it busy: a guess."""


def beside(measured: Mapping[str, Any] | None, costs: Mapping[str, float]) -> str:
    """What `make bench-workers` kept, beside the simulation of it; empty if it kept nothing."""
    if measured is None:
        return ""
    load = Workload(rows=measured["rows"], shares=measured["workers"], latency_s=STUB_LATENCY_S)
    over_http = {**costs, "send_us": costs["send_http_us"]}
    outcome = simulate(load, Fleet(workers=measured["workers"]), over_http)
    cores = f"{measured['cores']} cores"
    return MEASURED.format(
        **{**measured, "cores": cores},
        rate=measured["rows"] / measured["send_s"],
        latency_ms=STUB_LATENCY_S * 1000,
        simulated_prepare=_time(outcome.prepare_s),
        simulated_send=_time(outcome.send_s),
        simulated_report=_time(outcome.report_s),
        measured_prepare=_time(measured["prepare_s"]),
        measured_send=_time(measured["send_s"]),
        measured_report=_time(measured["report_s"]),
        prepare_cost_us=costs["take_us"] + costs["bind_us"],
        send_cost_us=costs["send_http_us"] + costs["record_us"],
        report_cost_us=costs["report_us"],
        record_cost_bytes=costs["record_bytes"],
        file_bytes=costs["file_bytes"],
        cost_mb=costs["worker_mb"],
    )


READ_BACK = """\
## Read back

`make bench-postgres ARGS="--sizes --kept {rows} --keep"` on {made}, once: a run of {rows:,} rows in eight shares, whose
processes were killed before its report; one row of a hundred was rejected, one of a thousand is `unknown`. Other
programs used the two cores meanwhile: seconds of CPU tell more.

| | seconds | of CPU, the database's too | peak of the command | peak of a process of the database |
| --- | ---: | ---: | ---: | ---: |
{table}

"""  # noqa: E501 - lines of a page
MEASURED_PARTS = ("measured", "read_back")
"""Of docs/limits.json, beside the figures."""
READ_STEPS = {
    "take": "a worker takes one of its shares",
    "list": "`pipeline runs`",
    "report": "`pipeline runs RUN`, which writes the report",
    "show": "the same, of a report that is there",
    "remove": "`pipeline runs --prune`",
}


def read_back(found: Mapping[str, Any] | None) -> str:
    """What `make bench-postgres` kept; empty if it kept nothing."""
    if found is None:
        return ""
    form = "| {says} | {s:,.1f} | {cpu_s:,.1f} | {mb:,.0f} MB | {database_mb:,.0f} MB |"
    lines = (form.format(says=says, **found[step]) for step, says in READ_STEPS.items())
    return READ_BACK.format(**found, table="\n".join(lines))


def _figure(name: str, value: float) -> str:
    units = {"us": "µs", "s": "s", "bytes": "B", "mb": "MB"}
    number = f"{value:,g}"
    is_rate = name.endswith("_per_s")
    return (
        f"{number}/s" if is_rate else f"{number} {units.get(name.rpartition('_')[2], '')}".strip()
    )


def _line(case: Case, outcome: Outcome) -> str:
    cells = [
        case.name,
        str(case.fleet.workers),
        *map(_time, (outcome.prepare_s, outcome.send_s, outcome.report_s)),
        outcome.limit,
        f"{outcome.rows_per_s:,.0f}",
        f"{outcome.worker_use:.0%}",
        f"{outcome.database_use:.0%}",
        f"{outcome.commit_wait_s:.2g} s",
        _time(outcome.spread_s),
    ]
    return f"| {' | '.join(cells)} |"


def _time(seconds: float) -> str:
    """In hours, minutes or seconds.

    >>> _time(3600.0), _time(90.0), _time(2.4)
    ('1.0 h', '1.5 min', '2 s')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def text_of(kept: Mapping[str, Any]) -> str:
    """docs/limits.json, a figure on each line."""
    lines = [
        f"  {json.dumps(name)}: {json.dumps(each, ensure_ascii=False)}"
        for name, each in kept["figures"].items()
    ]
    parts = ["{\n" + ",\n".join(lines) + "\n }"]
    parts += [json.dumps(kept[name]) for name in MEASURED_PARTS]
    named = zip(("figures", *MEASURED_PARTS), parts, strict=True)
    return "{\n" + ",\n".join(f' "{name}": {text}' for name, text in named) + "\n}\n"


def keep(name: str, made: Mapping[str, Any]) -> None:
    """Put what was measured into docs/limits.json, in place of the last one of this name."""
    kept, _ = read()
    FIGURES.write_text(text_of({**kept, name: _rounded(made)}))
    print(f"Wrote {FIGURES}; `make limits` writes the page.")


def _rounded(made: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _rounded(value)
        if isinstance(value, Mapping)
        else (round(value, 2) if isinstance(value, float) else value)
        for name, value in made.items()
    }


def read() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """docs/limits.json and docs/benchmarks.json."""
    return json.loads(FIGURES.read_text()), json.loads(benchmarks.KEPT.read_text())


def main() -> None:
    """Write the page, and print what it calculates with."""
    PAGE.write_text(page(*read()))
    for name, each in figures_of(*read()).items():
        print(f"{each.says}: {_figure(name, each.value)} ({each.origin})")
    print(f"Wrote {PAGE}.")


if __name__ == "__main__":
    main()
