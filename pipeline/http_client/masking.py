"""Masks secrets in texts that people see, in whatever encoding a peer repeats them. Pure.

Only texts are masked. Replies are decoded, compared and merged as they arrived.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

HIDDEN = "***"

SHORTEST_HIDDEN = 6
"""Shorter secrets are not masked: they would mask half of every text."""

SHORTEST_PART = 4
"""A text that is cut within a secret is masked if it shows at least this many characters."""

MAX_NESTED = 6
"""Levels of nested encodings that are decoded."""

# What a page or a mail puts between the characters of a long word: blanks, line ends, the NULs of
# UTF-16, no-break and zero-width characters, tags that allow or force a new line.
_ASCII_BLANKS = b" \t\n\r\f\v\0"
_ODD_BLANK = re.compile(
    rb"\xc2[\xa0\xad]|\xe2\x80[\x8b-\x8d\xa8\xa9]|\xe2\x81\xa0|\xef\xbb\xbf"
    rb"|<[wW]?[bB][rR]\s*/?>"
)
_BLANKS = re.compile(rb"[\s\0]+|" + _ODD_BLANK.pattern)
# A line that goes on, in quoted-printable and source text; its end may have become a blank.
_SOFT_BREAK = re.compile(rb"[=\\]\s+")

_ESCAPE = re.compile(
    rb"%[0-9A-Fa-f]{2}|%u[0-9A-Fa-f]{4}"  # URLs; the second by old scripts
    rb"|\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}"
    rb"""|\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|["'\\/bfnrt])"""  # JSON, and what prints like it
    rb"|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?"
)
_CUT = re.compile(rb"\.{3,}|\xe2\x80\xa6")  # how a text shows that it was cut
_TORN = re.compile(rb"(?:%[0-9A-Fa-fu]{0,4}|\\u?[0-9A-Fa-f]{0,3}|&#?[0-9A-Za-z]{0,8})\Z")

_PLAIN_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_PACKED_REST = re.compile(rb"[A-Za-z0-9+/_-]?=*")


class Mask:
    r"""Masks secrets in texts: debug pages and gateways repeat the request that they got.

    A secret is found as it is, percent-encoded, with JSON or HTML escapes, in base64 (also within a
    longer text, as in `user:password`) and in hexadecimal, in nested encodings, and with blanks and
    line ends within it. Secrets shorter than `SHORTEST_HIDDEN` are not masked.

    >>> Mask("open/sesame").hide(r"the key is open\/sesame, or open%2Fses  ame")
    'the key is ***, or ***'
    """

    __slots__ = ("_heads", "_needles")

    def __init__(self, *secrets: str) -> None:
        self._needles = sorted(
            {
                needle
                for secret in secrets
                if len(secret) >= SHORTEST_HIDDEN
                for needle in _needles(secret)
                if len(needle.text) >= SHORTEST_HIDDEN
            }
        )
        self._heads = sorted({needle.text[:SHORTEST_PART] for needle in self._needles})

    def hide(self, text: str) -> str:
        """Return the text with secrets masked, also the start of one where `...` shows a cut."""
        if not text:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        hidden = self.hide_bytes(raw)
        return text if hidden is raw else hidden.decode("utf-8", "surrogatepass")

    def hide_bytes(self, data: bytes) -> bytes:
        """Mask a text in any character encoding; return `data` itself if nothing is masked."""
        if not self._needles:
            return data
        spans = list(self._spans(data))
        if _SOFT_BREAK.search(data) or _ESCAPE.search(data):  # which may stand for a line end
            spans += self._spans(data, joins=True)
        return _without(data, spans) if spans else data

    def _spans(self, data: bytes, *, joins: bool = False) -> Iterator[tuple[int, int]]:
        """Yield the spans of secrets in a text, after decoding no, one, two... encodings."""
        for layers in _levels(data, joins=joins):
            text = layers[-1].text
            if any(head in text for head in self._heads):
                yield from (_origin(layers, span) for span in self._found(text))

    def _found(self, text: bytes) -> Iterator[tuple[int, int]]:
        cuts = list(_cuts(text))
        for needle in self._needles:
            if needle.text[:SHORTEST_PART] in text:
                yield from _whole(text, needle)
                yield from _cut_prefixes(text, needle.text, cuts)


class _Needle(NamedTuple):
    """A form of a secret to search for.

    is_led, is_followed  it is base64, and its first or last byte shares a character with the text
                         before or after it
    """

    text: bytes
    is_led: bool = False
    is_followed: bool = False


def _needles(secret: str) -> Iterator[_Needle]:
    """Yield the forms that a secret takes in a text without blanks."""
    raw = secret.encode("utf-8", "surrogatepass")
    spellings = {raw, secret.replace(" ", "+").encode("utf-8", "surrogatepass")}
    packed = {raw}
    if not secret.isascii():  # read in another code than it was written in
        latin = secret.encode("latin-1", "ignore")
        packed |= {latin} if latin.decode("latin-1") == secret else set()
        spellings |= packed | {raw.decode("latin-1").encode()}
    for spelling in spellings:
        for layers in _levels(spelling):
            yield _Needle(layers[-1].text)
    for each in packed:
        yield _Needle(each.hex().encode())
        yield _Needle(each.hex().upper().encode())
        for before in range(3):
            yield from _in_base64(each, before)


def _in_base64(data: bytes, before: int) -> Iterator[_Needle]:
    """Yield the base64 characters of `data` alone, if `before` bytes (modulo 3) precede it."""
    packed = b64encode(bytes(before) + data)
    first, last = -(-8 * before // 6), 8 * (before + len(data)) // 6
    is_followed = bool(8 * (before + len(data)) % 6)
    for text in {packed, packed.translate(bytes.maketrans(b"+/", b"-_"))}:
        yield _Needle(text[first:last], before > 0, is_followed)


# Decoding one layer, and mapping positions back...


class _Layer:
    """A text with each match of a pattern replaced, and a map back to the original."""

    __slots__ = ("_before", "_by", "_edits", "_pattern", "text")

    def __init__(self, before: bytes, pattern: re.Pattern[bytes], by: _Codes | None = None) -> None:
        self._before, self._pattern, self._by = before, pattern, by
        self._edits: tuple[list[int], list[int], list[tuple[int, int]]] | None = None
        if by is not None:
            self.text = pattern.sub(lambda match: by[match[0]], before)
        elif pattern is _BLANKS:  # the same, faster
            self.text = _ODD_BLANK.sub(b"", before).translate(None, _ASCII_BLANKS)
        else:
            self.text = pattern.sub(b"", before)

    def came_from(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text from which `text[start:end]` was made."""
        return self._place(start)[0], self._place(end - 1)[1]

    def _place(self, at: int) -> tuple[int, int]:
        """Return the original span of the byte at `at`."""
        if self._edits is None:
            self._edits = self._find_edits()
        starts, ends, places = self._edits
        last = bisect_right(starts, at) - 1
        if last < 0:
            return at, at + 1
        if at < ends[last]:
            return places[last]
        at += places[last][1] - ends[last]
        return at, at + 1

    def _find_edits(self) -> tuple[list[int], list[int], list[tuple[int, int]]]:
        """Return starts, ends and original spans of the replacements."""
        starts, ends, places, shift = [], [], [], 0
        for match in self._pattern.finditer(self._before):
            place = match.span()
            starts.append(place[0] + shift)
            ends.append(starts[-1] + (0 if self._by is None else len(self._by[match[0]])))
            shift = ends[-1] - place[1]
            places.append(place)
        return starts, ends, places


def _origin(layers: Sequence[_Layer], span: tuple[int, int]) -> tuple[int, int]:
    """Return the span in the first text of a span in the last."""
    for layer in reversed(layers):
        span = layer.came_from(*span)
    return span


def _levels(data: bytes, *, joins: bool = False) -> Iterator[list[_Layer]]:
    """Yield the layers of a text: without blanks, then with one encoding after another decoded.

    joins  also remove line continuation signs
    """
    codes = _Codes()
    layers = [_Layer(data, _SOFT_BREAK)] if joins else []
    layers.append(_Layer(layers[-1].text if joins else data, _BLANKS))
    yield layers
    for _ in range(MAX_NESTED):
        undone = _Layer(layers[-1].text, _ESCAPE, codes)
        if undone.text == layers[-1].text:
            return
        layers = [*layers, undone]
        if joins:
            layers.append(_Layer(undone.text, _SOFT_BREAK))
        layers.append(_Layer(layers[-1].text, _BLANKS))
        yield layers


class _Codes(dict[bytes, bytes]):
    """A cache of escapes and their characters."""

    def __missing__(self, code: bytes) -> bytes:
        self[code] = _unescaped(code)
        return self[code]


def _unescaped(code: bytes) -> bytes:
    kind, rest = code[:1], code[1:]
    if kind == b"&":
        return _of_entity(code)
    if kind == b"%" and rest[:1] != b"u":
        return bytes.fromhex(rest.decode("ascii"))
    if rest[:1] not in (b"u", b"x"):
        return _PLAIN_ESCAPES.get(rest, rest)
    units = [int(unit, 16) for unit in re.findall(rb"[ux]([0-9A-Fa-f]+)", code)]
    if len(units) > 1:  # a pair that stands for one character
        units = [0x10000 + ((units[0] - 0xD800) << 10) + units[1] - 0xDC00]
    return chr(units[0]).encode("utf-8", "surrogatepass")


def _of_entity(code: bytes) -> bytes:
    """Return the character of `&...;`, in any case; `code` itself if it is no entity."""
    name = code.decode("ascii")
    for each in (name, name.lower()):
        if (text := html.unescape(each)) != each:
            return text.encode("utf-8", "surrogatepass")
    return code


# Finding secrets...


def _whole(text: bytes, needle: _Needle) -> Iterator[tuple[int, int]]:
    at = text.find(needle.text)
    while at >= 0:
        end = at + len(needle.text)
        start = max(0, at - needle.is_led)
        if needle.is_followed and (rest := _PACKED_REST.match(text, end)):
            yield start, rest.end()
        else:
            yield start, end
        at = text.find(needle.text, end)


def _cuts(text: bytes) -> Iterator[int]:
    """Yield the positions where a text was cut, with and without half an escape."""
    for end in (match.start() for match in _CUT.finditer(text)):
        yield end
        torn = _TORN.search(text[max(0, end - 10) : end])
        if torn:
            yield end - len(torn.group())


def _cut_prefixes(text: bytes, needle: bytes, ends: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the spans of starts of `needle` that end at a cut."""
    for end in ends:
        at = text.find(needle[:SHORTEST_PART], max(0, end - len(needle)), end)
        while at >= 0:
            if needle.startswith(text[at:end]):
                yield at, end
                break
            at = text.find(needle[:SHORTEST_PART], at + 1, end)


def _without(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    """Return `data` with `spans` masked; they may overlap or touch."""
    kept, done, last = bytearray(), 0, -1
    for start, end in sorted(spans):
        if start > last:
            kept += data[done:start] + HIDDEN.encode()
        done = last = max(last, end)
    return bytes(kept + data[done:])
