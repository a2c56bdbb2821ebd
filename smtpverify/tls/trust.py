"""Trust: what is believed of a peer, as a value.

Roots, pins, the client's own certificate and the oldest TLS version are told once, checked at once
(files are read here, so that a missing one fails before any packet), and compare by content: equal
trust means the same cached context. A file that has changed on disk makes for another `Trust`; but for
the known hosts, which are asked anew for each connection.
"""

from __future__ import annotations

import functools
import os
import re
import ssl
import stat
import sys
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..errors import TrustError, printable
from .known_hosts import read_known_hosts, user_known_hosts
from .pins import Pin

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ssl import SSLContext as StockContext

    from .names import ReferenceIdentifier

    StrPath = str | os.PathLike[str]
else:
    # Not truststore's, where truststore.inject_into_ssl() has put its own in the place.
    StockContext = next(
        kind for kind in ssl.SSLContext.__mro__ if kind.__module__.partition(".")[0] != "truststore"
    )

__all__ = [
    "StockContext",
    "Trust",
    "load_client_certificate",
    "load_roots",
    "present_context_class",
    "source_of_roots",
    "trust_given",
    "with_client_certificate",
]

# A hashed CA directory holds files such as 5ed36f99.0; OpenSSL looks at no others.
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+", re.ASCII)
# Of another key, and of another kind of key.
_MISMATCH = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
_SLOT = 10.0  # seconds: to read the store of Windows takes some milliseconds
_NO_PEM = "{} holds no CA certificate in PEM form"


@dataclass(frozen=True, slots=True, init=False)
class Trust:
    """What is believed of a peer.

    Args:
        roots: where the trusted CA certificates are. None: the system's store where it holds any,
            else certifi's. `"system"` or `"certifi"`: that one. Else the path of a PEM file or of a
            directory in the form of `openssl rehash`.
        pins: pins (`Pin`, or text for `Pin.parse`) of which the peer must bear one, *on top of* a
            verified chain and name.
        pins_only: the pins stand *in place of* chain, name and dates: for a self-signed server.
        known_hosts: path of a file that says by which keys servers are known for which no CA vouches, and
            keeps in mind who has offered TLS (see `smtpverify trust`); True for the user's own,
            `$XDG_CONFIG_HOME/smtpverify/known_hosts`. A key in it stands in place of chain and name for its
            host alone, and not where there are pins. The file need not exist.
        client_cert: PEM file with the client's certificate and its chain.
        client_key: PEM file with its private key; None where `client_cert` holds it.
        client_key_password: password of the key (str or bytes).
        minimum_version: `ssl.TLSVersion.TLSv1_2` or `TLSv1_3`.

    Raises:
        TrustError: a file or a combination can't be used; the message names it.
        PinFormatError: a text is no pin.
    """

    roots: str | None
    pins: tuple[Pin, ...]
    pins_only: bool
    known_hosts: str | None
    client_cert: str | None
    client_key: str | None
    client_key_password: str | bytes | None = field(repr=False)
    minimum_version: ssl.TLSVersion
    keys_from: str | None = field(init=False, repr=False)  # the known hosts, where the pins are from there
    _only_for: str | None = field(init=False, repr=False)  # the host they are for, and no other
    _files: tuple[object, ...] = field(init=False, repr=False)

    def __init__(
        self,
        roots: StrPath | None = None,
        *,
        pins: Iterable[Pin | str] | Pin | str = (),
        pins_only: bool = False,
        known_hosts: StrPath | bool | None = None,
        client_cert: StrPath | None = None,
        client_key: StrPath | None = None,
        client_key_password: str | bytes | None = None,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    ) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # frozen for everyone else

        put("roots", _path("roots", roots))
        put("pins", _pins(pins))
        put("pins_only", bool(pins_only))
        if isinstance(known_hosts, bool):
            own = user_known_hosts()
            if known_hosts and own is None:
                raise TrustError("known_hosts: this user has no home directory; name a file, or none")
            known_hosts = own if known_hosts else None
        put("known_hosts", _path("known_hosts", known_hosts))
        put("keys_from", None)
        put("_only_for", None)
        put("client_cert", _path("client_cert", client_cert))
        put("client_key", _path("client_key", client_key))
        put("client_key_password", client_key_password)
        if not isinstance(client_key_password, (str, bytes, type(None))):
            kind = type(client_key_password).__name__
            raise TrustError(f"client_key_password: a str or bytes is wanted, not {kind}")
        if self.pins_only and not self.pins:
            raise TrustError("pins_only: without a pin nothing would be verified; give at least one")
        if minimum_version not in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            raise TrustError(f"minimum_version: TLSv1_2 or TLSv1_3, not {minimum_version!r}")
        put("minimum_version", ssl.TLSVersion(minimum_version))  # of 771, an equal int, too
        if self.client_cert is None and (self.client_key, client_key_password) != (None, None):
            raise TrustError("client_key: a key needs its certificate; give client_cert")
        roots_state = _roots_state(self.roots)
        put("_files", (roots_state, *map(_state, self._client_files())))
        _checked(self.roots, roots_state)
        if self.client_cert is not None:
            _checked_client_certificate(self)
        if self.known_hosts is not None:
            read_known_hosts(self.known_hosts)

    def for_host(self, reference: ReferenceIdentifier) -> Trust:
        """What is believed of one host: where it has keys among the known hosts, those in place of a chain.

        Pins that were given say already which key it has.

        Raises:
            TrustError: the known hosts can't be read any more; or this is by the keys of another host.
        """
        if self._only_for not in (None, reference.text):
            raise TrustError(f"this trust is for {self._only_for} by its key, and not for {reference.text}")
        if self.known_hosts is None or self.pins:
            return self
        keys = read_known_hosts(self.known_hosts).keys.get(reference.text)
        return self if keys is None else _with_keys(self, keys, reference.text)

    def _client_files(self) -> tuple[str, ...]:
        return tuple(path for path in (self.client_cert, self.client_key) if path is not None)


def load_roots(context: ssl.SSLContext, roots: str | None) -> None:
    """Load the roots that `Trust.roots` names into a context.

    Raises:
        TrustError: there are none.
    """
    if roots is None or roots == "system":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if _holds_certificates(context) or any(map(_is_hashed_directory, _system_paths()[1:])):
            return
        if roots == "system":
            raise TrustError("roots: the system's store of CA certificates is empty")
        _check_environment()
        roots = "certifi"
    if roots == "certifi":
        import certifi

        roots = certifi.where()
    try:
        directory = stat.S_ISDIR(os.stat(roots).st_mode)
        if not directory:
            context.load_verify_locations(cafile=roots)
    except ssl.SSLError as error:
        raise TrustError(f"roots: {_NO_PEM.format(printable(roots))} ({error.reason or error})") from error
    except OSError as error:
        raise TrustError(f"roots: {printable(roots)}: {error.strerror}") from error
    if not directory and not _holds_certificates(context):  # a file with a CRL alone
        raise TrustError(f"roots: {_NO_PEM.format(printable(roots))}")
    if directory:
        if os.pathsep in roots:  # OpenSSL would look in two others
            raise TrustError(
                f"roots: the directory {printable(roots)} can't be used: to OpenSSL '{os.pathsep}' ends a "
                f"directory's name; use a file, or rename the directory"
            )
        if not _is_hashed_directory(roots):
            raise TrustError(
                f"roots: the directory {printable(roots)} holds no CA certificate under a hashed name; "
                f"run 'openssl rehash' on it"
            )
        context.load_verify_locations(capath=roots)


def source_of_roots(trust: Trust) -> str:
    """Where the roots of a trust come from, for people."""
    roots = trust.roots
    if roots is None or roots == "system":
        probe = StockContext(ssl.PROTOCOL_TLS_CLIENT)
        probe.load_default_certs(ssl.Purpose.SERVER_AUTH)
        file, *directories = _system_paths()
        hashed = [directory for directory in directories if _is_hashed_directory(directory)]
        if _holds_certificates(probe) or hashed:
            found = [path for path in (file, *hashed) if os.path.exists(path)]
            store = "the certificate store of Windows" if sys.platform == "win32" else "the system's store"
            return store + (f" ({printable(', '.join(found))})" if found else "")
        roots = "certifi"
    return "the package certifi" if roots == "certifi" else printable(roots)


def load_client_certificate(context: ssl.SSLContext, trust: Trust) -> None:
    """Load the client's certificate and key into a context, if there are any.

    Raises:
        TrustError: a file can't be read, the password is wrong, or the key belongs to another
            certificate.
    """
    if trust.client_cert is None:
        return

    certificate_file = printable(trust.client_cert)
    key_file = printable(trust.client_key or trust.client_cert)
    encrypted = False

    def password() -> str | bytes:
        nonlocal encrypted
        encrypted = True
        if trust.client_key_password is None:  # OpenSSL would ask on the terminal
            raise TrustError(
                f"client_key: {key_file} is encrypted; give client_key_password, or a key that is not"
            )
        return trust.client_key_password

    for path in trust._client_files():
        try:
            with open(path, "rb"):
                pass  # load_cert_chain() names no file in its errors
        except OSError as error:
            raise TrustError(f"client certificate: {printable(path)}: {error.strerror}") from error
    try:
        context.load_cert_chain(trust.client_cert, trust.client_key, password)
    except TrustError:
        raise
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None)
        if reason in _MISMATCH:
            problem = f"the key in {key_file} does not fit the certificate in {certificate_file}"
        elif encrypted:  # no reason tells of it in every version of OpenSSL
            problem = f"the password does not open the key in {key_file}"
        else:
            problem = (
                f"no certificate in {certificate_file} or no key in {key_file}, in PEM form "
                f"({reason or error})"
            )
        raise TrustError(f"client certificate: {problem}") from error


@functools.lru_cache(maxsize=64)
def _with_keys(trust: Trust, keys: tuple[Pin, ...], host: str) -> Trust:
    known = Trust(
        pins=keys,
        pins_only=True,
        client_cert=trust.client_cert,
        client_key=trust.client_key,
        client_key_password=trust.client_key_password,
        minimum_version=trust.minimum_version,
    )
    object.__setattr__(known, "keys_from", trust.known_hosts)
    object.__setattr__(known, "_only_for", host)
    return known


# Checking a file costs as much as loading it: once for each content is enough.
@functools.lru_cache(maxsize=64)
def _checked(roots: str | None, state: object) -> None:
    if roots is not None:
        load_roots(StockContext(ssl.PROTOCOL_TLS_CLIENT), roots)


@functools.lru_cache(maxsize=64)
def _checked_client_certificate(trust: Trust) -> None:
    load_client_certificate(StockContext(ssl.PROTOCOL_TLS_CLIENT), trust)


def present_context_class() -> type[ssl.SSLContext]:
    """The class that makes sockets now: the standard library's, gevent's or eventlet's.

    truststore's would make a handshake, and verify, by itself.
    """
    return next(kind for kind in ssl.SSLContext.__mro__ if kind.__module__.partition(".")[0] != "truststore")


_WORDS = ("system", "certifi")


def _path(name: str, path: StrPath | None) -> str | None:
    if path is None:
        return None
    if name == "roots" and path in _WORDS:
        return str(path)
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
    if not isinstance(text, str) or not text or "\0" in text:
        raise TrustError(f"{name}: {text!r} is no path in a str or os.PathLike")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise TrustError(f"{name}: {text!r} is no path that this system can name") from None
    return os.path.abspath(text)  # the same file wherever the program goes


def trust_given(trust: object) -> Trust:
    """What a caller gave as `trust=`; `Trust()` where it is None.

    Raises:
        TrustError: it is something else, such as the path of a CA file.
    """
    if trust is None:
        return Trust()
    if not isinstance(trust, Trust):
        raise TrustError(f"trust: a Trust is wanted, as Trust('our-ca.pem'), not {type(trust).__name__}")
    return trust


def with_client_certificate(trust: Trust, keyfile: Any, certfile: Any) -> Trust:
    """The trust with a client certificate given in smtplib's way."""
    if keyfile is None and certfile is None:
        return trust
    return replace(trust, client_cert=certfile, client_key=keyfile)


def _pins(pins: Iterable[Pin | str] | Pin | str) -> tuple[Pin, ...]:
    if isinstance(pins, (Pin, str)):
        pins = (pins,)
    return tuple(pin if isinstance(pin, Pin) else Pin.parse(pin) for pin in pins)


def _state(path: str) -> tuple[int, ...] | None:
    """What changes when a file's content does; None where there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _roots_state(roots: str | None) -> object:
    if roots == "certifi":
        return None
    if roots is not None and roots != "system":
        return _state(roots)
    return (
        *((path, _state(path)) for path in _system_paths()),
        _windows_store_state(int(monotonic() / _SLOT)),
    )


@functools.lru_cache(maxsize=1)
def _windows_store_state(slot: int) -> int | None:
    """What changes when the certificate store of Windows does; looked at once in a slot of time."""
    if sys.platform != "win32":
        return None
    try:
        return hash(tuple(entry[0] for name in ("CA", "ROOT") for entry in ssl.enum_certificates(name)))
    except PermissionError:  # of which ssl itself warns
        return None


def _system_paths() -> list[str]:
    """The CA file and directories that OpenSSL's default is, the environment's first."""
    paths = ssl.get_default_verify_paths()
    file = os.environ.get(paths.openssl_cafile_env, paths.openssl_cafile)
    return [file, *os.environ.get(paths.openssl_capath_env, paths.openssl_capath).split(os.pathsep)]


def _check_environment() -> None:
    """Refuse a CA file of the environment that is not there: certifi's roots are not what was meant."""
    variable = ssl.get_default_verify_paths().openssl_cafile_env
    path = os.environ.get(variable)
    if path and not os.path.exists(path):
        raise TrustError(f"roots: {variable} names {printable(path)}, which does not exist")


def _holds_certificates(context: ssl.SSLContext) -> bool:
    return context.cert_store_stats()["x509"] > 0


def _is_hashed_directory(path: str) -> bool:
    # A directory is read when a certificate is looked for, so that cert_store_stats() counts none.
    try:
        with os.scandir(path) as entries:
            return any(_HASHED.fullmatch(entry.name) for entry in entries)
    except OSError:
        return False
