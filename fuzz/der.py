"""Certificates: any octets are refused in words of ours, or read to the last one; and their diagnosis.

Input: an octet of OpenSSL's verdict, and the certificate.
"""

from __future__ import annotations

import ssl
from dataclasses import fields

from smtpverify.errors import CertificateFormatError, PeerVerificationError
from smtpverify.tls.diagnosis import handshake_failure, name_mismatch, pin_mismatch
from smtpverify.tls.evidence import Evidence
from smtpverify.tls.names import find_match, reference_identifier
from smtpverify.tls.pins import Pin, find_pin
from smtpverify.tls.x509 import Certificate

REFERENCES = tuple(map(reference_identifier, ("mail.example.org", "192.0.2.1", "2001:db8::1")))
PINS = (Pin.parse(f"sha256:{'0' * 64}"), Pin.parse(f"spki-sha256:{'A' * 43}="))
VERDICTS = (2, 7, 9, 10, 18, 19, 20, 21, 24, 26, 62, 64, 66, 68, 79, 999)


def check(octets: bytes) -> None:
    """Nothing but our own errors; what is told of a certificate is of one line, whatever it says."""
    verdict, octets = VERDICTS[(octets[0] if octets else 0) % len(VERDICTS)], octets[1:]
    chain = (octets, octets[:-1], b"0\0", octets)
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = verdict, "what OpenSSL says"
    _check_told(handshake_failure(Evidence(REFERENCES[0], chain, lambda: [octets, b""], error)))
    try:
        certificate = Certificate.from_der(octets)
    except CertificateFormatError as refusal:
        assert str(refusal).isprintable(), str(refusal)
        return
    _check_certificate(certificate, octets)
    for reference in REFERENCES:
        evidence = Evidence(reference, chain)
        match = find_match(reference, certificate.san)
        assert match is None or match in certificate.san
        if match is None:
            _check_told(name_mismatch(evidence, certificate))
        _check_told(pin_mismatch(evidence, certificate, PINS))


def _check_certificate(certificate: Certificate, octets: bytes) -> None:
    assert certificate == Certificate.from_der(octets)
    assert certificate.der == octets
    for part in (certificate.spki, certificate.subject.der, certificate.issuer.der, certificate.serial):
        assert part in octets
    for identifier in certificate.san:
        assert str(identifier).isprintable()
    for name in (certificate.subject, certificate.issuer):
        assert str(name).isprintable()
        assert name.values("CN") is not None
    assert certificate.not_before.tzinfo is not None
    own = (Pin.of_certificate(certificate), Pin.of_spki(certificate, "sha512"))
    assert find_pin((*PINS, *own), certificate) == own[0]


def _check_told(error: Exception) -> None:
    assert isinstance(error, PeerVerificationError)
    assert str(error).isprintable(), str(error)
    assert error.diagnosis is not None
    for each in fields(error.diagnosis):
        value = getattr(error.diagnosis, each.name)
        for text in value if isinstance(value, tuple) else (value,):
            assert not isinstance(text, str) or text.isprintable(), (each.name, text)
