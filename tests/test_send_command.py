"""`smtpverify send`, as a process: what arrives, what is printed, and with which status it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import signal
import smtplib
import socket
import subprocess
import sys
import threading
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

import smtpverify
from smtpverify.cli import CommandError
from smtpverify.cli._message import prepared
from smtpverify.cli._status import explained
from tests.bed import Behaviour, Greeting, Handshake, Pieces, Protocol, Starttls, Tls, closed_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed import Server, World
    from tests.conftest import ServerFactory

# The process has the system's resolver, which knows no name of ours but this one.
PLACE = "localhost"
ALICE, BOB, CAROL = "alice@example.org", "bob@example.org", "carol@example.org"
DATED = b"Date: Sat, 21 Nov 2026 08:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
LETTER = DATED + b"From: alice@example.org\r\nSubject: hello\r\n\r\nHello Bob.\r\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty one, with no netrc in it."""
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
def good(world: World) -> Behaviour:
    return Behaviour(tls=Tls.STARTTLS, certificate=world.good(PLACE))


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(home),
        "PYTHONUTF8": "1",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "COLUMNS": "120",
        "TERM": "xterm",
    }


def send(*arguments: str, home: Path, typed: bytes = b"", **more: Any) -> Any:
    """Run the command without a terminal; `typed` is what comes on standard input."""
    given: dict[str, Any] = {"stdin": more.pop("stdin")} if "stdin" in more else {"input": typed}
    run: Any = subprocess.run(
        [sys.executable, "-m", "smtpverify", "send", *arguments],
        capture_output=True,
        timeout=50,
        check=False,
        start_new_session=True,
        env={**environment(home), **more},
        **given,
    )
    run.stdout, run.stderr = run.stdout.decode(), run.stderr.decode()
    assert "Traceback" not in run.stderr
    assert "\x1b" not in run.stderr
    return run


def url(server: Server, scheme: str = "tls", user: str = "") -> str:
    return f"{scheme}://{user}{PLACE}:{server.port}"


def ended(run: Any) -> tuple[int, str, str]:
    return run.returncode, run.stdout, run.stderr


# --- what arrives --------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["stdin", "dash", "file"])
def test_a_message_as_it_is(smtp_server: ServerFactory, good: Behaviour, home: Path, where: str) -> None:
    octets = LETTER + b".\n..\n\xe9\xff\x00 bare\rcr\n.\nFrom here on\nlast"
    path = home / "letter"
    path.write_bytes(octets)
    file = {"stdin": [], "dash": ["-"], "file": [str(path)]}[where]
    with smtp_server(good) as server:
        typed = b"" if where == "file" else octets
        run = send(url(server), "-i", "-f", ALICE, "-t", BOB, CAROL, *file, home=home, typed=typed)
    assert ended(run) == (0, "", "")
    (message,) = server.messages
    assert (message.mail_from, message.rcpts) == (ALICE, (BOB, CAROL))
    assert message.mail_parameters == "BODY=8BITMIME"
    assert message.data == LETTER + b".\r\n..\r\n\xe9\xff\x00 bare\r\ncr\r\n.\r\nFrom here on\r\nlast\r\n"
    assert server.connections[0].closed_cleanly


def test_in_every_order_and_over_each_scheme(
    smtp_server: ServerFactory, world: World, good: Behaviour, home: Path
) -> None:
    path = home / "letter"
    path.write_bytes(LETTER)
    with smtp_server(good) as server, smtp_server(good, tls=Tls.IMPLICIT) as implicit:
        for arguments in (
            [url(server), str(path), "-t", BOB, "-f", ALICE],
            ["-f", ALICE, "-t", url(server), BOB, str(path)],
            ["-ti", "-oi", "-f", ALICE, "--", url(server), str(path), BOB],
            [url(server), "--from", ALICE, "--to", BOB, str(path)],
        ):
            assert ended(send(*arguments, home=home)) == (0, "", "")
        assert ended(send(url(implicit, "smtps"), BOB, "-f", ALICE, str(path), home=home)) == (0, "", "")
    messages = [*server.messages, *implicit.messages]
    assert [(each.mail_from, each.rcpts, each.data) for each in messages] == [(ALICE, (BOB,), LETTER)] * 5


def test_recipients_of_the_header(smtp_server: ServerFactory, good: Behaviour, home: Path) -> None:
    header = (
        b"From: Alice <alice@example.org>\nTo: Bob <bob@example.org>,\n carol@example.org, root\n"
        b"BCC: dave@example.org,\n\teve@example.org\nCc: Team: bob@example.org, frank@example.org;\n"
    )
    with smtp_server(good) as server:
        run = send(url(server), "-t", typed=header + DATED + b"\nBcc: in the text\n", home=home)
    assert ended(run) == (0, "", "")
    (message,) = server.messages
    assert message.mail_from == ALICE
    expected = (BOB, CAROL, "root", "frank@example.org", "dave@example.org", "eve@example.org")
    assert message.rcpts == expected
    shown = header.replace(b"BCC: dave@example.org,\n\teve@example.org\n", b"")
    assert message.data == (shown + DATED).replace(b"\r", b"").replace(b"\n", b"\r\n") + (
        b"\r\nBcc: in the text\r\n"
    )


def test_given_recipients_win_and_bcc_is_not_sent(
    smtp_server: ServerFactory, good: Behaviour, home: Path
) -> None:
    with smtp_server(good) as server:
        run = send(
            url(server), BOB, typed=b"To: eve@example.org\nBcc: dave@example.org\n" + LETTER, home=home
        )
    assert ended(run) == (0, "", "")
    (message,) = server.messages
    assert (message.rcpts, message.data) == ((BOB,), b"To: eve@example.org\r\n" + LETTER)


def test_date_and_message_id_are_added(smtp_server: ServerFactory, good: Behaviour, home: Path) -> None:
    with smtp_server(good) as server:
        for header in (
            b"Subject: hello",
            b"DKIM-Signature: v=1",
            b"From bob Sat Nov 21 2026\nSubject: hello",
        ):
            run = send(url(server), BOB, "-f", ALICE, typed=header + b"\n\nHello.\n", home=home)
            assert ended(run) == (0, "", "")
    plain, signed, of_a_mailbox = (each.data.decode() for each in server.messages)
    added = r"Date: \w{3}, \d+ \w{3} \d{4} [\d:]{8} [+-]\d{4}\r\nMessage-ID: <[\w.]+@example\.org>\r\n"
    for data in (plain, of_a_mailbox):
        assert re.fullmatch(added + r"Subject: hello\r\n\r\nHello\.\r\n", data)
    assert signed == "DKIM-Signature: v=1\r\n\r\nHello.\r\n"


def test_a_message_made(smtp_server: ServerFactory, good: Behaviour, home: Path) -> None:
    files = {"bild.png": b"\x89PNG\r\n", "liste.txt": b"a\nb\n", "mail.eml": LETTER, "x.tar.gz": b"\x1f\x8b"}
    for name, octets in files.items():
        (home / name).write_bytes(octets)
    attached = [f"--attach={home / name}" for name in files]
    with smtp_server(good) as server:
        at = [url(server), "-f", f"Alice <{ALICE}>", "-t", BOB, CAROL]
        piped = send(*at, "--subject", "Grüße", *attached, typed="Schöne\nGrüße\n".encode(), home=home)
        given = send(*at, "--body", "Hello\n.\n", home=home)
    assert (ended(piped), ended(given)) == ((0, "", ""), (0, "", ""))
    first, second = server.messages
    assert (first.mail_from, first.rcpts) == (ALICE, (BOB, CAROL))
    message = message_from_bytes(first.data, policy=policy.default)
    assert (message["From"], message["To"]) == (f"Alice <{ALICE}>", f"{BOB}, {CAROL}")
    assert (message["Subject"], message["MIME-Version"]) == ("Grüße", "1.0")
    assert message["Date"]
    assert message["Message-ID"].endswith("@example.org>")
    text, *parts = message.iter_parts()
    assert text.get_content() == "Schöne\r\nGrüße\r\n"
    assert {part.get_filename(): part.get_payload(decode=True) for part in parts} == files
    kinds = ["image/png", "text/plain", "application/octet-stream", "application/octet-stream"]
    assert [part.get_content_type() for part in parts] == kinds
    assert second.data.endswith(b"\r\n\r\nHello\r\n.\r\n")
    assert b"Subject" not in second.data


def test_international_addresses(smtp_server: ServerFactory, good: Behaviour, home: Path) -> None:
    plain = ("8BITMIME",)
    with smtp_server(good) as server, smtp_server(good, after_tls=plain) as old:
        for arguments, typed in (
            (["jörg@straße.example"], LETTER),
            ([BOB], "Subject: Grüße\n".encode() + LETTER),
            ([BOB], b"Subject: \xe9\n" + LETTER),
            (["jörg@example.org", "--body", "Hallo"], b""),
        ):
            run = send(url(server), "-f", ALICE, *arguments, typed=typed, home=home)
            assert ended(run) == (0, "", "")
        a_labels = send(url(old), "-f", ALICE, "joerg@straße.example", typed=LETTER, home=home)
        refused = send(url(old), "-f", ALICE, "jörg@example.org", typed=LETTER, home=home)
    parameters = ["SMTPUTF8", "SMTPUTF8 BODY=8BITMIME", "BODY=8BITMIME", "SMTPUTF8 BODY=8BITMIME"]
    assert [each.mail_parameters for each in server.messages] == parameters
    assert "To: jörg@example.org\r\n".encode() in server.messages[3].data
    assert ended(a_labels) == (0, "", "")
    assert [each.rcpts for each in old.messages] == [("joerg@xn--strae-oqa.example",)]
    assert ended(refused) == (
        69,
        "",
        "smtpverify send: an address is not in ASCII, and the server can't take it (SMTPUTF8, RFC 6531)\n",
    )


def test_lmtp(smtp_server: ServerFactory, home: Path, tmp_path: Path) -> None:
    def answer(line: str) -> str | None:
        return "452 4.2.2 Full" if "bob" in line else None

    path = tmp_path / "lmtp"
    behaviour = Behaviour(protocol=Protocol.LMTP, replies={".": answer})
    with smtp_server(behaviour, path=path) as server:
        run = send(f"lmtp://{path}", "-f", "", "--to", "root", "--to", "bob", typed=LETTER, home=home)
        nobody = send(f"lmtp://{path}", "-f", "", "--to", "bob", typed=LETTER, home=home)
    assert ended(run) == (1, "", "smtpverify send: refused: bob: 452 4.2.2 Full\n")
    assert (server.messages[0].mail_from, server.messages[0].rcpts) == ("", ("root", "bob"))
    assert (nobody.returncode, nobody.stdout) == (75, "")
    assert nobody.stderr.endswith("the server refused the message: 452 4.2.2 Full\n")


# --- who gets it, and who does not ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("replies", "status", "told"),
    [
        ({BOB: "550 5.1.1 No Bob"}, 1, [f"refused: {BOB}: 550 5.1.1 No Bob"]),
        ({BOB: "450 4.2.0 Not now"}, 1, [f"refused: {BOB}: 450 4.2.0 Not now"]),
        (
            {BOB: "550 5.1.1 No Bob", CAROL: "551 5.1.6 Gone\u202e\x1b[1m"},
            67,
            ["every recipient was refused", f"refused: {BOB}: 550 5.1.1 No Bob",
             rf"refused: {CAROL}: 551 5.1.6 Gone\u202e\x1b[1m"],
        ),
        (
            {BOB: "550 5.1.1 No Bob", CAROL: "450 4.2.0 Not now"},
            75,
            ["every recipient was refused", f"refused: {BOB}: 550 5.1.1 No Bob",
             f"refused: {CAROL}: 450 4.2.0 Not now"],
        ),
    ],
)  # fmt: skip
def test_refused_recipients(
    smtp_server: ServerFactory,
    good: Behaviour,
    home: Path,
    replies: dict[str, str],
    status: int,
    told: list[str],
) -> None:
    def answer(line: str) -> str | None:
        return next((reply for address, reply in replies.items() if address in line), None)

    with smtp_server(good, replies={"RCPT": answer}) as server:
        run = send(url(server), "-f", ALICE, BOB, CAROL, typed=LETTER, home=home)
    assert (run.returncode, run.stdout) == (status, "")
    place = f"tls://{PLACE}:{server.port}: "
    assert run.stderr.replace("smtpverify send: ", "").replace(place, "").splitlines() == told
    assert [each.rcpts for each in server.messages] == ([(CAROL,)] if status == 1 else [])
    assert server.connections[0].closed_cleanly


ENDINGS: list[tuple[dict[str, Any], int, str]] = [
    ({"replies": {"MAIL": "550 5.7.1 Not you"}}, 69, f"refused the sender {ALICE}: 550 5.7.1 Not you"),
    ({"replies": {"MAIL": "451 4.3.0 Later"}}, 75, f"refused the sender {ALICE}: 451 4.3.0 Later"),
    ({"replies": {"MAIL": "530 5.7.0 Log in"}}, 77, "530 5.7.0 Log in\n  It wants a login: "),
    ({"replies": {"MAIL": "552 5.3.4 Too large"}}, 65, "552 5.3.4 Too large"),
    ({"after_tls": ("SIZE 20",)}, 65, "the message has 123 octets, and the server takes 20"),
    ({"replies": {".": "552 5.3.4 Too large"}}, 65, "the server refused the message: 552 5.3.4 Too large"),
    ({"replies": {".": "552 Too large"}}, 65, "the server refused the message: 552 Too large"),
    ({"replies": {".": "552 5.2.2 Mailbox full"}}, 67, "refused the message: 552 5.2.2 Mailbox full"),
    ({"replies": {".": "554 5.7.1 Spam"}}, 69, "the server refused the message: 554 5.7.1 Spam"),
    ({"replies": {".": "451 4.7.1 Greylisted"}}, 75, "the server refused the message: 451 4.7.1 Greylisted"),
    ({"replies": {"DATA": "421 4.3.2 Bye"}, "closes_after": ("DATA",)}, 75, "421 4.3.2 Bye"),
    (
        {"replies": {".": b""}, "closes_after": (".",)},
        75,
        "it may have been delivered all the same, and sending it again may deliver it twice",
    ),
    ({"closes_after": ("MAIL",)}, 75, "Connection unexpectedly closed"),
    ({"replies": {"MAIL": "2_0 what"}}, 76, "2_0"),
    ({"greeting": "554 5.3.2 Not you"}, 69, "the server refused the connection: 554 5.3.2 Not you"),
    ({"greeting": "421 4.3.2 Busy"}, 75, "the server refused the connection: 421 4.3.2 Busy"),
    (
        {"greeting": "HTTP/1.1 400 Bad Request"},
        76,
        "'HTTP/1.1 400 Bad Request' is no line of a reply\n  Is this",
    ),
    (
        {"greeting_kind": Greeting.CLOSED},
        75,
        "no SMTP greeting came: the server closed the connection\n  If it",
    ),
    ({"starttls": Starttls.ABSENT}, 69, "the server does not offer STARTTLS\n  If it used to, somebody"),
    ({"starttls": Starttls.REFUSED}, 75, "refused STARTTLS: 454 4.7.0 TLS not available"),
    (
        {"starttls": Starttls.REFUSED, "starttls_refusal": "554 5.7.0 Never"},
        69,
        "refused STARTTLS: 554 5.7.0 Never",
    ),
    ({"starttls": Starttls.INJECTED_SAME_SEGMENT}, 76, "plaintext came behind the change to TLS"),
    ({"handshake": Handshake.GARBAGE}, 76, "localhost:"),
    ({"handshake": Handshake.BROKEN_OFF}, 76, "localhost:"),
    ({"replies": {"EHLO": "550 5.5.1 No", "HELO": "550 5.5.1 No"}}, 69, "refused EHLO: 550 5.5.1 No"),
]


@pytest.mark.parametrize(("fields", "status", "told"), ENDINGS)
def test_endings(
    smtp_server: ServerFactory, good: Behaviour, home: Path, fields: dict[str, Any], status: int, told: str
) -> None:
    with smtp_server(good, **fields) as server:
        run = send(url(server), "-f", ALICE, BOB, typed=LETTER, home=home)
    assert (run.returncode, run.stdout) == (status, "")
    assert run.stderr.startswith("smtpverify send: ")
    assert told in run.stderr
    assert f"{PLACE}:{server.port}: " in run.stderr


@pytest.mark.parametrize("reply", ["554 5.0.0 Never", b"", "what?"])
def test_a_reply_to_quit_spoils_nothing(
    smtp_server: ServerFactory, good: Behaviour, home: Path, reply: str | bytes
) -> None:
    with smtp_server(good, replies={"QUIT": reply}, closes_after=("QUIT",)) as server:
        run = send(url(server), "-f", ALICE, BOB, typed=LETTER, home=home)
    assert ended(run) == (0, "", "")
    assert len(server.messages) == 1


def test_an_impostor(smtp_server: ServerFactory, world: World, home: Path) -> None:
    """Gets neither mail nor password; a CA file, or a pin, decides who is one."""
    certificate = world.served("unknown_issuer", PLACE)
    leaf = smtpverify.Certificate.from_der(certificate.leaf_der)
    pin = str(smtpverify.Pin.of_certificate(leaf))
    with smtp_server(tls=Tls.STARTTLS, certificate=certificate) as server:
        to = [url(server, user="alice:s3cret@"), "-f", ALICE, BOB]
        run = send(*to, typed=LETTER, home=home)
        trusted = send(*to, "--cafile", str(world.unknown_file), "--pin", pin, typed=LETTER, home=home)
        other = pin[:-1] + ("0" if pin[-1] != "0" else "1")
        unpinned = send(*to, "--cafile", str(world.unknown_file), "--pin", other, typed=LETTER, home=home)
    assert (run.returncode, run.stdout) == (77, "")
    first, second, *_ = run.stderr.splitlines()
    assert first.startswith(f"smtpverify send: {PLACE}:{server.port}: the certificate was issued by CN=Elsew")
    assert second.startswith("  ")
    assert ended(trusted) == (0, "", "")
    assert unpinned.returncode == 77
    assert server.connections[0].leaked() == server.connections[2].leaked() == []
    assert len(server.messages) == 1


def test_falling_back_is_told(smtp_server: ServerFactory, good: Behaviour, home: Path) -> None:
    with smtp_server(good, starttls=Starttls.ABSENT) as server:
        run = send(url(server, "smtp+tls"), "-f", ALICE, BOB, typed=LETTER, home=home)
    assert (run.returncode, run.stdout) == (0, "")
    told = " ".join(run.stderr.split())
    assert told.startswith(f"warning: smtp+tls://{PLACE}:{server.port}: going on in plaintext, since")


def test_nobody_there(home: Path) -> None:
    with closed_port() as port:
        run = send(f"tls://127.0.0.1:{port}", "-f", ALICE, BOB, typed=LETTER, home=home)
    where = f"tls://127.0.0.1:{port}: no connection to 127.0.0.1 port {port}"
    told = f"smtpverify send: {where} (Connection refused)\n"
    assert ended(run) == (75, "", told)


def test_a_silent_server(smtp_server: ServerFactory, home: Path) -> None:
    with smtp_server(greeting_kind=Greeting.SILENT) as server:
        run = send(url(server), "-f", ALICE, BOB, "--timeout", "0.1", typed=LETTER, home=home)
    assert run.returncode == 75
    assert "no SMTP greeting came: the server did not answer within 0.1 seconds\n" in run.stderr


# Errors that no server of ours can cause, or not by itself.
@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), 68, "tls://h: Name or service not"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), 75, "tls://h: Temporary failure"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), 75, "tls://h: Network is unreachable"),
        (TimeoutError("timed out"), 75, "tls://h: timed out"),
        (smtplib.SMTPNotSupportedError("no AUTH"), 69, "tls://h: no AUTH"),
        (smtplib.SMTPException("odd"), 76, "tls://h: odd"),
        (smtplib.SMTPResponseException(-1, "odd"), 76, "tls://h: the server refused a command: odd"),
        (smtpverify.PlaintextCredentialsError("no", host="h", port=25), 77, "h:25: no"),
        (smtpverify.TLSHandshakeTimeoutError("slow", host="h", port=25), 75, "h:25: slow"),
        (smtpverify.UnsolicitedReplyError("spoke"), 76, "tls://h: spoke"),
        (smtpverify.RelayURLError("host: it is missing"), 64, "host: it is missing"),
    ],
)
def test_errors(error: Any, status: int, told: str) -> None:
    found = explained(error, "tls://h")
    assert found.status == status
    assert str(found).startswith(told)


# --- what can't be used --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ([], 64, "the following arguments are required: RELAY"),
        (["mail.example.org", BOB], 64, "scheme: it is missing; write tls://mail.example.org (STARTTLS) or "),
        (["tls://alice:s3cret@[::1", BOB], 64, "host: "),
        (["tls://h", BOB, "--pin", "md5:00"], 64, "pin 'md5:00': md5 can be forged; write"),
        (["tls://h", BOB, "--cafile", "/nowhere.pem"], 64, "--cafile: /nowhere.pem: No such file"),
        (["tls://h", BOB, "--pin-only", "sha256:00", "--cafile", "x"], 64, "--pin-only: the pin stands in"),
        (["tls://h", BOB, "--timeout", "0"], 64, "argument --timeout: '0' is not a positive number"),
        (["tls://h", BOB, "-f", "a b@c"], 64, "'a b@c' is no address"),
        (["tls://h", "a@b\nRCPT TO:<c@d>"], 64, r"no address: a@b\x0aRCPT TO:<c@d>"),
        (["tls://h", BOB, "one", "two"], 64, "several files, or recipients without an @ (see --to): one"),
        (["tls://h", "--body", "x", BOB], 64, "a message that is made needs a sender: -f FROM"),
        (["tls://h", "-f", ALICE, "--body", "x"], 64, "a message that is made needs a recipient; "),
        (["tls://h", "-f", ALICE, BOB, "--body", "x", "file"], 64, "the text is given twice, by --body and"),
        (["tls://h", "-f", ALICE, BOB, "--body", "x", "--subject", "a\nb"], 64, "no message can be made of"),
        (["tls://h", "-f", ALICE], 64, "there is no recipient, neither given nor in To, Cc or Bcc"),
        (["tls://alice@h", "-f", ALICE, BOB], 64, "there is no password for alice, and no terminal to ask"),
        (["tls://alice@h?password-env=NOT_SET", BOB], 64, "password-env: the environment variable NOT_SET"),
        (["tls://h", BOB, "/nowhere"], 66, "/nowhere: No such file or directory"),
        (["tls://h", BOB, "/"], 66, "/: Is a directory"),
        (["tls://h", "-f", ALICE, BOB, "--body", "x", "--attach", "/no\x1b"], 66, r"/no\x1b: No such file"),
    ],
)  # fmt: skip
def test_usage(home: Path, arguments: list[str], status: int, told: str) -> None:
    run = send(*arguments, typed=LETTER, home=home)
    assert (run.returncode, run.stdout) == (status, "")
    assert run.stderr.splitlines()[-1].startswith(f"smtpverify send: {told}")
    assert "s3cret" not in run.stderr


def test_the_relay_alone_is_required(home: Path) -> None:
    assert send(home=home).stderr.endswith("the following arguments are required: RELAY\n")


@pytest.mark.parametrize(
    ("octets", "status", "told"),
    [
        (b"", 65, "the message is empty"),
        (b"\r\n \n", 65, "the message is empty"),
        (b"Hello Bob,\n\nhow are you?", 65, "malformed: its line 1 is no header"),
        (b"Subject: a\nHello\n", 65, "malformed: its line 2 is no header"),
        (b" Subject: a\n\n", 65, "malformed: its line 1 is no header"),
        (b"From: a@b c@d\nTo: b@c\n\n", 65, "the header From can't be read as addresses"),
        (b"From: a@b\nTo: <b@c>d@e\n\n", 65, "the header To can't be read as addresses"),
        (b"To: b@c\n\n", 64, "there is no sender"),
        (b"Resent-Date: a\nResent-Date: b\n\n", 65, "several sets of Resent- headers"),
    ],
)
def test_a_malformed_message(octets: bytes, status: int, told: str) -> None:
    with pytest.raises(CommandError) as caught:
        prepared(octets, None, [])
    assert caught.value.status == status
    assert told in str(caught.value)


FIELDS = st.sampled_from(
    [
        b"Bcc: dave@example.org",
        b"bCC :x",
        b"Resent-Bcc:",
        b" Bcc: more",
        b"\tmore",
        b"To: e@example.org",
        b"X:\0",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


@given(lines=st.lists(st.tuples(FIELDS, ENDS)), end=ENDS, body=st.binary())
def test_no_bcc_is_in_the_header_of_what_is_sent(
    lines: list[tuple[bytes, bytes]], end: bytes, body: bytes
) -> None:
    """Folded lines go with their field (RFC 5322 2.2.3); no other octet is touched."""
    lines = [(b"Subject: hello", b"\n"), *lines]
    letter = prepared(b"".join(map(b"".join, lines)) + end + body, ALICE, [BOB])
    kept, dropping = b"", False
    for field, line_end in lines:
        if not field.startswith((b" ", b"\t")):
            dropping = field.lower().startswith((b"bcc", b"resent-bcc"))
        kept += b"" if dropping else field + line_end
    date, message_id, rest = letter.octets.split(b"\r\n", 2)
    assert date.startswith(b"Date: ")
    assert message_id.startswith(b"Message-ID: ")
    assert rest == kept + end + body


def test_the_header_of_a_message_sent_anew() -> None:
    octets = (
        b"Resent-Date: x\rResent-From: r@example.org\rResent-To: s@example.org\rResent-Bcc: t@example.org\r"
        b"From: a@example.org\rTo: b@example.org\r\rText"
    )
    letter = prepared(octets, None, [])
    assert (letter.sender, letter.recipients) == ("r@example.org", ["s@example.org", "t@example.org"])
    assert b"Resent-Bcc" not in letter.octets
    assert letter.octets.endswith(b"\rTo: b@example.org\r\rText")


def test_a_text_that_is_no_utf8(home: Path) -> None:
    run = send("tls://h", "-f", ALICE, BOB, "--subject", "x", typed=b"\xe9", home=home)
    assert run.returncode == 65
    assert run.stderr.startswith("smtpverify send: the text is not in UTF-8: ")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="wants a file that opens and can't be read")
def test_a_file_that_breaks_off(home: Path) -> None:
    run = send("tls://h", BOB, "/proc/self/mem", home=home)
    assert ended(run) == (74, "", "smtpverify send: /proc/self/mem: Input/output error\n")


def test_standard_input_is_closed(home: Path) -> None:
    run = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -m smtpverify send tls://h bob@example.org <&-', sys.executable],
        capture_output=True,
        timeout=50,
        check=False,
        env=environment(home),
    )
    assert (run.returncode, run.stderr) == (66, b"smtpverify send: standard input is closed\n")


# --- passwords, and what shows -------------------------------------------------------------------


def test_passwords(smtp_server: ServerFactory, good: Behaviour, home: Path, tmp_path: Path) -> None:
    (home / ".netrc").write_text(f"machine {PLACE} login alice password s3cret\n")
    (home / ".netrc").chmod(0o600)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "secret").write_text("s3cret\n")
    (empty / "secret").chmod(0o600)
    with smtp_server(good) as server:
        for more, place in (
            ("", home),
            ("?password-env=MAIL", empty),
            (f"?password-file={empty / 'secret'}", empty),
        ):
            at = url(server, user="alice@") + more
            assert ended(send(at, "-f", ALICE, BOB, typed=LETTER, home=place, MAIL="s3cret")) == (0, "", "")
        at = url(server, user="alice:s3cret@")
        assert ended(send(at, "-f", ALICE, BOB, typed=LETTER, home=empty)) == (0, "", "")
    given = [(each.username, each.password) for one in server.connections for each in one.credentials]
    assert given == [("alice", "s3cret")] * 4
    assert len(server.messages) == 4


def test_a_refused_login(smtp_server: ServerFactory, good: Behaviour, home: Path) -> None:
    to = ["-f", ALICE, BOB]
    with smtp_server(good, auth_reply="535 5.7.8 No") as server:
        run = send(url(server, user="alice:s3cret@"), *to, typed=LETTER, home=home)
    with smtp_server(good, auth_reply="454 4.7.0 Later") as later:
        assert send(url(later, user="alice:s3cret@"), *to, typed=LETTER, home=home).returncode == 75
    assert run.returncode == 77
    assert "the server refused PLAIN: 535 5.7.8 No" in run.stderr
    assert server.messages == later.messages == []


@pytest.mark.parametrize("more", [("PIPELINING",), ("CHUNKING", "PIPELINING"), ()])
def test_verbose(smtp_server: ServerFactory, good: Behaviour, home: Path, more: tuple[str, ...]) -> None:
    secret = b"of the letter"
    with smtp_server(good, after_tls=("AUTH LOGIN", *more)) as server:
        at = url(server, user="alice:s3cret@")
        run = send(at, "-v", "-f", ALICE, BOB, typed=LETTER + secret, home=home)
    assert (run.returncode, run.stdout) == (0, "")
    lines = run.stderr.splitlines()
    for expected in (
        f"  connecting to 127.0.0.1 port {server.port}",
        "← 220 mail.example.org ESMTP",
        "→ STARTTLS",
        "→ AUTH LOGIN ***",
        "← 334 ***",
        "→ ***",
        "← 235 2.7.0 Authentication successful",
        f"→ RCPT TO:<{BOB}>".replace("RCPT TO", "rcpt to"),
        "← 250 2.0.0 Ok: queued",
        "→ QUIT" if "→ QUIT" in lines else "→ quit",
    ):
        assert expected in lines
    assert any(line.startswith("  verified: localhost: certificate for localhost, ") for line in lines)
    assert len([line for line in lines if re.fullmatch(r"  \(\d+ octets of the message\)", line)]) == 1
    for hidden in ("s3cret", "czNjcmV0", "of the letter", "Hello Bob", "YWxpY2U="):
        assert hidden not in run.stderr


def test_a_dot_in_verbose_is_no_command(smtp_server: ServerFactory, good: Behaviour, home: Path) -> None:
    """Also where the server wants a message for nobody, and gets none."""
    replies = {"RCPT": "550 5.1.1 No", "DATA": "354 Go on"}
    with smtp_server(good, replies=replies) as server:
        run = send(url(server), "-v", "-f", ALICE, BOB, typed=LETTER, home=home)
    assert run.returncode == 67
    assert "  (3 octets of the message)" in run.stderr.splitlines()


def test_help(home: Path) -> None:
    run = send("--help", home=home, COLUMNS="80")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(
        "usage: smtpverify send [options] RELAY [-f FROM] [-t] [TO ...] [FILE]\n\nHands a message to"
    )
    assert "  smtpverify send tls://alice@mail.example.org:587 -f alice@example.org -t" in run.stdout
    assert all(len(line) <= 80 for line in run.stdout.splitlines())
    assert sorted(set(re.findall(r"\b(?:6[4-9]|7[4-7])\b", run.stdout))) == [
        *("64", "65", "66", "67", "68", "69", "74", "75", "76", "77"),
    ]


# --- at a terminal -------------------------------------------------------------------------------

if sys.platform != "win32":
    import pty
    import termios

    # The session's leader, to which the terminal belongs from then on.
    _AT_TERMINAL = (
        "import fcntl, os, sys, termios\n"
        "fcntl.ioctl(2, termios.TIOCSCTTY, 0)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'smtpverify', *sys.argv[1:]])\n"
    )

    class Sitting:
        """Somebody at a terminal, to whom standard error leads; standard input is a file, or it too."""

        def __init__(self, name: str, *arguments: str, home: Path, typed: Path | None) -> None:
            self._ours, theirs = pty.openpty()
            self._theirs = theirs
            self.echoes = bool(termios.tcgetattr(theirs)[3] & termios.ECHO)
            self.shown = b""
            with typed.open("rb") if typed else contextlib.nullcontext(theirs) as stdin:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", _AT_TERMINAL, name, *arguments],
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=theirs,
                    start_new_session=True,
                    env=environment(home),
                )

        def read_until(self, wanted: bytes) -> None:
            """Read what is shown until something is."""
            while wanted not in self.shown:
                assert select.select([self._ours], [], [], 40)[0], self.shown
                self.shown += os.read(self._ours, 4096)

        def type(self, octets: bytes) -> None:
            os.write(self._ours, octets)

        def end(self) -> int:
            """Wait for the end, and read what is left."""
            with self.process:
                status = self.process.wait(40)
            while select.select([self._ours], [], [], 0)[0]:
                self.shown += os.read(self._ours, 4096)
            assert bool(termios.tcgetattr(self._theirs)[3] & termios.ECHO) is self.echoes
            return status

        def leave(self) -> None:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(40)
            os.close(self._ours)
            os.close(self._theirs)

    @contextlib.contextmanager
    def sitting(
        *arguments: str, home: Path, typed: bytes | None = LETTER, name: str = "send"
    ) -> Iterator[Sitting]:
        path = None if typed is None else home / "typed"
        if path is not None and typed is not None:
            path.write_bytes(typed)
        person = Sitting(name, *arguments, home=home, typed=path)
        try:
            yield person
        finally:
            person.leave()

    @pytest.mark.parametrize("scheme", ["tls", "tls+auth"])
    def test_asked_for_the_password(
        smtp_server: ServerFactory, good: Behaviour, home: Path, scheme: str
    ) -> None:
        with (
            smtp_server(good) as server,
            sitting(url(server, scheme, "alice@"), "-f", ALICE, BOB, home=home) as person,
        ):
            person.read_until(b"Password of alice at localhost: ")
            person.type(b"s3cret\n")
            assert person.end() == 0
        assert person.shown == b"Password of alice at localhost: \r\n"
        assert server.connections[0].credentials[0].password == "s3cret"
        assert server.messages[0].data == LETTER

    @pytest.mark.parametrize("name", ["send", "login"])
    @pytest.mark.parametrize("status", [130, 143])
    def test_a_signal_at_the_prompt(
        smtp_server: ServerFactory, good: Behaviour, home: Path, name: str, status: int
    ) -> None:
        """What is typed shows again afterwards."""
        message, typed = (["-f", ALICE, BOB], LETTER) if name == "send" else ([], None)
        with (
            smtp_server(good) as server,
            sitting(url(server, user="alice@"), *message, home=home, typed=typed, name=name) as person,
        ):
            person.read_until(b"Password of alice at localhost: ")
            if status == 130:
                person.type(b"\x03")
            else:
                person.process.send_signal(signal.SIGTERM)
            assert person.end() == status
        assert b"Traceback" not in person.shown
        assert server.connections[0].leaked() == []

    LARGE = LETTER + (b"0123456789" * 7 + b"\r\n") * 30_000

    @pytest.mark.parametrize("extensions", [("PIPELINING",), ("PIPELINING", "CHUNKING")])
    def test_a_bar(
        smtp_server: ServerFactory, good: Behaviour, home: Path, extensions: tuple[str, ...]
    ) -> None:
        with (
            smtp_server(good, after_tls=extensions) as server,
            sitting(url(server), "-f", ALICE, BOB, home=home, typed=LARGE) as person,
        ):
            assert person.end() == 0
        drawn = person.shown.decode().split("\r\x1b[K")
        assert drawn[0] == drawn[-1] == ""
        assert all(re.fullmatch(r"\[[#-]{30}\] +\d+% of 2\.2 MB", each) for each in drawn[1:-1])
        assert len(drawn) > 5
        assert drawn[-2].startswith("[##############################] 100%")
        assert server.messages[0].data == LARGE

    @pytest.mark.parametrize("option", ["-v", "--"])
    def test_no_bar(smtp_server: ServerFactory, good: Behaviour, home: Path, option: str) -> None:
        """For a small message, or where the conversation shows."""
        typed = LARGE if option == "-v" else LETTER
        with (
            smtp_server(good) as server,
            sitting("-f", ALICE, option, url(server), BOB, home=home, typed=typed) as person,
        ):
            assert person.end() == 0
        assert b"%" not in person.shown
        assert bool(person.shown) is (option == "-v")

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_in_the_middle(
        smtp_server: ServerFactory, good: Behaviour, home: Path, number: signal.Signals, status: int
    ) -> None:
        """The bar goes, and the message was never whole."""
        interrupted = threading.Event()

        def pieces() -> Iterator[bytes]:
            yield b"354 Go on\r\n"
            assert interrupted.wait(40)  # and until then it reads nothing

        with (
            smtp_server(good, replies={"DATA": Pieces(pieces)}) as server,
            sitting(url(server), "-f", ALICE, BOB, home=home, typed=LARGE * 10) as person,
        ):
            person.read_until(b"% of ")
            person.process.send_signal(number)
            assert person.end() == status
            interrupted.set()
        assert person.shown.endswith(b"\r\x1b[K")
        assert b"Traceback" not in person.shown
        assert server.messages == []

    def test_a_signal_while_several_are_looked_at(smtp_server: ServerFactory, home: Path) -> None:
        """What tells how far it is goes too, and nobody is waited for."""
        with (
            closed_port() as port,
            smtp_server(greeting_kind=Greeting.SILENT) as server,
            sitting(f"tls://{PLACE}:{port}", url(server), home=home, typed=None, name="check") as person,
        ):
            person.read_until(b"1 of 2 looked at")
            person.type(b"\x03")
            assert person.end() == 130
        assert person.shown.endswith(b"\r\x1b[K")
        assert person.shown.count(b"\n") == 0
