"""What workers do for a run, for people: a line for each share."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Config
from pipeline.model.formatting import counted
from pipeline.run.share_progress import parse_progress, who_works
from pipeline.runs.registry import held_shares, open_store
from pipeline.store.seam import LeaseHolder, ShareState

_STATES_OF_STOPPED = frozenset("Tt")


def share_lines(config: Config, run: str) -> list[str]:
    """One line for each share of a run, such as "shop 2 of 4: 812 rows, process 17"."""
    held = held_shares(config, run)
    return [
        _line(state, held.get(state.share), is_held=state.share in held)
        for state in open_store(config).runs.shares(run)
    ]


def _line(state: ShareState, holder: LeaseHolder | None, *, is_held: bool) -> str:
    progress = parse_progress(state.progress)
    parts = [counted(progress.rows, "row")]
    if is_held:
        parts.append(who_works(progress) if holder is None else _process(holder))
        if holder is not None and not holder.host and is_stopped(holder.pid):
            parts.append("which is stopped and keeps the share: continue it (kill -CONT) or end it")
    elif state.is_done:
        parts.append("done")
    elif state.stopped:
        parts.append(f"stopped: {state.stopped}")
    else:
        parts.append("waits for a worker" if state.is_open else "not given out yet")
    return f"{state.share.name}: {', '.join(filter(None, parts))}"


def _process(holder: LeaseHolder) -> str:
    return f"process {holder.pid}" + (f" on {holder.host}" if holder.host else "")


def is_stopped(pid: int) -> bool:
    """True if a process of this machine is stopped, as by Ctrl-Z; False if that is not known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] in [[each] for each in _STATES_OF_STOPPED]
