"""Replies (RFC 5321 4.2): what is one, what never will be, and how much of it is read."""

from __future__ import annotations

import io
import pickle
import smtplib
from time import monotonic

import pytest
from hypothesis import example, given, strategies as st

from smtpverify import MalformedReplyError, Reply, enhanced_status
from smtpverify.smtp.replies import MAX_LINE, MAX_REPLY, ReplyParser

GOOD: dict[bytes, tuple[int, bytes]] = {
    b"250 ok\r\n": (250, b"ok"),
    b"250 ok\n": (250, b"ok"),  # tolerated
    b"250\r\n": (250, b""),
    b"250 \r\n": (250, b""),
    b"354 go on \t\r\n": (354, b"go on"),
    b"599 so\rbare\r\n": (599, b"so\rbare"),
    b"200 x\r\n": (200, b"x"),
    b"290 x\r\n": (290, b"x"),
    b"250-one\r\n250-two\n250 three\r\n": (250, b"one\ntwo\nthree"),
    b"250-\r\n250\r\n": (250, b"\n"),
    b"550 \xff\x00\x1b\r\n": (550, b"\xff\x00\x1b"),
    b"250 " + b"x" * (MAX_LINE - 6) + b"\r\n": (250, b"x" * (MAX_LINE - 6)),
}
BAD: dict[bytes, int] = {
    b"199 x\r\n": 199,
    b"600 x\r\n": 600,
    b"000 x\r\n": 0,
    b"2_0 x\r\n": -1,
    b"+25 x\r\n": -1,
    b"-25 x\r\n": -1,
    b" 25 x\r\n": -1,
    b"25 x\r\n": -1,
    b"2500 x\r\n": 250,
    b"250x\r\n": 250,
    b"250\tx\r\n": 250,
    b"\r\n": -1,
    b"\n": -1,
    b"x\r\n": -1,
    b"\xd9\xa2\xd9\xa5\xd9\xa0 x\r\n": -1,  # digits elsewhere
    b"SSH-2.0-x\r\n": -1,
    b"HTTP/1.1 400 Bad Request\r\n": -1,
    b"* OK IMAP4\r\n": -1,
    b"+OK POP3\r\n": -1,
    b"\x16\x03\x01\x02\x00\x01": -1,
    b"250-one\r\n251 two\r\n": 251,
    b"554-no\r\n220 yes\r\n": 220,
    b"250-one\r\nx\r\n": -1,
    b"250 " + b"x" * (MAX_LINE - 5) + b"\r\n": 500,
    b"250 " + b"x" * MAX_LINE: 500,
    b"250-x\r\n" * (MAX_REPLY // 7 + 1): 500,
}
# Each in one line, and what is said of it.
TOLD: dict[bytes, str] = {
    b"SSH-2.0-x\r\n": "the server broke RFC 5321 4.2: 'SSH-2.0-x' is no line of a reply",
    b"\x16\x03\x01": r"the server broke RFC 5321 4.2: '\x16\x03\x01' is no line of a reply",
    b"25\xff \x1b[2J\r\n": r"the server broke RFC 5321 4.2: '25\xff \x1b[2J' is no line of a reply",
    b"x" * 61: "the server broke RFC 5321 4.2: '" + "x" * 60 + "\u2026' is no line of a reply",
    b"\x16" + b"x" * 2000: (
        r"the server broke RFC 5321 4.2: '\x16" + "x" * 59 + "\u2026' is no line of a reply"
    ),
    b"250-a\r\n251 b\r\n": (
        "the server broke RFC 5321 4.2: the lines of a reply bear different codes, 250 and 251"
    ),
    b"250 " + b"x" * 2000: "the server sent a line of over 2000 octets (RFC 5321 4.5.3.1)",
    (b"250-" + b"x" * 1000 + b"\r\n") * 66: "the server sent a reply of over 65536 octets (RFC 5321 4.5.3.1)",
    (b"250-" + b"x" * 1000 + b"\r\n") * 65 + b"250 " + b"x" * 200: (
        "the server sent a reply of over 65536 octets (RFC 5321 4.5.3.1)"
    ),
    b"250-" + b"x" * 1000 + b"\r\n250x": "the server broke RFC 5321 4.2: '250x' is no line of a reply",
}


def replies(pieces: list[bytes]) -> list[object]:
    """What comes of octets that arrive so: replies, the code of an error, and what is left over."""
    parser, found = ReplyParser(), list[object]()
    for piece in pieces:
        parser.feed(piece)
        try:
            while (reply := parser.next()) is not None:
                found.append(reply)
        except MalformedReplyError as error:
            return [*found, ("malformed", error.smtp_code)]
    return [*found, parser.unread()]


@pytest.mark.parametrize("octets", GOOD, ids=lambda octets: repr(octets[:20]))
def test_good(octets: bytes) -> None:
    assert replies([octets]) == [GOOD[octets], b""]
    assert replies([octets * 3]) == [GOOD[octets]] * 3 + [b""]
    assert not any(isinstance(one, Reply) for one in replies([octets[:-1]]))


@pytest.mark.parametrize("octets", BAD, ids=lambda octets: repr(octets[:20]))
def test_bad(octets: bytes) -> None:
    assert replies([octets]) == [("malformed", BAD[octets])]
    assert replies([b"250 ok\r\n" + octets]) == [(250, b"ok"), ("malformed", BAD[octets])]


@pytest.mark.parametrize("octets", TOLD, ids=lambda octets: repr(octets[:20]))
def test_what_is_said_of_it(octets: bytes) -> None:
    """What a server sent stands in a message escaped, and not at any length."""
    parser = ReplyParser()
    parser.feed(octets)
    with pytest.raises(MalformedReplyError) as caught:
        parser.next()
    assert str(caught.value) == TOLD[octets]


@pytest.mark.parametrize(
    ("octets", "code", "text"),
    [
        (b"199  x \r\n", 199, b"x"),
        (b"250-a\r\n251 b\r\n", 251, b"b"),
        (b"HTTP/1.1 400\r\n", -1, b"/1.1 400"),
        (b"250 " + b"x" * 2000, 500, b"Line too long."),
    ],
)
def test_what_could_be_made_of_it(octets: bytes, code: int, text: bytes) -> None:
    parser = ReplyParser()
    parser.feed(octets)
    with pytest.raises(MalformedReplyError) as caught:
        parser.next()
    assert (caught.value.smtp_code, caught.value.smtp_error) == (code, text)


def line(octets: int, end: bytes = b"\r\n", mark: bytes = b" ") -> bytes:
    """A line of so many octets, its end included."""
    return (b"250" + mark).ljust(octets - len(end), b"x") + end


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_line_of_2000_octets(end: bytes) -> None:
    for octets in (1999, 2000):
        (reply,) = replies([line(octets, end)])[:-1]
        assert reply == (250, b"x" * (octets - 4 - len(end)))
    assert replies([line(2001, end)]) == [("malformed", 500)]
    # Without an end: 1999 may be a line yet, and 2000 no more.
    assert replies([line(1999, b"")]) == [line(1999, b"")]
    assert replies([line(2000, b"")]) == [("malformed", 500)]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_reply_of_65536_octets(end: bytes) -> None:
    most = line(1024, end, b"-") * 63
    for octets in (1023, 1024):
        (reply,) = replies([most + line(octets, end)])[:-1]
        assert isinstance(reply, Reply)
        assert len(reply.text) == 63 * (1024 - 4 - len(end) + 1) + octets - 4 - len(end)
    assert replies([most + line(1025, end)]) == [("malformed", 500)]
    (unread,) = replies([most + line(1024, b"")])
    assert isinstance(unread, bytes)
    assert replies([most + line(1025, b"")]) == [("malformed", 500)]
    # The bound is a reply's, not a connection's.
    assert len(replies([(most + line(1024, end)) * 3])) == 4
    assert len(replies([line(1024, end) * 65])) == 66


def test_incomplete() -> None:
    for octets in (b"", b"2", b"25", b"250", b"250 que", b"250\r", b"250-", b"250 " + b"x" * (MAX_LINE - 5)):
        assert replies([octets]) == [octets]
    assert replies([b"250-one\r\n250 tw"]) == [b"250-one\n250 tw"]
    assert replies([b"250-" + b"x" * 1990 + b"\r\n"] * 32)[:-1] == []


wild = st.binary(max_size=60) | st.lists(st.sampled_from([*GOOD, *BAD]), max_size=4).map(b"".join)


def kinds(found: list[object]) -> list[object]:
    """Without the code of an error: a line is refused as soon as it can't be one, however short."""
    return [one[0] if isinstance(one, tuple) and one[0] == "malformed" else one for one in found]


@given(wild, st.lists(st.integers(0, 10_000), max_size=8))
@example(b"199 x\r\n", [1])
@example(b"250 ok\r\n250-more\r\n250 ok\r\n", [18])
@example(b"\x16\x03" + b"x" * MAX_LINE, [1])
def test_how_it_arrives_changes_nothing(octets: bytes, where: list[int]) -> None:
    """TCP knows no borders (RFC 9293 3.8): whatever the pieces, the replies are the same, or the error is."""
    cuts = sorted(cut % (len(octets) + 1) for cut in where)
    pieces = [octets[start:end] for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    assert kinds(replies(pieces)) == kinds(replies([octets]))


@pytest.mark.parametrize("octets", [*GOOD, *BAD], ids=lambda octets: repr(octets[:20]))
def test_octet_by_octet(octets: bytes) -> None:
    whole = replies([octets * 2])
    found = replies([octets[at : at + 1] for at in range(len(octets))] * 2)
    assert kinds(found) == kinds(whole)
    if whole[-1] == ("malformed", 500):
        assert found[-1] == whole[-1]


well_formed = st.tuples(
    st.integers(200, 599).map(lambda code: b"%d" % code),
    st.lists(st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"")), min_size=1, max_size=4),
)


@given(st.lists(well_formed, min_size=1, max_size=3))
def test_replies_are_smtplibs(many: list[tuple[bytes, list[bytes]]]) -> None:
    """RFC 5321 4.2.1: of a well-formed reply, smtplib makes the same pair."""
    octets = b"".join(
        b"".join(code + b"-" + text + b"\r\n" for text in texts[:-1]) + code + b" " + texts[-1] + b"\r\n"
        for code, texts in many
    )
    stock = smtplib.SMTP(local_hostname="client.example.org")
    stock.file = io.BytesIO(octets)
    assert replies([octets]) == [*(stock.getreply() for _ in many), b""]


def test_what_is_remembered_is_bounded() -> None:
    """However many different replies there are, each is its own, and few are kept."""
    parser = ReplyParser()
    for _ in range(2):
        for code in range(200, 600):
            parser.feed(b"%d x\r\n" % code)
            assert parser.next() == (code, b"x")
            assert parser.next() is None
    assert len(parser._known) == 32


def test_many_replies_take_little_time() -> None:
    """What has been looked at is not looked at again."""
    parser, started = ReplyParser(), monotonic()
    parser.feed(b"250 ok\r\n251 ok\r\n" * 100_000)
    assert sum(1 for _ in iter(parser.next, None)) == 200_000
    for octet in line(1024, mark=b"-") * 63:
        parser.feed(bytes([octet]))
        assert parser.next() is None
    for octets in (b"250 " + b"x" * 10_000_000, b"250" * 3_000_000, b"250-\r" * 3_000_000):
        assert replies([octets])[-1] in (("malformed", 500), ("malformed", 250))
    assert monotonic() - started < 20


@given(st.binary(max_size=300))
def test_any_octets(octets: bytes) -> None:
    """A reply, an error of ours, or nothing yet; and what was sent is escaped."""
    parser = ReplyParser()
    parser.feed(octets)
    error = None
    try:
        while (reply := parser.next()) is not None:
            assert 200 <= reply.code <= 599
    except MalformedReplyError as raised:
        error = raised
    assert error is None or (str(error).isprintable() and isinstance(error, smtplib.SMTPServerDisconnected))


def test_a_reply_is_a_pair() -> None:
    reply = Reply(550, b"5.1.1 nobody")
    code, text = reply
    assert (code, text) == reply == (550, b"5.1.1 nobody")
    assert pickle.loads(pickle.dumps(reply)) == reply
    assert reply.enhanced_status == "5.1.1"


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (550, b"5.1.1 nobody", "5.1.1"),
        (550, b"5.1.1", "5.1.1"),
        (250, b"2.1.5 ok\n2.1.5 fine", "2.1.5"),
        (451, b"4.7.123 later", "4.7.123"),
        (550, "5.1.1 nobody", "5.1.1"),
        (250, b"2.1.5\tok", "2.1.5"),
        (450, b"4.07.001 kept as it is", "4.07.001"),
        (550, b" 5.1.1 nobody", None),
        (550, b"5.1 nobody", None),
        (550, b"5.1.1.1 nobody", None),
        (550, b"nobody 5.1.1", None),
        (550, b"5.1.1nobody", None),
        (550, b"5.1.1234 nobody", None),
        (550, b"3.1.1 nobody", None),
        (450, b"5.1.1 the classes differ", None),
        (550, b"", None),
        (550, "5.1.1\u00e9", None),
    ],
)
def test_enhanced_status(code: int, text: bytes, status: str | None) -> None:
    """RFC 2034 4: at the beginning of the text, of the class of the code."""
    assert enhanced_status((code, text)) == status
    assert enhanced_status(smtplib.SMTPDataError(code, text)) == status
    assert enhanced_status(Reply(code, text)) == status
    assert Reply(code, text).enhanced_status == status


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        smtplib.SMTPServerDisconnected("5.1.1"),
        smtplib.SMTPRecipientsRefused({"a@example.org": (550, b"5.1.1 nobody")}),
        None,
    ],
)
def test_no_enhanced_status(error: object) -> None:
    assert enhanced_status(error) is None
