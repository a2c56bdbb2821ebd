"""Trust: what may be believed, where it is found, and how a file that can't be used is told."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import os
import pickle
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings, strategies as st

import smtpverify
from smtpverify import Pin, PinFormatError, Trust, TrustError, create_context
from smtpverify.integrations.logging import SMTPHandler
from smtpverify.tls.trust import load_client_certificate, load_roots, source_of_roots
from tests.bed import HOST, Authority, Issued, Tls
from tests.bed.certs import DAY, NOW, der, rsa_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bed import World
    from tests.conftest import ServerFactory

PIN = "sha256:" + 32 * "ab"
OTHER_PIN = "spki-sha256:" + 32 * "cd"

# Where the system's store is no affair of SSL_CERT_FILE alone.
own_store = pytest.mark.skipif(sys.platform == "win32", reason="Windows has a store besides OpenSSL's")


def loaded(roots: str | None) -> list[bytes]:
    """The roots in DER that a context holds after `load_roots`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_roots(context, roots)
    return context.get_ca_certs(binary_form=True)


def refused(part: str, *args: Any, named: object = "", **kwargs: Any) -> str:
    """Make a Trust that can't be made; return the message, which names the part and the file."""
    with pytest.raises(TrustError) as caught:
        Trust(*args, **kwargs)
    message = str(caught.value)
    assert message.startswith(f"{part}: ")
    assert str(named) in message
    assert message.isprintable()
    return message


def subject_hash(certificate: x509.Certificate) -> str:
    """What `openssl x509 -subject_hash` prints (X509_NAME_hash): SHA-1 over the canonical name."""
    canonical = b"".join(
        der(
            0x31,
            b"".join(
                der(0x30, der(0x06, _oid(attribute.oid)) + der(0x0C, str(attribute.value).lower().encode()))
                for attribute in rdn
            ),
        )
        for rdn in certificate.subject.rdns
    )
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _oid(oid: x509.ObjectIdentifier) -> bytes:
    first, second, *rest = map(int, oid.dotted_string.split("."))
    assert all(number < 128 for number in rest)
    return bytes([first * 40 + second, *rest])


@own_store
def test_where_roots_come_from(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_of_roots(Trust()) == f"the system's store ({world.root_file})"
    assert source_of_roots(Trust(world.unknown_file)) == str(world.unknown_file)
    assert source_of_roots(Trust("certifi")) == "the package certifi"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    (tmp_path / "empty.pem").write_text("")
    assert source_of_roots(Trust()) == "the package certifi"
    directory = hashed_directory(tmp_path / "hashed", world.root)
    monkeypatch.setenv("SSL_CERT_DIR", str(directory))
    assert source_of_roots(Trust()) == f"the system's store ({tmp_path / 'empty.pem'}, {directory})"


def hashed_directory(directory: Path, *authorities: Authority) -> Path:
    """A directory in the form of `openssl rehash`."""
    directory.mkdir()
    for authority in authorities:
        authority.write(directory / f"{subject_hash(authority.certificate)}.0")
    return directory


def verifies(server_port: int, trust: Trust) -> smtpverify.PeerIdentity:
    with smtpverify.SMTP_SSL(HOST, server_port, trust=trust) as smtp:
        assert smtp.peer is not None
        return smtp.peer


# --- roots ---------------------------------------------------------------------------------------


@own_store
@pytest.mark.parametrize("roots", [None, "system"])
def test_the_environment_says_what_the_system_trusts(
    roots: str | None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded(roots) == [world.root.der]
    monkeypatch.setenv("SSL_CERT_FILE", str(world.unknown_file))
    assert loaded(roots) == [world.unknown.der]


@pytest.mark.parametrize("roots", [None, "system"])
def test_a_directory_of_the_environment_is_read_when_it_is_needed(
    roots: str | None,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    smtp_server: ServerFactory,
) -> None:
    directories = (world.empty_directory, hashed_directory(tmp_path / "certs", world.root))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(map(str, directories)))
    monkeypatch.setattr(certifi, "where", lambda: str(world.unknown_file))
    assert world.root.der not in loaded(roots)  # not yet: this is no empty store
    assert world.unknown.der not in loaded(roots)
    with smtp_server(tls=Tls.IMPLICIT) as server:
        assert verifies(server.port, Trust(roots)).chain[-1] == world.root.der


@own_store
@pytest.mark.parametrize("variables", [{}, {"SSL_CERT_DIR": ""}, {"SSL_CERT_DIR": "/nonexistent"}])
def test_an_empty_system_falls_back_to_certifi(
    variables: dict[str, str], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certifi, "where", lambda: str(world.unknown_file))
    assert loaded(None) == [world.root.der]  # not the union
    monkeypatch.setenv("SSL_CERT_FILE", "")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert loaded(None) == [world.unknown.der]
    assert create_context(Trust()).get_ca_certs(binary_form=True) == [world.unknown.der]
    assert refused("roots", "system") == "roots: the system's store of CA certificates is empty"


@own_store
def test_a_misspelt_file_of_the_environment_is_none_of_certifis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who narrows the roots and mistypes the file does not mean every CA of the world."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    with pytest.raises(
        TrustError, match=rf"SSL_CERT_FILE names {tmp_path}/absent\.pem, which does not exist$"
    ):
        create_context()


@own_store
def test_a_directory_without_hashed_names_is_empty(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    world.root.write(tmp_path / "root.pem")
    refused("roots", "system")
    world.root.write(tmp_path / f"{subject_hash(world.root.certificate)}.0")
    assert Trust("system").roots == "system"


def test_certifi_is_the_bundle_itself(world: World) -> None:
    roots = loaded("certifi")
    assert len(roots) > 50
    assert world.root.der not in roots
    assert loaded(certifi.where()) == roots
    assert Trust("certifi") != Trust(certifi.where())


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file(kind: Callable[[Path], Any], world: World, smtp_server: ServerFactory) -> None:
    assert loaded(str(world.unknown_file)) == [world.unknown.der]
    with smtp_server(tls=Tls.IMPLICIT) as server:
        assert verifies(server.port, Trust(kind(world.root_file))).chain[-1] == world.root.der
        with pytest.raises(smtpverify.UntrustedCertificateError):
            verifies(server.port, Trust(kind(world.unknown_file)))


def test_a_hashed_directory(world: World, tmp_path: Path, smtp_server: ServerFactory) -> None:
    good = hashed_directory(tmp_path / "good", world.unknown, world.root)
    bad = hashed_directory(tmp_path / "bad", world.unknown)
    assert loaded(str(good)) == []
    with smtp_server(tls=Tls.IMPLICIT) as server:
        assert verifies(server.port, Trust(good)).chain[-1] == world.root.der
        with pytest.raises(smtpverify.UntrustedCertificateError):
            verifies(server.port, Trust(bad))


def revocation_list(authority: Authority) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.name)
    builder = builder.last_update(NOW - DAY).next_update(NOW + DAY)
    assert isinstance(authority.key, ec.EllipticCurvePrivateKey)
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    "content",
    [
        lambda _world: b"",
        lambda _world: b"\n",
        lambda _world: b"no certificate\n",
        lambda world: world.root.der,
        lambda world: world.root.der + world.root.pem[:20],
        lambda world: world.root.pem[:200],
        lambda world: world.root.pem.replace(b"M", b"!"),
        lambda world: revocation_list(world.root),
        lambda world: world.good().key_pem,
    ],
    ids=["empty", "blank", "text", "der", "der-and-more", "cut-off", "no-base64", "crl", "key"],
)
def test_a_file_without_a_certificate(
    content: Callable[[World], bytes], world: World, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content(world))
    message = refused("roots", path, named=path)
    assert message.startswith(f"roots: {path} holds no CA certificate in PEM form")


def test_a_revocation_list_beside_a_certificate(world: World, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(revocation_list(world.root) + b"some words\n" + world.root.pem)
    assert Trust(path).roots == str(path)
    assert loaded(str(path)) == [world.root.der]


@pytest.mark.parametrize(
    "names",
    [[], ["root.pem"], ["5ed36f99.r0"], ["5ED36F99.0"], ["5ed36f9.0"], ["5ed36f99.0.bak"], ["5ed36f99.x"]],
)
def test_a_directory_that_is_not_hashed(names: list[str], world: World, tmp_path: Path) -> None:
    directory = hashed_directory(tmp_path / "certs")
    for name in names:
        world.root.write(directory / name)
    assert "openssl rehash" in refused("roots", directory, named=directory)


def test_a_path_that_leads_nowhere(world: World, tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "absent.pem", "No such file or directory"),
        (tmp_path / "absent" / "ca.pem", "No such file or directory"),
        (tmp_path / ("a" * 300), ""),
    ):
        assert refused("roots", path).startswith(f"roots: {smtpverify.errors.printable(str(path))}: {why}")
    if sys.platform != "win32":
        through_a_file = world.root_file / "ca.pem"
        assert refused("roots", through_a_file) == f"roots: {through_a_file}: Not a directory"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_a_file_that_is_there_and_can_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may read every file; a socket nobody can open as one.
    monkeypatch.chdir(tmp_path)
    if sys.platform == "win32":
        raise NotImplementedError
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("ca.pem")
        assert refused("roots", "ca.pem").startswith(f"roots: {tmp_path / 'ca.pem'}: ")


def test_a_file_name_of_two_lines_is_told_on_one(tmp_path: Path) -> None:
    assert r"a\x0ab" in refused("roots", tmp_path / "a\nb")


@pytest.mark.parametrize("path", ["", b"/ca.pem", 5, True, ["/ca.pem"], "ca\0.pem", "ca\ud800.pem"])
@pytest.mark.parametrize("field", ["roots", "client_cert", "client_key"])
def test_no_path_at_all(field: str, path: Any) -> None:
    refused(field, **{field: path})


class BytesPath(os.PathLike[bytes]):
    def __fspath__(self) -> bytes:
        return b"/ca.pem"


@pytest.mark.parametrize(
    "give",
    [
        lambda trust: smtpverify.SMTP(trust=trust),
        lambda trust: smtpverify.SMTP_SSL(trust=trust),
        lambda trust: smtpverify.connect(f"tls://{HOST}", trust=trust),
        lambda trust: smtpverify.Relay.parse(f"tls://{HOST}", trust=trust),
        create_context,
        smtpverify.inject_into_smtplib,
        lambda trust: smtpverify.inject_into_smtplib(trust_by_host={HOST: trust}),
        lambda trust: SMTPHandler(f"tls://{HOST}", "a@b.example", ["c@d.example"], "s", trust=trust),
    ],
)
@pytest.mark.parametrize("trust", ["ca.pem", Path("ca.pem"), "", False])
def test_a_path_in_the_place_of_a_trust(give: Callable[[Any], object], trust: Any) -> None:
    with pytest.raises(
        TrustError, match=rf"^trust: a Trust is wanted, as Trust\('our-ca.pem'\), not {type(trust).__name__}$"
    ):
        give(trust)


def test_a_path_in_bytes() -> None:
    refused("roots", BytesPath())


# --- the client's certificate --------------------------------------------------------------------


def encrypted(issued: Issued, kind: str, password: bytes) -> bytes:
    return issued.key.private_bytes(
        serialization.Encoding.PEM,
        getattr(serialization.PrivateFormat, kind),
        serialization.BestAvailableEncryption(password),
    )


def test_it_is_shown_to_the_server(world: World, tmp_path: Path, smtp_server: ServerFactory) -> None:
    issued = world.root.issue("client.example.org", extended_key_usage=[])
    certificate, key = issued.write(tmp_path, "client")
    together = tmp_path / "together.pem"
    together.write_bytes(issued.key_pem + issued.chain_pems)
    with smtp_server(tls=Tls.IMPLICIT, client_roots=(world.root,)) as server:
        verifies(server.port, Trust(client_cert=certificate, client_key=key))
        verifies(server.port, Trust(client_cert=str(together)))
    assert [each.client_certificate for each in server.connections] == 2 * [issued.leaf_der]


def test_no_certificate_loads_nothing() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_client_certificate(context, Trust())
    assert context.cert_store_stats() == {"x509": 0, "crl": 0, "x509_ca": 0}


def test_key_of_another_certificate(world: World, tmp_path: Path) -> None:
    certificate, _ = world.good().write(tmp_path)
    for stem, other in (
        ("same-kind", world.root.issue("other.example.org")),
        ("other-kind", world.root.issue("other.example.org", key=rsa_key(2048))),
    ):
        key = other.write(tmp_path, stem)[1]
        message = refused("client certificate", client_cert=certificate, client_key=key)
        assert message.endswith(f": the key in {key} does not fit the certificate in {certificate}")


@pytest.mark.parametrize("kind", ["PKCS8", "TraditionalOpenSSL"])
@pytest.mark.parametrize("password", ["pässword", "pässword".encode()])
def test_encrypted_key(kind: str, password: str | bytes, world: World, tmp_path: Path) -> None:
    certificate, key = world.good().write(tmp_path)
    key.write_bytes(encrypted(world.good(), kind, "pässword".encode()))
    trust = Trust(client_cert=certificate, client_key=key, client_key_password=password)
    assert trust.client_key_password == password
    create_context(trust)


@pytest.mark.parametrize("kind", ["PKCS8", "TraditionalOpenSSL"])
@pytest.mark.parametrize("password", ["wrong", b"wrong", "", b"", "x" * 1024, "x" * 1025, "\ud800"])
def test_wrong_password(kind: str, password: str | bytes, world: World, tmp_path: Path) -> None:
    certificate, key = world.good().write(tmp_path)
    key.write_bytes(encrypted(world.good(), kind, b"right"))
    message = refused(
        "client certificate", client_cert=certificate, client_key=key, client_key_password=password
    )
    assert message == f"client certificate: the password does not open the key in {key}"


@pytest.mark.parametrize("kind", ["PKCS8", "TraditionalOpenSSL"])
def test_no_password_and_nobody_is_asked_for_it(kind: str, world: World, tmp_path: Path) -> None:
    issued = world.good()
    certificate, key = issued.write(tmp_path)
    key.write_bytes(encrypted(issued, kind, b"right"))
    told = "is encrypted; give client_key_password, or a key that is not"
    assert refused("client_key", client_cert=certificate, client_key=key) == f"client_key: {key} {told}"
    certificate.write_bytes(issued.chain_pems + key.read_bytes())
    assert refused("client_key", client_cert=certificate) == f"client_key: {certificate} {told}"


def test_a_password_that_fits_and_a_key_that_does_not(world: World, tmp_path: Path) -> None:
    certificate, _ = world.good().write(tmp_path)
    key = tmp_path / "other.key"
    key.write_bytes(encrypted(world.root.issue("other.example.org"), "PKCS8", b"right"))
    message = refused(
        "client certificate", client_cert=certificate, client_key=key, client_key_password="right"
    )
    assert "does not fit" in message


def test_client_files_that_can_not_be_used(world: World, tmp_path: Path) -> None:
    certificate, key = world.good().write(tmp_path)
    absent = tmp_path / "absent.pem"
    text = tmp_path / "text.pem"
    text.write_text("no certificate\n")
    raw = tmp_path / "raw.der"
    raw.write_bytes(world.good().leaf_der)
    for fields, named in (
        ({"client_cert": absent, "client_key": key}, absent),
        ({"client_cert": certificate, "client_key": absent}, absent),
        ({"client_cert": tmp_path, "client_key": key}, tmp_path),
        ({"client_cert": certificate, "client_key": tmp_path}, tmp_path),
        ({"client_cert": text, "client_key": key}, text),
        ({"client_cert": raw, "client_key": key}, raw),
        ({"client_cert": certificate, "client_key": text}, text),
        ({"client_cert": certificate, "client_key": certificate}, certificate),
        ({"client_cert": key, "client_key": key}, key),
        ({"client_cert": certificate}, certificate),
        ({"client_cert": certificate, "client_key": text, "client_key_password": "x"}, text),
    ):
        refused("client certificate", **fields, named=named)
    refused("client_key", client_key=key)
    refused("client_key", client_key_password="x")


# --- the other fields ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pins",
    [
        [PIN, OTHER_PIN],
        (Pin.parse(PIN), OTHER_PIN),
        iter([PIN, OTHER_PIN]),
        {PIN: 1, OTHER_PIN: 2},
    ],
    ids=["list", "mixed", "iterator", "keys"],
)
def test_pins(pins: Any) -> None:
    assert Trust(pins=pins).pins == (Pin.parse(PIN), Pin.parse(OTHER_PIN))


def test_one_pin() -> None:
    assert Trust(pins=PIN) == Trust(pins=[PIN]) == Trust(pins=Pin.parse(PIN))
    assert Trust(pins=PIN).pins_only is False
    assert Trust(pins=PIN, pins_only=True).pins_only is True


@pytest.mark.parametrize("pins", ["", "sha256:00", f"sha1:{20 * 'ab'}", ["x"], [b"x"], [None]])
def test_no_pin(pins: Any) -> None:
    with pytest.raises(PinFormatError):
        Trust(pins=pins)


@pytest.mark.parametrize("pins", [(), [], {}])
def test_pins_only_without_a_pin(pins: Any) -> None:
    assert "at least one" in refused("pins_only", pins=pins, pins_only=True)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_minimum_version(version: ssl.TLSVersion) -> None:
    trust = Trust(minimum_version=version)
    assert create_context(trust).minimum_version is version
    number: Any = int(version)
    assert Trust(minimum_version=number).minimum_version is version


@pytest.mark.parametrize(
    "version",
    [
        ssl.TLSVersion.MINIMUM_SUPPORTED,
        ssl.TLSVersion.SSLv3,
        ssl.TLSVersion.TLSv1,
        ssl.TLSVersion.TLSv1_1,
        ssl.TLSVersion.MAXIMUM_SUPPORTED,
        None,
        0,
        "TLSv1_3",
    ],
)
def test_minimum_version_refused(version: Any) -> None:
    assert "TLSv1_2 or TLSv1_3" in refused("minimum_version", minimum_version=version)


@pytest.mark.parametrize("password", [5, bytearray(b"secret"), ["secret"], lambda: "secret"])
def test_a_password_of_another_type(password: Any, world: World, tmp_path: Path) -> None:
    certificate, key = world.good().write(tmp_path)
    message = refused(
        "client_key_password", client_cert=certificate, client_key=key, client_key_password=password
    )
    assert "secret" not in message


# --- the Trust as a value ------------------------------------------------------------------------


@pytest.fixture
def full(world: World, tmp_path: Path) -> dict[str, Any]:
    """Every argument, each other than its default."""
    certificate, key = world.good().write(tmp_path)
    key.write_bytes(encrypted(world.good(), "PKCS8", b"s3cret"))
    return {
        "roots": world.root_file,
        "pins": [PIN],
        "pins_only": True,
        "known_hosts": tmp_path / "known",
        "client_cert": certificate,
        "client_key": key,
        "client_key_password": "s3cret",
        "minimum_version": ssl.TLSVersion.TLSv1_3,
    }


def test_equal_trust(full: dict[str, Any]) -> None:
    assert Trust() == Trust(None)
    assert Trust(**full) == Trust(**full)
    assert hash(Trust(**full)) == hash(Trust(**full))
    assert create_context(Trust(**full)) is create_context(Trust(**full))


def test_each_argument_makes_a_difference(full: dict[str, Any], world: World, tmp_path: Path) -> None:
    together = tmp_path / "together.pem"
    together.write_bytes(full["client_cert"].read_bytes() + full["client_key"].read_bytes())
    unequal = {
        "roots": world.unknown_file,
        "pins": [PIN, PIN],
        "pins_only": False,
        "known_hosts": None,
        "client_cert": together,
        "client_key_password": b"s3cret",
        "minimum_version": ssl.TLSVersion.TLSv1_2,
    }
    for name, value in unequal.items():
        assert Trust(**{**full, name: value}) != Trust(**full)
    assert Trust(**{**full, "client_cert": together}) != Trust(
        **{**full, "client_cert": together, "client_key": None}
    )
    assert {field.name for field in dataclasses.fields(Trust)} - {"_files", "keys_from", "_only_for"} == set(
        full
    )


def test_replace(full: dict[str, Any]) -> None:
    trust = Trust(**full)
    assert dataclasses.replace(trust) == trust
    assert dataclasses.replace(trust, pins_only=False) == Trust(**{**full, "pins_only": False})
    with pytest.raises(TrustError, match=r"^pins_only: "):
        dataclasses.replace(trust, pins=())


def test_pickle_and_copy(full: dict[str, Any]) -> None:
    trust = Trust(**full)
    for other in (pickle.loads(pickle.dumps(trust)), copy.copy(trust), copy.deepcopy(trust)):
        assert other == trust
        assert hash(other) == hash(trust)
        assert create_context(other) is create_context(trust)


def test_the_password_does_not_show(full: dict[str, Any]) -> None:
    trust = Trust(**full)
    assert "s3cret" not in f"{trust} {trust!r}"
    assert repr(trust) == (
        f"Trust(roots={str(full['roots'])!r}, pins=({Pin.parse(PIN)!r},), pins_only=True, "
        f"known_hosts={str(full['known_hosts'])!r}, "
        f"client_cert={str(full['client_cert'])!r}, client_key={str(full['client_key'])!r}, "
        f"minimum_version={ssl.TLSVersion.TLSv1_3!r})"
    )


def test_it_can_not_be_changed(full: dict[str, Any]) -> None:
    trust = Trust(**full)
    for name in full:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(trust, name, None)
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        trust.verify = False  # type: ignore[attr-defined]


def test_another_file_makes_another_trust(world: World, tmp_path: Path) -> None:
    path = world.root.write(tmp_path / "ca.pem")
    before = Trust(path)
    assert Trust(path) == before
    path.write_bytes(world.unknown.pem + b"changed\n")
    after = Trust(path)
    assert after != before
    assert create_context(after) is not create_context(before)
    assert create_context(after).get_ca_certs(binary_form=True) == [world.unknown.der]
    path.write_bytes(b"broken\n")
    refused("roots", path, named=path)
    path.unlink()
    refused("roots", path, named=path)


def test_another_directory_makes_another_trust(world: World, tmp_path: Path) -> None:
    directory = hashed_directory(tmp_path / "certs", world.root)
    os.utime(directory, (0, 0))
    before = Trust(directory)
    world.unknown.write(directory / f"{subject_hash(world.unknown.certificate)}.0")
    assert Trust(directory) != before


@pytest.mark.parametrize("roots", [None, "system"])
def test_another_system_makes_another_trust(
    roots: str | None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Trust(roots)
    monkeypatch.setenv("SSL_CERT_FILE", str(world.unknown_file))
    assert Trust(roots) != before
    monkeypatch.setenv("SSL_CERT_FILE", str(world.root_file))
    assert Trust(roots) == before


@pytest.mark.parametrize("name", ["client_cert", "client_key"])
def test_another_client_file_makes_another_trust(name: str, world: World, tmp_path: Path) -> None:
    certificate, key = world.good().write(tmp_path)
    fields: dict[str, Any] = {"client_cert": certificate, "client_key": key}
    before = Trust(**fields)
    content = fields[name].read_bytes()
    fields[name].write_bytes(content + b"\n")
    assert Trust(**fields) != before
    fields[name].write_bytes(b"broken\n")
    refused("client certificate", **fields, named=fields[name])


PINS = st.lists(
    st.builds(
        Pin, st.sampled_from(["certificate", "spki"]), st.just("sha256"), st.binary(min_size=32, max_size=32)
    ),
    max_size=3,
)


@given(PINS, st.booleans(), st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]))
@settings(deadline=None)
def test_trust_is_its_words(pins: list[Pin], only: bool, version: ssl.TLSVersion) -> None:
    """The module's docstring: trust values "compare by content"."""
    trust = Trust(pins=pins, pins_only=only and bool(pins), minimum_version=version)
    again = Trust(pins=[str(pin) for pin in pins], pins_only=only and bool(pins), minimum_version=version)
    assert again == trust == dataclasses.replace(trust) == pickle.loads(pickle.dumps(trust))
    assert hash(again) == hash(trust)
    assert (Trust(pins=[*pins, Pin.parse(PIN)]) == trust) is False


def test_a_relative_path_stays_the_same_file(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, file in (("here", world.root_file), ("there", world.unknown_file)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ca.pem").write_bytes(Path(file).read_bytes())
    monkeypatch.chdir(tmp_path / "here")
    trust = Trust("ca.pem")
    monkeypatch.chdir(tmp_path / "there")
    assert trust.roots == str(tmp_path / "here" / "ca.pem")
    assert create_context(trust).get_ca_certs(binary_form=True) == [world.root.der]
    assert Trust("ca.pem") != trust


@pytest.mark.parametrize("word", ["system", "certifi"])
def test_a_path_that_reads_like_a_word(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(word).write_bytes(Path(world.root_file).read_bytes())
    assert Trust(Path(word)).roots == str(tmp_path / word)
    assert Trust(word).roots == word


def test_a_file_whose_size_and_time_stay(world: World, tmp_path: Path) -> None:
    """As `cp -p` and `rsync --inplace` leave it."""
    file = tmp_path / "ca.pem"
    content = Path(world.root_file).read_bytes()
    file.write_bytes(content + b"#")
    before = file.stat()
    first = create_context(Trust(file))
    with file.open("r+b") as opened:
        opened.write(content + b"%")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert create_context(Trust(file)) is not first
