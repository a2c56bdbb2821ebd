"""What was sent lies in the mailbox, octet for octet, whichever way Postfix and Dovecot took it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import smtplib
import subprocess
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import smtpverify
from smtpverify import LMTP, LMTPDataError, Outcome
from tests.interop.servers import DOMAIN, FULL, HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smtpverify import Trust
    from tests.interop.servers import Running

SENDER = "alice@example.org"
TIMEOUT = 60.0
WAYS: dict[str, tuple[str, ...]] = {
    "pipelined and chunked": (),
    "pipelined": ("chunking",),
    "chunked": ("pipelining",),
    "step by step": ("chunking", "pipelining"),
}
HEAD = b"From: alice@example.org\r\nDate: Sat, 21 Nov 2026 04:00:00 +0000\r\nMessage-Id: <1@example.org>\r\n"
BODIES = {
    "dots": b"\r\n.\r\n..\r\n...\r\n.x\r\n. \r\n",
    "ends": b"\r\na\r.\rb\n.\nc\r\n.\r\rd\n\n.\r\n",
    "no end": b"\r\nno line end",
    "a lone dot": b"\r\n.",
    "nothing": b"",
    "only headers": b"\r\n",
    "from": b"\r\nFrom me\r\n>From you\r\n From them\r\n",
    "eight bits": b"\r\n\xe9\xff\x80 \xc3\xa9\r\n",
    "long lines": b"\r\n" + b"x" * 900 + b"\r\n" + b"." * 900 + b"\r\n",
    "spaces": b"\r\na \r\n\t\r\n \r\n\r\n\r\n",
}
TRACE = re.compile(rb"((Return-Path|X-Original-To|Delivered-To|Received):.*\r\n([ \t].*\r\n)*)+")
every_way = pytest.mark.parametrize("way", WAYS)


def to(*users: str) -> list[str]:
    return [f"{user}@{DOMAIN}" for user in users]


def normalized(message: bytes) -> bytes:
    """With a CRLF for every line end, and one at the end."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    return lines if lines.endswith(b"\r\n") else lines + b"\r\n"


def arrived(stored: bytes, message: bytes) -> None:
    """A stored message is the one that was sent, behind what the servers have put before it."""
    sent = normalized(message)
    assert stored.endswith(sent), (stored[-200:], sent[-200:])
    trace = stored[: -len(sent)]
    assert TRACE.fullmatch(trace), trace


@pytest.fixture
def connect(postfix: Running, trust: Trust) -> Callable[..., smtpverify.SMTP]:
    def connected(way: str = "pipelined and chunked", port: str = "starttls") -> smtpverify.SMTP:
        smtp = smtpverify.SMTP(
            HOST, postfix.ports[port], trust=trust, timeout=TIMEOUT, ignore_extensions=WAYS[way]
        )
        smtp.starttls()
        return smtp

    return connected


# --- Postfix ---------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("body", BODIES)
def test_octet_for_octet(
    postfix: Running, connect: Callable[..., smtpverify.SMTP], way: str, body: str
) -> None:
    message = HEAD + BODIES[body]
    with connect(way) as smtp:
        assert smtp.peer is not None
        assert smtp.sendmail(SENDER, to("bob"), message, ["BODY=8BITMIME"]) == {}
    (stored,) = postfix.delivered("bob")
    arrived(stored, message)


@every_way
def test_many_recipients_and_some_refused(
    postfix: Running, connect: Callable[..., smtpverify.SMTP], way: str
) -> None:
    users = [f"user{number}" for number in range(100)]
    with connect(way) as smtp:
        refused = smtp.sendmail(SENDER, to("nobody", *users, "noone"), HEAD + b"\r\nhello\r\n")
        assert list(refused) == to("nobody", "noone")
        assert {(code, smtpverify.enhanced_status((code, text))) for code, text in refused.values()} == {
            (550, "5.1.1")
        }
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail(SENDER, to("nobody", "noone"), HEAD + b"\r\nhello\r\n")
        assert smtp.sendmail(SENDER, to("bob"), HEAD + b"\r\nagain\r\n") == {}
    for user in users:
        arrived(postfix.delivered(user)[0], HEAD + b"\r\nhello\r\n")
    arrived(postfix.delivered("bob")[0], HEAD + b"\r\nagain\r\n")


@every_way
def test_a_large_message(postfix: Running, connect: Callable[..., smtpverify.SMTP], way: str) -> None:
    message = HEAD + b"\r\n" + (b"x" * 70 + b"\r\n.y\r\n") * 330_000
    assert len(message) > 25_000_000
    with connect(way) as smtp:
        assert smtp.sendmail(SENDER, to("bob"), message) == {}
    (stored,) = postfix.delivered("bob")
    assert stored.endswith(message)


def test_larger_than_it_takes(connect: Callable[..., smtpverify.SMTP]) -> None:
    with connect(port="small") as smtp:
        with pytest.raises(smtpverify.MessageTooLargeError, match=r"the server takes 20000$"):
            smtp.sendmail(SENDER, to("bob"), b"x" * 20_001)
        smtp.esmtp_features["size"] = ""  # as if it had not said so
        with pytest.raises(smtplib.SMTPResponseException) as raised:
            smtp.sendmail(SENDER, to("bob"), b"x" * 2_000_000)
        assert raised.value.smtp_code == 552
        assert smtp.noop()[0] == 250


@every_way
def test_a_thousand_messages(postfix: Running, connect: Callable[..., smtpverify.SMTP], way: str) -> None:
    mails: list[Any] = [
        (SENDER, to("bob" if number % 10 else "nobody"), HEAD + b"X-Number: %d\r\n\r\nhello\r\n" % number)
        for number in range(1000)
    ]
    with connect(way) as smtp:
        results = list(smtp.send_messages(mails))
    assert [result.outcome for result in results] == [
        Outcome.ACCEPTED if number % 10 else Outcome.REFUSED for number in range(1000)
    ]
    stored = b"".join(postfix.delivered("bob", 900))
    found = sorted(int(number) for number in re.findall(rb"X-Number: (\d+)\r\n", stored))
    assert found == [number for number in range(1000) if number % 10]


def test_by_url(postfix: Running, trust: Trust) -> None:
    for scheme, port, ignored in (("tls", "starttls", "chunking"), ("smtps", "implicit", "pipelining")):
        url = f"{scheme}://{HOST}:{postfix.ports[port]}?ignore-extension={ignored}"
        with smtpverify.connect(url, trust=trust, timeout=TIMEOUT) as smtp:
            assert smtp.sendmail(SENDER, to("carol"), HEAD + b"\r\nhello\r\n") == {}
        arrived(postfix.delivered("carol")[0], HEAD + b"\r\nhello\r\n")


def test_the_authority_counts(postfix: Running) -> None:
    with pytest.raises(smtpverify.UntrustedCertificateError):
        smtpverify.connect(f"tls://{HOST}:{postfix.ports['starttls']}", timeout=TIMEOUT)


# --- Dovecot ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["unix", "tcp"])
@pytest.mark.parametrize("pipelined", [True, False])
def test_a_verdict_for_each(dovecot: Running, trust: Trust, over: str, pipelined: bool) -> None:
    options: dict[str, Any] = {"timeout": TIMEOUT, "ignore_extensions": () if pipelined else ("pipelining",)}
    message = HEAD + b"\r\n.hello\r\nFrom me\r\n"
    if over == "unix":
        smtp = LMTP(str(dovecot.path), **options)
    else:
        smtp = LMTP(HOST, dovecot.ports["lmtp"], trust=trust, **options)
        smtp.starttls()
    with smtp:
        for _ in range(2):
            refused = smtp.sendmail(SENDER, to("bob", "nobody", FULL, "carol"), message)
            assert {recipient: code for recipient, (code, _) in refused.items()} == dict(
                zip(to("nobody", FULL), (550, 552), strict=True)
            )
        with pytest.raises(smtplib.SMTPDataError) as one:
            smtp.sendmail(SENDER, to(FULL), message)
        assert one.value.smtp_code == 552
        with pytest.raises(LMTPDataError):
            smtp.sendmail(SENDER, to(FULL, FULL), message)
        assert smtp.noop()[0] == 250
    for user in ("bob", "carol"):
        for stored in dovecot.delivered(user, 2):
            arrived(stored, message)


def test_large_over_lmtp(dovecot: Running) -> None:
    message = HEAD + b"\r\n" + (b"x" * 70 + b"\r\n.y\r\n") * 330_000
    with LMTP(str(dovecot.path), timeout=TIMEOUT) as smtp:
        assert smtp.sendmail(SENDER, to("dave"), message) == {}
    assert dovecot.delivered("dave")[0].endswith(message)


@every_way
def test_submission(dovecot: Running, postfix: Running, trust: Trust, way: str) -> None:
    url = f"tls://bob:secret@{HOST}:{dovecot.ports['submission']}"
    with smtpverify.connect(url, trust=trust, timeout=TIMEOUT, ignore_extensions=WAYS[way]) as smtp:
        assert smtp.has_extn("pipelining") is ("pipelining" not in WAYS[way])
        refused = smtp.sendmail("bob@example.net", to("carol", "nobody"), HEAD + BODIES["dots"])
        assert list(refused) == to("nobody")
        mails: list[Any] = [("bob@example.net", to("carol"), HEAD + b"\r\nx\r\n")] * 20
        if way == "pipelined":
            # Dovecot 2.3 fails an assertion of its own where the next MAIL and RCPT come behind the dot.
            assert [smtp.sendmail(*mail) for mail in mails] == [{}] * 20
        else:
            assert all(result.accepted for result in smtp.send_messages(mails))
    stored = postfix.delivered("carol", 21)
    assert sum(one.endswith(BODIES["dots"]) for one in stored) == 1


# --- signed messages -------------------------------------------------------------------------------

POLICIES: dict[str, Any] = {"compat32": policy.compat32, "default": policy.default, "SMTP": policy.SMTP}


def signed_by_dkim() -> tuple[bytes, bytes]:
    """A message, signed as strictly as can be, and the record that its signer's key has in DNS."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    message = (
        HEAD
        + b"To: bob@example.net,\r\n\tcarol@example.net\r\nSubject: "
        + b"a long subject, that is not folded " * 4
        + b"\r\n\r\nFrom me  \r\n..\r\n\r\nbye\r\n"
    )
    signature: bytes = dkim.sign(message, b"sel", b"example.org", pem, canonicalize=(b"simple", b"simple"))
    return signature + message, record


@every_way
@pytest.mark.parametrize("chosen", [None, *POLICIES])
def test_dkim_still_verifies(
    postfix: Running, connect: Callable[..., smtpverify.SMTP], way: str, chosen: str | None
) -> None:
    message, record = signed_by_dkim()
    with connect(way) as smtp:
        if chosen is None:
            smtp.sendmail(SENDER, to("bob"), message)
        else:
            smtp.send_message(message_from_bytes(message, policy=POLICIES[chosen]), SENDER, to("bob"))
    (stored,) = postfix.delivered("bob")
    assert dkim.verify(stored, dnsfunc=lambda name, timeout=5: record)
    assert not dkim.verify(stored.replace(b"bye", b"bye!"), dnsfunc=lambda name, timeout=5: record)


@pytest.mark.parametrize("chosen", POLICIES)
def test_openpgp_still_verifies(
    postfix: Running, connect: Callable[..., smtpverify.SMTP], tmp_path: Path, chosen: str
) -> None:
    """PGP/MIME (RFC 3156 5): the first part as it stands is what was signed."""
    gpg = shutil.which("gpg")
    if gpg is None:
        assert "CI" not in os.environ, "gpg is not installed"
        pytest.skip("gpg is not installed")
    tmp_path.chmod(0o700)

    def run(*arguments: str, data: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        command = [gpg, "--homedir", str(tmp_path), "--batch", "--pinentry-mode", "loopback"]
        command += ["--passphrase", ""]
        return subprocess.run([*command, *arguments], input=data, capture_output=True, check=check)

    run("--quick-gen-key", "alice@example.org", "ed25519", "sign", "never")
    part = b"Content-Type: text/plain;\r\n  charset=us-ascii\r\nX-Long: " + b"word " * 40 + b"\r\n\r\n"
    part += b"From me to you  \r\n.\r\n- dashes\r\n\r\n"
    signature = run("--armor", "--detach-sign", data=part).stdout.replace(b"\n", b"\r\n")
    message = HEAD + (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; micalg=pgp-sha512;\r\n"
        b'\tprotocol="application/pgp-signature"; boundary="==sig"\r\n\r\n--==sig\r\n'
        + part
        + b'\r\n--==sig\r\nContent-Type: application/pgp-signature; name="signature.asc"\r\n\r\n'
        + signature
        + b"\r\n--==sig--\r\n"
    )
    with connect() as smtp:
        smtp.send_message(message_from_bytes(message, policy=POLICIES[chosen]), SENDER, to("dave"))
    (stored,) = postfix.delivered("dave")
    found = stored.split(b"--==sig\r\n")[1].removesuffix(b"\r\n")
    file = tmp_path / "signature.asc"
    file.write_bytes(signature)
    assert run("--verify", str(file), "-", data=found).returncode == 0
    assert run("--verify", str(file), "-", data=found + b"x", check=False).returncode == 1
    subprocess.run(["gpgconf", "--homedir", str(tmp_path), "--kill", "gpg-agent"], check=True)
