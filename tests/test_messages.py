"""From a message object to sender, recipients and octets; and nothing that was signed is changed."""

from __future__ import annotations

import copy
import io
import re
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


FIELDS = [
    "From", "Sender", "To", "Cc", "Bcc",
    "Resent-Date", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc",
]  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(FIELDS), st.sampled_from(["a@x.org", "B <b@x.org>, c@d", "D\u00e9 <d@x.org>"])
    ),
    st.sampled_from([Message, EmailMessage]),
)
def test_addresses_are_smtplibs(fields: dict[str, str], kind: type[Message[str, str]]) -> None:
    """RFC 5322 3.6.2, 3.6.6: Sender before From, the Resent- fields where there are any."""
    message = kind()
    for name, value in fields.items():
        message[name] = value
    prefix = "Resent-" if "Resent-Date" in fields else ""
    if prefix + "From" in fields or prefix + "Sender" in fields:
        expected = Stock().send_message(message)
        assert addresses(message, None, None) == expected[:2]  # type: ignore[index]
    else:
        told = f"message has neither {prefix}Sender nor {prefix}From, and no from_addr was given"
        with pytest.raises(ValueError, match=f"^{told}$"):
            addresses(message, None, None)
    assert addresses(message, "x@y", "z@y") == ("x@y", ["z@y"])
    assert addresses(message, "", iter(["z@y", "w@y"])) == ("", ["z@y", "w@y"])
    assert addresses(message, "x@y", []) == ("x@y", [])


def test_no_recipients() -> None:
    message = message_from_bytes(b"From: a@example.org\nResent-To: b@example.org\n\n")
    assert addresses(message, None, None) == ("a@example.org", [])


def test_the_first_of_many_senders() -> None:
    """RFC 5321 3.3: a reverse-path is one."""
    message = message_from_bytes(b"From: A <a@example.org>, b@example.org\nTo: c@example.org\n\n")
    assert addresses(message, None, None) == ("a@example.org", ["c@example.org"])


def test_resent_twice() -> None:
    message = message_from_bytes(b"Resent-Date: a\nResent-Date: b\n\n")
    for sender, recipients in ((None, None), ("x@y", ["z@y"])):
        with pytest.raises(ValueError, match=r"^message has more than one 'Resent-' header block$"):
            addresses(message, sender, recipients)


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


texts = st.text("ab \t.,\u00e9\u20ac\n", max_size=200)
subjects = st.text("ab,;:\u00e9\u20ac", min_size=1, max_size=20).map(lambda word: f"{word} x" * 12)


@st.composite
def modern(draw: st.DrawFn) -> EmailMessage:
    """A message of the new interface."""
    message = EmailMessage(policy=draw(st.sampled_from([policy.default, policy.SMTP, policy.SMTPUTF8])))
    message["From"] = "a@example.org"
    message["Subject"] = draw(subjects)
    message["Bcc"] = "hidden@example.org"
    message.set_content(draw(texts), cte=draw(st.sampled_from([None, "base64", "quoted-printable"])))
    if draw(st.booleans()):
        message.add_alternative("<p>x</p>", subtype="html")
    for octets in draw(st.lists(st.binary(max_size=100), max_size=2)):
        message.add_attachment(octets, maintype="application", subtype="octet-stream", filename="\u00e9.x")
    for number, part in enumerate(message.walk()):
        if part.is_multipart():
            part.set_boundary(f"=={number}")
    return message


@st.composite
def old(draw: st.DrawFn) -> Message[str, str]:
    """One of the old interface, of nested parts."""
    if draw(st.integers(0, 2)):
        leaf = MIMEText(draw(texts), _charset=draw(st.sampled_from([None, "utf-8", "iso-8859-15"])))
        leaf["X-Long"] = draw(subjects)
        return leaf
    message = MIMEMultipart(boundary=f"=={draw(st.uuids())}")
    for part in draw(st.lists(old(), max_size=2)):
        message.attach(part)
    message["Subject"] = draw(subjects)
    return message


@given(modern() | old())
def test_octets_are_smtplibs(message: Message[str, str]) -> None:
    """RFC 5322 3.6.3: without Bcc, what smtplib sends; the message stays as it was."""
    message["Resent-Bcc"] = "hidden@example.org"
    before = message.as_bytes()
    octets = flattened(message, utf8=False)
    assert octets == Stock().send_message(message, "a@example.org", ["b@example.org"])[2]  # type: ignore[index]
    assert b"hidden" not in octets
    assert message.as_bytes() == before


@given(modern())
def test_octets_in_utf8_are_smtplibs(message: EmailMessage) -> None:
    """RFC 6532 3.2: headers in UTF-8, where an address is."""
    message["To"] = "b\u00e9@example.org"
    octets = flattened(message, utf8=True)
    assert octets == Stock().send_message(message, "a@example.org")[2]  # type: ignore[index]
    assert "To: b\u00e9@example.org\r\n".encode() in octets


@pytest.mark.parametrize("kind", [Message, MIMEText])
def test_octets_of_the_old_kind_in_utf8(kind: Any) -> None:
    """compat32, of which smtplib asks in vain for UTF-8, writes headers by RFC 2047 as ever."""
    message = kind("hello") if kind is MIMEText else kind()
    message["From"], message["To"] = "a@x.org", "b\u00f6b@x.org"
    assert flattened(message, utf8=True) == flattened(message, utf8=False)
    assert b"To: =?utf-8?" in flattened(message, utf8=True)


@pytest.mark.parametrize("field", ["Bcc", "Resent-Bcc", "BCC"])
def test_who_is_hidden_stays_so(field: str) -> None:
    """RFC 5322 3.6.3; and the message of the caller keeps them."""
    octets = f"From: a@example.org\r\n{field}: b@example.org\r\n{field}: c@example.org\r\n\r\nx".encode()
    message = message_from_bytes(octets)
    assert flattened(message, utf8=False) == b"From: a@example.org\r\n\r\nx"
    assert message.get_all(field) == ["b@example.org", "c@example.org"]


def test_no_part_is_changed() -> None:
    """Not even by a boundary, which the generator gives a part that has none."""
    inner, outer = MIMEMultipart("alternative"), MIMEMultipart()
    inner.attach(MIMEText("x"))
    outer.attach(inner)
    octets = flattened(outer, utf8=False)
    assert outer.get_boundary() is inner.get_boundary() is None
    assert outer.get_payload() == [inner]
    parsed = message_from_bytes(octets)
    assert [part.get_content_type() for part in parsed.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
    ]


def test_an_attached_message_keeps_its_bcc() -> None:
    """It is content, and says who hid whom then."""
    attached = message_from_bytes(
        b"From: a@example.org\nBcc: b@example.org\n\nFrom x\n", policy=policy.default
    )
    message = EmailMessage()
    message["From"], message["Bcc"] = "c@example.org", "d@example.org"
    message.set_content("see there")
    message.add_attachment(attached)
    octets = flattened(message, utf8=False)
    assert b"\r\nFrom: a@example.org\r\nBcc: b@example.org\r\n\r\nFrom x\r\n" in octets
    assert b"d@example.org" not in octets


def test_a_boundary_is_nowhere_else() -> None:
    message = EmailMessage()
    message.set_content("x")
    message.add_attachment(b"y", maintype="application", subtype="octet-stream")
    found = {re.search(rb'boundary="(=_[0-9a-f]{32}_=)"', flattened(message, utf8=False)) for _ in range(3)}
    assert len({match and match[1] for match in found} - {None}) == 3
    assert message.get_boundary() is None


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
POLICIES = {
    "compat32": policy.compat32,
    "default": policy.default,
    "SMTP": policy.SMTP,
    "folds all": policy.SMTP.clone(refold_source="all"),
}


@pytest.mark.parametrize("chosen", POLICIES)
@pytest.mark.parametrize("octets", SIGNED, ids=["dkim", "arc", "openpgp"])
def test_what_is_signed_stays(octets: bytes, chosen: str) -> None:
    own: Any = POLICIES[chosen]
    message = message_from_bytes(octets, policy=own)
    assert flattened(message, utf8=False) == octets
    unsigned = octets.replace(b"DKIM-Signature", b"X-Signature").replace(b"ARC-Seal", b"X-Seal")
    if unsigned != octets:  # there, long headers are folded as the policy wants
        assert flattened(message_from_bytes(unsigned, policy=own), utf8=False) != unsigned
