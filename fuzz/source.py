"""Octets as a source of choices; a short one gives zeros, so that every prefix is an input."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Source:
    """Choices, from the first octet to the last."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._octets)

    def number(self, below: int) -> int:
        """A number from 0, by one octet."""
        self._at += 1
        return self._octets[self._at - 1] % below if self._at <= len(self._octets) else 0

    def one(self, of: Sequence[T]) -> T:
        """One of several."""
        return of[self.number(len(of))]

    def take(self, most: int) -> bytes:
        """Some octets, by the number that the first gives."""
        count = self.number(most + 1)
        self._at += count
        return self._octets[self._at - count : self._at]

    def rest(self) -> bytes:
        """All that is left."""
        rest, self._at = self._octets[self._at :], len(self._octets)
        return rest


def text(octets: bytes) -> str:
    """A text; what is no UTF-8 becomes halves of characters, as the system's file names do."""
    return octets.decode("utf-8", "surrogateescape")
