"""Certificates.

A server that is good in all but its certificate, on STARTTLS and on TLS from the first byte. It is an
impostor: whatever it is sent is lost, in TLS too.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.bed import HOST, Authority, self_signed
from tests.bed.certs import DAY, DNS_NAME, NOW, RFC822_NAME, URI, key_usage, san_der
from tests.hostile.case import Must, case

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bed import Issued, World
    from tests.hostile.conversation import Conversation

    Make = Callable[[World], Issued]

OTHER = "other.example.net"


def certificate(source: str, **fields: Any) -> Callable[[Make], Make]:
    """Make a case of a function that makes a certificate; its docstring says what is wrong with it."""

    def register(make: Make) -> Make:
        @wraps(make)
        def play(c: Conversation) -> None:
            c.serve()

        case(Must.RAISE, source, certificate=make, impostor=True, both=True, **fields)(play)
        return make

    return register


# --- for somebody else --------------------------------------------------------------------------------


@certificate("RFC 9525 6.1")
def wrong_name(world: World) -> Issued:
    """Genuine, for another host."""
    return world.served("wrong_name")


@certificate("RFC 9525 2, RFC 2818 3.1")
def common_name_only(world: World) -> Issued:
    """Bears the host's name as common name, and has no subjectAltName."""
    return world.served("common_name_only")


@certificate("RFC 9525 2")
def common_name_beside_another(world: World) -> Issued:
    """Bears the host's name as common name, and another's in subjectAltName."""
    return world.served("common_name_beside_san")


@certificate("RFC 9525 6.2")
def no_name(world: World) -> Issued:
    """Bears no name at all."""
    return world.root.issue()


@certificate("RFC 9525 6.3")
def wildcard_too_high(world: World) -> Issued:
    """For `*.org`, which would be everybody."""
    return world.root.issue(raw_san=san_der((DNS_NAME, b"*.org")))


@certificate("RFC 9525 6.3")
def wildcard_alone(world: World) -> Issued:
    """For `*`, which would be everything."""
    return world.root.issue(raw_san=san_der((DNS_NAME, b"*")))


@certificate("RFC 9525 6.3")
def wildcard_for_several_labels(world: World) -> Issued:
    """For `*.*.org`."""
    return world.root.issue(raw_san=san_der((DNS_NAME, b"*.*.org")))


@certificate("RFC 9525 6.3")
def wildcard_below_the_host(world: World) -> Issued:
    """For `*.mail.example.org`, which does not cover `mail.example.org`."""
    return world.served("wildcard_of_host")


@certificate("RFC 9525 6.3")
def wildcard_in_a_label(world: World) -> Issued:
    """For `m*.example.org`."""
    return world.served("wildcard_partial")


@certificate("RFC 9525 6.3")
def wildcard_in_the_middle(world: World) -> Issued:
    """For `mail.*.org`."""
    return world.root.issue(raw_san=san_der((DNS_NAME, b"mail.*.org")))


@certificate("CVE-2009-2408, CVE-2013-4238")
def name_with_a_nul(world: World) -> Issued:
    """For `mail.example.org`, a NUL and `.example.net`, of which C reads the first part."""
    return world.served("name_with_nul")


@certificate("CVE-2009-2408")
def name_with_a_nul_ahead(world: World) -> Issued:
    """For `example.net`, a NUL and `mail.example.org`."""
    return world.root.issue(raw_san=san_der((DNS_NAME, b"example.net\0" + HOST.encode())))


@certificate("RFC 5280 4.2.1.6")
def name_with_a_space(world: World) -> Issued:
    """For `mail.example.org` and a space."""
    return world.root.issue(raw_san=san_der((DNS_NAME, HOST.encode() + b" ")))


@certificate("RFC 9525 6.3")
def name_of_a_parent(world: World) -> Issued:
    """For `.example.org`, which some take for all below it."""
    return world.root.issue(raw_san=san_der((DNS_NAME, b".example.org")))


@certificate("RFC 9525 6.3")
def name_with_another_end(world: World) -> Issued:
    """For `mail.example.org.example.net`, which begins as the host does."""
    return world.root.issue(f"{HOST}.example.net")


@certificate("RFC 9525 6.1")
def name_as_uri(world: World) -> Issued:
    """Bears the host's name in a URI."""
    return world.root.issue(raw_san=san_der((URI, b"smtp://" + HOST.encode())))


@certificate("RFC 9525 6.1")
def name_as_mail_address(world: World) -> Issued:
    """Bears the host's name as a mail address."""
    return world.root.issue(raw_san=san_der((RFC822_NAME, HOST.encode())))


@certificate("RFC 4985, RFC 9525 6.1")
def name_as_service(world: World) -> Issued:
    """Bears the host's name as an SRVName for another port's service."""
    return world.served("srv_name_only")


@certificate("RFC 9525 6.5", host="127.0.0.1")
def address_as_name(world: World) -> Issued:
    """Bears the address that was asked for as a DNS name."""
    return world.served("address_as_dns_name", "127.0.0.1")


@certificate("RFC 9525 6.5", host="127.0.0.1")
def another_address(world: World) -> Issued:
    """Bears another address than was asked for."""
    return world.served("wrong_address", "127.0.0.1")


# --- vouched for by nobody ------------------------------------------------------------------------------


@certificate("RFC 5280 6.1")
def unknown_issuer(world: World) -> Issued:
    """Issued by a CA that nobody trusts."""
    return world.served("unknown_issuer")


@certificate("RFC 5280 6.1")
def unknown_root_sent_along(world: World) -> Issued:
    """Issued by a CA that nobody trusts, and that comes along."""
    return world.served("self_signed_root_in_chain")


@certificate("RFC 5280 6.1")
def self_signed_for_the_host(world: World) -> Issued:
    """Self-signed, for the right host."""
    return self_signed(HOST)


@certificate("RFC 5280 6.1")
def genuine_one_sent_along(world: World) -> Issued:
    """Self-signed, with the host's genuine certificate sent behind it."""
    return self_signed(HOST).sending(world.good().certificate, world.root.certificate)


@certificate("RFC 5280 4.1.2.4")
def issuer_of_the_same_name(world: World) -> Issued:
    """Issued by a CA with the name of a trusted one, and a key of its own."""
    return Authority.root("Bed Root").issue(HOST)


@certificate("RFC 8446 4.4.2")
def missing_intermediate(world: World) -> Issued:
    """Issued by an intermediate CA that is not sent."""
    return world.served("missing_intermediate")


@certificate("CVE-2002-0862")
def issued_by_a_leaf(world: World) -> Issued:
    """Issued by who has a genuine certificate, and is no CA."""
    return world.served("non_ca_issuer")


@certificate("RFC 5280 4.2.1.9")
def path_too_long(world: World) -> Issued:
    """Issued by a CA below one that may have none below it."""
    return world.served("path_too_long")


@certificate("RFC 5280 4.2.1.10")
def not_among_permitted_names(world: World) -> Issued:
    """Issued by a CA that may only issue for example.com."""
    return world.served("outside_name_constraints")


@certificate("RFC 5280 4.2.1.10")
def among_excluded_names(world: World) -> Issued:
    """Issued by a CA that may not issue for example.org."""
    constraints = x509.NameConstraints(None, [x509.DNSName("example.org")])
    extension = x509.Extension[x509.ExtensionType](constraints.oid, True, constraints)
    return world.root.intermediate("Bed Excluding", extensions=[extension]).issue(HOST)


@certificate("RFC 5280 4.2.1.12")
def issued_by_a_ca_for_clients(world: World) -> Issued:
    """Issued by a CA that may only issue for clients."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    extension = x509.Extension[x509.ExtensionType](usage.oid, False, usage)
    return world.root.intermediate("Bed Clients", extensions=[extension]).issue(HOST)


# --- out of date ----------------------------------------------------------------------------------------


@certificate("RFC 5280 4.1.2.5")
def expired(world: World) -> Issued:
    """Expired two days ago."""
    return world.served("expired")


@certificate("RFC 5280 4.1.2.5")
def not_yet_valid(world: World) -> Issued:
    """Valid in two days."""
    return world.served("not_yet_valid")


@certificate("RFC 5280 6.1.3")
def expired_intermediate(world: World) -> Issued:
    """Issued by an intermediate CA that has expired."""
    return world.served("expired_intermediate")


@certificate("RFC 5280 4.1.2.5")
def never_valid(world: World) -> Issued:
    """Self-signed, expired, and for another host."""
    return self_signed(OTHER, not_before=NOW - 60 * DAY, not_after=NOW - 2 * DAY)


# --- made for something else ----------------------------------------------------------------------------


@certificate("RFC 5280 4.2.1.12")
def for_clients(world: World) -> Issued:
    """Has the extended key usage of clients alone."""
    return world.served("wrong_usage")


@certificate("RFC 5280 4.2.1.12")
def for_code(world: World) -> Issued:
    """Has the extended key usage of code signing alone."""
    return world.root.issue(HOST, extended_key_usage=[ExtendedKeyUsageOID.CODE_SIGNING])


@certificate("RFC 5280 4.2.1.3")
def key_for_crls(world: World) -> Issued:
    """Has a key usage that leaves nothing to sign but CRLs."""
    return world.root.issue(HOST, key_usage=key_usage(sign=False, certificates=True))


@certificate("RFC 5280 4.2")
def unknown_critical_extension(world: World) -> Issued:
    """Has a critical extension that nobody knows."""
    return world.served("unknown_critical_extension")


@certificate("NIST SP 800-131A")
def weak_key(world: World) -> Issued:
    """Has an RSA key of 1024 bits."""
    return world.served("weak_key")


@certificate("RFC 9155, SHAttered (2017)")
def weak_signature(world: World) -> Issued:
    """Signed with SHA-1."""
    return world.served("weak_signature")


@certificate("RFC 8446 4.4.2, OpenSSL's max_cert_list")
def chain_of_300_kilobytes(world: World) -> Issued:
    """Self-signed, with the same CA sent behind it 600 times."""
    return self_signed(HOST).sending(*(600 * [world.unknown.certificate]))


@certificate("CWE-150")
def name_that_steers_a_terminal(world: World) -> Issued:
    """Bears a name that is a command to a terminal, and no other."""
    return world.root.issue(raw_san=san_der((DNS_NAME, b"\x1b]0;mail.example.org\x07\r\n\x1b[2J")))
