"""The drop folder as commands see it."""

from __future__ import annotations

import os
import random
import string
import time
from datetime import UTC, datetime
from functools import partial

from pipeline.cli.session import BUSY, Session
from pipeline.cli.setup import whole
from pipeline.cli.words import from_here, tell_error
from pipeline.config import Config
from pipeline.model import UsageError
from pipeline.run import SAMPLES, RunOptions
from pipeline.watch import (
    SETTLE_S,
    Claim,
    Drops,
    Settling,
    ended,
    finish,
    is_begun,
    is_left,
    prepare_claim,
)

LOOK_EVERY_S = 0.2
MOST_WAIT_S = 5 * SETTLE_S
"""So long a file that is being written is waited for; then it stays for the next time."""


def drops_of(config: Config) -> Drops:
    """The drop folder of a configuration; the samples in it are never touched."""

    def letters() -> str:
        return "".join(random.choices(string.ascii_lowercase, k=4))  # noqa: S311 - only a name

    return Drops(config.inputs, without=(config.inputs / SAMPLES,), letters=letters)


def send_dropped(config: Config, options: RunOptions, session: Session, *, is_agreed: bool) -> int:
    """Send what lies in the drop folder, once, and put it away as `watch` does: the exit code."""
    if options.rows is not None:
        raise UsageError(
            "--limit and --rows send a part: name the file. Without one, files are put away whole"
        )
    drops = drops_of(config)
    if not drops.lock.acquire(wait=False):
        who, where = drops.lock.held_by(), from_here(drops.inputs)
        tell_error(f"nothing was sent: {who} sends what is dropped in {where}")
        return BUSY
    with drops.lock:
        claims = [claim for claim in drops.left() if not _put_away(claim, drops, config, session)]
        claims += _take(drops, session)
        if not claims:
            session.tell_nothing_came(from_here(drops.inputs))
            return 0
        make = partial(
            prepare_claim, drops=drops, config=config, options=options, environ=os.environ
        )
        files = [(each.file.name, partial(whole, partial(make, each))) for each in claims]
        try:
            return session.run(files, is_agreed=is_agreed)
        finally:
            for number, claim in enumerate(claims):
                _heed(claim, number, drops, config, session)


def _put_away(claim: Claim, drops: Drops, config: Config, session: Session) -> bool:
    """Whether the run of a claim had ended, and only the file was to be put away."""
    summary = ended(claim, config)
    if summary is not None:
        session.say(f"{from_here(claim.file)}: {summary.why}, before")
        finish(claim, drops, config, summary)
    return summary is not None


def _take(drops: Drops, session: Session) -> list[Claim]:
    """Claim what is complete, and what becomes so soon, in the order of arrival."""
    settling, give_up_s = Settling(), time.monotonic() + MOST_WAIT_S
    claims: list[Claim] = []
    while True:
        now_s = time.monotonic()
        for look in settling.complete(drops.looks(), now_s):
            claim = drops.claim(look.path, datetime.now(UTC))
            if claim is not None:
                claims.append(claim)
        if not settling.waiting:
            return claims
        if now_s >= give_up_s:
            session.say(f"{settling.waiting} files are still being written: left for the next time")
            return claims
        time.sleep(LOOK_EVERY_S)


def _heed(claim: Claim, number: int, drops: Drops, config: Config, session: Session) -> None:
    """Put a file to where it belongs, after all that was done for it."""
    outcome = session.outcomes.get(number)
    if isinstance(outcome, str):
        drops.set_aside(claim, outcome)
    elif outcome is not None:
        if not is_left(outcome, config):
            finish(claim, drops, config, outcome)
    elif not is_begun(drops.as_noted(claim), config):
        drops.give_back(claim)
