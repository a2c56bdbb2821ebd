"""DER certificate -> `Certificate`: what identity, diagnosis and pins need, and no more (RFC 5280 4.1).

Nothing is read twice, so that the time is linear in the size. Any input gives a `Certificate` or a
`CertificateFormatError`. It judges nothing: signatures, chains and dates are OpenSSL's business, names
that of `names`. Pure.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, field

from ..errors import CertificateFormatError, printable
from .der import (
    BIT_STRING,
    BOOLEAN,
    GENERALIZED_TIME,
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    UTC_TIME,
    Item,
    Reader,
)
from .names import IdentifierKind, PresentedIdentifier

__all__ = ["Certificate", "DistinguishedName"]

_MAX_SIZE = 1 << 18  # octets; OpenSSL stops at 100 KiB for a whole chain by default

_SUBJECT_ALT_NAME = b"\x55\x1d\x11"  # 2.5.29.17
_AUTHORITY_INFO_ACCESS = b"\x2b\x06\x01\x05\x05\x07\x01\x01"  # 1.3.6.1.5.5.7.1.1
_CA_ISSUERS = b"\x2b\x06\x01\x05\x05\x07\x30\x02"  # 1.3.6.1.5.5.7.48.2
_ON_DNS_SRV = b"\x2b\x06\x01\x05\x05\x07\x08\x07"  # 1.3.6.1.5.5.7.8.7 (RFC 4985)
_COMMON_NAME = b"\x55\x04\x03"
_ORGANIZATION = b"\x55\x04\x0a"

_ATTRIBUTES = {
    _COMMON_NAME: "CN",
    _ORGANIZATION: "O",
    b"\x55\x04\x0b": "OU",
    b"\x55\x04\x06": "C",
    b"\x55\x04\x07": "L",
    b"\x55\x04\x08": "ST",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19": "DC",
}
# Character sets of DirectoryString and its kin (RFC 5280 4.1.2.4); what else occurs is shown as ASCII.
_CHARSETS = {0x0C: "utf-8", 0x1C: "utf-32-be", 0x1E: "utf-16-be", 0x14: "latin-1"}

# GeneralName (RFC 5280 4.2.1.6): context-specific tag -> name of the choice.
_GENERAL_NAMES = {
    0xA0: "otherName",
    0x81: "rfc822Name",
    0x82: "dNSName",
    0xA3: "x400Address",
    0xA4: "directoryName",
    0xA5: "ediPartyName",
    0x86: "uniformResourceIdentifier",
    0x87: "iPAddress",
    0x88: "registeredID",
}


@dataclass(frozen=True, slots=True)
class DistinguishedName:
    """A subject's or issuer's name (RFC 5280 4.1.2.4).

    Attributes:
        der: its encoding, by which two names are compared.
        attributes: pairs of type and value in order; the type is `CN`, `O` and the like, or a dotted
            OID. Values are as the certificate has them, not escaped.
    """

    der: bytes
    attributes: tuple[tuple[str, str], ...] = field(compare=False)

    def values(self, attribute: str) -> tuple[str, ...]:
        """All values of an attribute type, such as `CN`."""
        return tuple(value for name, value in self.attributes if name == attribute)

    def __str__(self) -> str:
        """The name in one line, most specific attribute first (RFC 4514 2.1), escaped for a log."""
        shown = [f"{name}={_escaped(value)}" for name, value in self.attributes[:-17:-1]]
        return ",".join(shown + ["…"] * (len(self.attributes) > 16)) or "(empty)"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says, unverified.

    Attributes:
        der: the certificate.
        subject, issuer: distinguished names.
        serial: the serial number's octets, as in the certificate (two's complement, big endian).
        not_before, not_after: validity, aware datetimes in UTC.
        spki: the SubjectPublicKeyInfo in DER.
        san: the entries of subjectAltName in order; empty without the extension.
        ca_issuers: whether the certificate says where its issuer's can be had (RFC 5280 4.2.2.1).
        signature_algorithm: with what it was signed, an AlgorithmIdentifier in DER.
    """

    der: bytes = field(repr=False)
    subject: DistinguishedName
    issuer: DistinguishedName
    serial: bytes
    not_before: datetime.datetime
    not_after: datetime.datetime
    spki: bytes = field(repr=False)
    san: tuple[PresentedIdentifier, ...]
    ca_issuers: bool
    signature_algorithm: bytes = field(repr=False)

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Read a certificate.

        Args:
            der: the certificate in DER, and nothing behind it.

        Raises:
            CertificateFormatError: the bytes are no certificate; the message says where.
        """
        if len(der) > _MAX_SIZE:
            raise CertificateFormatError(f"certificate: {len(der)} octets are more than {_MAX_SIZE}")
        outer = Reader(der, "certificate")
        certificate = outer.enter(SEQUENCE, "certificate")
        outer.finish()
        tbs = certificate.enter(SEQUENCE, "tbsCertificate")
        signature_algorithm = certificate.read(SEQUENCE, "signatureAlgorithm").encoding
        certificate.read(BIT_STRING, "signatureValue")
        certificate.finish()

        tbs.optional(0xA0)  # version
        serial = tbs.read(INTEGER, "serialNumber").content
        if not serial:
            raise CertificateFormatError("serialNumber: an INTEGER has at least one octet")
        tbs.read(SEQUENCE, "signature")
        issuer = _name(tbs.read(SEQUENCE, "issuer"), "issuer")
        validity = tbs.enter(SEQUENCE, "validity")
        not_before, not_after = _time(validity, "notBefore"), _time(validity, "notAfter")
        validity.finish()
        subject = _name(tbs.read(SEQUENCE, "subject"), "subject")
        spki = tbs.read(SEQUENCE, "subjectPublicKeyInfo").encoding
        tbs.optional(0x81)  # issuerUniqueID
        tbs.optional(0x82)  # subjectUniqueID
        extensions = _extensions(tbs)
        tbs.finish()

        san = extensions.get(_SUBJECT_ALT_NAME)
        aia = extensions.get(_AUTHORITY_INFO_ACCESS)
        return cls(
            der=bytes(der),
            subject=subject,
            issuer=issuer,
            serial=serial,
            not_before=not_before,
            not_after=not_after,
            spki=spki,
            san=_general_names(san) if san is not None else (),
            ca_issuers=aia is not None and _has_ca_issuers(aia),
            signature_algorithm=signature_algorithm,
        )

    @property
    def self_issued(self) -> bool:
        """Whether subject and issuer are the same name (RFC 5280 6.1); says nothing of the signature."""
        return self.subject == self.issuer

    @property
    def sha256(self) -> str:
        """The SHA-256 fingerprint of the certificate, in lower-case hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()


def _name(item: Item, what: str) -> DistinguishedName:
    attributes = []
    names = Reader(item.content, what)
    while names.more():
        group = names.enter(SET, what)
        if not group.more():
            raise group.error("an empty RelativeDistinguishedName")
        while group.more():
            attribute = group.enter(SEQUENCE, what)
            kind = attribute.read(OID, what).content
            value = attribute.next()
            attribute.finish()
            attributes.append((_ATTRIBUTES.get(kind) or _dotted(kind), _directory_string(value)))
    return DistinguishedName(item.encoding, tuple(attributes))


def _escaped(value: str) -> str:
    # What parts attributes must not stand in one (RFC 4514 2.4): else O=x could hold a CN of its own.
    return printable(value, 64).replace(",", "\\,").replace("+", "\\+")


def _directory_string(item: Item) -> str:
    # Names are shown, never matched, so that a wrong character is no reason to refuse: it is
    # replaced by an escape.
    charset = _CHARSETS.get(item.tag, "ascii")
    return item.content.decode(charset, "backslashreplace")


def _dotted(oid: bytes) -> str:
    """An OBJECT IDENTIFIER in dotted form (X.690 8.19), or in hexadecimal where it is absurd."""
    if not oid or oid[-1] & 0x80 or len(oid) > 32:
        return f"OID#{printable(oid.hex(), 64)}"
    arcs, arc = [], 0
    for octet in oid:
        if not arc and octet == 0x80:  # a padded arc would look like the honest one
            return f"OID#{oid.hex()}"
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def _time(reader: Reader, what: str) -> datetime.datetime:
    """A Time in the one form that RFC 5280 4.1.2.5 allows: seconds given, Zulu."""
    item = reader.next()
    text = item.content
    digits = {UTC_TIME: 12, GENERALIZED_TIME: 14}.get(item.tag)
    if digits is None or len(text) != digits + 1 or text[-1:] != b"Z" or not text[:-1].isdigit():
        raise CertificateFormatError(f"{what}: neither YYMMDDHHMMSSZ nor YYYYMMDDHHMMSSZ")
    year, rest = int(text[: digits - 10]), text[digits - 10 :]
    if item.tag == UTC_TIME:
        year += 1900 if year >= 50 else 2000
    try:
        month, day, hour, minute, second = (int(rest[i : i + 2]) for i in range(0, 10, 2))
        return datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.timezone.utc)
    except ValueError as error:
        raise CertificateFormatError(f"{what}: {error}") from None


def _extensions(tbs: Reader) -> dict[bytes, bytes]:
    """The extensions by OID (RFC 5280 4.1.2.9): the content of extnValue."""
    explicit = tbs.optional(0xA3)
    if explicit is None:
        return {}
    found: dict[bytes, bytes] = {}
    outer = Reader(explicit.content, "extensions")
    extensions = outer.enter(SEQUENCE, "extensions")
    outer.finish()
    while extensions.more():
        extension = extensions.enter(SEQUENCE, "extension")
        oid = extension.read(OID, "extnID").content
        extension.optional(BOOLEAN)
        value = extension.read(OCTET_STRING, "extnValue").content
        extension.finish()
        if oid in found:  # RFC 5280 4.2: at most one of a kind
            raise CertificateFormatError(f"extensions: {_dotted(oid)} occurs twice")
        found[oid] = value
    return found


def _general_names(value: bytes) -> tuple[PresentedIdentifier, ...]:
    outer = Reader(value, "subjectAltName")
    names = outer.enter(SEQUENCE, "subjectAltName")
    outer.finish()
    found = []
    while names.more():
        item = names.next()
        label = _GENERAL_NAMES.get(item.tag)
        if label is None:
            raise names.error(f"no GeneralName has the tag 0x{item.tag:02x}")
        if item.tag == 0x82:
            found.append(PresentedIdentifier(IdentifierKind.DNS, item.content, label))
        elif item.tag == 0x87:
            found.append(PresentedIdentifier(IdentifierKind.IP, item.content, label))
        elif item.tag == 0xA0:
            found.append(_other_name(item))
        else:
            found.append(PresentedIdentifier(IdentifierKind.OTHER, item.content, label))
    return tuple(found)


def _other_name(item: Item) -> PresentedIdentifier:
    reader = Reader(item.content, "otherName")
    kind = reader.read(OID, "otherName").content
    value = reader.read(0xA0, "otherName").content
    reader.finish()
    if kind == _ON_DNS_SRV:  # RFC 4985 2: an IA5String
        inner = Reader(value, "SRVName")
        srv_name = inner.read(0x16, "SRVName").content
        inner.finish()
        return PresentedIdentifier(IdentifierKind.SRV, srv_name, "SRVName")
    return PresentedIdentifier(IdentifierKind.OTHER, value, f"otherName({_dotted(kind)})")


def _has_ca_issuers(value: bytes) -> bool:
    outer = Reader(value, "authorityInfoAccess")
    descriptions = outer.enter(SEQUENCE, "authorityInfoAccess")
    outer.finish()
    found = False
    while descriptions.more():
        description = descriptions.enter(SEQUENCE, "accessDescription")
        found |= description.read(OID, "accessMethod").content == _CA_ISSUERS
        description.next()
        description.finish()
    return found
