"""Who may be asked for, and who counts as found: one row a case, with the rule that it proves."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

import idna

from smtpverify.tls.names import IdentifierKind, PresentedIdentifier

__all__ = ["FOUND", "NOT_FOUND", "REFUSED", "Found", "NotFound", "Refused", "dns", "ip", "other", "srv"]


def dns(name: str | bytes) -> PresentedIdentifier:
    octets = name.encode("latin-1") if isinstance(name, str) else name
    return PresentedIdentifier(IdentifierKind.DNS, octets, "dNSName")


def ip(address: str | bytes) -> PresentedIdentifier:
    """Return an iPAddress: of an address in text, or of raw octets."""
    octets = ip_address(address).packed if isinstance(address, str) else address
    return PresentedIdentifier(IdentifierKind.IP, octets, "iPAddress")


def srv(name: str) -> PresentedIdentifier:
    return PresentedIdentifier(IdentifierKind.SRV, name.encode("ascii"), "SRVName")


def other(label: str, content: bytes) -> PresentedIdentifier:
    return PresentedIdentifier(IdentifierKind.OTHER, content, label)


@dataclass(frozen=True)
class Found:
    """A reference identifier, and among what is presented the first that matches it."""

    rule: str
    host: str | bytes
    text: str
    presented: tuple[PresentedIdentifier, ...]
    at: int = 0


@dataclass(frozen=True)
class NotFound:
    """A reference identifier that nothing of what is presented matches."""

    rule: str
    host: str
    presented: tuple[PresentedIdentifier, ...]


@dataclass(frozen=True)
class Refused:
    """A text that no reference identifier can be made of; `problem` ends the error's message."""

    rule: str
    host: object
    problem: str
    cause: type[Exception] | None = None


def _found(
    rule: str, host: str | bytes, text: str, *presented: str | PresentedIdentifier, at: int = 0
) -> Found:
    return Found(rule, host, text, tuple(dns(one) if isinstance(one, str) else one for one in presented), at)


def _not_found(rule: str, host: str, *presented: str | PresentedIdentifier) -> NotFound:
    return NotFound(rule, host, tuple(dns(one) if isinstance(one, str) else one for one in presented))


_A63 = "a" * 63
_LONGEST = ".".join([_A63, _A63, _A63, "a" * 61])  # 253 octets

FOUND = [
    # Case, dots, characters
    _found("RFC 9525 6.3 exact", "mail.example.org", "mail.example.org", "mail.example.org"),
    _found("RFC 9525 6.3 given as octets", b"mail.example.org", "mail.example.org", "mail.example.org"),
    _found(
        "RFC 1035 2.3.3 case of the reference", "MAIL.Example.ORG", "mail.example.org", "mail.example.org"
    ),
    _found(
        "RFC 1035 2.3.3 case of the presented", "mail.example.org", "mail.example.org", "MAIL.eXample.ORG"
    ),
    _found("RFC 1035 3.1 the root's dot", "mail.example.org.", "mail.example.org", "mail.example.org"),
    _found("RFC 9525 2 a name of one label", "localhost", "localhost", "localhost"),
    _found("RFC 1123 2.1 a digit begins", "3com.example", "3com.example", "3com.example"),
    _found("RFC 1123 2.1 a label of digits, not the last", "1.example", "1.example", "1.example"),
    _found("RFC 1123 2.1 the last label only begins like a number", "a.0xg", "a.0xg", "a.0xg"),
    _found("RFC 1123 2.1 the last label ends in a letter", "192.0.2.1a", "192.0.2.1a", "192.0.2.1a"),
    _found(
        "RFC 5891 4.2.3.1 hyphens in an ASCII label", "ab--cd.example", "ab--cd.example", "ab--cd.example"
    ),
    _found("underscore, exact", "mail_1.example.org", "mail_1.example.org", "mail_1.example.org"),
    _found("underscore at the ends", "_a_.example.org", "_a_.example.org", "_A_.example.org"),
    _found("RFC 1035 2.3.4 the longest label", f"{_A63}.example", f"{_A63}.example", f"{_A63}.example"),
    _found("RFC 1035 3.1 the longest name", _LONGEST, _LONGEST, _LONGEST),
    _found("RFC 1035 3.1 the longest name with the root's dot", f"{_LONGEST}.", _LONGEST, _LONGEST),
    # Ports
    _found("RFC 3986 3.2.3 host and port", "mail.example.org:587", "mail.example.org", "mail.example.org"),
    _found(
        "RFC 3986 3.2.3 dot before the port", "mail.example.org.:25", "mail.example.org", "mail.example.org"
    ),
    _found("RFC 3986 3.2.3 IPv4 and port", "192.0.2.1:25", "192.0.2.1", ip("192.0.2.1")),
    _found("RFC 3986 3.2.2 IPv6 and port", "[2001:db8::1]:465", "2001:db8::1", ip("2001:db8::1")),
    _found("RFC 3986 3.2.2 no brackets, no port", "2001:db8::1:25", "2001:db8::1:25", ip("2001:db8::1:25")),
    # Wildcards
    _found("RFC 9525 6.3 wildcard, one label", "mail.example.org", "mail.example.org", "*.example.org"),
    _found("RFC 9525 6.3 wildcard, case", "MAIL.example.org", "mail.example.org", "*.EXAMPLE.Org"),
    _found("RFC 9525 6.3 wildcard, deeper", "a.b.example.org", "a.b.example.org", "*.b.example.org"),
    _found(
        "RFC 9525 6.3 wildcard for an A-label",
        "bücher.example.org",
        "xn--bcher-kva.example.org",
        "*.example.org",
    ),
    _found(
        "RFC 9525 6.3 wildcard above an A-label",
        "a.bücher.example",
        "a.xn--bcher-kva.example",
        "*.xn--bcher-kva.example",
    ),
    _found(
        "RFC 9525 6.3 wildcard for the longest label",
        f"{_A63}.example.org",
        f"{_A63}.example.org",
        "*.example.org",
    ),
    _found("RFC 9525 6.3 wildcard for a label of digits", "1.example.org", "1.example.org", "*.example.org"),
    # IDNA 2008
    _found(
        "RFC 5890 2.3.2.1 U-label as A-label",
        "bücher.example",
        "xn--bcher-kva.example",
        "xn--bcher-kva.example",
    ),
    _found(
        "RFC 5890 2.3.2.1 A-label as given",
        "xn--bcher-kva.example",
        "xn--bcher-kva.example",
        "XN--BCHER-KVA.example",
    ),
    _found(
        "RFC 5890 2.3.2.1 A-label given as octets",
        b"XN--BCHER-KVA.example",
        "xn--bcher-kva.example",
        "xn--bcher-kva.example",
    ),
    _found("RFC 5895 2 upper case", "BÜCHER.EXAMPLE", "xn--bcher-kva.example", "xn--bcher-kva.example"),
    _found(
        "RFC 5892 2.7 sharp s stays (IDNA 2003: fass.de)",
        "faß.de",
        "xn--fa-hia.de",
        "fass.de",
        "xn--fa-hia.de",
        at=1,
    ),
    _found("RFC 5895 2 capital sharp s", "FAẞ.de", "xn--fa-hia.de", "xn--fa-hia.de"),
    _found(
        "RFC 5892 2.7 final sigma stays",
        "σς.example",
        "xn--3xab.example",
        "xn--4xaa.example",
        "xn--3xab.example",
        at=1,
    ),
    _found(
        "RFC 5891 4.1 NFC, and no other form",
        "b\u00fccher.example",
        "xn--bcher-kva.example",
        "xn--bucher-xyd.example",
        "xn--bcher-kva.example",
        at=1,
    ),
    _found(
        "RFC 5895 2 NFD is composed", "bu\u0308cher.example", "xn--bcher-kva.example", "xn--bcher-kva.example"
    ),
    _found(
        "RFC 5895 2 ideographic full stops",
        "mail\u3002example\uff0eorg",
        "mail.example.org",
        "mail.example.org",
    ),
    _found(
        "RFC 5895 2 halfwidth ideographic full stop",
        "mail\uff61example.org",
        "mail.example.org",
        "mail.example.org",
    ),
    _found(
        "RFC 5895 2 ideographic root's dot",
        "bücher.example\u3002",
        "xn--bcher-kva.example",
        "xn--bcher-kva.example",
    ),
    _found("RFC 5895 2 fullwidth letters", "\uff4d\uff41il.example", "mail.example", "mail.example"),
    _found("RFC 5895 2 a ligature of compatibility", "\u2177.example", "viii.example", "viii.example"),
    _found(
        "RFC 5895 2 fullwidth digits are an address",
        "\uff11\uff19\uff12.\uff10.\uff12.\uff11",
        "192.0.2.1",
        ip("192.0.2.1"),
    ),
    _found(
        "RFC 5895 2 an address with ideographic dots",
        "192\u30020\u30022\u30021",
        "192.0.2.1",
        ip("192.0.2.1"),
    ),
    _found(
        "RFC 5892 A.2 ZWJ behind a virama",
        "क्\u200dष.example",
        "xn--11b2ezcw70k.example",
        "xn--11b2ezcw70k.example",
    ),
    _found(
        "RFC 5892 A.1 ZWNJ between joining letters",
        "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example",
        "xn--mgba3gch31f060k.example",
        "xn--mgba3gch31f060k.example",
    ),
    _found(
        "RFC 5892 A.3 middle dot between l and l",
        "col·lega.example",
        "xn--collega-xma.example",
        "xn--collega-xma.example",
    ),
    _found("RFC 5893 2 right to left", "א1.example", "xn--1-zhc.example", "xn--1-zhc.example"),
    _found(
        "RFC 5890 2.3.2.6 a homograph is another name",
        "\u0430pple.com",
        "xn--pple-43d.com",
        "apple.com",
        "xn--pple-43d.com",
        at=1,
    ),
    _found(
        "underscore beside a U-label",
        "_a.bücher.example",
        "_a.xn--bcher-kva.example",
        "_a.xn--bcher-kva.example",
    ),
    _found("an A-label is not decoded", "xn--zz.example", "xn--zz.example", "xn--zz.example"),
    # Addresses
    _found("RFC 9525 6.4 IPv4", "192.0.2.1", "192.0.2.1", ip("192.0.2.1")),
    _found("RFC 9525 6.4 IPv4 as octets", b"192.0.2.1", "192.0.2.1", ip("192.0.2.1")),
    _found("RFC 9525 6.4 zeros", "0.0.0.0", "0.0.0.0", ip(b"\0\0\0\0")),
    _found("RFC 1123 2.1 IPv4 with a dot behind it", "192.0.2.1.", "192.0.2.1", ip("192.0.2.1")),
    _found("RFC 9525 6.4 IPv6", "2001:db8::1", "2001:db8::1", ip("2001:db8::1")),
    _found("RFC 4291 2.2 long form", "2001:0DB8:0:0:0:0:0:1", "2001:db8::1", ip("2001:db8::1")),
    _found("RFC 5952 4.3 upper case", "2001:DB8::ABCD", "2001:db8::abcd", ip("2001:db8::abcd")),
    _found("RFC 4291 2.2 dotted end", "2001:db8::192.0.2.1", "2001:db8::c000:201", ip("2001:db8::c000:201")),
    _found("RFC 3986 3.2.2 brackets", "[::1]", "::1", ip("::1")),
    _found("RFC 4291 2.5.2 unspecified", "::", "::", ip(bytes(16))),
    _found("RFC 4007 11 zone", "fe80::1%eth0", "fe80::1", ip("fe80::1")),
    _found("RFC 4007 11 numeric zone", "fe80::1%2", "fe80::1", ip("fe80::1")),
    _found("RFC 6874 2 zone in brackets, with port", "[fe80::1%25eth0]:25", "fe80::1", ip("fe80::1")),
    _found(
        "RFC 4291 2.5.5.2 IPv4-mapped",
        "::ffff:192.0.2.1",
        "::ffff:192.0.2.1",
        ip("192.0.2.1"),
        ip("::ffff:192.0.2.1"),
        at=1,
    ),
    # Siblings
    _found(
        "RFC 9525 6.2 any of several", "b.example", "b.example", "a.example", "b.example", "c.example", at=1
    ),
    _found(
        "RFC 9525 6.2 the first that matches",
        "a.example.org",
        "a.example.org",
        "*.example.org",
        "a.example.org",
    ),
    _found(
        "an invalid sibling spoils nothing: non-ASCII",
        "a.example",
        "a.example",
        "b\xfccher.example",
        "a.example",
        at=1,
    ),
    _found(
        "an invalid sibling spoils nothing: NUL",
        "a.example",
        "a.example",
        "a.example\0.evil.example",
        "a.example",
        at=1,
    ),
    _found("an invalid sibling spoils nothing: empty", "a.example", "a.example", "", "a.example", at=1),
    _found(
        "an invalid sibling spoils nothing: wildcards",
        "a.example",
        "a.example",
        "*",
        "*.*.example",
        "a*.example",
        "a.example",
        at=3,
    ),
    _found(
        "an invalid sibling spoils nothing: address of 5 octets",
        "192.0.2.1",
        "192.0.2.1",
        ip(b"\xc0\0\2\1\0"),
        ip("192.0.2.1"),
        at=1,
    ),
    _found(
        "RFC 9525 6.1 other kinds beside it",
        "a.example",
        "a.example",
        srv("_smtps.a.example"),
        other("rfc822Name", b"a.example"),
        ip("192.0.2.1"),
        "a.example",
        at=3,
    ),
]

NOT_FOUND = [
    # Names
    _not_found("RFC 9525 6.3 nothing presented", "a.example"),
    _not_found("RFC 9525 6.3 another name", "a.example", "b.example"),
    _not_found("RFC 9525 6.3 every label: parent", "a.example.org", "example.org"),
    _not_found("RFC 9525 6.3 every label: child", "example.org", "a.example.org"),
    _not_found("RFC 9525 6.3 every label: a common end", "notexample.org", "example.org"),
    _not_found("RFC 9525 6.3 every label: a common beginning", "example.org", "example.org.evil.example"),
    _not_found("RFC 5280 4.2.1.6 the presented has no root's dot", "a.example", "a.example."),
    _not_found("RFC 5280 4.2.1.6 nor when the reference had one", "a.example.", "a.example."),
    _not_found("RFC 5280 4.2.1.6 leading dot (a name constraint)", "a.example", ".example"),
    _not_found("RFC 5280 4.2.1.6 a space is no name", "a.example", " ", " a.example", "a.example "),
    _not_found("NUL is no terminator", "a.example", "a.example\0", "a.example\0.evil.example", "\0a.example"),
    _not_found("control characters", "a.example", "a.example\n", "a.exa\tmple", "a.example\x7f"),
    _not_found("RFC 5890 2.3.2.1 U-label presented, UTF-8", "bücher.example", dns("bücher.example".encode())),
    _not_found("RFC 5890 2.3.2.1 U-label presented, Latin-1", "bücher.example", "b\xfccher.example"),
    _not_found("RFC 5892 2.7 what IDNA 2003 made of sharp s", "faß.de", "fass.de"),
    _not_found("an A-label is not decoded", "xn--zz.example", "zz.example"),
    _not_found("the Kelvin sign in lower case is a k", "k.example", dns("\u212a.example".encode())),
    _not_found("RFC 1035 2.3.3 case of ASCII only", "mail.example", "ma\xcfl.example", "ma\xefl.example"),
    _not_found("a URL is no name", "a.example", "https://a.example", "a.example:25", "a.example/"),
    _not_found("RFC 9525 2 an address of mail is no name", "a.example", "postmaster@a.example"),
    # Wildcards
    _not_found("RFC 9525 6.3 wildcard: not two labels", "a.b.example.org", "*.example.org"),
    _not_found("RFC 9525 6.3 wildcard: not no label", "example.org", "*.example.org"),
    _not_found("RFC 9525 6.3 wildcard: another parent", "a.example.net", "*.example.org"),
    _not_found("RFC 9525 6.3 wildcard alone", "localhost", "*"),
    _not_found("RFC 9525 6.3 wildcard alone, longer name", "a.example.org", "*"),
    _not_found("RFC 9525 7.1 wildcard above one label", "example.com", "*.com"),
    _not_found("RFC 9525 7.1 wildcard above one label and dot", "example.com", "*.com."),
    _not_found("RFC 9525 6.3 wildcard with a dot behind", "a.example.org", "*.example.org."),
    _not_found("RFC 9525 6.3 two wildcards", "a.b.example.org", "*.*.example.org"),
    _not_found("RFC 9525 6.3 double star", "a.example.org", "**.example.org"),
    _not_found("RFC 9525 6.3 wildcard not left-most", "a.b.example.org", "a.*.example.org"),
    _not_found("RFC 9525 6.3 wildcard at the end", "a.example.org", "a.example.*"),
    _not_found("RFC 9525 6.3 part of a label: f*", "foo.example.org", "f*.example.org"),
    _not_found("RFC 9525 6.3 part of a label: *o", "foo.example.org", "*o.example.org"),
    _not_found("RFC 9525 6.3 part of a label, and one more", "foo.o.example.org", "*xo.example.org"),
    _not_found("RFC 9525 6.3 part of a label: f*o", "foo.example.org", "f*o.example.org"),
    _not_found(
        "RFC 6125 6.4.3 part of an A-label",
        "bücher.example.org",
        "xn--*.example.org",
        "xn--bcher*.example.org",
    ),
    _not_found(
        "RFC 9525 6.3 empty label behind the wildcard", "a.example.org", "*..example.org", "*.example..org"
    ),
    _not_found("RFC 1123 2.1 wildcard above a hyphen", "a.example.org", "*.-example.org", "*.example-.org"),
    _not_found(
        "wildcard above NUL", "a.example.org", "*.example.org\0", "*\0.example.org", "*.\0.example.org"
    ),
    _not_found("wildcard above what is not ASCII", "a.bücher.example", "*.b\xfccher.example"),
    _not_found("wildcard for an underscore", "_a.example.org", "*.example.org"),
    _not_found("wildcard for an underscore within", "a_b.example.org", "*.example.org"),
    _not_found("wildcard above an underscore", "a.b_c.example", "*.b_c.example"),
    _not_found("RFC 1035 2.3.4 wildcard above a label too long", "a.example.org", f"*.{'a' * 64}.org"),
    _not_found("wildcard alone in what would be a label of dots", "a.example.org", "*."),
    # Addresses
    _not_found("RFC 9525 6.4 another address", "192.0.2.1", ip("192.0.2.2")),
    _not_found("RFC 9525 6.4 address in a dNSName", "192.0.2.1", "192.0.2.1"),
    _not_found("RFC 9525 6.4 IPv6 in a dNSName", "::1", "::1", "[::1]"),
    _not_found("RFC 9525 6.4 wildcard for an octet", "192.0.2.1", "*.0.2.1", "192.0.2.*", "*"),
    _not_found("RFC 9525 6.4 address as text in an iPAddress", "192.0.2.1", ip(b"192.0.2.1")),
    _not_found("RFC 9525 6.4 name in an iPAddress", "a.example", ip(b"a.example")),
    _not_found("RFC 9525 6.4 a name of 4 octets in an iPAddress", "mail", ip(b"mail")),
    _not_found("RFC 5280 4.2.1.6 iPAddress of no octets", "192.0.2.1", ip(b"")),
    _not_found("RFC 5280 4.2.1.6 iPAddress of 3 octets", "192.0.2.0", ip(b"\xc0\0\2")),
    _not_found("RFC 5280 4.2.1.10 iPAddress with a mask", "192.0.2.1", ip(b"\xc0\0\2\1\xff\xff\xff\xff")),
    _not_found("RFC 5280 4.2.1.10 IPv6 with a mask", "::1", ip(bytes(15) + b"\1" + b"\xff" * 16)),
    _not_found("RFC 4291 2.5.5.2 IPv4-mapped is no IPv4", "::ffff:192.0.2.1", ip("192.0.2.1")),
    _not_found("RFC 4291 2.5.5.2 IPv4 is not its mapped form", "192.0.2.1", ip("::ffff:192.0.2.1")),
    _not_found("RFC 4007 11 the zone is no part of it", "fe80::1%eth0", ip("fe80::2"), "fe80::1%eth0"),
    # Other kinds: shown, never compared
    _not_found("RFC 4985 2 SRV-ID", "a.example", srv("_smtps.a.example"), srv("a.example")),
    _not_found("RFC 4985 2 the SRV-ID's own text", "_smtps.a.example", srv("_smtps.a.example")),
    _not_found("RFC 7817 3 URI-ID", "a.example", other("uniformResourceIdentifier", b"smtp://a.example")),
    _not_found("RFC 9525 2 rfc822Name", "a.example", other("rfc822Name", b"a.example")),
    _not_found("RFC 9525 2 directoryName with the name", "a.example", other("directoryName", b"a.example")),
    _not_found("RFC 9525 2 an octet string of other kind", "192.0.2.1", other("registeredID", b"\xc0\0\2\1")),
]

_EMPTY = "it is empty"
_EMPTY_LABEL = "it has an empty label (RFC 1035 2.3.1)"
_LONG_NAME = "it is longer than 253 octets (RFC 1035 3.1)"
_LONG_LABEL = f"the label {'a' * 20}… is longer than 63 octets (RFC 1035 2.3.4)"
_WILDCARD = "a wildcard is for certificates to present, not for clients to ask for (RFC 9525 6.3)"
_OCTAL = "an address has no leading zeros: some readers take them for octal"
_NUMBER = "its last label is a number, and it is no IPv4 address of four decimal octets"
_IPV6 = "it is no IPv6 address, and neither name nor port may hold its colons or brackets"
_ZONE = "the zone behind % is empty"
_PORT = "what stands behind its colon is no port"
_SPACE = "it contains a space"
_NUL = "it contains NUL"
_IDNA = "it is no internationalized name of IDNA 2008"


def _hyphen(label: str) -> str:
    return f"the label {label} begins or ends with a hyphen (RFC 1123 2.1)"


def _other_than(label: str) -> str:
    return f"the label {label} has characters other than letters, digits, hyphens and underscores"


def _character(code: str) -> str:
    return f"it contains the character U+{code}"


def _idna(rule: str, host: str, cause: type[Exception]) -> Refused:
    return Refused(rule, host, _IDNA, cause)


REFUSED = [
    # What is no text of a host at all
    Refused("RFC 9525 6.1 a host is text", None, "a host is a str"),
    Refused("RFC 9525 6.1 a host is text", 192, "a host is a str"),
    Refused("RFC 9525 6.1 a host is text", bytearray(b"a.example"), "a host is a str"),
    Refused(
        "RFC 5890 2.3.2.1 octets are ASCII", "bücher.example".encode(), "a host given as bytes must be ASCII"
    ),
    Refused("RFC 1035 2.3.1 empty", "", _EMPTY),
    Refused("RFC 1035 2.3.1 empty octets", b"", _EMPTY),
    Refused("RFC 1035 2.3.1 the root", ".", _EMPTY),
    Refused("RFC 3986 3.2.3 a port alone", ":25", _EMPTY),
    # Characters
    Refused("RFC 1035 2.3.1 NUL", "a.example\0", _NUL),
    Refused("RFC 1035 2.3.1 NUL within", "a.example\0.evil.example", _NUL),
    Refused("RFC 1035 2.3.1 NUL as octets", b"a\0b", _NUL),
    Refused("RFC 5891 4 NUL in an A-label", "xn--\0", _NUL),
    Refused("RFC 1035 2.3.1 space", "a b.example", _SPACE),
    Refused("RFC 1035 2.3.1 space before", " a.example", _SPACE),
    Refused("RFC 1035 2.3.1 space behind", "a.example ", _SPACE),
    Refused("RFC 1035 2.3.1 newline", "a.example\n", _character("000A")),
    Refused("RFC 5321 4.1.1.1 CR LF", "a.example\r\nRCPT", _character("000D")),
    Refused("RFC 1035 2.3.1 tab", "a\t.example", _character("0009")),
    Refused("RFC 1035 2.3.1 DEL", "a\x7f.example", _character("007F")),
    Refused("RFC 5892 2.6 no-break space", "a\u00a0b.example", _character("00A0")),
    Refused("RFC 5892 2.6 line separator", "a\u2028b.example", _character("2028")),
    Refused("RFC 5892 2.6 soft hyphen, invisible", "a\u00adb.example", _character("00AD")),
    Refused("RFC 5892 2.6 zero width space, invisible", "a\u200bb.example", _character("200B")),
    Refused("RFC 5892 2.6 right-to-left override", "a\u202eb.example", _character("202E")),
    Refused("RFC 5892 2.6 byte order mark", "\ufeffa.example", _character("FEFF")),
    Refused("RFC 5892 2.6 lone surrogate", "a\udc80.example", _character("DC80")),
    Refused("RFC 5892 2.6 private use", "a\ue000.example", _character("E000")),
    Refused("RFC 1035 2.3.1 at sign", "@a", _other_than("@a")),
    Refused("RFC 3986 3.2.1 user", "user@a.example", _other_than("user@a")),
    Refused("RFC 1035 2.3.1 slash", "a.example/b", _other_than("example/b")),
    Refused("RFC 1035 2.3.1 backslash", "a\\b", _other_than("a\\\\b")),
    Refused("RFC 1035 2.3.1 plus", "a+b.example", _other_than("a+b")),
    Refused("RFC 3986 2.1 percent-encoded", "a%2eexample", _other_than("a%2eexample")),
    Refused("RFC 3986 3 URL", "https://a.example", _PORT),
    Refused("RFC 3986 3 URL with a port", "smtp://a.example:25", _IPV6),
    Refused("RFC 3986 3.2.3 port of letters", "a.example:smtp", _PORT),
    Refused("RFC 3986 3.2.3 no port behind the colon", "a.example:", _PORT),
    Refused("RFC 3986 3.2.3 digits that are not ASCII", "a.example:\uff12\uff15", _PORT),
    Refused("RFC 3986 3.2.3 signed port", "a.example:+25", _PORT),
    Refused("RFC 3986 3.2.3 no port behind the bracket", "[::1]:", _PORT),
    Refused("RFC 3986 3.2.3 two ports", "a.example:25:25", _IPV6),
    # Labels
    Refused("RFC 9525 6.3 wildcard as reference", "*.example.com", _WILDCARD),
    Refused("RFC 9525 6.3 wildcard alone as reference", "*", _WILDCARD),
    Refused("RFC 9525 6.3 part of a label as reference", "f*.example.com", _WILDCARD),
    Refused("RFC 9525 6.3 wildcard beside a U-label", "*.bücher.example", _WILDCARD),
    Refused("RFC 9525 6.3 fullwidth asterisk", "\uff0a.example.com", _WILDCARD),
    Refused("RFC 1035 2.3.1 leading dot", ".a.example", _EMPTY_LABEL),
    Refused("RFC 1035 2.3.1 two dots", "a..example", _EMPTY_LABEL),
    Refused("RFC 1035 2.3.1 two dots behind", "a.example..", _EMPTY_LABEL),
    Refused("RFC 1035 2.3.1 dots alone", "..", _EMPTY_LABEL),
    Refused("RFC 5895 2 two dots, one ideographic", "a.\u3002example", _EMPTY_LABEL),
    Refused("RFC 1035 2.3.4 label of 64", f"{'a' * 64}.example", _LONG_LABEL),
    Refused("RFC 1035 3.1 name of 254", f"{_LONGEST}a", _LONG_NAME),
    Refused("RFC 1035 3.1 name of 254, many labels", "a." * 126 + "aa", _LONG_NAME),
    Refused("RFC 1123 2.1 hyphen before", "-a.example", _hyphen("-a")),
    Refused("RFC 1123 2.1 hyphen behind", "a-.example", _hyphen("a-")),
    Refused("RFC 1123 2.1 hyphen alone", "a.-", _hyphen("-")),
    Refused("RFC 5890 2.3.2.1 an A-label of nothing", "xn--.example", _hyphen("xn--")),
    # IDNA 2008
    _idna("RFC 5892 2.6 a symbol", "☃.example", idna.InvalidCodepoint),
    _idna("RFC 5892 2.6 an emoji", "💩.example", idna.InvalidCodepoint),
    _idna("RFC 5892 2.6 what has a full stop in it", "a\u2488b.example", idna.InvalidCodepoint),
    _idna("RFC 5892 2.6 underscore in a U-label", "a_é.example", idna.InvalidCodepoint),
    _idna("RFC 5892 2.6 what maps to words with spaces", "\ufdfa.example", idna.InvalidCodepoint),
    _idna("RFC 5892 A.2 ZWJ without a virama", "a\u200db.example", idna.InvalidCodepointContext),
    _idna("RFC 5892 A.1 ZWNJ between Latin letters", "a\u200cb.example", idna.InvalidCodepointContext),
    _idna("RFC 5892 A.3 middle dot elsewhere", "a·b.example", idna.InvalidCodepointContext),
    _idna("RFC 5893 2 rule 1: a digit first", "1א.example", idna.IDNABidiError),
    _idna("RFC 5893 2 rule 5: left to right, and back", "aא.example", idna.IDNABidiError),
    _idna("RFC 5891 4.2.3.2 combining mark first", "\u0301a.example", idna.IDNAError),
    _idna("RFC 5891 4.2.3.1 hyphen first", "-é.example", idna.IDNAError),
    _idna("RFC 5891 4.2.3.1 hyphen last", "é-.example", idna.IDNAError),
    _idna("RFC 5891 4.2.3.1 hyphens in third and fourth place", "xn--é.example", idna.IDNAError),
    _idna("RFC 5891 4.2.4 over 63 octets once encoded", f"{'é' * 58}.example", idna.IDNAError),
    Refused("RFC 1035 3.1 over 253 octets once encoded", "éééééééé." * 24 + "example", _LONG_NAME),
    Refused("RFC 1035 3.1 over 253 characters before", "é." * 126 + "éé", _LONG_NAME),
    Refused("RFC 1035 3.1 over 253 characters in one label", "é" * 254, _LONG_NAME),
    Refused("RFC 5895 2 fullwidth slash", "a\uff0fb.example", _other_than("a/b")),
    Refused("RFC 5895 2 fullwidth colon is no port", "a.example\uff1a25", _other_than("example:25")),
    Refused("RFC 5895 2 a/c in one character", "\u2100.example", _other_than("a/c")),
    # Addresses: what OpenSSL or inet_aton() would read, and each in its own way
    Refused("inet_aton: octal", "010.0.0.1", _OCTAL),
    Refused("inet_aton: octal elsewhere", "10.0.0.01", _OCTAL),
    Refused("inet_aton: zeros", "00.0.0.0", _OCTAL),
    Refused("inet_aton: hexadecimal", "0x7f.1", _NUMBER),
    Refused("inet_aton: hexadecimal, capital", "0X7F000001", _NUMBER),
    Refused("inet_aton: hexadecimal last", "127.0.0.0x1", _OCTAL),
    Refused("inet_aton: hexadecimal of no digits", "a.0x", _NUMBER),
    Refused("inet_aton: two parts", "127.1", _NUMBER),
    Refused("inet_aton: three parts", "127.0.1", _NUMBER),
    Refused("inet_aton: one part", "2130706433", _NUMBER),
    Refused("inet_aton: one part, octal", "017700000001", _NUMBER),
    Refused("RFC 1123 2.1 five parts", "192.0.2.1.1", _NUMBER),
    Refused("RFC 1123 2.1 over 255", "192.0.2.256", _NUMBER),
    Refused("RFC 1123 2.1 the last label is a number", "mail.example.1", _NUMBER),
    Refused("RFC 1123 2.1 a negative octet", "192.0.2.-1", _hyphen("-1")),
    Refused("OpenSSL: text behind an address", "192.0.2.1 evil", _SPACE),
    Refused("OpenSSL: space before an address", " 192.0.2.1", _SPACE),
    Refused("RFC 5895 2 fullwidth digits over 255", "\uff12\uff15\uff16.\uff11.\uff11.\uff11", _NUMBER),
    Refused("RFC 5895 2 fullwidth leading zero", "\uff1010.0.0.1", _OCTAL),
    Refused("RFC 3986 3.2.2 IPv4 in brackets", "[192.0.2.1]", _IPV6),
    Refused("RFC 3986 3.2.2 name in brackets", "[a.example]", _IPV6),
    Refused("RFC 3986 3.2.2 nothing in brackets", "[]", _IPV6),
    Refused("RFC 3986 3.2.2 bracket open", "[::1", _IPV6),
    Refused("RFC 3986 3.2.2 bracket closed only", "::1]", _IPV6),
    Refused("RFC 3986 3.2.2 two brackets", "[[::1]]", _IPV6),
    Refused("RFC 3986 3.2.2 text behind the bracket", "[::1]a", _IPV6),
    Refused("RFC 4291 2.2 three colons", ":::1", _IPV6),
    Refused("RFC 4291 2.2 nine groups", "1:2:3:4:5:6:7:8:9", _IPV6),
    Refused("RFC 4291 2.2 five digits", "::12345", _IPV6),
    Refused("RFC 4291 2.2 no hexadecimal", "::g", _IPV6),
    Refused("RFC 4291 2.2 digits that are not ASCII", "::\uff11", _IPV6),
    Refused("RFC 4291 2.2 a dot behind IPv6", "::1.", _IPV6),
    Refused("RFC 4291 2.2 octal within IPv6", "::ffff:010.0.0.1", _IPV6),
    Refused("RFC 4007 11 zone empty", "fe80::1%", _ZONE),
    Refused("RFC 4007 11 zone empty, brackets", "[fe80::1%]:25", _ZONE),
    Refused("RFC 4007 11 zone of nothing", "%eth0::1", _IPV6),
    Refused("RFC 4007 11 zone of IPv4", "192.0.2.1%eth0", _other_than("1%eth0")),
    Refused("RFC 4007 11 zone with a space", "fe80::1%e 0", _SPACE),
]
