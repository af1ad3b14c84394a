"""The files of a run in the database, in pieces with checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

from pipeline.model import DamagedError, RunAborted
from pipeline.store.files import aside, publish, removed_on_error, sync_file
from pipeline.store.postgres.connections import PgConnection, PgConnections, durable
from pipeline.store.postgres.text import stored, unstored

PIECE_BYTES = 1 << 20
_DELETE_ROWS = 50_000
_DELETE_PIECES = 64

_PUT_PIECE = "insert into pipeline.pieces values (%s, %s, %s, %b) on conflict do nothing"
_READ_PIECE = "select checksum, data from pipeline.pieces where file = %s and number = %s"
_KNOWN = "select number, bytes, sha256 from pipeline.files where run = %s and name = %s"
_SIZE = """
select coalesce((select sum(bytes) from pipeline.files where run = %(run)s), 0)
    + coalesce((select sum(pg_column_size(r.*)) from pipeline.results r
        join pipeline.ledgers l on l.number = r.ledger where l.run = %(run)s), 0)
"""
# beginning after the rows that are gone: finding that they are takes time
_DELETE_RESULTS = """
with gone as (
    delete from pipeline.results where ledger = %(ledger)s and row > %(after)s and row <= (
        select max(row) from (
            select row from pipeline.results where ledger = %(ledger)s and row > %(after)s
            order by row limit %(most)s
        ) first
    ) returning row
) select max(row) from gone
"""
_DELETE_FROM_LEDGER = (
    "delete from pipeline.commits where ledger = %s",
    "delete from pipeline.exchanges where ledger = %s",
    "delete from pipeline.previous_states where ledger = %s",
    "delete from pipeline.samples where ledger = %s",
    "delete from pipeline.legs where ledger = %s",
    "delete from pipeline.parts where ledger = %s",
    "delete from pipeline.ledgers where number = %s",
)
_DELETE_PIECES_OF = """
delete from pipeline.pieces where file = %s and number in (
    select number from pipeline.pieces where file = %s limit %s
) returning 1
"""


class PgFiles:
    """The files of a run.

    folder  of the run on this machine
    """

    def __init__(self, connections: PgConnections, run: str, folder: Path) -> None:
        self._connections = connections
        self._run = run
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where files are written before they are put, and fetched to."""
        return self._folder

    def make_folder(self) -> Path:
        """Make the folder of a new run."""
        try:
            self._folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise RunAborted(f"{self._folder} cannot be made: {error.strerror}") from error
        return self._folder

    def names(self) -> list[str]:
        """The names of the files that were put."""
        query = "select name from pipeline.files where run = %s and name is not null"
        found = self._connections.rows(query, (stored(self._run),))
        return sorted(unstored(name) for (name,) in found)

    def has(self, name: str) -> bool:
        """True if a file of this name was put."""
        return self._known(name) is not None

    def put(self, path: Path) -> None:
        """Keep a file. The same file again changes nothing."""
        sha256 = _sha256(path)
        known = self._known(path.name)
        if known is not None:
            if known[2] != sha256:
                raise RunAborted(f"{path.name} of run {self._run} was kept with other content")
            return
        query = "insert into pipeline.files (run) values (%s) returning number"
        number = self._connections.change(query, (stored(self._run),))[0][0]
        bytes_ = 0
        for index, piece in enumerate(_pieces(path)):
            bytes_ += len(piece)
            values = number, index, _checksum(number, index, piece), piece
            self._connections.change(_PUT_PIECE, values)
        query = "update pipeline.files set name = %s, bytes = %s, sha256 = %s where number = %s"
        self._connections.change(query, (stored(path.name), bytes_, sha256, number))

    def fetch(self, name: str) -> Path:
        """The path of a copy in the folder; one that is there already is checked, too."""
        known = self._known(name)
        if known is None:
            raise DamagedError(f"run {self._run} has no file {name}")
        number, bytes_, sha256 = known
        path = self._folder / name
        try:
            if not path.exists() or _sha256(path) != sha256:
                self._fetch(number, bytes_, path)
        except OSError as error:
            raise RunAborted(f"{path} cannot be written: {error.strerror}") from error
        return path

    def _fetch(self, number: int, bytes_: int, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = aside(path).with_suffix(f".{os.getpid()}")  # another process may fetch it, too
        with removed_on_error(part):
            with part.open("wb") as file:
                for index in range(-(-bytes_ // PIECE_BYTES)):
                    file.write(self._piece(number, index, path.name))
                sync_file(file)
            publish({part: path})

    def _piece(self, number: int, index: int, name: str) -> bytes:
        def step(connection: PgConnection) -> list[tuple[int, bytes]]:
            return connection.execute(_READ_PIECE, (number, index), binary=True).fetchall()

        for checksum, data in self._connections.do(step):
            if _checksum(number, index, data) == checksum:
                return data
        raise DamagedError(
            f"{name} of run {self._run} is not what was written to the database "
            f"{self._connections.address.label}"
        )

    def size_bytes(self) -> int:
        """Bytes of the files and of the results in the database."""
        return int(self._connections.rows(_SIZE, {"run": stored(self._run)})[0][0])

    def remove(self) -> None:
        """Remove the files, the record and the folder, a part at a time.

        The record loses its name first, so that nobody reads a part of it. What a killed process
        left is removed with the next run.
        """
        forget = "update pipeline.ledgers set run = null where run = %s or starts_with(run, %s)"
        self._connections.change(forget, (stored(self._run), stored(f"{self._run} (")))
        query = "select number from pipeline.files where run = %s"
        for (number,) in self._connections.rows(query, (stored(self._run),)):
            self._connections.change(
                "update pipeline.files set name = null where number = %s", (number,)
            )
            while self._connections.change(_DELETE_PIECES_OF, (number, number, _DELETE_PIECES)):
                pass
            self._connections.change("delete from pipeline.files where number = %s", (number,))
        for (ledger,) in self._connections.rows(
            "select number from pipeline.ledgers where run is null"
        ):
            self._remove_record(ledger)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _remove_record(self, ledger: int) -> None:
        after: int | None = -(2**62)
        while after is not None:
            values = {"ledger": ledger, "after": after, "most": _DELETE_ROWS}
            ((after,),) = self._connections.change(_DELETE_RESULTS, values)

        def step(connection: PgConnection) -> None:
            with durable(connection):
                for query in _DELETE_FROM_LEDGER:
                    connection.execute(query, (ledger,))

        self._connections.do(step)

    def _known(self, name: str) -> tuple[int, int, str] | None:
        found = self._connections.rows(_KNOWN, (stored(self._run), stored(name)))
        return None if not found else (found[0][0], found[0][1], found[0][2])


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def _checksum(number: int, index: int, piece: bytes) -> int:
    return crc32(piece, (number * 1_000_003 + index) & 0xFFFF_FFFF)
