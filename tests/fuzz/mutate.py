"""Bytes made wrong, from a seed: the same seed makes the same bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MAX_BYTES = 256 << 10
TOKENS = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\r", b'"', b'""', b",", b";", b"\t", b"|"),
    *(b"'", b"[", b"]", b"{", b"}", b"=", b".", b":", b"-", b"\\", b"\\u0000", b"\\ud800", b"#"),
    *(b"null", b"true", b"NaN", b"Infinity", b"1e999", b"-1", b"0", b"9" * 40, b"9" * 5000),
    *(b"[" * 3000, b'{"a":' * 3000, b'"""', b"[[", b"]]", b"omit", b"env:HOME", b"file:/dev/zero"),
    *(b"\xe2\x80\xae", b"\xcc\x81" * 50, b"\xf0\x9f\x92\xa9", b"\xc3\x28", b"\x1b[2J", b" " * 999),
    *(b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffff\r\n"),
    *(b"Retry-After: 99999999999999999999\r\n", b"Retry-After: nan\r\n", b"Date: x\r\n"),
    *(b"9999-12-31T23:59:59-14:00", b"0001-01-01T00:00:00+14:00", b"2026-02-30T00:00"),
)
Act = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def mutated(chance: random.Random, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus, changed one to eight times."""
    data = chance.choice(corpus)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        data = chance.choice(ACTS)(chance, data, corpus)[:MAX_BYTES]
    return data


def _place(chance: random.Random, data: bytes) -> int:
    return chance.randint(0, len(data))


def _insert(chance: random.Random, data: bytes, _corpus: Sequence[bytes]) -> bytes:
    at = _place(chance, data)
    return data[:at] + chance.choice(TOKENS) + data[at:]


def _overwrite(chance: random.Random, data: bytes, _corpus: Sequence[bytes]) -> bytes:
    at, token = _place(chance, data), chance.choice(TOKENS)
    return data[:at] + token + data[at + len(token) :]


def _flip(chance: random.Random, data: bytes, _corpus: Sequence[bytes]) -> bytes:
    if not data:
        return b"\0"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _cut(chance: random.Random, data: bytes, _corpus: Sequence[bytes]) -> bytes:
    start, end = sorted((_place(chance, data), _place(chance, data)))
    return data[:start] + data[end:]


def _truncate(chance: random.Random, data: bytes, _corpus: Sequence[bytes]) -> bytes:
    return data[: _place(chance, data)]


def _repeat(chance: random.Random, data: bytes, _corpus: Sequence[bytes]) -> bytes:
    start, end = sorted((_place(chance, data), _place(chance, data)))
    return data[:end] + data[start:end] * chance.choice((1, 2, 50)) + data[end:]


def _splice(chance: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    other = chance.choice(corpus)
    return data[: _place(chance, data)] + other[_place(chance, other) :]


ACTS: tuple[Act, ...] = (_insert, _insert, _overwrite, _flip, _cut, _truncate, _repeat, _splice)
