"""Certificates on demand: authorities, and what they issue; good ones and odd ones."""

from __future__ import annotations

import datetime
import functools
import ipaddress
import os
import ssl
import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    ExtensionOID,
    NameOID,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH

SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # id-on-dnsSRV, RFC 4985

DEPRECATED = {ssl.TLSVersion.SSLv3, ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1}

# AlgorithmIdentifier (RFC 5758 3.2), as it stands in a certificate.
ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ECDSA_WITH_SHA1 = bytes.fromhex("300906072a8648ce3d0401")

# GeneralName's context tags (RFC 5280 4.2.1.6), for san_der().
RFC822_NAME, DNS_NAME, URI, IP_ADDRESS = 0x81, 0x82, 0x86, 0x87


def ec_key() -> ec.EllipticCurvePrivateKey:
    """Return a new P-256 key. Each certificate has its own, or no key pin could tell them apart."""
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """Return an RSA key of so many bits, made once a process: RSA keys are slow to make."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def der(tag: int, content: bytes) -> bytes:
    """Return one DER element; the content may be of any length."""
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def san_der(*entries: tuple[int, bytes]) -> bytes:
    """Return a GeneralNames value of (tag, bytes) pairs that no library would agree to write."""
    return der(0x30, b"".join(der(tag, content) for tag, content in entries))


def key_usage(*, sign: bool = True, certificates: bool = False) -> x509.KeyUsage:
    """Return a keyUsage: digitalSignature, or keyCertSign and cRLSign, or both, or neither."""
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(common_name: str | None, organisation: str | None) -> x509.Name:
    attributes = []
    if organisation is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    if common_name is not None:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key, and the certificates that a server sends behind it."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def leaf_der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def spki_der(self) -> bytes:
        """The certificate's SubjectPublicKeyInfo, that which an spki-sha256 pin hashes."""
        return self.certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def chain_ders(self) -> tuple[bytes, ...]:
        """All that the server sends, the leaf first."""
        sent = (self.certificate, *self.chain)
        return tuple(one.public_bytes(serialization.Encoding.DER) for one in sent)

    @property
    def chain_pems(self) -> bytes:
        """All that the server sends, the leaf first."""
        return b"".join(_pem(one) for one in (self.certificate, *self.chain))

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sending(self, *chain: x509.Certificate) -> Issued:
        """Return the same certificate with other ones sent behind it, related to it or not."""
        return replace(self, chain=chain)

    def write(self, directory: Path, stem: str = "server") -> tuple[Path, Path]:
        """Write ``stem.pem`` (the chain) and ``stem.key`` into a directory; return both paths."""
        chain, key = directory / f"{stem}.pem", directory / f"{stem}.key"
        chain.write_bytes(self.chain_pems)
        key.write_bytes(self.key_pem)
        return chain, key

    def server_context(
        self,
        *,
        minimum_version: ssl.TLSVersion | None = None,
        maximum_version: ssl.TLSVersion | None = None,
        ciphers: str = "DEFAULT",
        client_roots: Iterable[Authority] = (),
    ) -> ssl.SSLContext:
        """Return a server's context; with ``client_roots`` it demands a client certificate.

        The security level is 0 throughout: a weak key or an old version must be refused by the
        client under test, never by the bed.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        with ExitStack() as stack:
            if DEPRECATED & {minimum_version, maximum_version}:
                # Here to be refused. Only then: the filters are global, and this may be a thread.
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = minimum_version or ssl.TLSVersion.TLSv1_2
            context.maximum_version = maximum_version or ssl.TLSVersion.MAXIMUM_SUPPORTED
        # load_cert_chain() reads files only.
        with tempfile.TemporaryDirectory(prefix="bed-") as directory:
            context.load_cert_chain(*map(os.fspath, self.write(Path(directory))))
        for root in client_roots:
            context.load_verify_locations(cadata=root.pem.decode("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True)
class Authority:
    """A certificate authority: a root of its own (`Authority.root`), or an intermediate."""

    certificate: x509.Certificate
    key: PrivateKey
    # From this authority up to its root, the root itself left out: what a good server sends.
    chain: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(
        cls,
        name: str = "Bed Root",
        organisation: str | None = "Bed Trust Services",
        *,
        aki: bool = True,
        ski: bool = True,
        not_before: datetime.datetime = NOW - 365 * DAY,
        not_after: datetime.datetime = NOW + 3650 * DAY,
        key: PrivateKey | None = None,
    ) -> Authority:
        """Return a self-signed root."""
        key = key or ec_key()
        subject = _subject(name, organisation)
        builder = _builder(subject, key, not_before, not_after, ski=ski)
        builder = _as_ca(builder, path_length=None)
        if aki:
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
        return cls(builder.issuer_name(subject).sign(key, hashes.SHA256()), key)

    @property
    def pem(self) -> bytes:
        return _pem(self.certificate)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def name(self) -> x509.Name:
        return self.certificate.subject

    def write(self, path: Path) -> Path:
        """Write this authority's certificate as PEM; return the path."""
        path.write_bytes(self.pem)
        return path

    def intermediate(
        self,
        name: str = "Bed Intermediate",
        organisation: str | None = "Bed Trust Services",
        *,
        aki: bool = True,
        ski: bool = True,
        not_before: datetime.datetime = NOW - 30 * DAY,
        not_after: datetime.datetime = NOW + 1825 * DAY,
        key: PrivateKey | None = None,
        path_length: int | None = None,
        extensions: Iterable[x509.Extension[x509.ExtensionType]] = (),
    ) -> Authority:
        """Return an authority issued by this one."""
        key = key or ec_key()
        builder = _builder(_subject(name, organisation), key, not_before, not_after, ski=ski)
        builder = _with(_as_ca(builder, path_length), extensions)
        certificate = self._sign(builder, aki=aki)
        return Authority(certificate, key, (certificate, *self.chain))

    def issue(
        self,
        *names: str,
        common_name: str | None = None,
        organisation: str | None = "Bed Mail",
        srv_names: Iterable[str] = (),
        raw_san: bytes | None = None,
        not_before: datetime.datetime = NOW - DAY,
        not_after: datetime.datetime = NOW + 90 * DAY,
        key: PrivateKey | None = None,
        extended_key_usage: Iterable[x509.ObjectIdentifier] = (SERVER_AUTH,),
        key_usage: x509.KeyUsage | None = key_usage(),
        basic_constraints: x509.BasicConstraints | None = x509.BasicConstraints(False, None),
        aki: bool = True,
        ski: bool = True,
        aia_ca_issuers: str | None = None,
        extensions: Iterable[x509.Extension[x509.ExtensionType]] = (),
    ) -> Issued:
        """Return a server's certificate; the chain is the one that a good server sends.

        Names that are IP addresses become iPAddress, all others dNSName; ``srv_names`` become
        SRVName (``_smtps.example.org``). ``raw_san`` is the DER of a GeneralNames, taken as it is
        in place of all of them (see `san_der`).
        """
        key = key or ec_key()
        subject = _subject(common_name, organisation)
        builder = _builder(subject, key, not_before, not_after, ski=ski)
        sans = [_general_name(name) for name in names]
        sans += [x509.OtherName(SRV_NAME, der(0x16, name.encode("ascii"))) for name in srv_names]
        san_is_critical = not list(subject)  # RFC 5280 4.1.2.6
        if raw_san is not None:
            raw = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, raw_san)
            builder = builder.add_extension(raw, critical=san_is_critical)
        elif sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), san_is_critical)
        if basic_constraints is not None:
            builder = builder.add_extension(basic_constraints, critical=True)
        if key_usage is not None:
            builder = builder.add_extension(key_usage, critical=True)
        usages = list(extended_key_usage)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if aia_ca_issuers is not None:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.CA_ISSUERS,
                x509.UniformResourceIdentifier(aia_ca_issuers),
            )
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), False)
        builder = _with(builder, extensions)
        return Issued(self._sign(builder, aki=aki), key, self.chain)

    def sign_with_sha1(self, issued: Issued) -> Issued:
        """Return the certificate signed anew, ecdsa-with-SHA1; `cryptography` itself refuses to."""
        assert isinstance(self.key, ec.EllipticCurvePrivateKey)
        tbs = issued.certificate.tbs_certificate_bytes
        content = tbs[len(tbs) - int.from_bytes(tbs[2:4], "big") :]  # behind 30 82 and two octets
        tbs = der(0x30, content.replace(ECDSA_WITH_SHA256, ECDSA_WITH_SHA1, 1))
        signature = self.key.sign(tbs, ec.ECDSA(hashes.SHA1()))
        signed = der(0x30, tbs + ECDSA_WITH_SHA1 + der(0x03, b"\0" + signature))
        return replace(issued, certificate=x509.load_der_x509_certificate(signed))

    def _sign(self, builder: x509.CertificateBuilder, *, aki: bool) -> x509.Certificate:
        if aki:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        return builder.issuer_name(self.name).sign(self.key, hashes.SHA256())


def self_signed(
    *names: str,
    common_name: str | None = None,
    not_before: datetime.datetime = NOW - DAY,
    not_after: datetime.datetime = NOW + 90 * DAY,
) -> Issued:
    """Return a server's certificate that nobody but itself vouches for."""
    key = ec_key()
    subject = _subject(common_name or names[0], "Bed Mail")
    builder = _builder(subject, key, not_before, not_after, ski=True).issuer_name(subject)
    if names:
        sans = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(sans, critical=False)
    return Issued(builder.sign(key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    key: PrivateKey,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
    *,
    ski: bool,
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    if ski:
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    return builder


def _as_ca(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    usage = key_usage(sign=False, certificates=True)
    return builder.add_extension(constraints, critical=True).add_extension(usage, critical=True)


def _with(
    builder: x509.CertificateBuilder, extensions: Iterable[x509.Extension[x509.ExtensionType]]
) -> x509.CertificateBuilder:
    for extension in extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder
