"""What every test may rely on."""

import asyncio
import gc
import os
from collections.abc import Callable, Generator, Iterator, Sequence

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pipeline.loader import decode_check
from pipeline.run.event_loop import VARIABLE
from tests import quick_start
from tests.postgres import PostgresServer, postgres_server

# a busy machine is no failure; nothing is kept between runs
settings.register_profile(
    "quiet", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("quiet")


ON_EACH_LOOP = {"test_transport_contract.py", "test_connections.py", "test_recorder.py"}
"""Files whose tests run on each event loop that a run may use."""
WAITING_LONG = {
    *("test_two_machines.py", "test_database_away.py", "test_workers.py", "test_kill_loop.py"),
    *("test_pauses.py", "test_outages.py", "test_takeovers.py", "test_takeover.py"),
    *("test_run.py", "test_drops.py", "test_shared_quota.py", "test_shares.py"),
    *("test_damaged_runs.py", "test_database_full.py", "test_killed_preparing.py"),
    *("test_account_stops.py", "test_changed_shares.py", "test_live_overrides.py"),
    *("test_power_loss.py", "test_share_records.py", "test_signing_in.py", "test_watching.py"),
    *("test_attacks.py", "test_old_rows.py", "test_small_disk.py"),
}
"""Files whose tests wait for leases, databases and processes: many seconds, in which others run."""
STARTS_DECODERS = {"test_decode_check.py", "test_panics.py"}
TOGETHER = {"object_storage"}
"""Folders whose tests one process takes, because their server takes more than a second of CPU."""
WAITING_UP_TO = 0.7
"""Share of its tests after which a process has no test left that waits long."""


@pytest.hookimpl(trylast=True)  # Hypothesis is ready then
def pytest_sessionstart() -> None:
    """Hypothesis keeps its tables of characters. To make them takes more than a second, so they are
    there before several processes look for them.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        st.text().validate()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The garbage collector looks at no module and no test: they stay to the end, and to look at
    them again and again takes as long as to collect them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that wants the machine for itself says why."""
    marks = [(item, mark) for item in items for mark in item.iter_markers("quiet")]
    unfounded = [item.nodeid for item, mark in marks if not mark.args]
    if unfounded:
        raise pytest.UsageError(f"quiet(reason) without a reason: {', '.join(unfounded)}")
    items[:] = spread(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def spread(items: Sequence[pytest.Item], processes: int) -> list[pytest.Item]:
    """The tests with those that wait long between the others, and none of these near the end.

    Each process gets a part of the list, and takes tests from the end of another's when it is
    through: there, what is left must be short, or one process waits alone.
    """
    together = [item for item in items if item.path.parent.name in TOGETHER]
    apart = [item for item in items if item.path.parent.name not in TOGETHER]
    waiting = [item for item in apart if item.path.name in WAITING_LONG]
    others = [item for item in apart if item.path.name not in WAITING_LONG]
    waiting_of: list[list[pytest.Item]] = [together, *([] for _ in range(processes - 1))]
    for item in waiting:
        min(waiting_of, key=len).append(item)
    found: list[pytest.Item] = []
    for process, mine in enumerate(waiting_of):
        begin, end = (len(others) * each // processes for each in (process, process + 1))
        found += _mixed(mine, others[begin:end])
    return found


def _mixed(waiting: Sequence[pytest.Item], others: Sequence[pytest.Item]) -> list[pytest.Item]:
    distance = int(WAITING_UP_TO * len(others)) // max(len(waiting), 1)
    found: list[pytest.Item] = []
    for number, item in enumerate(waiting):
        found += [item, *others[number * distance : (number + 1) * distance]]
    return found + list(others[len(waiting) * distance :])


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loops that a test runs on, one after the other."""
    if item.path.name not in ON_EACH_LOOP:
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the event loop: all tests that start commands may be run with another one."""
    for variable in [name for name in os.environ if name.upper().startswith("PIPELINE_")]:
        if variable != VARIABLE:
            monkeypatch.delenv(variable)


@pytest.fixture(autouse=True)
def _decoders_are_forked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """But in tests of their start: each takes a third of a second of CPU if it is started anew."""
    if request.path.name not in STARTS_DECODERS:
        monkeypatch.setattr(decode_check, "subprocess", quick_start.QUICK_SUBPROCESS)


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    """Of those that it starts itself: one that a failed test leaves behind fails a later one."""
    before = len(quick_start.processes)
    yield
    quick_start.end_processes(before)


@pytest.fixture(scope="session")
def _postgres_of_all() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres(_postgres_of_all: PostgresServer) -> Iterator[PostgresServer]:
    """A PostgreSQL that runs: of this process, shared by its tests. A test never stops it, and its
    databases are a later test's, emptied.
    """
    yield _postgres_of_all
    _postgres_of_all.take_back()


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres.new_database()
