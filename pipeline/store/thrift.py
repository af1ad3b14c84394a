"""Reads Thrift's compact protocol, as far as footers of Parquet files need it. Pure.

Source: thrift-compact-protocol.md of Apache Thrift. Every length is checked against the bytes that
follow, so that a broken footer costs no more time and memory than its own size.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_LONG_FORM = 15
_MAX_LEVELS = 40
_MAX_VARINT_BITS = 70


class ThriftError(ValueError):
    """The bytes do not follow the protocol."""


class TooManyError(ThriftError):
    """A list has more elements than the reader accepts."""

    def __init__(self, count: int) -> None:
        super().__init__(f"a list of {count} elements")
        self.count = count


class Struct(dict[int, Any]):
    """The fields of a struct by id.

    places  byte at which the value of each field begins
    """

    __slots__ = ("places",)

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, int] = {}


class ThriftReader:
    """Reads structs from bytes, starting at `at`, which moves on as they are read.

    most  elements of a list that is not skipped; a longer one raises TooManyError
    """

    def __init__(self, data: bytes, at: int = 0, *, most: int = 1_000_000) -> None:
        self._data = data
        self.at = at
        self._most = most

    def struct(
        self, wanted: Collection[int] | None = None, *, end: int | None = None, level: int = 0
    ) -> Struct:
        r"""Read the struct at the current position, with nested ones.

        wanted  ids of the fields to read; others are skipped. None reads all
        end     id of a field at which to stop

        Raises ThriftError.

        >>> reader = ThriftReader(b"\x15\x0a\x18\x02hi\x00")
        >>> found = reader.struct()
        >>> found, found.places
        ({1: 5, 2: b'hi'}, {1: 1, 2: 3})
        """
        if level > _MAX_LEVELS:
            raise ThriftError("nested too deep")
        found = Struct()
        last = 0
        while (head := self._byte()) != 0:
            step, kind = head >> 4, head & 15
            last = last + step if step else self._signed()
            if last == end:
                break
            if kind in {_TRUE, _FALSE}:
                found[last] = kind == _TRUE
            elif wanted is not None and last not in wanted:
                self._skip(kind, level + 1)
            else:
                found.places[last] = self.at
                found[last] = self._value(kind, level + 1)
        return found

    def enter(self, field: int) -> int:
        r"""Move to a field of the current struct; return the number of structs in its list.

        Returns 1 if the field is a struct. `leave` moves behind the struct that was entered. Raises
        ThriftError if the bytes are broken or there is no such field.

        >>> reader = ThriftReader(b"\x19\x2c\x15\x0a\x00\x15\x0c\x00\x00")
        >>> [reader.struct() for _ in range(reader.enter(1))]
        [{1: 5}, {1: 6}]
        >>> reader.leave()
        """
        last = 0
        while (head := self._byte()) != 0:
            step, kind = head >> 4, head & 15
            last = last + step if step else self._signed()
            if last == field:
                inner, count = self._list_head() if kind in {_LIST, _SET} else (kind, 1)
                if count and inner != _STRUCT:
                    raise ThriftError("not a list of structs")
                return count
            if kind not in {_TRUE, _FALSE}:
                self._skip(kind, 1)
        raise ThriftError(f"no field {field}")

    def leave(self) -> None:
        """Skip the rest of the struct that was entered. Raises ThriftError."""
        self._skip_struct(1)

    def text(self) -> tuple[bytes, int]:
        """The text at the current position, and the byte at which it begins."""
        found = self._taken(self._unsigned())
        return found, self.at - len(found)

    def _value(self, kind: int, level: int) -> Any:
        if level > _MAX_LEVELS:
            raise ThriftError("nested too deep")
        if kind in {_I16, _I32, _I64}:
            return self._signed()
        if kind == _BINARY:
            return self._taken(self._unsigned())
        if kind in {_LIST, _SET}:
            inner, count = self._list_head()
            if count > self._most:
                raise TooManyError(count)
            return [self._element(inner, level + 1) for _ in range(count)]
        if kind == _STRUCT:
            return self.struct(level=level)
        self._skip(kind, level)
        return None

    def _element(self, kind: int, level: int) -> Any:
        return self._byte() == _TRUE if kind in {_TRUE, _FALSE} else self._value(kind, level)

    def _skip(self, kind: int, level: int) -> None:
        if level > _MAX_LEVELS:
            raise ThriftError("nested too deep")
        if kind in {_I16, _I32, _I64}:
            self._unsigned()
        elif kind in {_TRUE, _FALSE, _BYTE}:
            self._taken(1)
        elif kind == _DOUBLE:
            self._taken(8)
        elif kind == _BINARY:
            self._taken(self._unsigned())
        elif kind == _STRUCT:
            self._skip_struct(level)
        elif kind in {_LIST, _SET}:
            inner, count = self._list_head()
            for _ in range(count):
                self._skip(inner, level + 1)
        elif kind == _MAP:
            self._skip_map(level)
        else:
            raise ThriftError(f"unknown type {kind}")

    def _skip_struct(self, level: int) -> None:
        while (head := self._byte()) != 0:
            if not head >> 4:
                self._signed()
            if head & 15 not in {_TRUE, _FALSE}:
                self._skip(head & 15, level + 1)

    def _skip_map(self, level: int) -> None:
        if count := self._counted(self._unsigned()):
            kinds = self._byte()
            for _ in range(count):
                self._skip(kinds >> 4, level + 1)
                self._skip(kinds & 15, level + 1)

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        count = head >> 4
        return head & 15, self._counted(self._unsigned() if count == _LONG_FORM else count)

    def _counted(self, count: int) -> int:
        """`count`, checked: every element takes at least one byte."""
        if count > len(self._data) - self.at:
            raise ThriftError("a count beyond the end")
        return count

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise ThriftError("the end is missing")
        self.at += 1
        return self._data[self.at - 1]

    def _taken(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > len(self._data):
            raise ThriftError("a length beyond the end")
        return self._data[start : self.at]

    def _unsigned(self) -> int:
        value = bits = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << bits
            bits += 7
            if bits > _MAX_VARINT_BITS:
                raise ThriftError("a number without end")
        return value | byte << bits

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
