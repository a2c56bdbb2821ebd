"""Host text -> reference identifier, and its match with presented identifiers (RFC 9525).

This module owns two rules: what may be looked for in a certificate at all, and what counts as found.
OpenSSL reads names and addresses more loosely than a resolver does (it takes `010.0.0.1` for 10.0.0.1,
and `192.0.2.1 evil` for an address), so that it must never see a text that has not passed through
`reference_identifier`. Pure: no socket, no ssl.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from ..errors import ReferenceIdentifierError, printable

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Iterable

__all__ = [
    "IdentifierKind",
    "PresentedIdentifier",
    "ReferenceIdentifier",
    "find_match",
    "host_key",
    "reference_identifier",
    "split_host_port",
    "u_labels",
]

_MAX_NAME = 253  # octets of a name in text form (RFC 1035 3.1, without the root's dot)
_MAX_LABEL = 63  # octets of a label (RFC 1035 2.3.4)

# LDH, and the underscore: real mail hosts bear it, and no rule of matching depends on it.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?", re.ASCII)
# What a resolver's inet_aton() would read as a number: such a last label makes the text an address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)

_PORT = re.compile(r"[0-9]+", re.ASCII)


class IdentifierKind(enum.Enum):
    """The types of identifier of RFC 9525 1.8; the value is the term for it."""

    DNS = "DNS-ID"
    IP = "IP-ID"
    SRV = "SRV-ID"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ReferenceIdentifier:
    """Whom the client wants to talk to, in the one form in which it is compared (RFC 9525 6.1).

    Attributes:
        kind: `IdentifierKind.DNS` or `IdentifierKind.IP`.
        text: A-labels in lower case without a trailing dot, or an address in canonical form. This is
            what OpenSSL is given, and what is sent as server name (for a DNS-ID only).
        given: the text as the caller wrote it.
    """

    kind: IdentifierKind
    text: str
    given: str = field(compare=False)

    @property
    def octets(self) -> bytes:
        """The address in network byte order (IP-ID), or the name in ASCII (DNS-ID)."""
        if self.kind is IdentifierKind.IP:
            from ipaddress import ip_address

            return ip_address(self.text).packed
        return self.text.encode("ascii")


@dataclass(frozen=True, slots=True)
class PresentedIdentifier:
    """One entry of a certificate's subjectAltName (RFC 5280 4.2.1.6), as it stands there.

    Attributes:
        kind: what it is compared as; `IdentifierKind.OTHER` is shown and never compared.
        octets: the dNSName's or SRVName's characters, the address's 4 or 16 octets, or the
            entry's DER content. Not validated: an invalid entry matches nothing.
        label: the ASN.1 name of the choice, such as `dNSName`.
    """

    kind: IdentifierKind
    octets: bytes
    label: str

    def __str__(self) -> str:
        if self.kind is IdentifierKind.DNS:
            return printable(self.octets, _MAX_NAME)
        if self.kind is IdentifierKind.IP and len(self.octets) in (4, 16):
            from ipaddress import ip_address

            return str(ip_address(self.octets))
        if self.kind is IdentifierKind.SRV:
            return f"{self.label}:{printable(self.octets)}"
        return f"{self.label}:{printable(self.octets.hex(), 64)}"


def reference_identifier(host: str | bytes) -> ReferenceIdentifier:
    """Make the reference identifier for a host (RFC 9525 6.1).

    Args:
        host: a host name (Unicode, or A-labels) or an address. A port behind it, brackets around an
            IPv6 address, its zone, and one trailing dot are understood and left out.

    Raises:
        ReferenceIdentifierError: the text is neither; the message says by which rule.
    """
    return _read(_text(host))


@lru_cache(maxsize=256)  # each connection asks several times for the same host
def _read(given: str) -> ReferenceIdentifier:
    name, port = split_host_port(given)
    if port is not None and not _PORT.fullmatch(port):  # a URL, or something else that has a colon
        raise _refused(given, "what stands behind its colon is no port")
    if name.startswith("[") or ":" in name:
        return ReferenceIdentifier(IdentifierKind.IP, _ipv6(name, given), given)
    name = name.removesuffix(".")  # the root's dot: absolute, and in no certificate
    if not name.isascii():
        name = _a_labels(name, given)
    name = name.lower()
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return ReferenceIdentifier(IdentifierKind.IP, _ipv4(name, given), given)
    if problem := _name_problem(name, labels):
        raise _refused(given, problem)
    return ReferenceIdentifier(IdentifierKind.DNS, name, given)


def host_key(host: str) -> str:
    """The reference identifier's text of a host that something is said of, for all of its ports.

    Raises:
        ReferenceIdentifierError: it is neither a host name nor an address, or has a port.
    """
    if split_host_port(host)[1] is not None:
        raise ReferenceIdentifierError(f"'{printable(host)}' has a port; a trust is for all ports of a host")
    return reference_identifier(host).text


def split_host_port(text: str) -> tuple[str, str | None]:
    """Split `host`, `host:port`, `[v6]` or `[v6]:port` into host (brackets kept) and port text.

    A text with several colons and no brackets is an IPv6 address without a port. Neither part is
    checked here.
    """
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        if bracket and rest.startswith(":"):
            return host + bracket, rest[1:]
        return text, None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None


def find_match(
    reference: ReferenceIdentifier, presented: Iterable[PresentedIdentifier]
) -> PresentedIdentifier | None:
    """Find the first presented identifier that matches (RFC 9525 6.3 and 6.4), or None.

    Identifiers are compared within their kind alone: an address never matches a dNSName, nor a name
    an iPAddress. An invalid entry matches nothing and spoils no other.
    """
    wanted = reference.octets
    for identifier in presented:
        if identifier.kind is not reference.kind:
            continue
        if reference.kind is IdentifierKind.IP:
            if identifier.octets == wanted:
                return identifier
        elif _dns_id_matches(reference.text, identifier.octets):
            return identifier
    return None


def _dns_id_matches(reference: str, octets: bytes) -> bool:
    try:
        presented = octets.decode("ascii").lower()
    except UnicodeDecodeError:
        return False
    labels = presented.split(".")
    if labels[0] != "*":
        return presented == reference and _name_problem(presented, labels) is None
    # RFC 9525 6.3: the wildcard is the whole left-most label and stands for exactly one label. Never
    # directly above a single label (*.com), nor where the rest would be read as an address.
    rest = presented[2:]
    if len(labels) < 3 or _NUMBER.fullmatch(labels[-1]) or _name_problem(rest, labels[1:]):
        return False
    # OpenSSL lets no wildcard match a name with an underscore; be no laxer.
    return reference.partition(".")[2] == rest and "_" not in reference


def _name_problem(name: str, labels: list[str]) -> str | None:
    """What is wrong with a name in lower case, or None."""
    if not name:
        return "it is empty"
    if len(name) > _MAX_NAME:
        return f"it is longer than {_MAX_NAME} octets (RFC 1035 3.1)"
    for label in labels:
        if not label:
            return "it has an empty label (RFC 1035 2.3.1)"
        if len(label) > _MAX_LABEL:
            return f"the label {printable(label, 20)} is longer than {_MAX_LABEL} octets (RFC 1035 2.3.4)"
        if "*" in label:
            return "a wildcard is for certificates to present, not for clients to ask for (RFC 9525 6.3)"
        if label[0] == "-" or label[-1] == "-":
            return f"the label {printable(label)} begins or ends with a hyphen (RFC 1123 2.1)"
        if not _LABEL.fullmatch(label):
            other = "characters other than letters, digits, hyphens and underscores"
            return f"the label {printable(label)} has {other}"
    return None


def _text(host: str | bytes) -> str:
    if isinstance(host, bytes):
        try:
            host = host.decode("ascii")
        except UnicodeDecodeError:
            raise _refused(repr(host), "a host given as bytes must be ASCII") from None
    if not isinstance(host, str):
        raise _refused(repr(host), "a host is a str")
    if not host:
        raise _refused(host, "it is empty")
    if host.isascii() and host.isprintable() and " " not in host:
        return host
    for char in host:
        if char.isspace() or not (char.isprintable() or char in "\u200c\u200d"):
            raise _refused(host, f"it contains {_character(char)}")
    return host


def _character(char: str) -> str:
    return {"\0": "NUL", " ": "a space"}.get(char) or f"the character U+{ord(char):04X}"


def _a_labels(name: str, given: str) -> str:
    """A name with U-labels as A-labels (RFC 5891 4). ASCII labels stay as they are."""
    import idna

    if len(name) > _MAX_NAME:  # an A-label is longer than its U-label; idna is slow on long texts
        raise _refused(given, f"it is longer than {_MAX_NAME} octets (RFC 1035 3.1)")
    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        mapped = mapped.removesuffix(".")  # an ideographic full stop at the end
        return ".".join(
            label if label.isascii() else idna.alabel(label).decode("ascii") for label in mapped.split(".")
        )
    except UnicodeError as error:  # idna.IDNAError is one
        raise _refused(given, f"it is no internationalized name of IDNA 2008 ({error})") from error


def u_labels(name: str) -> str | None:
    """The name with U-labels (RFC 5890 2.3.2.1), as people write it; None where it has no A-labels.

    None as well for what only looks like A-labels, which a caller may have written.
    """
    if "xn--" not in name:
        return None
    import idna

    try:
        return idna.decode(name)
    except UnicodeError:
        return None


def _ipv4(name: str, given: str) -> str:
    from ipaddress import IPv4Address

    try:
        return str(IPv4Address(name))
    except ValueError:
        parts = name.split(".")
        if len(parts) == 4 and any(part[0] == "0" for part in parts if len(part) > 1):
            problem = "an address has no leading zeros: some readers take them for octal"
        else:
            problem = "its last label is a number, and it is no IPv4 address of four decimal octets"
        raise _refused(given, problem) from None


def _ipv6(name: str, given: str) -> str:
    from ipaddress import IPv6Address

    literal = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    # A zone (RFC 4007 11) tells this machine which link to use; it is no part of the identity.
    address, percent, zone = literal.partition("%")
    if percent and not zone:
        raise _refused(given, "the zone behind % is empty")
    try:
        parsed: ipaddress.IPv6Address = IPv6Address(address)
    except ValueError:
        problem = "it is no IPv6 address, and neither name nor port may hold its colons or brackets"
        raise _refused(given, problem) from None
    return str(parsed)


def _refused(given: str, problem: str) -> ReferenceIdentifierError:
    return ReferenceIdentifierError(
        f"'{printable(given, 80)}' is neither a host name nor an address: {problem}"
    )
