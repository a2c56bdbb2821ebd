"""A failed handshake -> what happened, and what to do, as an error of ours.

The evidence is the chain that the peer itself sent on the connection that failed, and OpenSSL's verdict
on it.
"""

from __future__ import annotations

import datetime
import ssl
from typing import TYPE_CHECKING

from ..errors import (
    CertificateExpiredError,
    HostnameMismatchError,
    PeerVerificationError,
    PinMismatchError,
    TLSHandshakeError,
    TLSHandshakeTimeoutError,
    UntrustedCertificateError,
    printable,
)
from .causes import Cause, explain_reason, explain_verdict
from .evidence import read, words_of
from .names import IdentifierKind, u_labels
from .pins import Pin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .evidence import Evidence
    from .x509 import Certificate

__all__ = ["handshake_failure", "key_changed", "name_mismatch", "pin_mismatch", "untrusted"]

# What of a certificate a summary shows, which is one line of a log; the `Diagnosis` has the rest.
_NAMES_SHOWN = 10
_LENGTH_SHOWN = 160


# --- names ---------------------------------------------------------------------------------------


def name_mismatch(evidence: Evidence, leaf: Certificate) -> HostnameMismatchError:
    """The error for a certificate none of whose identifiers matches."""
    reference = evidence.reference
    text = reference.text
    address = reference.kind is IdentifierKind.IP
    names = [_short(name) for name in leaf.san if name.kind is not IdentifierKind.OTHER]
    valid_for = ", ".join(names[:_NAMES_SHOWN])
    if len(names) > _NAMES_SHOWN:
        valid_for += f" and {len(names) - _NAMES_SHOWN} more"
    summary = (
        f"the certificate is valid for {valid_for}, not for "
        if names
        else "the certificate names no host in subjectAltName, and so is not valid for "
    )
    summary += f"{'the address ' if address else ''}{text}"
    if unicode := u_labels(text):
        summary += f" ({printable(unicode)})"
    cause = Cause.WRONG_NAME
    remedy = (
        "Connect by a name that the certificate bears, or have the server's certificate issued for this one."
    )
    if {text, f"*.{text.partition('.')[2]}"} & {name.lower() for name in leaf.subject.values("CN")}:
        cause = Cause.COMMON_NAME_ONLY
        summary += ", which only its common name covers"
        remedy = (
            "Names count in subjectAltName alone (RFC 9525 2): have the certificate reissued with it there."
        )
    elif address:
        cause = Cause.ADDRESS_NOT_IN_CERTIFICATE
        remedy = "Connect by the server's name, or give it too: ?server-name= in a URL, or server_hostname."
        if text in names:
            summary += ", which it bears as a DNS name"
            remedy += " Or have the certificate reissued with the address as iPAddress (RFC 5280 4.2.1.6)."
    elif above := _wildcard_above(text, leaf):
        cause = Cause.TOO_DEEP_FOR_WILDCARD
        remedy = f"The wildcard {above} stands for exactly one label (RFC 9525 6.3). {remedy}"
    elif "xn--" in text:
        cause = Cause.INTERNATIONALIZED_NAME
        remedy = f"A certificate for this host bears the A-labels {text} (IDNA 2008, RFC 5891). {remedy}"
    return HostnameMismatchError(summary, host=text, diagnosis=evidence.diagnosis(cause, summary, remedy))


def _wildcard_above(reference: str, leaf: Certificate) -> str | None:
    for name in leaf.san:
        pattern = str(name).lower()
        deeper = reference.count(".") > pattern.count(".") and reference.endswith(pattern[1:])
        if name.kind is IdentifierKind.DNS and pattern.startswith("*.") and deeper:
            return pattern
    return None


def _short(text: object) -> str:
    shown = str(text)
    return shown if len(shown) <= _LENGTH_SHOWN else shown[:_LENGTH_SHOWN] + "…"


# --- pins ----------------------------------------------------------------------------------------


def pin_mismatch(evidence: Evidence, leaf: Certificate, pins: Sequence[Pin]) -> PinMismatchError:
    """The error for a certificate that bears none of the pins."""
    summary = (
        f"the certificate is not the pinned one: expected {' or '.join(map(str, pins))}, "
        f"seen {_seen(leaf, pins)}"
    )
    remedy = (
        "Ask the server's administrator whether the certificate was changed, and only then change the pin. "
        "A pin of the public key survives renewals that keep the key."
    )
    diagnosis = evidence.diagnosis(Cause.PIN_MISMATCH, summary, remedy, pins)
    return PinMismatchError(summary, host=evidence.reference.text, diagnosis=diagnosis)


def key_changed(
    evidence: Evidence, leaf: Certificate, pins: Sequence[Pin], known_hosts: str
) -> PinMismatchError:
    """The error for a server that the known hosts know by other keys; `known_hosts` is their file."""
    host = evidence.reference.text
    summary = (
        f"the server's key is not the one that it is known by: known is {' and '.join(map(str, pins))}, "
        f"shown was {_seen(leaf, pins)}"
    )
    remedy = (
        "Somebody may be between you and the server, or it has a new key. Ask its administrator; if so, "
        f"'smtpverify trust' puts the new one in the place of the old. If a CA vouches for the server now, "
        f"'smtpverify trust --forget {host}' strikes the old one from {printable(known_hosts)}."
    )
    diagnosis = evidence.diagnosis(Cause.KNOWN_KEY_CHANGED, summary, remedy, pins)
    return PinMismatchError(summary, host=host, diagnosis=diagnosis)


def _seen(leaf: Certificate, pins: Sequence[Pin]) -> str:
    """What the certificate bears in the place of each pin."""
    seen = [
        str(
            Pin.of_certificate(leaf, pin.algorithm)
            if pin.of == "certificate"
            else Pin.of_spki(leaf, pin.algorithm)
        )
        for pin in pins
    ]
    return ", ".join(dict.fromkeys(seen))


# --- the chain -----------------------------------------------------------------------------------


def untrusted(evidence: Evidence, cause: Cause, summary: str, remedy: str) -> UntrustedCertificateError:
    """The error for a peer that proved nothing."""
    diagnosis = evidence.diagnosis(cause, summary, remedy)
    return UntrustedCertificateError(summary, host=evidence.reference.text, diagnosis=diagnosis)


def _verification_failure(error: ssl.SSLCertVerificationError, evidence: Evidence) -> PeerVerificationError:
    code = error.verify_code
    leaf = evidence.leaf()
    if leaf is None:
        return _with_verdict(untrusted(evidence, Cause.MALFORMED_CERTIFICATE, *_MALFORMED), error)
    if code in (62, 64):  # hostname, IP address mismatch
        return _with_verdict(name_mismatch(evidence, leaf), error)
    if code in (9, 10):
        return _with_verdict(_outside_validity(evidence, expired=code == 10), error)
    if code in (18, 19):
        cause, summary, remedy = _self_signed(leaf, evidence, alone=code == 18)
    elif code in (2, 20, 21, 27):
        cause, summary, remedy = _no_issuer(leaf, evidence)
    else:
        cause, summary, remedy = explain_verdict(code, printable(error.verify_message))
    return _with_verdict(untrusted(evidence, cause, summary, remedy), error)


def _with_verdict(
    failure: PeerVerificationError, error: ssl.SSLCertVerificationError
) -> PeerVerificationError:
    failure.verify_code, failure.verify_message = error.verify_code, error.verify_message
    return failure


_OWN_CA = (
    "If this is your organisation's own CA, get its certificate in a safe way and give it as CA file "
    "(--cafile, ?cafile= in a URL, or Trust(roots=…)). If it is a public one, this machine's CA certificates "
    "may be out of date. If neither, somebody may be between you and the server."
)
_MALFORMED = (
    "the peer's certificate can't be read",
    "The certificate breaks DER or RFC 5280: have it reissued.",
)


def _outside_validity(evidence: Evidence, *, expired: bool) -> CertificateExpiredError:
    now = datetime.datetime.now(datetime.timezone.utc)
    certificates = [certificate for der in evidence.chain if (certificate := read(der))]
    # OpenSSL does not say which of the chain it was; of an expired root that was not sent, nothing is known.
    guilty = next(
        (each for each in certificates if (each.not_after < now if expired else each.not_before > now)), None
    )
    if guilty is None:
        subject, when, distance = "a certificate above those that the server sent", "", ""
        renewed = "the server's chain renewed, or this machine's CA certificates brought up to date"
    else:
        subject, renewed = "the certificate", "the server's certificate renewed"
        if guilty is not certificates[0]:
            subject = f"the issuer's certificate ({_short(guilty.subject)})"
            renewed = "the server's chain renewed"
        moment = guilty.not_after if expired else guilty.not_before
        distance = _distance(now - moment if expired else moment - now)
        when = f" on {moment:%Y-%m-%d %H:%M} UTC"
    clock = f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC"
    if expired:
        cause = Cause.EXPIRED
        summary = f"{subject} expired{when}" + (f", {distance} ago" if distance else "")
        remedy = f"Have {renewed}. If it is valid, check the time: {clock}."
    else:
        cause = Cause.NOT_YET_VALID
        summary = f"{subject} is not valid" + (
            f" before{when[3:]}, {distance} from now" if distance else " yet"
        )
        remedy = f"Most often the local clock is slow: {clock}. Else have the certificate reissued."
    diagnosis = evidence.diagnosis(cause, summary, remedy)
    return CertificateExpiredError(summary, host=evidence.reference.text, diagnosis=diagnosis)


def _distance(span: datetime.timedelta) -> str:
    minutes = round(span.total_seconds() / 60)  # else two days, less a second, would be one
    for unit, length in (("day", 1440), ("hour", 60), ("minute", 1)):
        count = minutes // length
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


def _self_signed(leaf: Certificate, evidence: Evidence, *, alone: bool) -> tuple[Cause, str, str]:
    if alone:
        remedy = (
            "Have a certificate issued by a CA. Or, once the administrator has confirmed the fingerprint, "
            f"have 'smtpverify trust' remember it, or pin it in the URL: pin-only={Pin.of_certificate(leaf)}"
        )
        return (
            Cause.SELF_SIGNED_LEAF,
            f"the certificate is self-signed ({_short(leaf.subject)}): nobody vouches for it",
            remedy,
        )
    root = _linked(leaf, evidence)[-1]
    return (
        Cause.SELF_SIGNED_ROOT_IN_CHAIN,
        f"the chain ends in a root that is not trusted: {_short(root.subject)}",
        _OWN_CA,
    )


def _no_issuer(leaf: Certificate, evidence: Evidence) -> tuple[Cause, str, str]:
    """A chain that ends before a trusted root: was a link left out, or is the root unknown?

    The missing certificate can't be seen, so that signs must do: public CAs issue from intermediates
    alone, and write into each leaf where the issuer's certificate is; and a CA's intermediates often
    bear the organisation's name of one of its trusted roots.
    """
    linked = _linked(leaf, evidence)
    top = linked[-1]
    missing = top.issuer
    organisations = set(missing.values("O"))
    kin = organisations and any(
        organisations & set(root.subject.values("O")) for der in evidence.roots() if (root := read(der))
    )
    issuer = _short(missing)
    if kin or (len(linked) == 1 and leaf.ca_issuers):
        issued = "the server's own" if top is leaf else f"that of {_short(top.subject)}"
        remedy = (
            "Have the server send its whole chain (fullchain.pem, not cert.pem). If only the root is missing,"
            " bring this machine's CA certificates up to date, or give your organisation's own CA (--cafile, "
            "?cafile= in a URL, or Trust(roots=…)). If not, somebody may be between you and the server."
        )
        return (
            Cause.MISSING_INTERMEDIATE,
            f"the certificate of {issuer}, which issued {issued}, was not sent and is not among the trusted",
            remedy,
        )
    return (
        Cause.UNKNOWN_ISSUER,
        f"the certificate was issued by {issuer}, which is not trusted"
        if top is leaf
        else f"the chain ends at {_short(top.subject)}, issued by {issuer}, which is not trusted",
        _OWN_CA,
    )


def _linked(leaf: Certificate, evidence: Evidence) -> list[Certificate]:
    """The leaf and those of its issuers that the peer sent, in order."""
    others = [certificate for der in evidence.chain[1:] if (certificate := read(der))]
    linked = [leaf]
    while not linked[-1].self_issued:
        issuer = next((each for each in others if each.subject == linked[-1].issuer), None)
        if issuer is None or issuer in linked:
            break
        linked.append(issuer)
    return linked


# --- no verdict ----------------------------------------------------------------------------------


def handshake_failure(evidence: Evidence) -> PeerVerificationError | TLSHandshakeError:
    """The error for a handshake that OpenSSL or the network ended (`evidence.error`)."""
    error = evidence.error
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification_failure(error, evidence)
    if isinstance(error, TimeoutError):
        summary = "the TLS handshake did not end in time"
        cause, _, remedy = explain_reason("")
        remedy = f"A longer timeout may help, or a firewall is in between. {remedy}"
        diagnosis = evidence.diagnosis(cause, summary, remedy)
        return TLSHandshakeTimeoutError(summary, host=evidence.reference.text, diagnosis=diagnosis)
    reason = getattr(error, "reason", None) or ""
    cause, what, remedy = explain_reason(reason)
    if cause is Cause.NO_COMMON_CIPHER and evidence.chain:
        # Who has shown its certificate has agreed on a cipher: it wants ours (RFC 5246 7.4.6).
        cause, what, remedy = explain_reason("TLSV13_ALERT_CERTIFICATE_REQUIRED")
    said = reason or getattr(error, "strerror", None) or words_of(error) or type(error).__name__
    if not reason and isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        said = "the server closed the connection"
    summary = f"{what} ({printable(said)})"
    diagnosis = evidence.diagnosis(cause, summary, remedy)
    failure = TLSHandshakeError(summary, host=evidence.reference.text, diagnosis=diagnosis)
    failure.reason = reason
    return failure
