"""The certificate reader: what it reads although it is odd, and what it refuses (X.690, RFC 5280 4.1)."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from smtpverify import CertificateFormatError
from smtpverify.tls.names import IdentifierKind, PresentedIdentifier
from smtpverify.tls.x509 import Certificate, DistinguishedName
from tests import minting
from tests.bed.certs import der
from tests.minting import (
    FULL,
    REAL,
    Item,
    Parts,
    dns_name,
    extension,
    item,
    name,
    other_name,
    rdn,
    real,
    san,
    srv_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

UTC = datetime.timezone.utc


def refusal(der_octets: bytes) -> str:
    """Return the message with which the octets are refused."""
    with pytest.raises(CertificateFormatError) as caught:
        Certificate.from_der(der_octets)
    return str(caught.value)


# What is odd, and read all the same: nothing of it is matched


def of_subject(*attributes: tuple[bytes, int, bytes]) -> DistinguishedName:
    return Certificate.from_der(Parts(subject=name(rdn(*attributes))).der()).subject


@pytest.mark.parametrize(
    ("tag", "octets", "value"),
    [
        (minting.UTF8, "Bücher".encode(), "Bücher"),
        (minting.UTF8, b"B\xfccher", "B\\xfccher"),
        (minting.TELETEX, b"B\xfccher", "Bücher"),
        (minting.BMP, b"\0B\xd8\x3d\xdc\xa9", "B\U0001f4a9"),
        (minting.BMP, b"\0B\0", "B\\x00"),
        (minting.BMP, b"\xdc\xa9", "\\xdc\\xa9"),
        (minting.UNIVERSAL, b"\0\0\0B\0\x11\0\0", "B\\x00\\x11\\x00\\x00"),
        (minting.PRINTABLE, b"B\xfccher", "B\\xfccher"),
        (minting.IA5, b"a\0b", "a\0b"),
        (minting.BIT_STRING, b"\0\xff", "\0\\xff"),
        (0xA0, b"", ""),
    ],
)
def test_a_name_s_strings(tag: int, octets: bytes, value: str) -> None:
    subject = of_subject((minting.CN, tag, octets))
    assert subject.attributes == (("CN", value),)
    assert str(subject).isprintable()


@pytest.mark.parametrize(
    ("oid", "shown"),
    [
        ("2a03", "1.2.3"),
        ("00", "0.0"),
        ("27", "0.39"),
        ("28", "1.0"),
        ("4f", "1.39"),
        ("50", "2.0"),
        ("883703", "2.999.3"),
        ("2a8100", "1.2.128"),
        ("2a" + "01" * 31, "1.2" + ".1" * 31),
        ("", "OID#"),
        ("2a83", "OID#2a83"),
        ("80550403", "OID#80550403"),
        ("55048003", "OID#55048003"),
        ("2a" + "01" * 32, "OID#" + "2a" + "01" * 31 + "…"),
    ],
)
def test_an_attribute_s_type(oid: str, shown: str) -> None:
    """X.690 8.19: in dotted form what is an OBJECT IDENTIFIER, in hexadecimal what is none."""
    assert of_subject((bytes.fromhex(oid), minting.UTF8, b"x")).attributes == ((shown, "x"),)


def test_names_are_shown_escaped_and_short() -> None:
    subject = of_subject(
        (minting.CN, minting.UTF8, "a\x1b[2J\n\u202e\\".encode()), (minting.ORG, minting.UTF8, b"o" * 100_000)
    )
    assert subject.values("CN") == ("a\x1b[2J\n\u202e\\",)
    assert subject.values("OU") == ()
    assert str(subject) == "O=" + "o" * 64 + r"…,CN=a\x1b[2J\x0a\u202e\\"


def test_one_attribute_does_not_look_like_two() -> None:
    """RFC 4514 2.4: a comma or plus sign in a value is escaped."""
    subject = of_subject((minting.ORG, minting.UTF8, b"x,CN=mail.example.org+O=y"))
    assert str(subject) == r"O=x\,CN=mail.example.org\+O=y"


def test_of_many_attributes_the_most_specific_are_shown() -> None:
    """RFC 4514 2.1: the last one first; and that some are left out is said."""
    many = [(minting.OU, minting.UTF8, b"%d" % number) for number in range(17)]
    shown = [f"OU={number}" for number in reversed(range(17))]
    assert str(of_subject(*many)) == ",".join(shown[:16]) + ",…"
    assert str(of_subject(*many[1:])) == ",".join(shown[:16])


def test_names_are_compared_by_their_encoding() -> None:
    one = of_subject((minting.CN, minting.UTF8, b"a"))
    assert one == of_subject((minting.CN, minting.UTF8, b"a"))
    assert one != of_subject((minting.CN, minting.PRINTABLE, b"a"))
    assert one.attributes == of_subject((minting.CN, minting.PRINTABLE, b"a")).attributes


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (Parts(version=None), {"san": ()}),  # version 1
        (Parts(serial=item(minting.INTEGER, b"\xff")), {"serial": b"\xff"}),  # negative
        (Parts(serial=item(minting.INTEGER, b"\0" * 100)), {"serial": b"\0" * 100}),
        (Parts(subject=name()), {"subject": DistinguishedName(b"\x30\0", ())}),
        (Parts(subject=name(), issuer=name()), {"self_issued": True}),
        (Parts(subject=Parts().issuer), {"self_issued": True}),
        (Parts(), {"self_issued": False, "ca_issuers": False}),
        (Parts(extensions=(san(),)), {"san": ()}),
        (Parts(extensions=(minting.aia(),)), {"ca_issuers": False}),
        (Parts(extensions=(minting.aia(minting.OCSP),)), {"ca_issuers": False}),
        (Parts(extensions=(minting.aia(minting.CA_ISSUERS, minting.OCSP),)), {"ca_issuers": True}),
        (
            Parts(extensions=(san(dns_name("a"), critical=False),)),
            {"san": (PresentedIdentifier(IdentifierKind.DNS, b"a", "dNSName"),)},
        ),
    ],
)
def test_odd_contents(parts: Parts, expected: dict[str, object]) -> None:
    read = Certificate.from_der(parts.der())
    assert {field: getattr(read, field) for field in expected} == expected


@pytest.mark.parametrize(
    ("entry", "kind", "octets", "label"),
    [
        (dns_name(b"a\0.example"), IdentifierKind.DNS, b"a\0.example", "dNSName"),
        (dns_name(b"\xff"), IdentifierKind.DNS, b"\xff", "dNSName"),
        (dns_name(""), IdentifierKind.DNS, b"", "dNSName"),
        (dns_name("x" * 70_000), IdentifierKind.DNS, b"x" * 70_000, "dNSName"),
        (item(0x87, b"\1\2\3"), IdentifierKind.IP, b"\1\2\3", "iPAddress"),
        (srv_name("_smtps.a"), IdentifierKind.SRV, b"_smtps.a", "SRVName"),
        (other_name(minting.XMPP_ADDR, b"?"), IdentifierKind.OTHER, b"?", "otherName(1.3.6.1.5.5.7.8.5)"),
        (other_name(b"\x80", b""), IdentifierKind.OTHER, b"", "otherName(OID#80)"),
        (item(0x81, b"a@b"), IdentifierKind.OTHER, b"a@b", "rfc822Name"),
        (item(0xA3, b"\1\2"), IdentifierKind.OTHER, b"\1\2", "x400Address"),
        (item(0xA4, b""), IdentifierKind.OTHER, b"", "directoryName"),
        (item(0xA5, b"\1\2"), IdentifierKind.OTHER, b"\1\2", "ediPartyName"),
        (item(0x86, b"u:"), IdentifierKind.OTHER, b"u:", "uniformResourceIdentifier"),
        (item(0x88, b"\x2a"), IdentifierKind.OTHER, b"\x2a", "registeredID"),
    ],
)
def test_general_names(entry: Item, kind: IdentifierKind, octets: bytes, label: str) -> None:
    """RFC 5280 4.2.1.6: each choice by its name, its octets not judged."""
    read = Certificate.from_der(Parts(extensions=(san(entry, dns_name("b")),)).der())
    assert read.san == (
        PresentedIdentifier(kind, octets, label),
        PresentedIdentifier(IdentifierKind.DNS, b"b", "dNSName"),
    )
    assert all(str(one).isprintable() for one in read.san)


# Dates


def of_times(tag: int, octets: bytes) -> Parts:
    return Parts(validity=item(minting.SEQUENCE, item(tag, octets), item(minting.UTC, b"491231235959Z")))


@pytest.mark.parametrize(
    ("tag", "octets", "year"),
    [
        (minting.UTC, b"500228010203Z", 1950),
        (minting.UTC, b"990228010203Z", 1999),
        (minting.UTC, b"000228010203Z", 2000),
        (minting.UTC, b"490228010203Z", 2049),
        (minting.GENERALIZED, b"20500228010203Z", 2050),
        (minting.GENERALIZED, b"00010228010203Z", 1),
        (minting.GENERALIZED, b"99990228010203Z", 9999),
        (minting.GENERALIZED, b"20260228010203Z", 2026),
    ],
)
def test_times(tag: int, octets: bytes, year: int) -> None:
    """RFC 5280 4.1.2.5.1: a year of two digits is one of 1950 to 2049."""
    read = Certificate.from_der(of_times(tag, octets).der())
    assert read.not_before == datetime.datetime(year, 2, 28, 1, 2, 3, tzinfo=UTC)
    assert read.not_after == datetime.datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tag", "octets"),
    [
        (minting.UTC, b""),
        (minting.UTC, b"2602280102Z"),  # no seconds
        (minting.UTC, b"260228010203"),
        (minting.UTC, b"260228010203z"),
        (minting.UTC, b"260228010203ZZ"),
        (minting.UTC, b"260228010203+0000"),
        (minting.UTC, b"+60228010203Z"),
        (minting.UTC, b" 60228010203Z"),
        (minting.UTC, b"2602280102_3Z"),
        (minting.UTC, b"26022801020\xb2Z"),
        (minting.UTC, b"20260228010203Z"),
        (minting.GENERALIZED, b"260228010203Z"),
        (minting.GENERALIZED, b"20260228010203.5Z"),
        (minting.GENERALIZED, b"20260228010203"),
        (minting.UTF8, b"260228010203Z"),
        (0x37, b"260228010203Z"),
    ],
)
def test_times_in_another_form(tag: int, octets: bytes) -> None:
    """RFC 5280 4.1.2.5: seconds given, Zulu, no fractions."""
    message = refusal(of_times(tag, octets).der())
    assert message == "notBefore: neither YYMMDDHHMMSSZ nor YYYYMMDDHHMMSSZ"


@pytest.mark.parametrize(
    "octets",
    [
        b"260001000000Z",
        b"261301000000Z",
        b"260100000000Z",
        b"260230000000Z",
        b"250229000000Z",
        b"260101240000Z",
        b"260101006000Z",
        b"260101000060Z",
        b"00000101000000Z",
    ],
)
def test_times_that_are_on_no_calendar(octets: bytes) -> None:
    tag = minting.UTC if len(octets) == 13 else minting.GENERALIZED
    message = refusal(of_times(tag, octets).der())
    assert message.startswith("notBefore: ")
    assert message != "notBefore: neither YYMMDDHHMMSSZ nor YYYYMMDDHHMMSSZ"


# Strictness (X.690 10.1: the definite form, in the fewest octets)


def longer_length(one: Item, content: bytes) -> bytes:
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8 or 1, "big")
    size = b"\0" + size if len(content) >= 0x80 else size
    return bytes([one.tag, 0x80 | len(size)]) + size + content


def indefinite(one: Item, content: bytes) -> bytes:
    return bytes([one.tag, 0x80]) + content + b"\0\0"


def five_octets_of_length(one: Item, content: bytes) -> bytes:
    return bytes([one.tag, 0x85]) + len(content).to_bytes(5, "big") + content


def all_of_length(one: Item, content: bytes) -> bytes:
    return bytes([one.tag, 0xFF]) + content


def high_tag(one: Item, content: bytes) -> bytes:
    return der(one.tag | 0x1F, content)


def other_form(one: Item, content: bytes) -> bytes:
    """Primitive for constructed, and the other way round."""
    return der(one.tag ^ 0x20, content)


def one_too_many(one: Item, content: bytes) -> bytes:
    return der(one.tag, content + b"\x05\0")


def lost(one: Item, content: bytes) -> bytes:
    return b""


STRINGS = {minting.UTF8, minting.PRINTABLE, minting.IA5, minting.BMP}
SPOILS: dict[Callable[[Item, bytes], bytes], tuple[str, Callable[[Item], bool]]] = {
    longer_length: ("a length not in its shortest form at", lambda one: True),
    indefinite: ("a length that DER does not allow, or cut off at", lambda one: True),
    five_octets_of_length: ("a length that DER does not allow, or cut off at", lambda one: True),
    all_of_length: ("a length that DER does not allow, or cut off at", lambda one: True),
    high_tag: ("", lambda one: True),
    # A value in a name may be of any type.
    other_form: ("", lambda one: one.tag not in STRINGS),
    # Where items are expected; what is no item of the tree is not looked into.
    one_too_many: ("", lambda one: isinstance(one.content[0], Item)),
    # What is optional, or one of many, may be lost.
    lost: (
        "",
        lambda one: one.tag in {minting.OID, minting.INTEGER, minting.OCTET_STRING, minting.BIT_STRING},
    ),
}


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_one_item_spoilt_anywhere_is_refused(spoil: Callable[[Item, bytes], bytes]) -> None:
    """X.690 8.1 and 10.1; RFC 5280 4.1: each item has one encoding, and its place."""
    problem, concerned = SPOILS[spoil]
    tree = FULL.tree()
    assert Certificate.from_der(tree.encode()).der == tree.encode()
    items = [one for one in tree.walk() if concerned(one)]
    assert len(items) > 10
    for spoilt in items:
        octets = tree.encode({spoilt: spoil})
        assert problem in refusal(octets), f"tag {spoilt.tag:#x}"


@pytest.mark.parametrize("kind", REAL)
def test_a_certificate_cut_off_anywhere_is_refused(kind: str) -> None:
    octets = real(kind)
    messages = {refusal(octets[:size]) for size in range(len(octets))}
    assert messages == {
        "certificate: cut off at octet 0",
        "certificate: a length that DER does not allow, or cut off at octet 0",
    }


@pytest.mark.parametrize("kind", REAL)
def test_octets_behind_a_certificate_are_refused(kind: str) -> None:
    size = len(real(kind))
    assert refusal(real(kind) + b"\n") == f"certificate: 1 octets too many at octet {size}"
    assert refusal(2 * real(kind)) == f"certificate: {size} octets too many at octet {size}"


def subject_of(*content: Item | bytes) -> Parts:
    return Parts(subject=item(minting.SEQUENCE, *content))


def extensions_of(*content: Item | bytes) -> bytes:
    """Return a certificate with this in its [3]."""
    return Parts(subject_id=item(0xA3, *content)).der()


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "certificate: cut off at octet 0"),
        (b"\x30", "certificate: cut off at octet 0"),
        (b"\x30\0", "certificate: cut off at octet 0"),
        (b"\x31\0", "certificate: tag 0x30 expected, 0x31 found"),
        (b"-----BEGIN CERTIFICATE-----\n", "certificate: cut off at octet 0"),
        (bytes((1 << 18) + 1), "certificate: 262145 octets are more than 262144"),
        (Parts(serial=item(minting.INTEGER, b"")).der(), "serialNumber: an INTEGER has at least one octet"),
        (Parts(serial=None).der(), "serialNumber: tag 0x02 expected, 0x30 found"),
        (Parts(issuer=None).der(), "issuer: tag 0x31 expected, 0x17 found"),
        (Parts(version=Parts().serial).der(), "signature: tag 0x30 expected, 0x02 found"),
        (
            Parts(subject_id=item(0x81, b"\0"), issuer_id=item(0x82, b"\0")).der(),
            "tbsCertificate: 3 octets too many at",
        ),
        (subject_of(item(minting.SET)).der(), "subject: an empty RelativeDistinguishedName at octet 0"),
        (subject_of(item(minting.SEQUENCE)).der(), "subject: tag 0x31 expected, 0x30 found"),
        (subject_of(b"\x31\x02\x30\0").der(), "subject: cut off at octet 0"),
        (Parts(extensions=(san(), san())).der(), "extensions: 2.5.29.17 occurs twice"),
        (
            Parts(extensions=(extension(b"\x2a", b""), extension(b"\x2a", b"x"))).der(),
            "extensions: 1.2 occurs twice",
        ),
        (
            Parts(extensions=(extension(minting.SUBJECT_ALT_NAME, b""),)).der(),
            "subjectAltName: cut off at octet 0",
        ),
        (
            Parts(extensions=(extension(minting.AIA, b"\x31\0"),)).der(),
            "authorityInfoAccess: tag 0x30 expected",
        ),
        (extensions_of(), "extensions: cut off at octet 0"),
        (extensions_of(b"\x30\0\x30\0"), "extensions: 2 octets too many at octet 2"),
        (extensions_of(b"\x30\2\x30\0"), "extension: cut off at octet 0"),
        *(
            (Parts(extensions=(san(dns_name("a"), item(tag, b"a")),)).der(), problem)
            for tag in (0x04, 0x16, 0x30, 0x80, 0x83, 0x84, 0x85, 0x89, 0xA1, 0xA2, 0xA7, 0xC2, 0x42, 0xE0)
            for problem in [f"subjectAltName: no GeneralName has the tag 0x{tag:02x} at octet 6"]
        ),
        (Parts(extensions=(san(item(0xA0)),)).der(), "otherName: cut off at octet 0"),
        (
            Parts(extensions=(san(item(0xA0, item(minting.OID, b"*"))),)).der(),
            "otherName: cut off at octet 3",
        ),
        (
            Parts(extensions=(san(item(0xA0, item(minting.OID, b"*"), item(0x80))),)).der(),
            "otherName: tag 0xa0 expected, 0x80 found",
        ),
        (
            Parts(extensions=(san(other_name(minting.DNS_SRV, item(minting.UTF8, b"_a.b"))),)).der(),
            "SRVName: tag 0x16 expected, 0x0c found",
        ),
        (Parts(extensions=(san(other_name(minting.DNS_SRV, b"")),)).der(), "SRVName: cut off at octet 0"),
    ],
)
def test_what_is_no_certificate(octets: bytes, message: str) -> None:
    assert refusal(octets).startswith(message)


def test_the_largest_certificate_is_read() -> None:
    rest = len(Parts(extensions=(extension(b"\x2a", bytes(1 << 17)),)).der()) - (1 << 17)
    largest = Parts(extensions=(extension(b"\x2a", bytes((1 << 18) - rest)),)).der()
    assert len(largest) == 1 << 18
    assert Certificate.from_der(largest).der == largest
