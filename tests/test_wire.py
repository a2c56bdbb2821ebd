"""What goes over the wire: paths that stay paths, and messages in which no server finds an end."""

from __future__ import annotations

import re
import smtplib
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from smtpverify import CommandArgumentError
from smtpverify.smtp import wire
from smtpverify.smtp.wire import Body, check_argument, forward_path, stuff, with_crlf

if TYPE_CHECKING:
    from collections.abc import Callable

# --- messages ------------------------------------------------------------------------------------

odd = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"\0", b"a"]), max_size=14).map(b"".join)


def reference(message: bytes) -> bytes:
    """RFC 5321 2.3.8, slowly: every line end a CRLF, the last one's too."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    return lines if lines.endswith(b"\r\n") else lines + b"\r\n"


@given(odd, st.integers(2, 9))
def test_line_ends(message: bytes, chunk: int) -> None:
    """RFC 5321 2.3.8, however the message is cut into pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "CHUNK", chunk)
        assert b"".join(Body(message).pieces()) == reference(message)
        assert b"".join(Body(message.decode("ascii")).pieces()) == reference(message)
        assert b"".join(Body(bytearray(message)).pieces()) == reference(message)
    assert b"".join(Body(message).pieces()) == reference(message)


@given(odd, st.integers(2, 9))
def test_dots_come_off_again(message: bytes, chunk: int) -> None:
    """RFC 5321 4.5.2: the server removes the first dot of each line, and finds what was sent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "CHUNK", chunk)
        sent = b"".join(Body(message).stuffed())
    assert sent == b"".join(Body(message).stuffed())
    *lines, end, rest = sent.split(b"\r\n")
    assert (end, rest) == (b".", b"")
    assert b"".join(line.removeprefix(b".") + b"\r\n" for line in lines) == reference(message)


# How servers have been seen to look for the end of a message.
ENDS: dict[str, Callable[[bytes], int]] = {
    "as it is": lambda octets: octets.find(b"\r\n.\r\n"),
    "a bare LF ends a line": lambda octets: re.sub(rb"\r?\n", b"\r\n", octets).find(b"\r\n.\r\n"),
    "a bare CR ends a line": lambda octets: re.sub(rb"\r\n?|\n", b"\r\n", octets).find(b"\r\n.\r\n"),
    "NULs are dropped": lambda octets: octets.replace(b"\0", b"").find(b"\r\n.\r\n"),
    "NULs are dropped, CRs too": lambda octets: (
        octets.replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"\r\n").find(b"\r\n.\r\n")
    ),
    "\\n.\\n": lambda octets: octets.find(b"\n.\n"),
    "\\r.\\r": lambda octets: octets.find(b"\r.\r"),
    "\\n.\\r\\n": lambda octets: octets.find(b"\n.\r\n"),
    "\\r\\n.\\r": lambda octets: octets.find(b"\r\n.\r"),
}


@pytest.mark.parametrize("server", ENDS)
@given(message=odd)
def test_no_server_finds_an_end_in_it(server: str, message: bytes) -> None:
    """The end is found at the end, or, by a server that looks for something else, nowhere."""
    sent = b"\r\n" + b"".join(Body(message).stuffed())
    inside = sent.removesuffix(b"\r\n.\r\n") + b"\r\n"
    assert ENDS[server](inside) == -1


@given(odd)
def test_size(message: bytes) -> None:
    """RFC 1870 5: octets with CRLF line ends; smtplib's figure, without a line end that is ours."""
    normalized = smtplib._fix_eols(message.decode("ascii"))  # type: ignore[attr-defined]
    assert Body(message).size == Body(message.decode("ascii")).size == len(normalized)


def test_size_of_a_large_one() -> None:
    assert Body(b"\n" * (wire.CHUNK + 1)).size == wire.CHUNK + 1


def test_text_is_ascii() -> None:
    for text in ("\u00e9", "x" * 1_000_000 + "\u010a"):
        with pytest.raises(UnicodeEncodeError):
            Body(text)


def test_other_octets() -> None:
    assert list(Body(memoryview(b"x")).stuffed()) == [b"x\r\n.\r\n"]
    assert list(Body(b"").stuffed()) == [b"\r\n.\r\n"]
    assert with_crlf(b"\r\n") == b"\r\n"
    assert stuff(b".\r\n", b"x") == b".\r\n"


@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from([b"", b".", b"\n.", b"\n", b"a"]))
def test_runs_longer_than_a_piece(nuls: int, returns: int, end: bytes) -> None:
    """However long a run of what can't be judged by itself is, it is judged with what follows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "CHUNK", 2)
        for run in (b"\0" * nuls + b"\r" * returns, b"\r" * returns + b"\0" * nuls):
            message = b"a\r\n" + run + end + run + b"b"
            assert b"".join(Body(message).pieces()) == reference(message)
            sent = b"\r\n" + b"".join(Body(message).stuffed())
            inside = sent.removesuffix(b"\r\n.\r\n") + b"\r\n"
            assert all(find(inside) == -1 for find in ENDS.values())


def test_memory() -> None:
    """A message is never held twice."""
    message = b"0123456789" * 2_000_000
    tracemalloc.start()
    for piece in Body(message).stuffed():
        assert len(piece) <= wire.CHUNK + 5
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


# --- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "bob@example.org",
        "b.o+b_{}'/@sub.example-1.org",
        "postmaster",
        "",
        "<>",
        "<bob@example.org>",
        "Bob <bob@example.org>",
        '"Bob B." <bob@example.org>',
        '"b b"@example.org',
        '"b\\"b"@example.org',
        '">"@example.org',
        "bob@[192.0.2.1]",
        "bob@[IPv6:2001:db8::1]",
        "<@relay.example:bob@example.org>",
        "bob@exa_mple.org",
        "bob@",
        "bob@example.org (Bob)",
        "bob@example.org ",
    ],
)
def test_paths_are_smtplibs(address: str) -> None:
    assert forward_path(address) == forward_path(address, utf8=True) == smtplib.quoteaddr(address)


@given(st.from_regex(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,10}@[A-Za-z0-9.-]{1,10}", fullmatch=True))
def test_the_short_way_is_smtplibs(address: str) -> None:
    """What looks plain is not parsed, and comes to the same."""
    assert forward_path(address) == smtplib.quoteaddr(address)


@pytest.mark.parametrize(
    "address",
    [
        "a@b> SIZE=1",
        "a@b c",
        "a b@c",
        "a\\@b",
        "a@b\r\nRCPT TO:<x@y>",
        "a\0@b",
        "a\x0b@b",
        "a\x7f@b",
        "a\x85@b",
        "a\u2028@b",
        "a\u00a0@b",
        "a\t@b",
    ],
)
def test_what_would_not_stay_one(address: str) -> None:
    for utf8 in (True, False):
        with pytest.raises(CommandArgumentError):
            forward_path(address, utf8=utf8)


@given(st.text(max_size=20), st.booleans())
def test_any_text(address: str, utf8: bool) -> None:
    """A path without what ends it outside of quotes, or a ValueError."""
    try:
        path = forward_path(address, utf8=utf8)
    except ValueError:
        return
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", path)
    assert bare.startswith("<")
    assert bare.endswith(">")
    assert not re.search(r"[\s<>\\\x00-\x1f\x7f]", bare[1:-1])
    assert utf8 or path.isascii()


def test_internationalized_domains() -> None:
    """RFC 5891 4: IDNA 2008, in which the sharp s is a letter."""
    assert forward_path("bob@fa\u00df.de") == "<bob@xn--fa-hia.de>"
    assert forward_path("Bob <bob@B\u00fccher.example>") == "<bob@xn--bcher-kva.example>"
    assert forward_path("b\u00f6b@fa\u00df.de", utf8=True) == "<b\u00f6b@fa\u00df.de>"
    for address in ("b\u00f6b@example.org", "b\u00f6b"):
        with pytest.raises(UnicodeEncodeError):
            forward_path(address)
    with pytest.raises(CommandArgumentError, match="empty label"):
        forward_path("bob@\u00df..de")


def test_arguments() -> None:
    check_argument('NOOP \u760d "quoted" <x>')
    for code in (*range(0x20), *range(0x7F, 0xA0)):
        with pytest.raises(CommandArgumentError, match=r"prohibited (control|newline) characters: NOOP"):
            check_argument(f"NOOP{chr(code)}x")
    with pytest.raises(CommandArgumentError, match=r"newline characters: NOOP\\r\\nx$"):
        check_argument("NOOP\r\nx")
