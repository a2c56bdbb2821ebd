"""From a message object to sender, recipients and octets; and nothing that was signed is changed."""

from __future__ import annotations

import copy
import io
import smtplib
from email import message_from_bytes, policy
from email.generator import BytesGenerator
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest
from hypothesis import given, strategies as st

from smtpverify.smtp.messages import addresses, flattened

# --- sender and recipients -----------------------------------------------------------------------


class Stock(smtplib.SMTP):
    """Tells what smtplib makes of a message."""

    def __init__(self) -> None:
        super().__init__(local_hostname="client.example.org")
        self.esmtp_features = {"smtputf8": ""}

    def ehlo_or_helo_if_needed(self) -> None:
        pass

    def sendmail(self, from_addr: Any, to_addrs: Any, msg: Any, *options: Any) -> Any:
        return from_addr, list(to_addrs), msg


FIELDS = ("From", "Sender", "To", "Cc", "Bcc", "Resent-Date", "Resent-From", "Resent-Sender", "Resent-To")


@given(st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["a@example.org", "B <b@example.org>, c@d"])))
def test_addresses_are_smtplibs(fields: dict[str, str]) -> None:
    """RFC 5322 3.6.2, 3.6.6: Sender before From, the Resent- fields where there are any."""
    message: Message[str, str] = Message()
    for name, value in fields.items():
        message[name] = value
    prefix = "Resent-" if "Resent-Date" in fields else ""
    if prefix + "From" in fields or prefix + "Sender" in fields:
        expected = Stock().send_message(message)
        assert addresses(message, None, None) == expected[:2]  # type: ignore[index]
    else:
        with pytest.raises(ValueError, match=rf"^message has neither {prefix}Sender nor {prefix}From"):
            addresses(message, None, None)
    assert addresses(message, "x@y", "z@y") == ("x@y", ["z@y"])


def test_resent_twice() -> None:
    message = message_from_bytes(b"Resent-Date: a\nResent-Date: b\n\n")
    with pytest.raises(ValueError, match="more than one 'Resent-' header block"):
        addresses(message, None, None)


# --- octets --------------------------------------------------------------------------------------


def generated(message: Message[Any, Any], **options: Any) -> bytes:
    """The standard generator's octets, without Bcc and mangling."""
    shown = copy.copy(message)
    del shown["Bcc"]
    with io.BytesIO() as octets:
        BytesGenerator(octets, mangle_from_=False, **options).flatten(shown, linesep="\r\n")
        return octets.getvalue()


def alternatives() -> list[Message[Any, Any]]:
    plain = EmailMessage()
    plain["From"], plain["To"], plain["Bcc"] = "a@example.org", "b@example.org", "c@example.org"
    plain["Subject"] = "h\u00e9llo " * 30
    plain.set_content("one\n\nFrom here\n..\nth\u00e9 end")
    attached = copy.deepcopy(plain)
    attached.add_attachment(bytes(range(256)) * 40, maintype="application", subtype="octet-stream")
    attached.set_boundary("==a")
    old = MIMEMultipart()
    old["From"], old["Subject"] = "a@example.org", "x" * 200 + " y" * 50
    old.attach(MIMEText("From one\r\ntwo\rthree\n", _charset="utf-8"))
    old.attach(MIMEText("plain"))
    old.preamble, old.epilogue = "before\n", "after\n"
    old.set_boundary("==o")
    eight = message_from_bytes(b"From: a@example.org\nContent-Transfer-Encoding: 8bit\n\n\xe9\xff\nFrom x\n")
    return [plain, attached, old, eight, message_from_bytes(b"From: a@b\n\n", policy=policy.default)]


@pytest.mark.parametrize("number", range(len(alternatives())))
def test_octets_are_the_generators(number: int) -> None:
    message = alternatives()[number]
    before = message.items()
    octets = flattened(message, utf8=False)
    assert octets == generated(message)
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
    assert b">From" not in octets
    assert b"c@example.org" not in octets
    assert message.items() == before
    chosen: Any = message.policy
    if hasattr(chosen, "utf8"):
        assert flattened(message, utf8=True) == generated(message, policy=chosen.clone(utf8=True))


@given(st.text("\r\n \tFrom.=x", max_size=60))
def test_any_text(text: str) -> None:
    """Written at once, or line by line as the standard generator does: the same octets."""
    message = MIMEText(text, _charset="us-ascii")
    assert flattened(message, utf8=False) == generated(message)


LONG = b" " + b"; ".join(b"tag%d=%s" % (number, b"x" * 30) for number in range(12))
SIGNED = [
    b"DKIM-Signature: v=1;%b\r\nSubject: a\r\n\tfolded   one\r\nX-Long:%b\r\n\r\nFrom me\r\n..\r\n"
    % (LONG, LONG),
    b"ARC-Seal: i=1;%b\r\nFrom: a@example.org\r\n\r\nhello \r\n\t\r\n" % LONG,
    b"""From: a@example.org
X-Long:%b
Content-Type: multipart/signed; micalg=pgp-sha256;
\tprotocol="application/pgp-signature"; boundary="==x"

preamble
--==x
Content-Type: text/plain;
  charset=us-ascii
X-Long:%b

From me \x20

--==x
Content-Type: application/pgp-signature

-----BEGIN PGP SIGNATURE-----

--==x--
""".replace(b"\n", b"\r\n")
    % (LONG, LONG),
]
POLICIES = {"compat32": policy.compat32, "default": policy.default, "SMTP": policy.SMTP}


@pytest.mark.parametrize("chosen", POLICIES)
@pytest.mark.parametrize("octets", SIGNED, ids=["dkim", "arc", "openpgp"])
def test_what_is_signed_stays(octets: bytes, chosen: str) -> None:
    own: Any = POLICIES[chosen]
    message = message_from_bytes(octets, policy=own)
    assert flattened(message, utf8=False) == octets
    unsigned = octets.replace(b"DKIM-Signature", b"X-Signature").replace(b"ARC-Seal", b"X-Seal")
    if unsigned != octets:  # there, long headers are folded as the policy wants
        assert flattened(message_from_bytes(unsigned, policy=own), utf8=False) != unsigned
