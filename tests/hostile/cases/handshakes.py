"""Handshakes.

Old versions, ciphers that prove or hide nothing, messages that were changed on their way, and noise where a
ServerHello belongs; on STARTTLS and on TLS from the first byte.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bed import HOST, self_signed
from tests.bed.certs import der, rsa_key
from tests.bed.link import record_size
from tests.hostile.case import Must, Step, case
from tests.minting import INTEGER, SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed import World
    from tests.hostile.conversation import Conversation

V10, V11, V12 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23  # content types, RFC 8446 5.1
SERVER_HELLO, CERTIFICATE = 2, 11  # handshake types, RFC 5246 7.4
FATAL, WARNING = 2, 1
# RFC 2409 6.2: no group is weaker that OpenSSL would still serve, at any security level.
OAKLEY_GROUP_2 = bytes.fromhex(
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd"
    "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed"
    "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece65381ffffffffffffffff"
)


def record(kind: int, payload: bytes, version: int = 0x0303) -> bytes:
    return bytes([kind]) + version.to_bytes(2, "big") + len(payload).to_bytes(2, "big") + payload


def message(kind: int, payload: bytes) -> bytes:
    return bytes([kind]) + len(payload).to_bytes(3, "big") + payload


def server_hello(version: int = 0x0303, cipher: int = 0xC02F, random: bytes = bytes(32)) -> bytes:
    body = version.to_bytes(2, "big") + random + b"\0" + cipher.to_bytes(2, "big") + b"\0"
    return record(HANDSHAKE, message(SERVER_HELLO, body))


ALERTS = {
    "handshake_failure": record(ALERT, bytes([FATAL, 40])),
    "internal_error": record(ALERT, bytes([FATAL, 80])),
    "an_unknown_alert": record(ALERT, bytes([FATAL, 255])),
    "close_notify": record(ALERT, bytes([WARNING, 0])),
}
OLD_VERSIONS = {
    "ssl_2": b"\x80\x0b\x04\x00\x01\x00\x02\x00\x00\x00\x00\x00\x00",
    "ssl_3": server_hello(0x0300),
    "tls_1_0": server_hello(0x0301),
    "tls_1_1": server_hello(0x0302),
}
DOWNGRADES = {
    "tls_1_2_by_who_knows_1_3": server_hello(random=bytes(24) + b"DOWNGRD\x01"),
    "tls_1_2_by_who_knows_1_1": server_hello(random=bytes(24) + b"DOWNGRD\x00"),
}
CIPHERS = {
    "rc4": server_hello(cipher=0x0004),
    "no_encryption": server_hello(cipher=0x0000),
}
BROKEN = {
    "a_version_to_come": server_hello(0x0399),
    "a_record_of_65535_octets": record(HANDSHAKE, bytes(65535)),
    "a_message_of_16_megabytes": record(HANDSHAKE, b"\x02\xff\xff\xff" + bytes(16000)),
    "an_empty_record": record(HANDSHAKE, b""),
    "application_data": record(APPLICATION_DATA, b"250 2.0.0 Ok\r\n"),
}


@case(Must.RAISE_WITHIN_BOUNDS, "RFC 8446 6", each=ALERTS, both=True)
@case(Must.RAISE_WITHIN_BOUNDS, "RFC 6176, RFC 7568, RFC 8996", each=OLD_VERSIONS)
@case(Must.RAISE_WITHIN_BOUNDS, "RFC 8446 4.1.3", each=DOWNGRADES)
@case(Must.RAISE_WITHIN_BOUNDS, "RFC 8446 4.1.3, RFC 7465", each=CIPHERS)
@case(Must.RAISE_WITHIN_BOUNDS, "RFC 8446 5.1", each=BROKEN)
def answered_by(c: Conversation, noise: bytes) -> None:
    """Answers the ClientHello by {}, and says no more."""
    c.serve(until=Step.HANDSHAKE)
    c.wire.await_client_hello()
    c.send(noise)
    c.be_silent()


ENDLESS = {
    "warnings": record(ALERT, bytes([WARNING, 90])),
    "changes_of_cipher": record(CHANGE_CIPHER_SPEC, b"\x01"),
    "empty_records": record(HANDSHAKE, b""),
}


@case(Must.RAISE_WITHIN_BOUNDS, "CVE-2016-8610", each=ENDLESS)
def endless(c: Conversation, octets: bytes) -> None:
    """Answers the ClientHello by {} without end."""
    c.serve(until=Step.HANDSHAKE)
    c.wire.await_client_hello()
    for _ in range(10_000):
        c.send(100 * octets)


# --- old versions, weak ciphers ----------------------------------------------------------------------


def _served(
    version: ssl.TLSVersion = V12, ciphers: str = "ALL", rsa: bool = False
) -> Callable[[World], ssl.SSLContext]:
    def make(world: World) -> ssl.SSLContext:
        issued = world.root.issue(HOST, key=rsa_key(2048) if rsa else None)
        return issued.server_context(minimum_version=version, maximum_version=version, ciphers=ciphers)

    return make


def _with_weak_dh(world: World) -> ssl.SSLContext:
    context = _served(ciphers="DHE-RSA-AES128-GCM-SHA256", rsa=True)(world)
    parameters = der(SEQUENCE, der(INTEGER, b"\0" + OAKLEY_GROUP_2) + der(INTEGER, b"\x02"))
    with tempfile.TemporaryDirectory(prefix="bed-") as directory:
        path = Path(directory, "dh.pem")
        path.write_text(pem("DH PARAMETERS", parameters))
        context.load_dh_params(str(path))
    return context


def pem(label: str, octets: bytes) -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(octets).decode()}-----END {label}-----\n"


@case(Must.RAISE, "RFC 8996, CVE-2011-3389 (BEAST)", certificate=_served(V10), both=True)
def only_tls_1_0(c: Conversation) -> None:
    """Speaks TLS 1.0 and nothing newer."""
    c.serve()


@case(Must.RAISE, "RFC 8996", certificate=_served(V11), both=True)
def only_tls_1_1(c: Conversation) -> None:
    """Speaks TLS 1.1 and nothing newer."""
    c.serve()


@case(Must.RAISE, "RFC 5246 A.5", certificate=_served(V12, "ADH"), both=True)
def anonymous_dh(c: Conversation) -> None:
    """Has no certificate: anonymous Diffie-Hellman alone."""
    c.serve()


@case(Must.RAISE, "RFC 8422 2.5", certificate=_served(V12, "AECDH"), both=True)
def anonymous_ecdh(c: Conversation) -> None:
    """Has no certificate: anonymous Diffie-Hellman on elliptic curves alone."""
    c.serve()


@case(Must.RAISE, "RFC 9325 4.1", certificate=_served(V12, "eNULL"), both=True)
def no_encryption(c: Conversation) -> None:
    """Offers ciphers that do not encrypt, and no others."""
    c.serve()


@case(
    Must.RAISE, "RFC 9325 4.1, CVE-2017-13099 (ROBOT)", certificate=_served(V12, "kRSA", rsa=True), both=True
)
def no_forward_secrecy(c: Conversation) -> None:
    """Offers RSA key transport alone."""
    c.serve()


@case(Must.RAISE, "CVE-2013-0169 (Lucky 13)", certificate=_served(V12, "ECDHE-ECDSA-AES128-SHA"), both=True)
def cbc_with_sha1(c: Conversation) -> None:
    """Offers AES-CBC with SHA-1 alone."""
    c.serve()


@case(Must.RAISE, "CVE-2015-4000 (Logjam)", certificate=_with_weak_dh, both=True)
def weak_dh(c: Conversation) -> None:
    """Offers Diffie-Hellman of 1024 bits alone."""
    c.serve()


# --- changed on the way ------------------------------------------------------------------------------


@case(Must.RAISE, "RFC 8446 4.4.4", both=True)
def changed_handshake(c: Conversation) -> None:
    """Has the last octet of its first flight changed on the way."""
    c.serve(until=Step.HANDSHAKE)
    c.wire.spoil = lambda flight: flight[:-1] + bytes([flight[-1] ^ 1])
    c.start_tls()


@case(Must.RAISE, "RFC 5246 7.4.3", certificate=_served(), both=True)
def changed_signature(c: Conversation) -> None:
    """Has the signature under its key exchange changed on the way, in TLS 1.2."""
    c.serve(until=Step.HANDSHAKE)
    c.wire.spoil = changing_the_signature
    c.start_tls()


def changing_the_signature(flight: bytes) -> bytes:
    """The flight with another last octet in the message before the last, ServerKeyExchange."""
    messages = list(messages_of(flight))
    kind, body = messages[-2]
    messages[-2] = (kind, body[:-1] + bytes([body[-1] ^ 1]))
    return record(HANDSHAKE, b"".join(message(kind, body) for kind, body in messages))


@case(
    Must.RAISE,
    "RFC 5246 7.4.3",
    certificate=lambda _: self_signed(HOST).server_context(maximum_version=V12),
    impostor=True,
    both=True,
)
def certificate_without_its_key(c: Conversation) -> None:
    """Shows the genuine certificate, and signs by a key of its own."""
    c.serve(until=Step.HANDSHAKE)
    c.wire.spoil = lambda flight: showing(c.world.good().leaf_der, flight)
    c.start_tls()
    c.serve()


def showing(certificate: bytes, flight: bytes) -> bytes:
    """The flight with another certificate in the place of its own."""
    entry = len(certificate).to_bytes(3, "big") + certificate
    chain = len(entry).to_bytes(3, "big") + entry
    messages = [(kind, chain if kind == CERTIFICATE else body) for kind, body in messages_of(flight)]
    return record(HANDSHAKE, b"".join(message(kind, body) for kind, body in messages))


def messages_of(flight: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message in the records of a plaintext flight."""
    messages = b""
    while flight:
        end = record_size(flight)
        messages, flight = messages + flight[5:end], flight[end:]
    while messages:
        end = 4 + int.from_bytes(messages[1:4], "big")
        yield messages[0], messages[4:end]
        messages = messages[end:]


@case(Must.RAISE, "RFC 8446 5.2", at=[Step.EHLO_IN_TLS, Step.END])
def changed_reply(c: Conversation, step: Step) -> None:
    """Has its reply to {} changed on the way, below TLS."""
    c.serve(until=step)
    c.wire.spoil = lambda reply: reply[:-1] + bytes([reply[-1] ^ 1])
    c.send(c.good_reply(step))
    c.serve()


@case(Must.RAISE, "RFC 8446 5.3")
def replayed_reply(c: Conversation) -> None:
    """Has its reply to MAIL sent a second time on the way, below TLS."""
    c.serve(until=Step.MAIL)
    c.wire.spoil = lambda reply: 2 * reply
    c.send(c.good_reply(Step.MAIL))
    c.serve()


def _wanting_a_certificate(world: World) -> ssl.SSLContext:
    context = world.good().server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@case(Must.RAISE, "RFC 8446 4.4.2.4", certificate=_wanting_a_certificate, both=True)
def insists_on_a_client_certificate(c: Conversation) -> None:
    """Breaks off, since the client has no certificate."""
    c.serve()
