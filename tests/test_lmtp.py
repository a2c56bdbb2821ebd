"""LMTP where it is not plain: leave taken among the verdicts, verdicts that nobody awaits, steps by hand."""

from __future__ import annotations

import select
import smtplib
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import LMTP, Outcome
from tests.bed import Behaviour, Protocol, Tls
from tests.test_lmtp_transactions import SENDER, TO, connected, every_way, refuse, server_with

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.conftest import ServerFactory


class ByHand(LMTP):
    """Has its own steps, which do what ours do."""

    def rcpt(self, recip: str, options: Iterable[str] = ()) -> tuple[int, bytes]:
        return super().rcpt(recip, options)


class Unseen(LMTP):
    """Names the recipients in a way of its own, of which the library learns nothing."""

    def rcpt(self, recip: str, options: Iterable[str] = ()) -> tuple[int, bytes]:
        return self.docmd("RCPT", f"TO:<{recip}>")


@every_way
def test_leave_taken_with_the_last_verdict(smtp_server: ServerFactory, extensions: tuple[str, ...]) -> None:
    """Every verdict is there: it is the server that is gone, and not the message."""
    behaviour = server_with(extensions, END=refuse(dave="421 4.3.2 going down"))
    with smtp_server(behaviour) as server:
        smtp = connected(server)
        assert smtp.sendmail(SENDER, TO, "hello") == {"dave@example.net": (421, b"4.3.2 going down")}
        assert smtp.sock is None
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.sendmail(SENDER, TO, "hello")
        many = connected(server)
        results = list(many.send_messages([(SENDER, TO, "one"), (SENDER, TO, "two")]))
        assert [result.outcome for result in results] == [Outcome.ACCEPTED, Outcome.NOT_SENT]
        only = connected(server)
        with pytest.raises(smtplib.SMTPDataError) as raised:
            only.sendmail(SENDER, TO[2:], "hello")
        assert raised.value.args == (421, b"4.3.2 going down")
        assert only.sock is None


@every_way
@pytest.mark.parametrize("kept", [1, 2])
def test_verdicts_that_do_not_come(
    smtp_server: ServerFactory, extensions: tuple[str, ...], kept: int
) -> None:
    """Some accepted, and then nothing: whoever sends it again sends it to them twice."""
    silent = dict.fromkeys([recipient.partition("@")[0] for recipient in TO[kept:]], b"")
    with smtp_server(server_with(extensions, END=refuse(**silent))) as server:  # type: ignore[arg-type]
        smtp = LMTP(server.host, server.port, timeout=0.3)
        with pytest.raises(smtpverify.DeliveryUnknownError, match=r"within 0\.3 seconds"):
            smtp.sendmail(SENDER, TO, "hello")
        assert smtp.sock is None
    assert len(server.messages) == 1


def test_verdicts_as_results(smtp_server: ServerFactory) -> None:
    refused = refuse(bob="450 4.2.0 busy", carol="552 5.2.2 full", dave="452 4.2.2 over quota")
    with smtp_server(server_with(("PIPELINING",), END=refused)) as server, connected(server) as smtp:
        several, one, last = smtp.send_messages(
            [(SENDER, TO, "one"), (SENDER, TO[:1], "two"), (SENDER, ["eve@example.net", *TO], "three")]
        )
    assert (several.outcome, one.outcome, last.outcome) == (
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.ACCEPTED,
    )
    assert type(several.error) is smtpverify.LMTPDataError
    assert several.refused == several.error.recipients
    assert list(several.refused) == TO
    assert type(one.error) is smtplib.SMTPDataError
    assert one.error.args == (450, b"4.2.0 busy")
    assert list(last.refused) == TO


@pytest.mark.parametrize("kind", [ByHand, Unseen])
def test_steps_of_a_subclass_refused(smtp_server: ServerFactory, kind: type[LMTP]) -> None:
    """By steps the error is smtplib's own; no verdict is left for the next command."""
    behaviour = server_with((), END=refuse(carol="552 5.2.2 full", dave="452 4.2.2 over quota"))
    with smtp_server(behaviour) as server, kind(server.host, server.port, timeout=5) as smtp:
        assert smtp.sendmail(SENDER, TO[:1], "hello") == {}
        with pytest.raises(smtplib.SMTPDataError) as raised:
            smtp.sendmail(SENDER, TO[1:2], "hello")
        assert raised.value.args == (552, b"5.2.2 full")
        assert smtp.noop() == (250, b"2.0.0 Ok")
        if kind is ByHand:
            with pytest.raises(smtplib.SMTPDataError) as raised:
                smtp.sendmail(SENDER, TO[1:], "hello")
            assert raised.value.args == (552, b"5.2.2 full")
            assert smtp.sendmail(SENDER, TO, "hello") == {
                "carol@example.net": (552, b"5.2.2 full"),
                "dave@example.net": (452, b"4.2.2 over quota"),
            }
            assert smtp.sendmail(SENDER, TO[:1], "hello") == {}
            assert smtp.noop() == (250, b"2.0.0 Ok")


def test_unseen_recipients(smtp_server: ServerFactory) -> None:
    """One reply is read, as by smtplib; another is not believed to answer anything."""
    with smtp_server(server_with(())) as server:
        smtp = Unseen(server.host, server.port, timeout=5)
        assert smtp.sendmail(SENDER, TO[:2], "hello") == {}
        assert smtp._has_reply() or select.select([smtp.sock], [], [], 5)[0]  # the second is on its way
        with pytest.raises(smtpverify.UnsolicitedReplyError):
            smtp.noop()
        assert smtp.sock is None


def test_data_by_hand(smtp_server: ServerFactory) -> None:
    with smtp_server(server_with((), DATA="451 4.3.0 later")) as server, connected(server) as smtp:
        smtp.ehlo()
        smtp.mail(SENDER)
        smtp.rcpt(TO[0])
        with pytest.raises(smtplib.SMTPDataError) as raised:
            smtp.data("hello")
        assert raised.value.args == (451, b"4.3.0 later")
        assert smtp.rset()[0] == 250
    assert server.messages == []


def test_in_tls(smtp_server: ServerFactory) -> None:
    behaviour = Behaviour(
        protocol=Protocol.LMTP,
        tls=Tls.STARTTLS,
        after_tls=("PIPELINING",),
        replies={".": refuse(carol="552 5.2.2 full")},
    )
    with smtp_server(behaviour) as server, connected(server, server_hostname="mail.example.org") as smtp:
        smtp.starttls()
        assert smtp.sendmail(SENDER, TO, "hello") == {"carol@example.net": (552, b"5.2.2 full")}
    assert server.connections[0].closed_cleanly
    assert b"hello" not in server.connections[0].clear


@pytest.mark.skipif(not hasattr(__import__("socket"), "AF_UNIX"), reason="no Unix sockets")
def test_many_over_a_unix_socket(smtp_server: ServerFactory, tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    counted: list[Any] = []
    with (
        smtp_server(server_with(("PIPELINING",), END=refuse(bob="552 5.2.2 full")), path=path) as server,
        LMTP(str(path), timeout=5) as smtp,
    ):
        counted += smtp.send_messages((SENDER, TO[number % 3 :], "x") for number in range(9))
    assert [len(result.refused) for result in counted] == [1, 0, 0] * 3
    assert [len(message.rcpts) for message in server.messages] == [3, 2, 1] * 3
