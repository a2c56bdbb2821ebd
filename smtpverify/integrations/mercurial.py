"""A Mercurial extension: `hg email`, and all that sends by Mercurial's own mail code, through smtpverify.

What stands in `[smtp]`, `[hostsecurity]` and `web.cacerts` is honoured as Mercurial users expect, or refused
in plain words; nothing of it is ignored, and nothing goes on without this module once it is loaded.
"""

# Imports are absolute: Mercurial loads a file that it is given by its path under another name than ours.
from __future__ import annotations

import contextlib
import dataclasses
import os
import ssl
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from mercurial import encoding, error, extensions, mail, util
from mercurial.utils import stringutil, urlutil

from smtpverify.errors import (
    PeerVerificationError,
    PinFormatError,
    PlaintextWarning,
    SMTPVerifyError,
    TrustError,
    printable,
)
from smtpverify.relay import Relay
from smtpverify.schemes import EXTERNAL
from smtpverify.smtp.client import LMTP, SMTP
from smtpverify.smtp.credentials import find_password
from smtpverify.stdlib import smtplib
from smtpverify.tls.causes import Cause
from smtpverify.tls.pins import Pin
from smtpverify.tls.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smtpverify.smtp.credentials import Password

    Send = Callable[[str, list[str], bytes], dict[str, tuple[int, bytes]]]

__all__ = ["uisetup"]

testedwith = b"6.3 7.2"
minimumhgversion = b"6.3"

# Loading must fail where nothing would be replaced: a failure later on is only a warning of Mercurial's.
for _name in ("_smtp", "_smtp_login"):
    if not hasattr(mail, _name):
        raise ImportError(f"this Mercurial has no mail.{_name}(), in whose place smtpverify would send")

# Where a fingerprint, confirmed in another way, is a sensible answer.
_NOBODY_VOUCHES = (Cause.UNKNOWN_ISSUER, Cause.SELF_SIGNED_LEAF, Cause.SELF_SIGNED_ROOT_IN_CHAIN)
_VERSIONS = {b"tls1.2": ssl.TLSVersion.TLSv1_2, b"tls1.3": ssl.TLSVersion.TLSv1_3}


def uisetup(ui: Any) -> None:
    """Take the place of Mercurial's SMTP; called by Mercurial."""
    extensions.wrapfunction(mail, "_smtp", _smtp)


def _smtp(_original: object, ui: Any) -> Send:
    """Connect as the configuration says, and return a function that sends; in the place of `mail._smtp`."""
    with _plain_words(ui):
        server = _server(ui)
    with _plain_words(ui, server.relay):
        if ui.insecureconnections and server.relay.mode.uses_tls:
            ui.warn(_octets(f"(--insecure does not count for the mail server {server.relay.host})\n"))
        ui.note(_octets(f"sending mail: {server.relay}\n"))
        smtp = _connected(ui, server)
        if smtp.peer is not None:
            ui.note(_octets(f"(verified: {smtp.peer})\n"))
        try:
            _log_in(ui, smtp, server)
        except BaseException:
            smtp.close()
            raise

    def send(sender: str, recipients: list[str], message: bytes) -> dict[str, tuple[int, bytes]]:
        with _plain_words(ui, server.relay):
            refused = smtp.sendmail(sender, recipients, message)
        for line in _refusals(refused):
            ui.warn(_octets(f"({line})\n"))
        return refused

    # Mercurial drops the function when it is done, and takes no leave of its own.
    weakref.finalize(send, _leave, smtp)
    return send


def _leave(smtp: SMTP) -> None:
    if smtp.sock is not None:
        with contextlib.suppress(smtplib.SMTPException, OSError):  # the mail was accepted before
            smtp.quit()


# --- which server, and how -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Server:
    """What `[smtp]` says.

    Attributes:
        host: what our client is given.
        port: where that names none, or 0.
        relay: what it is read as.
        said: whether somebody wrote how the connection is secured.
    """

    host: str = dataclasses.field(repr=False)
    port: int
    relay: Relay
    said: bool


def _server(ui: Any) -> _Server:
    text = _text(ui.config(b"smtp", b"host") or b"")
    if not text:
        raise error.Abort(b"smtp.host not configured - cannot send mail")
    written = ui.config(b"smtp", b"port", b"")
    port = urlutil.getport(written) if written else 0
    tls = (ui.config(b"smtp", b"tls") or b"").strip().lower() if ui.hasconfig(b"smtp", b"tls") else b""
    relay = Relay.parse(text)
    if relay.scheme:
        if tls:
            raise error.Abort(b"smtp.tls: leave it out; the scheme in smtp.host says how to connect")
        if relay.user is not None and ui.config(b"smtp", b"username"):
            raise error.Abort(b"smtp.username: leave it out, or the user in smtp.host")
        return _Server(text, port, relay, said=True)
    scheme = _scheme(tls)
    relay = dataclasses.replace(relay, scheme=scheme, port=relay.port or port or None)
    # Without a scheme our client warns of plaintext, unless the server is on this machine.
    return _Server(relay.to_url() if scheme else text, port, relay, said=bool(scheme))


def _scheme(tls: bytes) -> str:
    """The scheme that `smtp.tls` amounts to; "" where it says nothing."""
    if not tls:
        return ""
    switched = stringutil.parsebool(tls)
    if tls == b"starttls" or switched:
        return "tls"
    if tls == b"smtps":
        return "smtps"
    if tls == b"none" or switched is False:
        return "smtp+notls"
    # Mercurial itself would send in plaintext.
    raise error.Abort(b"smtp.tls: '%s' is none of starttls, smtps, none" % tls)


# --- whom to believe -----------------------------------------------------------------------------


class _HostSecurity:
    """`[hostsecurity]` for one host.

    Args:
        ui: Mercurial's.
        server: the mail server, whose section is looked for by its name as configured and as looked up.
    """

    def __init__(self, ui: Any, server: _Server) -> None:
        self._ui = ui
        self.name = _octets(server.relay.host)
        self._configured: bytes = ui.config(b"smtp", b"host")

    def key(self, setting: bytes) -> bytes:
        """The name under which the setting is there for the host, or would be."""
        key = b"%s:%s" % (self._configured, setting)
        return key if self._ui.hasconfig(b"hostsecurity", key) else b"%s:%s" % (self.name, setting)

    def version(self) -> ssl.TLSVersion:
        """The oldest version of TLS."""
        key, value = self._own_or_general(b"minimumprotocol", b"tls1.2")
        if value in _VERSIONS:
            return _VERSIONS[value]
        problem = b"TLS below 1.2 is never spoken" if value in (b"tls1.0", b"tls1.1") else b"unknown protocol"
        raise error.Abort(
            b"hostsecurity.%s: %s: %s" % (key, value, problem),
            hint=b"for the mail server set hostsecurity.%s:minimumprotocol to tls1.2 or tls1.3" % self.name,
        )

    def refuse_ciphers(self) -> None:
        """Refuse a choice of ciphers, for which we have no place."""
        key, value = self._own_or_general(b"ciphers", b"")
        if value:
            raise error.Abort(
                b"hostsecurity.%s: smtpverify lets nobody choose ciphers" % key,
                hint=b"for the mail server set hostsecurity.%s:ciphers to nothing" % self.name,
            )

    def _own_or_general(self, setting: bytes, default: bytes) -> tuple[bytes, bytes]:
        key = self.key(setting)
        if not self._ui.hasconfig(b"hostsecurity", key):
            key = setting
        return key, self._ui.config(b"hostsecurity", key, default) or b""

    def pins(self) -> list[Pin]:
        """The fingerprints of the server's certificate, one of which is to stand for chain and name."""
        for name in (self._configured, self.name):
            if self._ui.configlist(b"hostfingerprints", name):
                raise error.Abort(
                    b"hostfingerprints.%s: a SHA-1 fingerprint can be forged, and is no longer believed"
                    % name,
                    hint=b"set hostsecurity.%s:fingerprints to sha256:..., as the server's administrator "
                    b"confirms it" % self.name,
                )
        key = self.key(b"fingerprints")
        pins = []
        for fingerprint in self._ui.configlist(b"hostsecurity", key):
            try:
                pins.append(Pin.parse(_text(fingerprint)))
            except PinFormatError as problem:
                raise error.Abort(b"hostsecurity.%s: %s" % (key, _octets(str(problem)))) from problem
        return pins

    def roots(self) -> tuple[bytes, str] | None:
        """The file of CA certificates for this host, or else for all, with the setting that names it."""
        key = self.key(b"verifycertsfile")
        for section, name in ((b"hostsecurity", key), (b"web", b"cacerts")):
            path = self._ui.config(section, name)
            if path:
                return b"%s.%s" % (section, name), os.path.abspath(os.fsdecode(util.expandpath(path)))
        return None


def _trust(ui: Any, server: _Server) -> Trust:
    """What `[hostsecurity]` and `web.cacerts` say of the mail server."""
    security = _HostSecurity(ui, server)
    pins = security.pins()
    roots = security.roots()
    if not server.relay.mode.uses_tls:
        if pins and not server.said:
            raise error.Abort(
                b"hostsecurity.%s: nothing would be compared: smtp.tls is not set"
                % security.key(b"fingerprints"),
                hint=b"set smtp.tls to starttls or smtps, or to none if plaintext is meant",
            )
        return Trust()
    security.refuse_ciphers()
    version = security.version()
    told = server.relay.trust  # by a URL
    if pins:
        if told.roots is not None:
            raise error.Abort(
                b"hostsecurity.%s: fingerprints stand in place of the cafile of smtp.host; leave one out"
                % security.key(b"fingerprints")
            )
        if roots is not None and roots[0].startswith(b"hostsecurity."):
            ui.warn(b"(%s does not count, since there are fingerprints for the host)\n" % roots[0])
        return Trust(pins=pins, pins_only=True, minimum_version=version)
    if roots is None or (told.roots is not None and roots[0] == b"web.cacerts"):
        if ui.configbool(b"devel", b"disableloaddefaultcerts") and told.roots is None and not told.pins_only:
            raise error.Abort(
                b"devel.disableloaddefaultcerts: it leaves nobody to believe for the mail server"
            )
        return Trust(minimum_version=version)
    setting, path = roots
    try:
        return Trust(path, minimum_version=version)
    except TrustError as problem:
        words = str(problem).partition(": ")[2]
        raise error.Abort(b"%s: %s" % (setting, _octets(words))) from problem


# --- connecting ----------------------------------------------------------------------------------


def _connected(ui: Any, server: _Server) -> SMTP:
    local = ui.config(b"smtp", b"local_hostname")
    client = LMTP if server.relay.meaning.lmtp else SMTP
    smtp = client(
        local_hostname=_text(local) if local else None,
        trust=_trust(ui, server),
        password=_password_of_url(ui, server.relay),
    )
    smtp.connect(server.host, server.port)
    return smtp


def _password_of_url(ui: Any, relay: Relay) -> Password | None:
    """Where the password of a URL's user comes from: `[smtp]`, our usual places, and a question."""
    configured = ui.config(b"smtp", b"password")
    if relay.user is not None and configured:
        return _text(configured)
    if relay.user is None or relay.password is not None or relay.auth == EXTERNAL:
        return None
    # A scheme that wants a password must not complain before somebody was asked.
    found = find_password(dataclasses.replace(relay, scheme=relay.scheme.removesuffix("+auth")), None)
    return found or (lambda: _asked(ui, relay.user))


def _asked(ui: Any, user: str | None) -> str:
    answer = ui.getpass(_octets(f"password for {user}: "))
    if not answer:
        raise _no_password(user)
    return _text(answer)


def _log_in(ui: Any, smtp: SMTP, server: _Server) -> None:
    """Log in as `smtp.username`, by Mercurial's own hook, which extensions for keyrings replace."""
    username = ui.config(b"smtp", b"username")
    if username:  # and no user in a URL
        port = server.relay.port or server.port or smtp.default_port
        mail._smtp_login(ui, smtp, _octets(server.relay.host), port)
        if smtp.mechanism is None:  # where nobody could be asked, the hook goes on without
            raise _no_password(_text(username))


def _no_password(user: str | None) -> Any:
    return error.Abort(
        _octets(f"no password for {user} at the mail server"),
        hint=b"set smtp.password, or run Mercurial where it can ask",
    )


# --- words ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _plain_words(ui: Any, relay: Relay | None = None) -> Iterator[None]:
    """Turn errors into `error.Abort` and its kind, and our warnings into Mercurial's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PlaintextWarning)
        try:
            yield
        except PeerVerificationError as problem:
            raise error.SecurityError(_octets(str(problem)), hint=_octets(_remedy(problem))) from problem
        except (smtplib.SMTPException, OSError) as problem:
            diagnosis = problem.diagnosis if isinstance(problem, SMTPVerifyError) else None
            hint = _octets(diagnosis.remedy) if diagnosis else None
            raise error.Abort(_octets(_said(problem, relay)), hint=hint) from problem
        finally:
            for warning in caught:
                ui.warn(_octets(f"warning: {warning.message}\n"))


def _said(problem: Exception, relay: Relay | None) -> str:
    where = relay or "smtp.host"
    if isinstance(problem, SMTPVerifyError):
        return str(problem) if problem.host else f"{where}: {problem}"
    if isinstance(problem, smtplib.SMTPRecipientsRefused):
        return "\n".join(_refusals(problem.recipients))
    if isinstance(problem, smtplib.SMTPResponseException):
        return f"{where}: the mail server said {problem.smtp_code} {printable(problem.smtp_error)}"
    return f"{where}: {printable(getattr(problem, 'strerror', None) or str(problem))}"


def _refusals(refused: dict[str, tuple[int, bytes]]) -> list[str]:
    return [
        f"the mail server refused {printable(recipient)}: {code} {printable(text)}"
        for recipient, (code, text) in refused.items()
    ]


def _remedy(problem: PeerVerificationError) -> str:
    """What to do about it, in Mercurial's own configuration where that is where it is to be done."""
    diagnosis = problem.diagnosis
    if diagnosis is None:
        return ""
    if diagnosis.cause not in _NOBODY_VOUCHES or diagnosis.sha256 is None:
        return diagnosis.remedy
    fingerprint = Pin.parse(diagnosis.sha256).format("mercurial")
    return (
        "if this is your organisation's own CA, get its certificate in a safe way, and set "
        f"hostsecurity.{problem.host}:verifycertsfile to its file; else somebody may be between you and the "
        "server: only if its administrator confirms this fingerprint, write\n"
        f"[hostsecurity]\n{problem.host}:fingerprints = {fingerprint}\n"
    )


def _text(octets: bytes) -> str:
    return encoding.strfromlocal(octets)  # type: ignore[no-any-return]


def _octets(text: str) -> bytes:
    return encoding.strtolocal(text)  # type: ignore[no-any-return]
