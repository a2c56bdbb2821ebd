"""Names: any text is a reference identifier or refused; and what matches, by a second, simpler matcher.

Input: an octet that says how long the host is, the host, and what a certificate presents.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from smtpverify.errors import ReferenceIdentifierError
from smtpverify.tls.names import (
    IdentifierKind,
    PresentedIdentifier,
    ReferenceIdentifier,
    find_match,
    reference_identifier,
    split_host_port,
    u_labels,
)

from .source import Source, text as as_text


def check(octets: bytes) -> None:
    """In one form, which is its own; and matched by nothing but that, or a wildcard above it."""
    source = Source(octets)
    host, presented = as_text(source.take(255)), source.rest()
    head, port = split_host_port(host)
    assert host == head if port is None else host == f"{head}:{port}"
    try:
        reference = reference_identifier(host)
    except ReferenceIdentifierError as error:
        assert str(error).isprintable(), str(error)
        return
    assert reference.given == host
    assert reference_identifier(reference.text) == reference
    assert re.fullmatch(r"[a-z0-9_.:-]+", reference.text), reference.text
    if reference.kind is IdentifierKind.DNS:  # and no resolver takes it for an address
        assert not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", reference.text.rpartition(".")[2])
    shown = u_labels(reference.text)
    if shown is not None:
        assert reference_identifier(shown) == reference
    _check_match(reference, presented)
    own = reference.octets
    assert find_match(reference, [PresentedIdentifier(reference.kind, own, "own")]) is not None
    _check_match(reference, own)
    _check_match(reference, b"*." + own.partition(b".")[2])


def _check_match(reference: ReferenceIdentifier, presented: bytes) -> None:
    for kind in IdentifierKind:
        identifier = PresentedIdentifier(kind, presented, "label")
        assert str(identifier).isprintable()
        found = find_match(reference, [identifier])
        if found is None:
            continue
        assert found is identifier
        assert kind is reference.kind
        if kind is IdentifierKind.IP:
            assert ip_address(presented) == ip_address(reference.text)
        else:
            assert _matches(reference.text, presented.decode("ascii").lower())


def _matches(name: str, presented: str) -> bool:
    if presented == name:
        return True
    first, _, parent = name.partition(".")
    return presented == f"*.{parent}" and "." in parent and "_" not in name and bool(first)
