"""DER (X.690): one item after the other, and nothing that has a second reading.

A strict reader: definite minimal lengths, no trailing bytes, no tag numbers over 30. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import CertificateFormatError

__all__ = [
    "BIT_STRING",
    "BOOLEAN",
    "GENERALIZED_TIME",
    "INTEGER",
    "OCTET_STRING",
    "OID",
    "SEQUENCE",
    "SET",
    "UTC_TIME",
    "Item",
    "Reader",
]

# Tags (X.690 8.1.2): identifier octet, constructed bit included.
BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID = 0x01, 0x02, 0x03, 0x04, 0x06
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31


class Item(NamedTuple):
    """An item as it was read; `encoding` is the whole of it, tag and length included."""

    tag: int
    content: bytes
    encoding: bytes


class Reader:
    """Reads the items of one constructed value, one after the other (X.690 8 and 10).

    Args:
        data: the value's content.
        where: what it is, for the errors, each of which is a `CertificateFormatError`.
    """

    __slots__ = ("data", "end", "position", "where")

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where = data, where
        self.position, self.end = 0, len(data)

    def more(self) -> bool:
        """Whether there is another item."""
        return self.position < self.end

    def next(self) -> Item:
        """Read an item of any tag."""
        data, start, end = self.data, self.position, self.end
        if end - start < 2:
            raise self.error("cut off")
        tag, length = data[start], data[start + 1]
        position = start + 2
        if tag & 0x1F == 0x1F:
            raise self.error("a tag number over 30 has no place here")
        if length & 0x80:
            octets = length & 0x7F
            if not 0 < octets <= 4 or end - position < octets:
                raise self.error("a length that DER does not allow, or cut off")
            length = int.from_bytes(data[position : position + octets], "big")
            if length < 0x80 or length >> 8 * (octets - 1) == 0:
                raise self.error("a length not in its shortest form")
            position += octets
        if end - position < length:
            raise self.error("cut off")
        self.position = position + length
        return Item(tag, data[position : self.position], data[start : self.position])

    def read(self, tag: int, what: str) -> Item:
        """Read an item that must bear the tag."""
        item = self.next()
        if item.tag != tag:
            raise CertificateFormatError(f"{what}: tag 0x{tag:02x} expected, 0x{item.tag:02x} found")
        return item

    def enter(self, tag: int, what: str) -> Reader:
        """Read an item that must bear the tag, and give a reader of what is in it."""
        return Reader(self.read(tag, what).content, what)

    def optional(self, tag: int) -> Item | None:
        """Read the next item if it bears the tag."""
        if self.more() and self.data[self.position] == tag:
            return self.next()
        return None

    def finish(self) -> None:
        """Refuse what is left."""
        if self.more():
            raise self.error(f"{self.end - self.position} octets too many")

    def error(self, problem: str) -> CertificateFormatError:
        """Make an error that says where."""
        return CertificateFormatError(f"{self.where}: {problem} at octet {self.position}")
