"""SASLprep (RFC 4013): the form of names and passwords in which all ways to type one are the same. Pure."""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0

from ..errors import CommandArgumentError

__all__ = ["saslprep"]

_PROHIBITED = (  # RFC 4013 2.3
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str, what: str, *, stored: bool) -> str:
    """Prepare a text.

    Args:
        text: as it was typed.
        what: what it is, for errors, which do not repeat it.
        stored: characters that Unicode 3.2 does not have are refused (RFC 3454 7); else they stay.

    Raises:
        CommandArgumentError: it holds a character that is prohibited, or mixes directions of writing.
    """
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared: str = ucd_3_2_0.normalize("NFKC", mapped)
    problem = _problem(prepared, stored=stored)
    if problem is None:
        return prepared
    text = mapped = prepared = ""  # they show in no traceback
    raise CommandArgumentError(
        f"{what}: SCRAM wants it prepared by SASLprep, and it contains {problem}; "
        "a mechanism that sends it as it is, such as PLAIN, may be named instead"
    )


def _problem(prepared: str, *, stored: bool) -> str | None:
    if any(prohibited(char) for char in prepared for prohibited in _PROHIBITED):
        return "a character that it prohibits (RFC 4013 2.3)"
    if stored and any(stringprep.in_table_a1(char) for char in prepared):
        return "a character that is newer than Unicode 3.2 (RFC 4013 2.5)"
    if any(stringprep.in_table_d1(char) for char in prepared):  # RFC 3454 6
        ends = stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])
        if not ends or any(stringprep.in_table_d2(char) for char in prepared):
            return "text of both directions of writing (RFC 4013 2.4)"
    return None
