"""The tries of each scheme, and what may follow which failure. No socket is opened here."""

from __future__ import annotations

import errno
import itertools
import smtplib
import socket
import ssl
from typing import Any

import pytest
from hypothesis import given, strategies as st

from smtpverify import Mode, errors
from smtpverify.smtp.attempts import Attempt, attempts, may_fall_back

IF_OFFERED, EITHER = Mode.STARTTLS_IF_OFFERED, Mode.STARTTLS_OR_IMPLICIT
SINGLE = (Mode.CALLER, Mode.PLAINTEXT, Mode.STARTTLS, Mode.IMPLICIT)

PORTS = st.integers(1, 65535)


@pytest.mark.parametrize("mode", SINGLE)
def test_one_try(mode: Mode) -> None:
    assert attempts(mode, None, 25) == (Attempt(mode, 25),)
    assert attempts(mode, 587, 25) == (Attempt(mode, 587),)
    assert attempts(mode, 465, 25) == (Attempt(mode, 465),)


def test_starttls_where_offered() -> None:
    assert attempts(IF_OFFERED, None, 25) == (Attempt(Mode.STARTTLS, 25), Attempt(Mode.PLAINTEXT, 25))
    assert attempts(IF_OFFERED, 587, 25) == (Attempt(Mode.STARTTLS, 587), Attempt(Mode.PLAINTEXT, 587))


def test_starttls_or_implicit() -> None:
    assert attempts(EITHER, None, 25) == (Attempt(Mode.STARTTLS, 25, 30), Attempt(Mode.IMPLICIT, 465))
    assert attempts(EITHER, 587, 25) == (Attempt(Mode.STARTTLS, 587, 30), Attempt(Mode.IMPLICIT, 587))


def test_on_its_own_port_implicit_tls_comes_first() -> None:
    assert attempts(EITHER, 465, 25) == (Attempt(Mode.IMPLICIT, 465), Attempt(Mode.STARTTLS, 465))


@given(st.sampled_from(Mode), st.none() | PORTS, PORTS)
def test_secure_modes_have_secure_tries_alone(mode: Mode, port: int | None, default_port: int) -> None:
    """The first rule: "A secure channel that was asked for is never traded for plaintext"."""
    tries = attempts(mode, port, default_port)
    if mode.requires_tls:
        assert all(each.mode.requires_tls for each in tries)
    assert {each.mode for each in tries} <= {mode, Mode.STARTTLS, Mode.IMPLICIT, Mode.PLAINTEXT}
    assert len(tries) == len(set(tries)) == (2 if mode in (IF_OFFERED, EITHER) else 1)
    if port is not None:
        assert {each.port for each in tries} == {port}
    else:
        assert tries[0].port == default_port


# What failed -> whether plaintext may follow STARTTLS, and whether one kind of TLS may follow the other.
FALL_BACK: list[tuple[Exception, bool, bool]] = [
    # A certificate that was seen and failed: never.
    (errors.PeerVerificationError("x"), False, False),
    (errors.UntrustedCertificateError("x"), False, False),
    (errors.CertificateExpiredError("x"), False, False),
    (errors.HostnameMismatchError("x"), False, False),
    (errors.PinMismatchError("x"), False, False),
    (ssl.SSLCertVerificationError(1, "x"), False, False),
    # Somebody is between us and the server.
    (errors.PlaintextInjectionError("x"), False, False),
    (errors.TLSDowngradeError("x"), False, False),
    # No TLS to be had: not offered, refused by a reply (which is an answer), broken off.
    (errors.TLSRequiredError("x"), True, True),
    (errors.STARTTLSRefusedError("x", smtp_code=454), True, False),
    (errors.TLSHandshakeError("x"), True, True),
    (errors.TLSHandshakeTimeoutError("x"), True, True),
    (smtplib.SMTPHeloError(502, b"x"), True, False),
    # No SMTP to be had: plaintext would find it so too, TLS from the first byte may not.
    (errors.ProtocolError("x"), False, True),
    (errors.MalformedReplyError("x"), False, True),
    (errors.UnsolicitedReplyError("x"), False, True),
    (errors.DeliveryUnknownError("x"), False, True),
    (smtplib.SMTPServerDisconnected("x"), False, True),
    (errors.GreetingError("x"), False, True),
    (smtplib.SMTPConnectError(-1, b"x"), False, True),
    (smtplib.SMTPConnectError(554, b"x"), False, False),
    (smtplib.SMTPConnectError(421, b"x"), False, False),
    (ConnectionRefusedError(), False, True),
    (ConnectionResetError(), False, True),
    (ConnectionAbortedError(), False, True),
    (BrokenPipeError(), False, True),
    (TimeoutError(), False, True),
    (OSError(errno.EHOSTUNREACH, "x"), False, True),
    (OSError(errno.ENETUNREACH, "x"), False, True),
    # Another port changes nothing.
    (socket.gaierror(socket.EAI_NONAME, "x"), False, False),
    (OSError(errno.EMFILE, "x"), False, False),
    (OSError(), False, False),
    (ssl.SSLError(1, "x"), False, False),
    (smtplib.SMTPException("x"), False, False),
    (smtplib.SMTPNotSupportedError("x"), False, False),
    (smtplib.SMTPResponseException(500, b"x"), False, False),
    # OSError takes the code for an errno.
    (smtplib.SMTPResponseException(errno.EHOSTUNREACH, b"x"), False, False),
    (smtplib.SMTPAuthenticationError(535, b"x"), False, False),
    (smtplib.SMTPSenderRefused(550, b"x", "alice"), False, False),
    (smtplib.SMTPDataError(554, b"x"), False, False),
    (smtplib.SMTPRecipientsRefused({}), False, False),
    (errors.AuthenticationError("x"), False, False),
    (errors.ServerSignatureError("x"), False, False),
    # Our caller's mistakes.
    (errors.SMTPVerifyError("x"), False, False),
    (errors.MessageTooLargeError("x"), False, False),
    (errors.LMTPDataError("x"), False, False),
    (errors.CommandArgumentError("x"), False, False),
    (errors.PlaintextCredentialsError("x"), False, False),
    (errors.RelayURLError("x"), False, False),
    (errors.ReferenceIdentifierError("x"), False, False),
    (errors.PinFormatError("x"), False, False),
    (errors.TrustError("x"), False, False),
    (errors.InsecureContextError("x"), False, False),
    (errors.CertificateFormatError("x"), False, False),
    (ValueError("x"), False, False),
    (RuntimeError("x"), False, False),
]


@pytest.mark.parametrize(
    ("error", "to_plaintext", "to_tls"),
    FALL_BACK,
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_may_fall_back(error: Exception, to_plaintext: bool, to_tls: bool) -> None:
    assert may_fall_back(IF_OFFERED, error) is to_plaintext
    assert may_fall_back(EITHER, error) is to_tls


def test_every_error_is_in_the_table() -> None:
    listed = {type(error) for error, _, _ in FALL_BACK}
    for module in (errors, smtplib):
        classes: list[Any] = [
            value
            for name, value in vars(module).items()
            if isinstance(value, type) and not name.startswith("_")
        ]
        assert {
            each for each in classes if issubclass(each, Exception) and not issubclass(each, Warning)
        } <= listed


@pytest.mark.parametrize("mode", Mode)
def test_no_mode_falls_back_from_a_bad_certificate(mode: Mode) -> None:
    """The second rule: "a certificate that was seen and failed ends the matter in every scheme"."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    verdicts = [kind for kind in kinds if issubclass(kind, errors.PeerVerificationError)]
    assert len(verdicts) == 5
    for kind, code in itertools.product(verdicts, (0, 18, 10)):
        verdict = kind("x")
        verdict.verify_code = code
        assert may_fall_back(mode, verdict) is False
