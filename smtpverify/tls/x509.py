"""DER certificate -> `Certificate`: what identity, diagnosis and pins need, and no more (RFC 5280 4.1).

A strict reader: definite minimal lengths, no trailing bytes, nothing read twice, one pass, so that the
time is linear in the size. Any input gives a `Certificate` or a `CertificateFormatError`. It judges
nothing: signatures, chains and dates are OpenSSL's business, names that of `names`. Pure.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import CertificateFormatError, printable
from .names import IdentifierKind, PresentedIdentifier

__all__ = ["Certificate", "DistinguishedName"]

_MAX_SIZE = 1 << 18  # octets; OpenSSL stops at 100 KiB for a whole chain by default

# Tags (X.690 8.1.2): identifier octet, constructed bit included.
_BOOLEAN, _INTEGER, _BIT_STRING, _OCTET_STRING, _OID = 0x01, 0x02, 0x03, 0x04, 0x06
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_SEQUENCE, _SET = 0x30, 0x31

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
        outer = _Reader(der, "certificate")
        certificate = outer.enter(_SEQUENCE, "certificate")
        outer.finish()
        tbs = certificate.enter(_SEQUENCE, "tbsCertificate")
        certificate.read(_SEQUENCE, "signatureAlgorithm")
        certificate.read(_BIT_STRING, "signatureValue")
        certificate.finish()

        tbs.optional(0xA0)  # version
        serial = tbs.read(_INTEGER, "serialNumber").content
        if not serial:
            raise CertificateFormatError("serialNumber: an INTEGER has at least one octet")
        tbs.read(_SEQUENCE, "signature")
        issuer = _name(tbs.read(_SEQUENCE, "issuer"), "issuer")
        validity = tbs.enter(_SEQUENCE, "validity")
        not_before, not_after = _time(validity, "notBefore"), _time(validity, "notAfter")
        validity.finish()
        subject = _name(tbs.read(_SEQUENCE, "subject"), "subject")
        spki = tbs.read(_SEQUENCE, "subjectPublicKeyInfo").encoding
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
        )

    @property
    def self_issued(self) -> bool:
        """Whether subject and issuer are the same name (RFC 5280 6.1); says nothing of the signature."""
        return self.subject == self.issuer

    @property
    def sha256(self) -> str:
        """The SHA-256 fingerprint of the certificate, in lower-case hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()


class _Item(NamedTuple):
    tag: int
    content: bytes
    encoding: bytes  # tag and length included


class _Reader:
    """Reads the items of one constructed value, one after the other (X.690 8 and 10)."""

    __slots__ = ("data", "end", "position", "where")

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where = data, where
        self.position, self.end = 0, len(data)

    def more(self) -> bool:
        return self.position < self.end

    def next(self) -> _Item:
        data, start, end = self.data, self.position, self.end
        if end - start < 2:
            raise self.error("cut off")
        tag, length = data[start], data[start + 1]
        position = start + 2
        if tag & 0x1F == 0x1F:
            raise self.error("a tag number over 30 has no place here")
        if length & 0x80:
            octets = length & 0x7F
            if not 0 < octets <= 4 or end - position < octets:
                raise self.error("a length that DER does not allow, or cut off")
            length = int.from_bytes(data[position : position + octets], "big")
            if length < 0x80 or length >> 8 * (octets - 1) == 0:
                raise self.error("a length not in its shortest form")
            position += octets
        if end - position < length:
            raise self.error("cut off")
        self.position = position + length
        return _Item(tag, data[position : self.position], data[start : self.position])

    def read(self, tag: int, what: str) -> _Item:
        item = self.next()
        if item.tag != tag:
            raise CertificateFormatError(f"{what}: tag 0x{tag:02x} expected, 0x{item.tag:02x} found")
        return item

    def enter(self, tag: int, what: str) -> _Reader:
        return _Reader(self.read(tag, what).content, what)

    def optional(self, tag: int) -> _Item | None:
        if self.more() and self.data[self.position] == tag:
            return self.next()
        return None

    def finish(self) -> None:
        if self.more():
            raise self.error(f"{self.end - self.position} octets too many")

    def error(self, problem: str) -> CertificateFormatError:
        return CertificateFormatError(f"{self.where}: {problem} at octet {self.position}")


def _name(item: _Item, what: str) -> DistinguishedName:
    attributes = []
    names = _Reader(item.content, what)
    while names.more():
        group = names.enter(_SET, what)
        if not group.more():
            raise group.error("an empty RelativeDistinguishedName")
        while group.more():
            attribute = group.enter(_SEQUENCE, what)
            kind = attribute.read(_OID, what).content
            value = attribute.next()
            attribute.finish()
            attributes.append((_ATTRIBUTES.get(kind) or _dotted(kind), _directory_string(value)))
    return DistinguishedName(item.encoding, tuple(attributes))


def _escaped(value: str) -> str:
    # What parts attributes must not stand in one (RFC 4514 2.4): else O=x could hold a CN of its own.
    return printable(value, 64).replace(",", "\\,").replace("+", "\\+")


def _directory_string(item: _Item) -> str:
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


def _time(reader: _Reader, what: str) -> datetime.datetime:
    """A Time in the one form that RFC 5280 4.1.2.5 allows: seconds given, Zulu."""
    item = reader.next()
    text = item.content
    digits = {_UTC_TIME: 12, _GENERALIZED_TIME: 14}.get(item.tag)
    if digits is None or len(text) != digits + 1 or text[-1:] != b"Z" or not text[:-1].isdigit():
        raise CertificateFormatError(f"{what}: neither YYMMDDHHMMSSZ nor YYYYMMDDHHMMSSZ")
    year, rest = int(text[: digits - 10]), text[digits - 10 :]
    if item.tag == _UTC_TIME:
        year += 1900 if year >= 50 else 2000
    try:
        month, day, hour, minute, second = (int(rest[i : i + 2]) for i in range(0, 10, 2))
        return datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.timezone.utc)
    except ValueError as error:
        raise CertificateFormatError(f"{what}: {error}") from None


def _extensions(tbs: _Reader) -> dict[bytes, bytes]:
    """The extensions by OID (RFC 5280 4.1.2.9): the content of extnValue."""
    explicit = tbs.optional(0xA3)
    if explicit is None:
        return {}
    found: dict[bytes, bytes] = {}
    outer = _Reader(explicit.content, "extensions")
    extensions = outer.enter(_SEQUENCE, "extensions")
    outer.finish()
    while extensions.more():
        extension = extensions.enter(_SEQUENCE, "extension")
        oid = extension.read(_OID, "extnID").content
        extension.optional(_BOOLEAN)
        value = extension.read(_OCTET_STRING, "extnValue").content
        extension.finish()
        if oid in found:  # RFC 5280 4.2: at most one of a kind
            raise CertificateFormatError(f"extensions: {_dotted(oid)} occurs twice")
        found[oid] = value
    return found


def _general_names(value: bytes) -> tuple[PresentedIdentifier, ...]:
    outer = _Reader(value, "subjectAltName")
    names = outer.enter(_SEQUENCE, "subjectAltName")
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


def _other_name(item: _Item) -> PresentedIdentifier:
    reader = _Reader(item.content, "otherName")
    kind = reader.read(_OID, "otherName").content
    value = reader.read(0xA0, "otherName").content
    reader.finish()
    if kind == _ON_DNS_SRV:  # RFC 4985 2: an IA5String
        inner = _Reader(value, "SRVName")
        srv_name = inner.read(0x16, "SRVName").content
        inner.finish()
        return PresentedIdentifier(IdentifierKind.SRV, srv_name, "SRVName")
    return PresentedIdentifier(IdentifierKind.OTHER, value, f"otherName({_dotted(kind)})")


def _has_ca_issuers(value: bytes) -> bool:
    outer = _Reader(value, "authorityInfoAccess")
    descriptions = outer.enter(_SEQUENCE, "authorityInfoAccess")
    outer.finish()
    found = False
    while descriptions.more():
        description = descriptions.enter(_SEQUENCE, "accessDescription")
        found |= description.read(_OID, "accessMethod").content == _CA_ISSUERS
        description.next()
        description.finish()
    return found
