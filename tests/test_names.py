"""Reference identifiers and their match: the table's rows, and the rules at large (RFC 9525)."""

from __future__ import annotations

import pickle
import socket
import ssl
import string
from functools import cache
from ipaddress import ip_address

import pytest
from hypothesis import example, given, settings, strategies as st

from smtpverify import ReferenceIdentifierError
from smtpverify.tls.names import (
    IdentifierKind,
    PresentedIdentifier,
    ReferenceIdentifier,
    find_match,
    reference_identifier,
    split_host_port,
    u_labels,
)
from tests.bed import Authority
from tests.bed.certs import ec_key, san_der
from tests.names_table import FOUND, NOT_FOUND, REFUSED, Found, NotFound, Refused, dns, ip, other, srv

moderately = settings(max_examples=150, deadline=None)
often = settings(max_examples=800, deadline=None)


def ids(rows: list[Found] | list[NotFound] | list[Refused]) -> list[str]:
    return [f"{row.rule}: {ascii(row.host)[:40]}" for row in rows]


# The table


def test_the_table_is_wide_and_says_nothing_twice() -> None:
    rows: list[Found | NotFound] = [*FOUND, *NOT_FOUND]
    said = [(repr(row.host), row.presented) for row in rows]
    said += [(repr(row.host), ()) for row in REFUSED]
    assert len(said) == len(set(said)) >= 150


@pytest.mark.parametrize("row", FOUND, ids=ids(FOUND))
def test_found(row: Found) -> None:
    reference = reference_identifier(row.host)
    # Versions of Python differ in how they write an IPv4-mapped address.
    is_ip = reference.kind is IdentifierKind.IP
    assert reference.text == (str(ip_address(row.text)) if is_ip else row.text)
    assert find_match(reference, row.presented) is row.presented[row.at]


@pytest.mark.parametrize("row", NOT_FOUND, ids=ids(NOT_FOUND))
def test_not_found(row: NotFound) -> None:
    assert find_match(reference_identifier(row.host), row.presented) is None


@pytest.mark.parametrize("row", REFUSED, ids=ids(REFUSED))
def test_refused(row: Refused) -> None:
    with pytest.raises(ReferenceIdentifierError) as caught:
        reference_identifier(row.host)  # type: ignore[arg-type]
    message = str(caught.value)
    assert " is neither a host name nor an address: " in message
    assert message.isprintable()
    if row.cause is None:
        assert message.endswith(f": {row.problem}")
        assert caught.value.__cause__ is None
    else:  # idna's own words stand behind ours, in brackets
        assert f": {row.problem} ({caught.value.__cause__})" in message
        assert type(caught.value.__cause__) is row.cause


@cache
def trusted() -> Authority:
    return Authority.root(key=ec_key())


@pytest.mark.parametrize("row", FOUND, ids=ids(FOUND))
def test_openssl_finds_what_we_find(row: Found) -> None:
    """OpenSSL stands behind the same gate: what it refuses and we accept would be a hole in ours."""
    tags = {"dNSName": 0x82, "iPAddress": 0x87}
    entries = san_der(*((tags[one.label], one.octets) for one in row.presented if one.label in tags))
    server = trusted().issue(common_name="Bed Server", raw_san=entries, key=trusted().key)
    client_context = ssl.create_default_context(cadata=trusted().pem.decode("ascii"))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    name = reference_identifier(row.host).text
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    peer = server.server_context().wrap_bio(to_server, to_client, server_side=True)
    for side in (client, peer):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    client.do_handshake()  # raises on a mismatch
    assert client.getpeercert(binary_form=True) == server.leaf_der


# What can be made of a text


def attempt(text: str) -> ReferenceIdentifier | ReferenceIdentifierError:
    try:
        return reference_identifier(text)
    except ReferenceIdentifierError as error:
        return error


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda octets: octets.decode("latin-1")))
@example("\u2488")
@example("x" * 1_000_000)
@example("\u0301" * 100_000)
@example("é." * 100_000)
@moderately
def test_a_text_is_a_reference_identifier_or_an_error(text: str) -> None:
    """RFC 9525 6.1: of one form, so that its own text is made into itself again."""
    reference = attempt(text)
    if isinstance(reference, ReferenceIdentifierError):
        assert str(reference).isprintable()
        return
    assert reference.text.isascii()
    assert reference.text == reference.text.lower()
    assert reference_identifier(reference.text) == reference
    assert reference_identifier(reference.text.encode("ascii")) == reference


pieces = st.sampled_from(
    [*"0123456789abcfgxX.-_:[]%*@/ é\u3002\uff11ß", "xn--", "::", "0x", "192.0.2.1", "example", ".."]
)


@given(st.lists(pieces, max_size=12).map("".join))
@often
def test_a_text_of_telling_pieces_too(text: str) -> None:
    """RFC 1035 3.1, RFC 1035 2.3.4, RFC 1123 2.1: what comes out obeys each rule of names."""
    reference = attempt(text)
    if isinstance(reference, ReferenceIdentifierError):
        return
    assert reference.given == text
    assert reference_identifier(reference.text) == reference
    if reference.kind is IdentifierKind.IP:
        assert str(ip_address(reference.text)) == reference.text
        assert reference.octets == ip_address(reference.text).packed
        return
    assert reference.kind is IdentifierKind.DNS
    assert reference.octets == reference.text.encode("ascii")
    assert 0 < len(reference.text) <= 253
    assert all(map(is_label, reference.text.split(".")))


@given(st.text("0123456789.xXaAfF", min_size=1, max_size=16))
@example("010.0.0.1")
@example("0x7f.1")
@example("127.0.0.0X1")
@example("1")
@often
def test_what_a_resolver_takes_for_an_address_is_no_name(text: str) -> None:
    """RFC 3986 7.4: rare address formats. The text means one address to us and to inet_aton(), or none."""
    try:
        resolved = socket.inet_aton(text)
    except OSError:
        return
    reference = attempt(text)
    if isinstance(reference, ReferenceIdentifierError):
        return
    assert (reference.kind, reference.octets) == (IdentifierKind.IP, resolved)


@given(st.ip_addresses())
@moderately
def test_every_spelling_of_an_address_is_the_same(address: object) -> None:
    """RFC 9525 6.4: an IP-ID is compared octet by octet, so that its spelling is of no account."""
    parsed = ip_address(str(address))
    presented = [dns(str(parsed)), ip(parsed.packed)]
    for text in (str(parsed), parsed.exploded, parsed.exploded.upper()):
        reference = reference_identifier(text)
        assert reference.octets == parsed.packed
        assert find_match(reference, presented) is presented[1]
    if parsed.version == 6:
        assert reference_identifier(f"[{parsed}]:25") == reference_identifier(f"{parsed}%eth0")


# Letters that are their own lower case and composed form, of three scripts.
LETTERS = [
    chr(code) for code in (*range(0x61, 0x7B), *range(0xDF, 0xF7), *range(0x3B1, 0x3C2), *range(0x430, 0x450))
]


@given(st.text(LETTERS, min_size=1, max_size=30))
@moderately
def test_an_a_label_is_punycode_behind_its_prefix(label: str) -> None:
    """RFC 5890 2.3.2.1: an A-label is "xn--" and the output of Punycode (RFC 3492) for the U-label."""
    text = reference_identifier(f"{label}.example").text.removesuffix(".example")
    assert text == (label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii"))


@given(st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.[a-z]{1,63}", fullmatch=True))
@example("xn--zz.example")
@example("ab--cd.example")
@moderately
def test_a_name_in_ascii_is_left_alone(name: str) -> None:
    """RFC 5890 2.3.1: an LDH label, and one with an underscore, is no business of IDNA."""
    assert reference_identifier(name).text == name
    assert reference_identifier(name.upper() + ".") == reference_identifier(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.example", ("a.example", None)),
        ("a.example:25", ("a.example", "25")),
        ("a.example:", ("a.example", "")),
        ("a:b:c", ("a:b:c", None)),
        ("::1", ("::1", None)),
        ("[::1]", ("[::1]", None)),
        ("[::1]:25", ("[::1]", "25")),
        ("[::1]25", ("[::1]25", None)),
        ("[::1:25", ("[::1:25", None)),
        ("", ("", None)),
        (":", ("", "")),
    ],
)
def test_split_host_port(text: str, expected: tuple[str, str | None]) -> None:
    assert split_host_port(text) == expected


# What matches: an oracle of RFC 9525 in ten lines, which shares no line with the module


def is_label(label: str) -> bool:
    allowed = set(string.ascii_letters + string.digits + "-_")
    return 1 <= len(label) <= 63 and set(label) <= allowed and "-" not in (label[0], label[-1])


def is_number(label: str) -> bool:
    return label.isdecimal() or (label[:2] in ("0x", "0X") and set(label[2:]) <= set(string.hexdigits))


def oracle(reference: str, presented: bytes) -> bool:
    """RFC 9525 6.3; and, with OpenSSL, no wildcard where there is an underscore."""
    asked, shown = reference.split("."), presented.decode("latin-1").split(".")
    wild = shown[0] == "*"
    if wild:
        if len(shown) < 3 or is_number(shown[-1]) or "_" in reference:
            return False
        asked, shown = asked[1:], shown[1:]
    return all(map(is_label, shown)) and [one.upper() for one in asked] == [one.upper() for one in shown]


label = st.sampled_from(["mail", "example", "org", "a", "1", "a-b", "_a", "a_b", "xn--bcher-kva", "x" * 63])
shown_label = label | st.sampled_from(
    [
        "*",
        "f*",
        "*l",
        "m*l",
        "**",
        "",
        "MAIL",
        "Org",
        "-a",
        "a-",
        " ",
        "a\0",
        "b\xfc",
        "xn--*",
        "0x1",
        "x" * 64,
    ]
)
reference_labels = st.lists(label, min_size=1, max_size=4).filter(
    lambda labels: not is_number(labels[-1]) and len(".".join(labels)) <= 253
)


@st.composite
def asked_and_shown(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a name, and one that differs from it in a few labels, in number of labels, or not at all."""
    asked = draw(reference_labels)
    shown = list(asked)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(shown)))
        shown[at : at + draw(st.integers(0, 1))] = draw(st.lists(shown_label, max_size=1))
    if draw(st.booleans()):
        shown[:1] = ["*"]
    name = ".".join(shown)
    return ".".join(asked), (name.swapcase() if draw(st.booleans()) else name).encode("latin-1")


@given(asked_and_shown())
@example(("a.example.org", b"*.example.org"))
@example(("a.example", b"*.example"))
@example(("a_b.example.org", b"*.example.org"))
@example(("a.org", b"A.ORG"))
@often
def test_the_matcher_is_the_oracle(pair: tuple[str, bytes]) -> None:
    """RFC 9525 6.3: equal without case, or a wildcard as the whole left-most label, for one label."""
    name, presented = pair
    reference = reference_identifier(name)
    assert reference.kind is IdentifierKind.DNS
    assert (find_match(reference, [dns(presented)]) is not None) == oracle(name, presented)


@given(reference_labels, st.binary(max_size=80))
@moderately
def test_no_octets_that_are_presented_break_the_matcher(labels: list[str], octets: bytes) -> None:
    """RFC 9525 6.2: an invalid presented identifier matches nothing; the next is compared still."""
    reference = reference_identifier(".".join(labels))
    good = dns(reference.text)
    shown = [*(PresentedIdentifier(kind, octets, "x") for kind in IdentifierKind), good]
    matched = find_match(reference, shown)
    assert matched is not None
    assert oracle(reference.text, matched.octets)
    assert all(str(one).isprintable() for one in shown)


@pytest.mark.parametrize(
    ("name", "presented"),
    [
        ("0.1.2.3.4", "*.1.2.3.4"),  # OpenSSL lets these match
        ("a.example.0x7f", "*.example.0x7f"),
        ("a.-b.example", "*.-b.example"),
        ("a..example", "*..example"),
        ("a.b\0c.example", "*.b\0c.example"),
        ("-a.example", "-a.example"),
        ("a.example\0", "a.example\0"),
        ("a.example.", "a.example."),
        ("@a", "@a"),
        ("", ""),
    ],
)
def test_an_invalid_presented_identifier_matches_not_even_itself(name: str, presented: str) -> None:
    """RFC 9525 6.3: a DNS-ID is a name in preferred syntax; the matcher needs no luck with its reference."""
    unchecked = ReferenceIdentifier(IdentifierKind.DNS, name, name)
    assert find_match(unchecked, [dns(presented)]) is None


@given(st.binary(max_size=20), st.ip_addresses())
@moderately
def test_an_address_is_its_octets_and_nothing_else(octets: bytes, address: object) -> None:
    """RFC 9525 6.4: all octets of the iPAddress, and an iPAddress alone."""
    reference = reference_identifier(str(address))
    assert (find_match(reference, [ip(octets)]) is not None) == (octets == ip_address(str(address)).packed)
    same = [PresentedIdentifier(kind, reference.octets, "x") for kind in IdentifierKind]
    matched = find_match(reference, same)
    assert matched is not None
    assert matched.kind is IdentifierKind.IP


# How they show themselves


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        (dns("*.a.example"), "*.a.example"),
        (dns("a.example\0\x1b[2J\n\\"), r"a.example\x00\x1b[2J\x0a" + "\\\\"),
        (dns(b"b\xfccher"), r"b\xfccher"),
        (dns("x" * 254), "x" * 253 + "…"),
        (ip("192.0.2.1"), "192.0.2.1"),
        (ip("2001:db8::1"), "2001:db8::1"),
        (ip(b"\1\2\3"), "iPAddress:010203"),
        (ip(b""), "iPAddress:"),
        (srv("_smtps.a.example\n"), r"SRVName:_smtps.a.example\x0a"),
        (other("rfc822Name", b"a@b"), "rfc822Name:614062"),
        (other("directoryName", bytes(40)), "directoryName:" + "0" * 64 + "…"),
    ],
)
def test_a_presented_identifier_shows_itself_escaped(identifier: PresentedIdentifier, shown: str) -> None:
    assert str(identifier) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("xn--bcher-kva.example", "bücher.example"),
        ("a.xn--strae-oqa.example", "a.straße.example"),
        ("bcher.example", None),
        ("xn--a.example", None),
        ("xn--", None),
    ],
)
def test_u_labels(name: str, shown: str | None) -> None:
    assert u_labels(name) == shown


def test_an_error_does_not_repeat_the_whole_of_a_long_text() -> None:
    with pytest.raises(ReferenceIdentifierError) as caught:
        reference_identifier("a" * 1000 + "\x1b")
    assert str(caught.value) == (
        f"'{'a' * 80}…' is neither a host name nor an address: it contains the character U+001B"
    )


def test_the_spelling_is_no_part_of_the_identity() -> None:
    one, other_one = reference_identifier("A.example."), reference_identifier("a.example")
    assert one == other_one
    assert hash(one) == hash(other_one)
    assert (one.given, other_one.given) == ("A.example.", "a.example")
    assert one != ReferenceIdentifier(IdentifierKind.IP, "a.example", "a.example")
    assert pickle.loads(pickle.dumps(one)) == one
