"""Waits for what another process, or the other end of a connection, does in its own time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

WITHIN_S = 240.0
"""A busy machine is no failure."""
SELDOM_S = 0.1


def until(
    look: Callable[[], Found],
    state: Callable[[], object] | None = None,
    *,
    within_s: float = WITHIN_S,
    every_s: float = 0.02,
) -> Found:
    """The first thing that `look` finds which counts as true.

    What it looks at may change at once: use what it found, and do not look again. It looks every
    `every_s` seconds, and less often if it takes long, for a look costs time that others need.
    Raises AssertionError after `within_s` seconds; it shows the look, its last find, and `state()`.
    """
    began_s = time.monotonic()
    end_s = began_s + within_s
    while not (found := look()):
        if time.monotonic() > end_s:
            raise AssertionError(_in_vain(look, found, state, within_s))
        time.sleep(max(every_s, min((time.monotonic() - began_s) / 20, SELDOM_S)))
    return found


def seconds_until(look: Callable[[], object], *, within_s: float = WITHIN_S) -> float:
    """How long it took until `look` found something."""
    began_s = time.monotonic()
    until(look, within_s=within_s)
    return time.monotonic() - began_s


async def until_async(
    look: Callable[[], Found], *, within_s: float = WITHIN_S, every_s: float = 0.005
) -> Found:
    """The same of what happens in this event loop."""
    end_s = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > end_s:
            raise AssertionError(_in_vain(look, found, None, within_s))
        await asyncio.sleep(every_s)
    return found


def _in_vain(
    look: Callable[[], object],
    found: object,
    state: Callable[[], object] | None,
    within_s: float,
) -> str:
    lines = [f"waited {within_s:g} s in vain: {_source(look)}", f"found at last: {found!r}"]
    return "\n".join([*lines, *([] if state is None else [str(state())])])


def _source(look: Callable[[], object]) -> str:
    """The source of a lambda, the name of another function."""
    name = getattr(look, "__qualname__", repr(look))
    if not name.endswith("<lambda>"):
        return str(name)
    try:
        return inspect.getsource(look).strip()
    except OSError:
        return str(name)


def settled(count: Callable[[], Found], for_s: float) -> Found:
    """What it counts, once it has stayed the same for so long."""
    found, since_s = count(), time.monotonic()
    while time.monotonic() - since_s < for_s:
        time.sleep(0.05)
        before, found = found, count()
        since_s = since_s if found == before else time.monotonic()
    return found
