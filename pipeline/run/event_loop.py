"""Runs coroutines in an event loop: Python's own, or uvloop's if that is asked for."""

from __future__ import annotations

import gc
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TypeVar, TypeVarTuple, Unpack

import anyio

from pipeline.http_client.patient_loop import PatientLoop
from pipeline.model import ConfigError, Fault

VARIABLE = "PIPELINE_EVENT_LOOP"
ASYNCIO, UVLOOP = "asyncio", "uvloop"

COLLECT_AFTER = 50_000
"""New objects after which Python searches for cycles of garbage. A run makes few of them, and a
search after each 700 takes a tenth of its CPU time."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run_async(main: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T:
    """Call `main` in a new event loop, and return what it returns.

    raises  ConfigError if `PIPELINE_EVENT_LOOP` names none that can be used
    """
    is_uvloop = event_loop(os.environ) == UVLOOP
    with rare_collections():
        loop = {"use_uvloop": True} if is_uvloop else {"loop_factory": PatientLoop}
        return anyio.run(main, *args, backend_options=loop)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Search for garbage only after `COLLECT_AFTER` new objects while the block runs."""
    first, *others = before = gc.get_threshold()
    if first:  # else somebody has turned them off
        gc.set_threshold(max(first, COLLECT_AFTER), *others)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def event_loop(environ: Mapping[str, str]) -> str:
    """The name of the event loop in use.

    raises  ConfigError
    """
    return choose_loop(environ.get(VARIABLE, ""), is_installed=find_spec(UVLOOP) is not None)


def choose_loop(asked: str, *, is_installed: bool) -> str:
    """The event loop that is asked for; asyncio if none is.

    raises  ConfigError

    >>> choose_loop("", is_installed=True), choose_loop("uvloop", is_installed=True)
    ('asyncio', 'uvloop')
    """
    if asked not in {"", ASYNCIO, UVLOOP}:
        raise ConfigError(
            Fault(
                what=f"{VARIABLE} names no event loop",
                value=asked,
                expected=f"{ASYNCIO} or {UVLOOP}",
            )
        )
    if asked == UVLOOP and not is_installed:
        raise ConfigError(
            Fault(
                what=f"{VARIABLE} asks for uvloop, which is not installed",
                todo=f"Install the extra `uvloop`, or unset {VARIABLE}",
            )
        )
    return asked or ASYNCIO
