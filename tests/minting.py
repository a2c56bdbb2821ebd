"""Certificates item by item, also such as no library would agree to write (X.690, RFC 5280 4.1)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.bed.certs import DAY, ECDSA_WITH_SHA256, NOW, der, ec_key, rsa_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 1, 2, 3, 4, 5, 6
UTF8, PRINTABLE, TELETEX, IA5, UTC, GENERALIZED, UNIVERSAL, BMP = 12, 19, 20, 22, 23, 24, 28, 30
SEQUENCE, SET = 0x30, 0x31

CN, ORG, OU, COUNTRY, LOCALITY, STATE = (bytes((0x55, 4, arc)) for arc in (3, 10, 11, 6, 7, 8))
DC = bytes.fromhex("0992268993f22c640119")
EMAIL = bytes.fromhex("2a864886f70d010901")  # 1.2.840.113549.1.9.1
SUBJECT_ALT_NAME, KEY_USAGE = bytes((0x55, 0x1D, 17)), bytes((0x55, 0x1D, 15))
AIA = bytes.fromhex("2b06010505070101")
CA_ISSUERS, OCSP = bytes.fromhex("2b06010505073002"), bytes.fromhex("2b06010505073001")
DNS_SRV, XMPP_ADDR = bytes.fromhex("2b06010505070807"), bytes.fromhex("2b06010505070805")


@dataclass(frozen=True, eq=False)
class Item:
    """One item in DER; what is inside is given as items, or as octets that are no reader's business.

    Compared by identity: an item has one place in its tree, and may be spoilt there.
    """

    tag: int
    content: tuple[Item | bytes, ...]

    def encode(self, spoilt: Mapping[Item, Callable[[Item, bytes], bytes]] = MappingProxyType({})) -> bytes:
        """Return the encoding; what is `spoilt` is written, from item and content, in another way."""
        content = b"".join(one if isinstance(one, bytes) else one.encode(spoilt) for one in self.content)
        return spoilt[self](self, content) if self in spoilt else der(self.tag, content)

    def walk(self) -> Iterator[Item]:
        """All items of the tree, this one first."""
        yield self
        for one in self.content:
            if isinstance(one, Item):
                yield from one.walk()


def item(tag: int, *content: Item | bytes) -> Item:
    return Item(tag, content)


def rdn(*attributes: tuple[bytes, int, bytes]) -> Item:
    """Return a RelativeDistinguishedName of attributes: OID, string type, octets."""
    return item(SET, *(item(SEQUENCE, item(OID, oid), item(tag, octets)) for oid, tag, octets in attributes))


def name(*rdns: Item) -> Item:
    return item(SEQUENCE, *rdns)


def validity(not_before: bytes = b"260101000000Z", not_after: bytes = b"20560101000000Z") -> Item:
    """Return a Validity; the length of each time tells UTCTime from GeneralizedTime."""
    return item(
        SEQUENCE, *(item(UTC if len(one) < 15 else GENERALIZED, one) for one in (not_before, not_after))
    )


def extension(oid: bytes, value: Item | bytes, *, critical: bool | None = None) -> Item:
    flag = () if critical is None else (item(BOOLEAN, b"\xff" if critical else b"\0"),)
    return item(SEQUENCE, item(OID, oid), *flag, item(OCTET_STRING, value))


def san(*entries: Item | bytes, critical: bool | None = None) -> Item:
    return extension(SUBJECT_ALT_NAME, item(SEQUENCE, *entries), critical=critical)


def dns_name(text: str | bytes) -> Item:
    return item(0x82, text.encode("ascii") if isinstance(text, str) else text)


def other_name(oid: bytes, value: Item | bytes) -> Item:
    return item(0xA0, item(OID, oid), item(0xA0, value))


def srv_name(text: str) -> Item:
    return other_name(DNS_SRV, item(IA5, text.encode("ascii")))


def aia(*methods: bytes) -> Item:
    """Return an authorityInfoAccess with one description a method."""
    location = der(0x86, b"http://ca.example/ca")
    return extension(AIA, item(SEQUENCE, *(item(SEQUENCE, item(OID, one), location) for one in methods)))


@cache
def spki(kind: str = "ec") -> Item:
    """Return a SubjectPublicKeyInfo: of an `ec`, `rsa` or `ed25519` key, one of each a process."""
    keys: dict[str, Callable[[], ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey]] = {
        "ec": lambda: signer().public_key(),
        "rsa": lambda: rsa_key(2048).public_key(),
        "ed25519": lambda: ed25519.Ed25519PrivateKey.generate().public_key(),
    }
    octets = keys[kind]().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return item(SEQUENCE, octets[2 if octets[1] < 0x80 else 2 + octets[1] - 0x80 :])


@cache
def signer() -> ec.EllipticCurvePrivateKey:
    return ec_key()


@dataclass(frozen=True)
class Parts:
    """What a certificate is made of, in its order; any part may be replaced, or left out by None."""

    version: Item | None = Item(0xA0, (bytes((INTEGER, 1, 2)),))
    serial: Item | None = Item(INTEGER, (b"\x01",))
    signature: Item | None = Item(SEQUENCE, (ECDSA_WITH_SHA256[2:],))
    issuer: Item | None = Item(SEQUENCE, (rdn((CN, UTF8, b"Issuer")),))
    validity: Item | None = Item(SEQUENCE, validity().content)
    subject: Item | None = Item(SEQUENCE, (rdn((ORG, UTF8, b"Bed Mail")), rdn((CN, UTF8, b"Server"))))
    spki: Item | None = None  # then that of an EC key
    issuer_id: Item | None = None
    subject_id: Item | None = None
    extensions: tuple[Item, ...] | None = ()

    def tree(self, signature: bytes = b"\0" * 9) -> Item:
        """Return the certificate as items, with a signature of nobody's unless one is given."""
        tbs = [getattr(self, field.name) for field in fields(self)]
        tbs[6] = self.spki or spki()
        tbs[9] = item(0xA3, item(SEQUENCE, *self.extensions)) if self.extensions else None
        algorithm = item(SEQUENCE, ECDSA_WITH_SHA256[2:])
        inside = item(SEQUENCE, *(one for one in tbs if one is not None))
        return item(SEQUENCE, inside, algorithm, item(BIT_STRING, signature))

    def der(self) -> bytes:
        return self.tree().encode()

    def signed(self) -> bytes:
        """Return the certificate with the signature of `signer`."""
        tbs = self.tree().content[0]
        assert isinstance(tbs, Item)
        return self.tree(b"\0" + signer().sign(tbs.encode(), ec.ECDSA(hashes.SHA256()))).encode()


FULL = Parts(
    issuer=name(rdn((COUNTRY, PRINTABLE, b"XX")), rdn((ORG, UTF8, b"Bed"), (CN, UTF8, b"Bed Root"))),
    subject=name(
        rdn((DC, IA5, b"example")), rdn((ORG, BMP, "Bed Mail".encode("utf-16-be"))), rdn((CN, UTF8, b"mail"))
    ),
    issuer_id=item(0x81, b"\0\1"),
    subject_id=item(0x82, b"\0\2"),
    extensions=(
        extension(KEY_USAGE, bytes.fromhex("03020780"), critical=True),
        aia(OCSP, CA_ISSUERS),
        san(
            dns_name("mail.example.org"),
            srv_name("_smtps.example.org"),
            other_name(XMPP_ADDR, der(UTF8, b"mail@example.org")),
            item(0x87, bytes((192, 0, 2, 1))),
            item(0xA4, name(rdn((CN, UTF8, b"mail"))).encode()),
            dns_name("*.example.org"),
        ),
    ),
)
"""A certificate with everything that is read."""


REAL = ("ec", "ed25519", "full", "rsa")


@cache
def real(kind: str) -> bytes:
    """Return a certificate that is signed: of each kind of key, as cryptography mints it, or `FULL`."""
    if kind == "full":
        return FULL.signed()
    if kind == "ec":
        return _built(ec.generate_private_key(ec.SECP384R1()), None, "a.example")
    if kind == "ed25519":
        sans = (f"mail{number}.example.org" for number in range(200))
        return _built(ed25519.Ed25519PrivateKey.generate(), "many", *sans)
    return _built(rsa_key(2048), "mail")


def _built(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey,
    common_name: str | None,
    *sans: str,
) -> bytes:
    cn = x509.NameOID.COMMON_NAME
    subject = [] if common_name is None else [x509.NameAttribute(cn, common_name)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(x509.Name([x509.NameAttribute(cn, "Bed Root")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
    )
    if sans:  # RFC 5280 4.1.2.6: critical behind an empty subject
        names = x509.SubjectAlternativeName(map(x509.DNSName, sans))
        builder = builder.add_extension(names, critical=not subject)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)
