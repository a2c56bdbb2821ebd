"""What goes over the wire: paths that stay paths, and messages in which no server finds an end."""

from __future__ import annotations

import re
import smtplib
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, strategies as st

from smtpverify import CommandArgumentError
from smtpverify.smtp import wire
from smtpverify.smtp.wire import Body, check_argument, forward_path, stuff, with_crlf

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpverify.smtp.wire import MessageData

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


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda octets: octets.decode("ascii")])
def test_size_of_a_large_one(kind: Any) -> None:
    """RFC 1870 5: exact as long as that costs nothing, and an estimate from below behind it."""
    assert Body(kind(b"\n" * wire.CHUNK)).size == 2 * wire.CHUNK
    assert Body(kind(b"\n" * (wire.CHUNK + 1))).size == wire.CHUNK + 1
    assert Body(kind(b"x" * (wire.CHUNK + 1))).size == wire.CHUNK + 1


@pytest.mark.parametrize(
    "text",
    ["\u00e9", "x" * 1_000_000 + "\u010a", "\u760d\u760a", "\udc0a"],
    ids=["e", "long", "narrow", "lone"],
)
def test_text_is_ascii(text: str) -> None:
    """No character is narrowed to what it is not, such as U+760D to CR; octets are the caller's affair."""
    with pytest.raises(UnicodeEncodeError, match="ordinal not in range"):
        Body(text)
    octets = text.encode("utf-8", "surrogatepass")
    assert b"".join(Body(octets).stuffed()) == octets + b"\r\n.\r\n"


def test_what_is_no_message() -> None:
    """`bytes()` would make NULs of a number, and octets of a list."""
    for thing in (5, True, None, [1, 2]):
        with pytest.raises(TypeError, match="a bytes-like object is required"):
            Body(thing)  # type: ignore[arg-type]


@pytest.mark.parametrize("message", [b"", "", bytearray(), memoryview(b"")])
def test_an_empty_message(message: MessageData) -> None:
    body = Body(message)
    assert body.size == 0
    assert list(body.pieces()) == [b"\r\n"]
    assert list(body.stuffed()) == [b"\r\n.\r\n"]


def test_a_message_is_read_as_often_as_need_be() -> None:
    """Once ahead of a refusal, say, and once again for the next try."""
    for message in (b"x\n", b"x\n" * wire.CHUNK):
        body = Body(message)
        assert list(body.stuffed()) == list(body.stuffed())
        assert list(body.pieces()) == list(body.pieces())


def test_the_end_goes_with_the_last_piece() -> None:
    """A write of its own for the end would be a packet of its own."""
    sent = list(Body(b"x" * (2 * wire.CHUNK)).stuffed())
    assert [len(piece) for piece in sent] == [wire.CHUNK, wire.CHUNK, 5]
    sent = list(Body(b"x" * (2 * wire.CHUNK - 1) + b"\n").stuffed())
    assert [len(piece) for piece in sent] == [wire.CHUNK, wire.CHUNK + 4]


@pytest.mark.parametrize("message", [b"a\r\0\r\0bcdef", "a\r\0\r\0bcdef"])
def test_a_piece_is_no_longer_than_it_must_be(message: MessageData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a run that can't be judged by itself, pieces are of their size again."""
    monkeypatch.setattr(wire, "CHUNK", 2)
    assert list(Body(message).pieces()) == [b"a", b"\r\n\0\r\n\0b", b"cd", b"ef", b"\r\n"]


def test_a_text_of_a_class_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A template engine's, for example."""

    class Safe(str):
        __slots__ = ()

    monkeypatch.setattr(wire, "CHUNK", 2)
    assert b"".join(Body(Safe("\0\0\0.\r\r\r")).stuffed()) == b".\0\0\0.\r\n\r\n\r\n.\r\n"


def test_other_octets() -> None:
    assert list(Body(memoryview(b"x")).stuffed()) == [b"x\r\n.\r\n"]
    assert list(Body(memoryview(b"abcd")[::2]).stuffed()) == [b"ac\r\n.\r\n"]
    assert with_crlf(b"\r\n") == b"\r\n"
    assert stuff(b".\r\n", b"x") == b".\r\n"
    assert stuff(b".\r\n") == b"..\r\n"


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


@pytest.mark.parametrize(
    "message",
    [b"0123456789" * 2_000_000, "012345.\r\n" * 2_000_000, b".\n" * 10_000_000],
    ids=["octets", "text", "lines"],
)
def test_memory(message: MessageData) -> None:
    """A message is never held twice."""
    tracemalloc.start()
    for piece in Body(message).stuffed():
        assert len(piece) <= 2 * wire.CHUNK + 5
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


local_parts = st.from_regex(r"[a-z0-9+_-]{1,8}(\.[a-z0-9]{1,4})?", fullmatch=True) | st.from_regex(
    r'"([A-Za-z0-9 .@<>(),:;]|\\["\\])+"', fullmatch=True
)
domains = st.from_regex(
    r"[a-z0-9]{1,8}(\.[a-z0-9-]{1,8}){0,2}|\[192\.0\.2\.1\]|\[IPv6:2001:db8::1\]", fullmatch=True
)
names = st.from_regex(r'([A-Za-z]{1,6}( [A-Za-z]{1,6})? |"[ -!#-\[\]-~\u00e9]{1,20}" )?', fullmatch=True)
comments = st.from_regex(r"( \([A-Za-z0-9 @.]*\))?", fullmatch=True)


@given(local_parts, domains, names, comments, st.sampled_from(["", " ", "   "]))
def test_addresses_are_smtplibs(local: str, domain: str, name: str, comment: str, space: str) -> None:
    """RFC 5321 4.1.2: display names and comments are no part of a path, whatever stands in them."""
    for address in (f"{local}@{domain}", f"<{local}@{domain}>", f"{name}<{local}@{domain}>"):
        written = f"{space}{address}{comment}{space}"
        path = f"<{local}@{domain}>"
        if smtplib.quoteaddr(written) != path:
            assert domain.startswith("[")  # behind which some Pythons can't bear a space
            with pytest.raises(CommandArgumentError):
                forward_path(written)
            continue
        assert forward_path(written) == forward_path(written, utf8=True) == path


@given(st.from_regex(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,10}@[A-Za-z0-9.-]{1,10}", fullmatch=True))
def test_the_short_way_is_smtplibs(address: str) -> None:
    """What looks plain is not parsed, and comes to the same."""
    assert forward_path(address) == smtplib.quoteaddr(address)


@pytest.mark.parametrize(
    "address",
    [
        "a@b> SIZE=1",
        "<a@b> SIZE=1",
        "<a@b> X",
        "<> X",
        "a@b>",
        "<a@b",
        "<<a@b>>",
        "<a b@c>",
        "Bob <a b@c>",
        "Bob <a@b c>",
        "Bob Smith",
        "a<b@c",
        # Some Pythons' smtplib takes the first of two.
        "a@b, c@d",
        "a@b,",
        "<a@b>, <c@d>",
        "Bob <a@b>, Carol <c@d>",
        "a@b (x), c@d",
        "a@b <c@d>",
        "<a@b>c@d",
        "x: a@b;",
        # Of this they make the null path.
        "a@b (c) d@e",
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
        with pytest.raises(CommandArgumentError) as caught:
            forward_path(address, utf8=utf8)
        said = f"'{ascii(address)[1:-1]}' is no address: space, <, > and \\ must stand in a quoted local part"
        control = "command and arguments contain prohibited "
        assert str(caught.value) == said or str(caught.value).startswith(control)


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


@given(st.text("\u760d\u760a\u010a\u010d\u220a\u560d@a.", min_size=1, max_size=8), st.booleans())
@example("a@b\u010d\u010aRCPT", False)
@example("\u760d\u760aRCPT TO:", True)
def test_no_character_is_narrowed(text: str, utf8: bool) -> None:
    """U+760D, U+010A and their like, whose last octets are CR's and LF's, never become them."""
    for address in (text, f"{text}@example.org", f"Bob <a@{text}>"):
        try:
            path = forward_path(address, utf8=utf8)
        except ValueError:
            continue
        octets = path.encode("utf-8" if utf8 else "ascii")
        assert set(octets).isdisjoint(b"\r\n\0 ")


def test_internationalized_domains() -> None:
    """RFC 5891 4: IDNA 2008, in which the sharp s is a letter."""
    assert forward_path("bob@fa\u00df.de") == "<bob@xn--fa-hia.de>"
    assert forward_path("Bob <bob@B\u00fccher.example>") == "<bob@xn--bcher-kva.example>"
    assert forward_path("b\u00f6b@fa\u00df.de", utf8=True) == "<b\u00f6b@fa\u00df.de>"
    assert forward_path("<@relay.example:bob@fa\u00df.de>") == "<bob@xn--fa-hia.de>"
    assert forward_path('"b b"@fa\u00df.de') == '<"b b"@xn--fa-hia.de>'
    for address in ("b\u00f6b@example.org", "b\u00f6b", "b\u00f6b@fa\u00df.de", "b@fa\u00df.de@x"):
        with pytest.raises(UnicodeEncodeError, match="ordinal not in range"):
            forward_path(address)
    with pytest.raises(CommandArgumentError, match="empty label"):
        forward_path("bob@\u00df..de")


def test_arguments() -> None:
    check_argument('NOOP \u760d "quoted" <x> \u00a0~')
    check_argument("")
    for code in (*range(0x20), *range(0x7F, 0xA0)):
        with pytest.raises(CommandArgumentError, match=r"prohibited (control|newline) characters: NOOP"):
            check_argument(f"NOOP{chr(code)}x")
    start = "command and arguments contain prohibited"  # smtplib's own words
    for command, said in (
        ("NOOP\r\nx", "newline characters: NOOP\\r\\nx"),
        ("NOOP\rx", "newline characters: NOOP\\rx"),
        ("NOOP\nx\0", "newline characters: NOOP\\nx\\x00"),
        ("NOOP\0\n", "control characters: NOOP\\x00\\n"),
        ("NOOP \x85", "control characters: NOOP \\x85"),
    ):
        with pytest.raises(CommandArgumentError) as caught:
            check_argument(command)
        assert str(caught.value) == f"{start} {said}"
