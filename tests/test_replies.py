"""Replies (RFC 5321 4.2): what is one, what never will be, and how much of it is read."""

from __future__ import annotations

import pickle
import smtplib

import pytest
from hypothesis import given, strategies as st

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


def test_incomplete() -> None:
    for octets in (b"", b"2", b"25", b"250", b"250 que", b"250\r", b"250-", b"250 " + b"x" * (MAX_LINE - 5)):
        assert replies([octets]) == [octets]
    assert replies([b"250-one\r\n250 tw"]) == [b"250-one\n250 tw"]
    assert replies([b"250-" + b"x" * 1990 + b"\r\n"] * 32)[:-1] == []


wild = st.binary(max_size=60) | st.lists(st.sampled_from([*GOOD, *BAD]), max_size=4).map(b"".join)


@given(wild, st.data())
def test_how_it_arrives_changes_nothing(octets: bytes, data: st.DataObject) -> None:
    """TCP knows no borders: whatever the pieces, the replies are the same, or the error is."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
    pieces = [octets[start:end] for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    # What could be made of a reply that is none depends on how much of it had come.
    found, whole = (
        [one[0] if one and isinstance(one, tuple) and one[0] == "malformed" else one for one in replies(way)]
        for way in (pieces, [octets])
    )
    assert found == whole


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
    assert enhanced_status(ValueError()) is None
