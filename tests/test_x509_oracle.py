"""The certificate reader at large: against `cryptography`, against any octets, and at what cost."""

from __future__ import annotations

import datetime
import gc
import hashlib
import pickle
import sys
import warnings
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import AuthorityInformationAccessOID
from hypothesis import example, given, settings, strategies as st

from smtpverify import CertificateFormatError
from smtpverify.tls.names import IdentifierKind, PresentedIdentifier
from smtpverify.tls.x509 import Certificate
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
    from types import FrameType

moderately = settings(max_examples=200, deadline=None)
often = settings(max_examples=500, deadline=None)

SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.25": "DC",
}

# The oracle


def oracle_name(shown: x509.Name) -> tuple[tuple[str, Any], ...]:
    oids = ((attribute.oid.dotted_string, attribute.value) for attribute in shown)
    return tuple((SHORT_NAMES.get(oid, oid), value) for oid, value in oids)


def oracle_identifier(shown: x509.GeneralName) -> PresentedIdentifier:
    if isinstance(shown, x509.DNSName):
        return PresentedIdentifier(IdentifierKind.DNS, shown.value.encode("ascii"), "dNSName")
    if isinstance(shown, x509.IPAddress):
        assert isinstance(shown.value, (IPv4Address, IPv6Address))
        return PresentedIdentifier(IdentifierKind.IP, shown.value.packed, "iPAddress")
    if isinstance(shown, x509.OtherName):
        oid = shown.type_id.dotted_string
        if oid == "1.3.6.1.5.5.7.8.7":
            assert shown.value == der(minting.IA5, shown.value[2:])
            return PresentedIdentifier(IdentifierKind.SRV, shown.value[2:], "SRVName")
        return PresentedIdentifier(IdentifierKind.OTHER, shown.value, f"otherName({oid})")
    if isinstance(shown, x509.DirectoryName):
        return PresentedIdentifier(IdentifierKind.OTHER, shown.value.public_bytes(), "directoryName")
    if isinstance(shown, x509.RegisteredID):
        encoded = minting.CA_ISSUERS  # the only one minted
        assert shown.value.dotted_string == "1.3.6.1.5.5.7.48.2"
        return PresentedIdentifier(IdentifierKind.OTHER, encoded, "registeredID")
    label = "rfc822Name" if isinstance(shown, x509.RFC822Name) else "uniformResourceIdentifier"
    assert isinstance(shown, (x509.RFC822Name, x509.UniformResourceIdentifier))
    return PresentedIdentifier(IdentifierKind.OTHER, shown.value.encode("ascii"), label)


def assert_agreement(der_octets: bytes) -> Certificate:
    """Read a certificate and have `cryptography` say that it says the same."""
    read = Certificate.from_der(der_octets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lengths of attributes
        other = x509.load_der_x509_certificate(der_octets)
        assert read.subject.attributes == oracle_name(other.subject)
        assert read.issuer.attributes == oracle_name(other.issuer)
        assert read.self_issued == (other.subject.public_bytes() == other.issuer.public_bytes())
        extensions = other.extensions
    assert int.from_bytes(read.serial, "big", signed=True) == other.serial_number
    assert read.not_before == other.not_valid_before_utc
    assert read.not_after == other.not_valid_after_utc
    assert read.spki == other.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert read.sha256 == other.fingerprint(hashes.SHA256()).hex() == hashlib.sha256(read.der).hexdigest()
    try:
        shown = tuple(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        shown = ()
    assert read.san == tuple(map(oracle_identifier, shown))
    try:
        access = tuple(extensions.get_extension_for_class(x509.AuthorityInformationAccess).value)
    except x509.ExtensionNotFound:
        access = ()
    methods = [one.access_method for one in access]
    assert read.ca_issuers == (AuthorityInformationAccessOID.CA_ISSUERS in methods)
    return read


ascii_text = st.text(st.characters(codec="ascii"), min_size=1, max_size=20)
any_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
string = (
    st.builds(lambda text: (minting.UTF8, text.encode()), any_text)
    | st.builds(lambda text: (minting.UNIVERSAL, text.encode("utf-32-be")), any_text)
    | st.builds(lambda text: (minting.BMP, text.encode("utf-16-be")), any_text)
    | st.builds(
        lambda tag, text: (tag, text.encode()), st.sampled_from([minting.IA5, minting.TELETEX]), ascii_text
    )
    | st.from_regex(r"[A-Za-z0-9 '()+,./:=?-]{1,20}", fullmatch=True).map(
        lambda text: (minting.PRINTABLE, text.encode())
    )
)
attribute_oid = st.sampled_from(
    [
        minting.CN,
        minting.ORG,
        minting.OU,
        minting.COUNTRY,
        minting.LOCALITY,
        minting.STATE,
        minting.DC,
        minting.EMAIL,
        b"\x88\x37\x03",
        b"\x2a\x83\xff\xff\xff\x7f",
    ]
)
attribute = st.builds(lambda oid, value: (oid, *value), attribute_oid, string)
# X.690 11.6: a SET is in the order of its encodings; cryptography insists.
drawn_rdn = st.lists(attribute, min_size=1, max_size=3, unique_by=lambda one: one[0]).map(
    lambda drawn: item(
        minting.SET, *sorted(one.encode() for one in rdn(*drawn).content if isinstance(one, Item))
    )
)
drawn_name = st.lists(drawn_rdn, max_size=4).map(lambda rdns: name(*rdns))
general_name = (
    st.builds(dns_name, st.text(st.characters(codec="ascii"), max_size=30))
    | st.builds(srv_name, st.text(st.characters(codec="ascii"), max_size=30))
    | st.ip_addresses().map(lambda address: item(0x87, address.packed))
    | ascii_text.map(lambda text: item(0x81, text.encode()))
    | ascii_text.map(lambda text: item(0x86, text.encode()))
    | st.just(item(0x88, minting.CA_ISSUERS))
    | drawn_name.map(lambda drawn: item(0xA4, drawn))
    | st.binary(max_size=10).map(
        lambda octets: other_name(minting.XMPP_ADDR, der(minting.OCTET_STRING, octets))
    )
)
early = st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2049, 12, 31))  # noqa: DTZ001
late = st.datetimes(datetime.datetime(2050, 1, 1))  # noqa: DTZ001
time = early.map(lambda at: at.strftime("%y%m%d%H%M%SZ").encode()) | late.map(
    lambda at: at.strftime("%Y%m%d%H%M%SZ").encode()
)


@st.composite
def certificates(draw: st.DrawFn) -> bytes:
    """Draw a certificate that both readers read."""
    subject = draw(drawn_name)
    serial = draw(st.integers(1, 2**159 - 1))
    extensions = [
        *draw(st.lists(general_name, min_size=1, max_size=5).map(lambda drawn: [san(*drawn)]) | st.just([])),
        *draw(
            st.lists(st.sampled_from([minting.OCSP, minting.CA_ISSUERS]), min_size=1, max_size=2).map(
                lambda methods: [minting.aia(*methods)]
            )
            | st.just([])
        ),
    ]
    return Parts(
        serial=item(minting.INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1, "big")),
        issuer=draw(drawn_name | st.just(subject)),
        validity=minting.validity(draw(time), draw(time)),
        subject=subject,
        spki=minting.spki(draw(st.sampled_from(["ec", "rsa", "ed25519"]))),
        issuer_id=draw(st.none() | st.just(item(0x81, b"\0\1"))),
        subject_id=draw(st.none() | st.just(item(0x82, b"\0\2"))),
        extensions=tuple(draw(st.permutations(extensions))),
    ).der()


@given(certificates())
@moderately
def test_a_certificate_says_to_us_what_it_says_to_cryptography(der_octets: bytes) -> None:
    """RFC 5280 4.1 and 4.2.1.6: one certificate has one reading."""
    assert_agreement(der_octets)


@pytest.mark.parametrize("kind", REAL)
def test_real_certificates_are_read(kind: str) -> None:
    read = assert_agreement(real(kind))
    assert len(read.san) == {"rsa": 0, "ec": 1, "ed25519": 200, "full": 6}[kind]
    assert read.self_issued is False
    shown = {"rsa": "CN=mail", "ec": "(empty)", "ed25519": "CN=many", "full": "CN=mail,O=Bed Mail,DC=example"}
    assert str(read.subject) == shown[kind]
    assert pickle.loads(pickle.dumps(read)) == read
    assert hash(read) == hash(Certificate.from_der(real(kind)))


# Any octets


def attempt(octets: bytes) -> Certificate | CertificateFormatError:
    try:
        return Certificate.from_der(octets)
    except CertificateFormatError as error:
        return error


def assert_harmless(octets: bytes) -> Certificate | None:
    """Read octets; whatever comes out prints on a short line without control characters."""
    outcome = attempt(octets)
    if isinstance(outcome, CertificateFormatError):
        assert str(outcome).isprintable()
        assert len(str(outcome)) < 200
        assert not outcome.__cause__
        return None
    for line in (str(outcome.subject), str(outcome.issuer), *map(str, outcome.san)):
        assert line.isprintable()
        assert len(line) < 16 * (64 * 10 + 80)
    types = [kind for shown in (outcome.subject, outcome.issuer) for kind, _ in shown.attributes]
    assert all(
        len(text) < 110 and text.isprintable() for text in (*types, *(one.label for one in outcome.san))
    )
    assert outcome.not_before.tzinfo is outcome.not_after.tzinfo is datetime.timezone.utc
    return outcome


@given(st.binary(max_size=400))
@example(b"\x30\x80\0\0")
@example(b"\x30\x84\xff\xff\xff\xff")
@example(b"\x30\x82\x01")
@moderately
def test_any_octets_are_a_certificate_or_an_error(octets: bytes) -> None:
    """Any input gives a Certificate or a CertificateFormatError."""
    assert_harmless(octets)
    # Behind the outermost header, too, where there is more to go wrong.
    assert_harmless(der(minting.SEQUENCE, der(minting.SEQUENCE, octets)))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw a certificate with octets flipped, cut out, put in, or brought over from another one."""
    octets = bytearray(draw(st.sampled_from([*map(real, ("ec", "full", "rsa")), FULL.der(), Parts().der()])))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(octets) - 1))
        size = draw(st.integers(1, 12))
        how = draw(st.sampled_from(["flip", "set", "cut", "insert", "splice", "repeat"]))
        if how == "flip":
            octets[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "set":
            octets[at] = draw(
                st.sampled_from([0, 1, 5, 0x1F, 0x30, 0x31, 0x7F, 0x80, 0x81, 0x84, 0xA0, 0xFF])
            )
        elif how == "cut" and len(octets) > size:
            del octets[at : at + size]
        elif how == "insert":
            octets[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif how == "splice":
            octets[at : at + size] = draw(st.sampled_from([FULL.der(), real("rsa")]))[at : at + 4 * size]
        else:
            octets[at:at] = octets[at : at + size]
    return bytes(octets)


def read_by_both(
    octets: bytes,
) -> tuple[tuple[PresentedIdentifier, ...], tuple[PresentedIdentifier, ...]] | None:
    """Return the names that we read, and those that cryptography does; None if either refuses."""
    read = assert_harmless(octets)
    if read is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extensions = x509.load_der_x509_certificate(octets).extensions
        shown = tuple(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (
        ValueError,
        KeyError,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        # KeyError: an older cryptography, of a string of no type that it knows.
        return None
    except x509.ExtensionNotFound:
        shown = ()
    compared = (x509.DNSName, x509.IPAddress)
    ours = tuple(one for one in read.san if one.label in {"dNSName", "iPAddress"})
    return ours, tuple(oracle_identifier(one) for one in shown if isinstance(one, compared))


@given(mutated())
@often
def test_a_mutated_certificate_is_read_as_others_read_it_or_not_at_all(octets: bytes) -> None:
    """RFC 5280 4.2.1.6: two readers that both accept a certificate see the same names in it."""
    both = read_by_both(octets)
    if both is not None:
        assert both[0] == both[1]


def test_every_single_bit_flipped_in_the_names_is_noticed_or_agreed_upon() -> None:
    octets = FULL.signed()
    start = octets.index(b"\x55\x1d\x11") - 4
    outcomes = []
    for at in range(start, octets.index(b"*.example.org")):
        for bit in range(8):
            both = read_by_both(octets[:at] + bytes([octets[at] ^ 1 << bit]) + octets[at + 1 :])
            outcomes.append(both is not None)
            if both is not None:
                assert both[0] == both[1]
    assert {True, False} == set(outcomes)


# The cost: linear in the size, whatever is inside


class Counting(bytes):
    """Octets that count how many of them are copied into slices, and into slices of these."""

    copied = 0

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice[Any, Any, Any]) -> Counting: ...
    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> int | Counting:
        if not isinstance(key, slice):
            return super().__getitem__(key)
        piece = Counting(super().__getitem__(key))
        Counting.copied += len(piece)
        return piece


def work(octets: bytes) -> tuple[int, int]:
    """Return how many calls reading takes, and how many octets it copies."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    counting = Counting(octets)
    Counting.copied = 0
    before = sys.getprofile()
    gc.collect()
    gc.disable()  # what others have left would be finalised, and counted
    sys.setprofile(count)
    try:
        attempt(counting)
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls, Counting.copied


def many(count: int, *one: Item | bytes) -> Item:
    """Return a SEQUENCE that holds the same so many times."""
    return item(minting.SEQUENCE, *one * count)


ATTRIBUTE = (minting.CN, minting.UTF8, b"")
ADVERSARIAL = {
    "RDNs": lambda count: Parts(subject=many(count, rdn(ATTRIBUTE))),
    "attributes of an RDN": lambda count: Parts(issuer=name(rdn(*[ATTRIBUTE] * count))),
    "an attribute's type": lambda count: Parts(subject=name(rdn((b"\xff" * 16 * count, minting.UTF8, b"")))),
    "an attribute's arcs": lambda count: Parts(subject=name(rdn((b"\1" * 16 * count, minting.UTF8, b"")))),
    "types of 32 octets": lambda count: Parts(subject=many(count, rdn((b"\xff" * 31 + b"\1", 12, b"")))),
    "an attribute's value": lambda count: Parts(
        subject=name(rdn((minting.CN, minting.BMP, b"\xdc\0" * 8 * count)))
    ),
    "empty dNSNames": lambda count: Parts(extensions=(san(*[dns_name("")] * 8 * count),)),
    "SRVNames": lambda count: Parts(extensions=(san(*[srv_name("")] * count),)),
    "otherNames": lambda count: Parts(extensions=(san(*[other_name(b"\xff" * 30, b"")] * count),)),
    "a long dNSName": lambda count: Parts(extensions=(san(dns_name(b"x" * 16 * count)),)),
    "extensions": lambda count: Parts(
        extensions=tuple(extension(bytes([42, 1 + at // 125, 1 + at % 125]), b"") for at in range(count))
    ),
    "access descriptions": lambda count: Parts(extensions=(minting.aia(*[minting.CA_ISSUERS] * count),)),
    "nesting": lambda count: Parts(spki=item(minting.SEQUENCE, b"\x30\x80" * 8 * count)),
    "nesting in a name": lambda count: Parts(subject=name(rdn((minting.CN, 0x30, b"\x30\x80" * 8 * count)))),
    "nesting in a directoryName": lambda count: Parts(extensions=(san(item(0xA4, b"\x30\x80" * 8 * count)),)),
    "rubbish": lambda count: Parts(subject=item(minting.SEQUENCE, b"\x31\x02" * 8 * count)),
}


@pytest.mark.parametrize("what", ADVERSARIAL)
def test_the_time_is_linear_in_the_size(what: str) -> None:
    """Each octet costs a bounded number of calls and copies: twice the size, twice the work."""
    measured = []
    for count in (500, 1000, 2000):
        octets = ADVERSARIAL[what](count).der()
        calls, copied = work(octets)
        assert calls < 200 + 10 * len(octets)
        # Content and encoding of each item, in at most ten levels.
        assert len(octets) < copied < 20 * len(octets)
        measured.append((calls, copied))
    for smaller, larger in pairwise(measured):
        assert larger[0] <= 2 * smaller[0]
        assert larger[1] <= 2.1 * smaller[1]
