"""Send the files of the drop folder once, and open it for `watch`."""

from __future__ import annotations

import hashlib
import os
import secrets
import string
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from pipeline.cli.messages import from_here, print_error
from pipeline.cli.sending import CommandSession, together
from pipeline.cli.setup import uninterrupted
from pipeline.config import Config
from pipeline.model import InputError, RunAborted, UsageError
from pipeline.model.exit_codes import BUSY, FAILED_ROWS, NOTHING_SENT, STOPPED
from pipeline.model.formatting import one_line
from pipeline.model.object_path import ObjectPath
from pipeline.reporter import Summary
from pipeline.run import SAMPLES, Prepared
from pipeline.runs import RunOptions
from pipeline.watch import (
    ENDED,
    LETTERS,
    SETTLE_S,
    Claim,
    DropError,
    DropPlace,
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
    is_free_run,
    is_left,
    prepare_claim,
)

STATE = "drops"
"""The folder beside the ledger that records which files were claimed."""

POLL_S = 0.2
MAX_WAIT_S = 5 * SETTLE_S
"""How long to wait for a file that is still being written; then it is left for the next call."""


def drops_of(config: Config) -> DropPlace:
    """The drop folder of a configuration, without its samples.

    Raises ObjectStorageError if it is in a bucket in which objects cannot be claimed.
    """

    def letters() -> str:
        return "".join(secrets.choice(string.ascii_lowercase) for _ in range(LETTERS))

    if config.inputs_bucket is not None:
        return _bucket_drops(config, config.inputs_bucket, letters)
    samples = config.inputs / SAMPLES
    state = config.ledger_folder / STATE
    return Drops(config.inputs, state, without=(samples,), letters=letters)


def _bucket_drops(config: Config, inputs: ObjectPath, letters: Callable[[], str]) -> DropPlace:
    from pipeline.object_storage import open_bucket  # noqa: PLC0415 - few use a bucket
    from pipeline.watch.bucket_drops import BucketDrops  # noqa: PLC0415

    name = hashlib.sha256(str(inputs).encode()).hexdigest()[:8]
    drops = BucketDrops(
        open_bucket(inputs),
        inputs,
        config.ledger_folder / f"{STATE}-{name}",
        letters=letters,
        is_ours=lambda mark: is_free_run(config, mark.run, mark.sha256),
    )
    drops.check_usable()
    return drops


def send_dropped(
    config: Config, options: RunOptions, session: CommandSession, *, is_agreed: bool
) -> int:
    """Send the files of the drop folder once, move them as `watch` does; return the exit code."""
    if options.rows is not None:
        raise UsageError(
            "--limit and --rows need a file name: files from the drop folder are sent as a whole"
        )
    drops = drops_of(config)
    if not drops.lock.acquire(wait=False):
        who, where = drops.lock.held_by(), from_here(drops.inputs)
        print_error(f"nothing was sent: {who} is sending the files in {where}")
        return BUSY
    with drops.lock:
        return _DropSender(drops, config, session).send(options, is_agreed=is_agreed)


class _DropSender:
    """Sends dropped files. A failure of one file does not stop the others.

    codes  exit codes of files that were not sent, or cannot be moved
    """

    def __init__(self, drops: DropPlace, config: Config, session: CommandSession) -> None:
        self._drops = drops
        self._config = config
        self._session = session
        self._folders = KnownFolders(drops, config)
        self.codes: list[int] = []

    def send(self, options: RunOptions, *, is_agreed: bool) -> int:
        """Send all files; return the exit code."""
        claimed = [
            *self._drops.unfinished(),
            *_claim_complete(self._drops, self._session, self._on_event),
        ]
        claims = list(self._to_send(claimed))
        if not claims:
            if not claimed and not self.codes:
                self._session.report_no_files(from_here(self._drops.inputs))
            return together(self.codes or [0])
        makes = [partial(uninterrupted, partial(self._prepared, each, options)) for each in claims]
        files = [(each.file.name, make) for each, make in zip(claims, makes, strict=True)]
        try:
            code = self._session.run(files, is_agreed=is_agreed)
        finally:
            for number, claim in enumerate(claims):
                with self._report_stuck(claim):
                    self._move(claim, self._session.outcomes.get(number))
                self._drops.let_go(claim)
        return together([code, *self.codes])

    def _to_send(self, claims: Iterable[Claim]) -> Iterator[Claim]:
        """Claims with rows to send; the files of finished ones are moved."""
        for claim in claims:
            with self._report_stuck(claim):
                try:
                    with self._file_errors(claim):
                        found, summary = ended(claim, self._drops, self._config)
                except InputError as error:
                    place = self._drops.quarantine(claim, str(error))
                    self._on_event(FileQuarantined(claim.file, place, str(error)))
                    continue
                if summary is None:
                    yield found
                else:
                    self._on_event(finish(found, self._drops, self._config, summary))
                    if not self._session.delivered(self._config, summary):
                        self.codes.append(STOPPED)

    def _prepared(self, claim: Claim, options: RunOptions) -> Prepared:
        with self._file_errors(claim):
            return prepare_claim(claim, self._drops, self._config, options, os.environ)

    def _move(self, claim: Claim, outcome: Summary | str | None) -> None:
        """Move a file according to the outcome of its run."""
        claim = self._drops.recorded(claim)
        if isinstance(outcome, str):
            self._drops.quarantine(claim, outcome)
        elif outcome is None:
            if not is_begun(claim, self._config):
                self._drops.give_back(claim)
        elif not is_left(outcome, self._config):
            event = finish(claim, self._drops, self._config, outcome)
            if isinstance(event, FileQuarantined) and outcome.exit_code in ENDED:
                self._on_event(event)  # the file changed after it was read

    @contextmanager
    def _file_errors(self, claim: Claim) -> Iterator[None]:
        """Treat an abort as an error of the file, unless the disk fails as well."""
        try:
            yield
        except RunAborted as error:
            if not self._folders.fault():
                raise InputError(f"{claim.file}: {error}") from error
            raise

    @contextmanager
    def _report_stuck(self, claim: Claim) -> Iterator[None]:
        """Report a file that cannot be moved, and continue."""
        try:
            yield
        except DropError as error:
            self._on_event(FileStuck(claim.file, str(error)))

    def _on_event(self, event: Event) -> None:
        match event:
            case FileStuck(file, reason) | FileQuarantined(file, _, reason, None):
                self.codes.append(NOTHING_SENT)
                self._session.report_failure(str(from_here(file)), one_line(reason))
            case FileQuarantined(file, _, reason):
                self.codes.append(FAILED_ROWS)
                self._session.report_failure(str(from_here(file)), one_line(reason))
            case FileWaiting(file, reason):
                self._session.say(f"{from_here(file)}: {reason}; left for the next run")
            case FileEnded(file, _, summary):
                self._session.say(f"{from_here(file)}: {summary.why} (by an earlier run)")


def _claim_complete(
    drops: DropPlace, session: CommandSession, tell: Callable[[Event], None]
) -> list[Claim]:
    """Claim complete files, and those that become complete soon, in order of arrival."""
    settling, give_up_s = Settling(), time.monotonic() + MAX_WAIT_S
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
            session.say(f"{waiting} files are still being written; left for the next run")
            return claims
        time.sleep(POLL_S)
