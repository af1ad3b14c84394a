"""The drop folder as commands see it."""

from __future__ import annotations

import os
import secrets
import string
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from pipeline.cli.messages import from_here, tell_error
from pipeline.cli.sending import BUSY, FAILED_ROWS, NOTHING_SENT, CommandSession, together
from pipeline.cli.setup import whole
from pipeline.config import Config
from pipeline.model import InputError, RunAborted, UsageError
from pipeline.model.formatting import one_line
from pipeline.reporter import Summary
from pipeline.run import SAMPLES, Prepared
from pipeline.runs import RunOptions
from pipeline.watch import (
    ENDED,
    LETTERS,
    SETTLE_S,
    Claim,
    DropError,
    Drops,
    Event,
    FileEnded,
    FileIntake,
    FileQuarantined,
    FileStuck,
    FileWaiting,
    KnownFolders,
    Settling,
    ended,
    finish,
    is_begun,
    is_left,
    prepare_claim,
)

STATE = "drops"
"""The folder beside the ledger that says which files were taken."""

LOOK_EVERY_S = 0.2
MOST_WAIT_S = 5 * SETTLE_S
"""So long a file that is being written is waited for; then it stays for the next time."""


def drops_of(config: Config) -> Drops:
    """The drop folder of a configuration; the samples in it are never touched."""

    def letters() -> str:
        return "".join(secrets.choice(string.ascii_lowercase) for _ in range(LETTERS))

    samples = config.inputs / SAMPLES
    state = config.ledger_folder / STATE
    return Drops(config.inputs, state, without=(samples,), letters=letters)


def send_dropped(
    config: Config, options: RunOptions, session: CommandSession, *, is_agreed: bool
) -> int:
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
        return _OneByOne(drops, config, session).send(options, is_agreed=is_agreed)


class _OneByOne:
    """Sends what was dropped. What stands in the way of one file stops no other.

    codes  exit codes of files that were not sent, or cannot be put away
    """

    def __init__(self, drops: Drops, config: Config, session: CommandSession) -> None:
        self._drops = drops
        self._config = config
        self._session = session
        self._ground = KnownFolders(drops, config)
        self.codes: list[int] = []

    def send(self, options: RunOptions, *, is_agreed: bool) -> int:
        """The exit code."""
        claimed = [*self._drops.unfinished(), *_take(self._drops, self._session, self._hear)]
        claims = list(self._to_send(claimed))
        if not claims:
            if not claimed and not self.codes:
                self._session.tell_nothing_came(from_here(self._drops.inputs))
            return together(self.codes or [0])
        makes = [partial(whole, partial(self._prepared, each, options)) for each in claims]
        files = [(each.file.name, make) for each, make in zip(claims, makes, strict=True)]
        try:
            code = self._session.run(files, is_agreed=is_agreed)
        finally:
            for number, claim in enumerate(claims):
                with self._stuck(claim):
                    self._put_away(claim, self._session.outcomes.get(number))
        return together([code, *self.codes])

    def _to_send(self, claims: Iterable[Claim]) -> Iterator[Claim]:
        """Claims whose rows have to be sent; of the others the file is put away."""
        for claim in claims:
            with self._stuck(claim):
                try:
                    with self._fault_of_one(claim):
                        found, summary = ended(claim, self._drops, self._config)
                except InputError as error:
                    place = self._drops.quarantine(claim, str(error))
                    self._hear(FileQuarantined(claim.file, place, str(error)))
                    continue
                if summary is None:
                    yield found
                else:
                    self._hear(finish(found, self._drops, self._config, summary))

    def _prepared(self, claim: Claim, options: RunOptions) -> Prepared:
        with self._fault_of_one(claim):
            return prepare_claim(claim, self._drops, self._config, options, os.environ)

    def _put_away(self, claim: Claim, outcome: Summary | str | None) -> None:
        """Put a file to where it belongs, after all that was done for it."""
        claim = self._drops.recorded(claim)
        if isinstance(outcome, str):
            self._drops.quarantine(claim, outcome)
        elif outcome is None:
            if not is_begun(claim, self._config):
                self._drops.give_back(claim)
        elif not is_left(outcome, self._config):
            event = finish(claim, self._drops, self._config, outcome)
            if isinstance(event, FileQuarantined) and outcome.exit_code in ENDED:
                self._hear(event)  # the file is not what was read of it

    @contextmanager
    def _fault_of_one(self, claim: Claim) -> Iterator[None]:
        """What cannot be put on record although the disk takes it is the fault of the file."""
        try:
            yield
        except RunAborted as error:
            if not self._ground.fault():
                raise InputError(f"{claim.file}: {error}") from error
            raise

    @contextmanager
    def _stuck(self, claim: Claim) -> Iterator[None]:
        """A file that cannot be put away stops no other."""
        try:
            yield
        except DropError as error:
            self._hear(FileStuck(claim.file, str(error)))

    def _hear(self, event: Event) -> None:
        match event:
            case FileStuck(file, reason) | FileQuarantined(file, _, reason, None):
                self.codes.append(NOTHING_SENT)
                self._session.tell_failure(str(from_here(file)), one_line(reason))
            case FileQuarantined(file, _, reason):
                self.codes.append(FAILED_ROWS)
                self._session.tell_failure(str(from_here(file)), one_line(reason))
            case FileWaiting(file, reason):
                self._session.say(f"{from_here(file)}: {reason}: left for the next time")
            case FileEnded(file, _, summary):
                self._session.say(f"{from_here(file)}: {summary.why}, before")


def _take(drops: Drops, session: CommandSession, tell: Callable[[Event], None]) -> list[Claim]:
    """Claim what is complete, and what becomes so soon, in the order of arrival."""
    settling, give_up_s = Settling(), time.monotonic() + MOST_WAIT_S
    intake = FileIntake(drops, tell)
    claims: list[Claim] = []
    while True:
        now_s = time.monotonic()
        files = list(drops.files())
        intake.on_scan({file.path for file in files})
        claimed = [intake.claim(file, now_s) for file in settling.complete(files, now_s)]
        claims += filter(None, claimed)
        waiting = settling.waiting + intake.held
        if not waiting:
            return claims
        if now_s >= give_up_s:
            session.say(f"{waiting} files are still being written: left for the next time")
            return claims
        time.sleep(LOOK_EVERY_S)
