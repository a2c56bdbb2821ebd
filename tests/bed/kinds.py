"""The kinds of certificate that a test serves: some good, and many bad in one way each."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509

from tests.bed.certs import (
    CLIENT_AUTH,
    DAY,
    DNS_NAME,
    NOW,
    Authority,
    Issued,
    rsa_key,
    san_der,
    self_signed,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOST = "mail.example.org"
CA_ISSUERS = "http://ca.example.net/intermediate.crt"


@dataclass(frozen=True)
class World:
    """Whom the tests trust, and whom they do not. One is made for the whole session."""

    root: Authority
    intermediate: Authority
    unknown: Authority
    unknown_intermediate: Authority
    root_file: Path
    unknown_file: Path
    empty_directory: Path
    _served: dict[tuple[str, str], Issued] = field(default_factory=dict, repr=False)

    @classmethod
    def make(cls, directory: Path) -> World:
        """Make the authorities, and write their files into a directory of the caller's."""
        root = Authority.root("Bed Root")
        unknown = Authority.root("Elsewhere Root", "Elsewhere")
        empty = directory / "no-roots"
        empty.mkdir()
        return cls(
            root=root,
            intermediate=root.intermediate("Bed Intermediate"),
            unknown=unknown,
            unknown_intermediate=unknown.intermediate("Elsewhere Intermediate", "Elsewhere"),
            root_file=root.write(directory / "root.pem"),
            unknown_file=unknown.write(directory / "elsewhere.pem"),
            empty_directory=empty,
        )

    def served(self, kind: str, host: str = HOST) -> Issued:
        """Return the certificate of that kind for that host; the same one each time."""
        key = (kind, host)
        if key not in self._served:
            self._served[key] = KINDS[kind](self, host)
        return self._served[key]

    def good(self, host: str = HOST) -> Issued:
        """Return the certificate that is right in everything."""
        return self.served("good", host)

    def client_context(self) -> ssl.SSLContext:
        """Return the standard library's verifying context, trusting this world's root alone."""
        return ssl.create_default_context(cafile=str(self.root_file))


def _parent(host: str) -> str:
    return host.partition(".")[2]


def a_label_host(host: str) -> str:
    """Return the host in A-labels; one without any gets an A-label for its first label."""
    if host.isascii():
        return f"xn--bcher-kva.{_parent(host)}"
    return ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
        for label in host.split(".")
    )


def _no_aia(world: World, host: str) -> Issued:
    return world.intermediate.issue(host).sending()


def _missing_intermediate(world: World, host: str) -> Issued:
    return world.intermediate.issue(host, aia_ca_issuers=CA_ISSUERS).sending()


def _expired_intermediate(world: World, host: str) -> Issued:
    old = world.root.intermediate("Bed Old", not_before=NOW - 60 * DAY, not_after=NOW - 2 * DAY)
    return old.issue(host)


def _non_ca_issuer(world: World, host: str) -> Issued:
    leaf = world.root.issue("other.example.net", common_name="other.example.net")
    return Authority(leaf.certificate, leaf.key, (leaf.certificate,)).issue(host)


def _path_too_long(world: World, host: str) -> Issued:
    last = world.root.intermediate("Bed Last", path_length=0)
    return last.intermediate("Bed Beyond").issue(host)


def _outside_name_constraints(world: World, host: str) -> Issued:
    permitted = x509.NameConstraints([x509.DNSName("example.com")], None)
    extension = x509.Extension[x509.ExtensionType](permitted.oid, True, permitted)
    return world.root.intermediate("Bed Constrained", extensions=[extension]).issue(host)


def _unknown_critical(world: World, host: str) -> Issued:
    oid = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1")  # RFC 5612: enterprise number for examples
    value = x509.UnrecognizedExtension(oid, b"\x05\x00")
    return world.root.issue(host, extensions=[x509.Extension(oid, True, value)])


def _name_with_nul(world: World, host: str) -> Issued:
    name = host.encode("ascii") + b"\0.example.net"
    return world.root.issue(raw_san=san_der((DNS_NAME, name)))


# What a server of that kind serves when it is asked for `host`.
KINDS: dict[str, Callable[[World, str], Issued]] = {
    # Good.
    "good": lambda world, host: world.root.issue(host),
    "good_via_intermediate": lambda world, host: world.intermediate.issue(host),
    "wildcard_good": lambda world, host: world.root.issue(f"*.{_parent(host)}"),
    "idn_good": lambda world, host: world.root.issue(a_label_host(host)),
    "address_good": lambda world, host: world.root.issue("127.0.0.1", "::1"),
    # Good chain, wrong name.
    "wrong_name": lambda world, host: world.root.issue("other.example.net"),
    "wildcard_too_deep": lambda world, host: world.root.issue(f"*.{_parent(_parent(host))}"),
    "wildcard_of_host": lambda world, host: world.root.issue(f"*.{host}"),
    "wildcard_partial": lambda world, host: world.root.issue(f"{host[0]}*.{_parent(host)}"),
    "common_name_only": lambda world, host: world.root.issue(common_name=host),
    "common_name_beside_san": lambda world, host: world.root.issue("other.example.net", common_name=host),
    "srv_name_only": lambda world, host: world.root.issue(srv_names=[f"_smtps.{host}"]),
    "name_with_nul": _name_with_nul,
    "wrong_address": lambda world, host: world.root.issue("192.0.2.1"),
    "address_as_dns_name": lambda world, host: world.root.issue(raw_san=san_der((DNS_NAME, b"127.0.0.1"))),
    # Nobody trusted vouches for it.
    "unknown_issuer": lambda world, host: world.unknown.issue(host),
    "unknown_issuer_with_intermediate": lambda world, host: world.unknown_intermediate.issue(host),
    "self_signed_leaf": lambda world, host: self_signed(host),
    "self_signed_root_in_chain": lambda world, host: world.unknown.issue(host).sending(
        world.unknown.certificate
    ),
    "missing_intermediate": _missing_intermediate,
    "missing_intermediate_no_aia": _no_aia,
    # Dates.
    "expired": lambda world, host: world.root.issue(host, not_before=NOW - 60 * DAY, not_after=NOW - 2 * DAY),
    "not_yet_valid": lambda world, host: world.root.issue(
        host, not_before=NOW + 2 * DAY, not_after=NOW + 60 * DAY
    ),
    "expired_intermediate": _expired_intermediate,
    # Not fit for the purpose.
    "wrong_usage": lambda world, host: world.root.issue(host, extended_key_usage=[CLIENT_AUTH]),
    "weak_key": lambda world, host: world.root.issue(host, key=rsa_key(1024)),
    "weak_signature": lambda world, host: world.root.sign_with_sha1(world.root.issue(host)),
    "no_aki": lambda world, host: world.root.issue(host, aki=False),
    "non_ca_issuer": _non_ca_issuer,
    "path_too_long": _path_too_long,
    "outside_name_constraints": _outside_name_constraints,
    "unknown_critical_extension": _unknown_critical,
}

GOOD = ("good", "good_via_intermediate", "wildcard_good", "idn_good", "address_good")
BAD = tuple(kind for kind in KINDS if kind not in GOOD)


def host_of(kind: str, host: str = HOST) -> str:
    """Return the host under which that kind is to be asked for."""
    if kind == "idn_good":
        return a_label_host(host)
    if kind in ("address_good", "wrong_address", "address_as_dns_name"):
        return "127.0.0.1"
    return host
