"""Logging in (RFC 4954): which mechanism, with what, and what an exchange may show.

A credential goes to a verified peer, or stays on this machine. It goes once: a server that has refused it
does not get it again in a weaker mechanism.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from os import urandom
from typing import TYPE_CHECKING

from ..errors import AuthenticationError, CommandArgumentError, ServerSignatureError, printable
from ..schemes import EXTERNAL, OAUTH, PASSWORD
from ..stdlib import StockSMTP, has_cram_md5, set_challenge_count, smtplib
from .conversation import Conversation
from .sasl import CramMD5, External, Login, Mechanism, OAuthBearer, Plain, Scram, XOAuth2
from .secrecy import Hidden, Secret, scrubbed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    AuthObject: TypeAlias = Callable[..., "str | bytes | None"]
    Token: TypeAlias = str | bytes | Callable[[], str | bytes]

__all__ = ["Authentication"]

_NAME = re.compile(r"[A-Z0-9_-]{1,20}", re.ASCII)  # RFC 4422 3.1
_LONGEST_COMMAND = (
    512  # octets, CRLF included (RFC 5321 4.5.3.1.4): an initial response must fit (RFC 4954 4)
)
_LONGEST_RESPONSE = 12288  # octets of Base64 (RFC 4954 4)
_MOST_CHALLENGES = 5  # as in smtplib
_LOGGED_IN = (503, b"5.5.1 Logged in already")


class Authentication(Conversation):
    """A conversation that logs in."""

    user: str
    password: str
    _logged_in: tuple[str, str] | None = None  # as whom, and by which mechanism
    _login_digest: tuple[bytes, bytes] | None = None  # a key, and by it the digest of what proved it

    def login(
        self, user: str, password: str, *, initial_response_ok: bool = True, mechanism: str | None = None
    ) -> tuple[int, bytes]:
        """As `smtplib.SMTP.login`, by the strongest mechanism offered: SCRAM, CRAM-MD5, PLAIN, LOGIN.

        A second login of the same user, by the same password, is not sent on a connection; its result is 503.

        Args:
            user, password: of any letters; they go as UTF-8, with SCRAM through SASLprep.
            initial_response_ok: as in smtplib.
            mechanism: the one to use, such as `"PLAIN"`, if offered; the strongest if None.

        Returns:
            The server's reply, 235.

        Raises:
            AuthenticationError: the login failed; says what was tried and what is offered.
            ServerSignatureError: the server does not know the password; the connection is closed.
            PlaintextCredentialsError: over plaintext, to another machine; nothing was sent.
            CommandArgumentError: user or password can't be sent in this mechanism; nothing was.
            smtplib.SMTPNotSupportedError: there is no AUTH, or no mechanism for a password; nothing was sent.
            others: as for smtplib.
        """
        secret, password = Secret(password), ""  # no frame of ours shows it from here on
        secret.valid()
        known = self._known_login(user, secret)
        if known is not None:
            return known
        offered = self._offered()
        names = self._chosen(mechanism, PASSWORD, offered)
        self.user = user
        for name in names[:-1]:
            try:
                return self._log_in(name, user, secret, offered, initial_response_ok)
            except AuthenticationError as error:
                # 504: it offers what it does not have. Anything else is an answer.
                if error.smtp_code != 504:
                    raise
        return self._log_in(names[-1], user, secret, offered, initial_response_ok)

    def login_oauth2(self, user: str, token: Token, *, mechanism: str | None = None) -> tuple[int, bytes]:
        """Log in with an OAuth 2 access token: OAUTHBEARER (RFC 7628), or XOAUTH2.

        Args:
            user: whose mailbox.
            token: the access token, or a callable that gives a fresh one. It is asked once, when the server
                is verified and offers a mechanism.
            mechanism: as for `login`.

        Returns:
            The server's reply, 235.

        Raises:
            AuthenticationError: the token was refused; `complaint` and the message say what the server said.
            CommandArgumentError: there is something else than an access token in it; nothing was sent.
            others: as for `login`.
        """
        given, token = token if callable(token) else Secret(token, "token"), ""
        known = self._known_login(user)
        if known is not None:
            return known
        offered = self._offered()
        name = self._chosen(mechanism, OAUTH, offered)[0]
        self.user = user
        secret = given if isinstance(given, Secret) else Secret(given(), "token")
        if name == "XOAUTH2":
            return self._exchange(XOAuth2(user, secret), offered)
        port = self._attempt.port if self._attempt else None
        return self._exchange(OAuthBearer(user, secret, host=self._shown_host(), port=port), offered)

    def login_external(self, authorize_as: str = "") -> tuple[int, bytes]:
        """Log in as whom the client's certificate names: EXTERNAL (RFC 4422 A).

        Args:
            authorize_as: the identity to act as; "" for the certificate's own.

        Returns:
            The server's reply, 235.

        Raises:
            others: as for `login`.
        """
        known = self._known_login(authorize_as)
        if known is not None:
            return known
        offered = self._offered()
        self._chosen(None, (EXTERNAL,), offered)
        self.user = authorize_as
        return self._exchange(External(authorize_as), offered)

    @property
    def mechanism(self) -> str | None:
        """By which the connection is logged in, or None."""
        return self._logged_in[1] if self._logged_in else None

    def auth(
        self, mechanism: str, authobject: AuthObject, *, initial_response_ok: bool = True
    ) -> tuple[int, bytes]:
        """As `smtplib.SMTP.auth`; nothing but 235 is success.

        Args:
            mechanism: its name.
            authobject: a `Mechanism`, or what smtplib takes; text goes as UTF-8.
            initial_response_ok: as in smtplib; one that is too long for a command waits for a challenge.

        Raises:
            AuthenticationError: the server refused; or its challenges make no sense, and the connection is
                closed.
            others: as for `login`; what the authobject raises, and the connection is closed if it is in the
                midst of an exchange.
        """
        mechanism = mechanism.upper()
        if not _NAME.fullmatch(mechanism):
            raise CommandArgumentError(
                f"mechanism: '{printable(mechanism, 40)}' is no name of one (RFC 4422 3.1)"
            )
        if isinstance(authobject, Mechanism) and authobject.begun:
            raise CommandArgumentError(f"{mechanism}: a Mechanism serves one exchange; make another")
        self._want_connection()
        self._refuse_plaintext_credentials()
        self._secrets = tuple(map(Hidden, authobject.secrets if isinstance(authobject, Mechanism) else ()))
        try:
            first = self._answer_of(authobject, None) if initial_response_ok else None
            reply = self._converse(mechanism, authobject, first)
            if reply[0] != 235:
                raise self._refused(mechanism, authobject, reply)
            if isinstance(authobject, Mechanism):
                authobject.finish()
        except BaseException as error:
            if isinstance(error, AuthenticationError) and error.smtp_code == -1:  # by a mechanism
                error.host, error.port = self._shown_host(), self._attempt.port if self._attempt else None
                error.mechanism, error.offered = mechanism, self._mechanisms()
            # In the midst of an exchange the server would take the next command for an answer.
            if self._authenticating or isinstance(error, ServerSignatureError):
                self._close_for(error)
            raise
        return reply

    # --- the exchange ----------------------------------------------------------------------------

    def _converse(self, mechanism: str, authobject: AuthObject, first: bytes | None) -> tuple[int, bytes]:
        """Send AUTH, and answer challenges for as long as there are some."""
        line = Hidden(
            b"AUTH %s %s\r\n" % (mechanism.encode(), b64encode(first or b"") or b"="),
            b"AUTH %s " % mechanism.encode(),
        )
        count = 0
        set_challenge_count(self, count)
        if first is None or len(line) > _LONGEST_COMMAND:
            self.send(f"AUTH {mechanism}\r\n")
        else:
            self.send(line)
            count, first = 1, None
            set_challenge_count(self, count)
        reply = self.getreply()
        while reply[0] == 334:
            count += 1
            set_challenge_count(self, count)
            challenge = self._challenge(reply[1])
            reply = reply[0], scrubbed(reply[1], self._secrets)  # it may repeat them
            if count > _MOST_CHALLENGES:
                raise AuthenticationError(
                    f"Server AUTH mechanism infinite loop. Last response: {reply!r}",
                    smtp_code=reply[0],
                    smtp_error=reply[1],
                )
            if challenge is None:
                raise AuthenticationError(
                    f"the server's challenge is not Base64 (RFC 4954 4): '{printable(reply[1], 60)}'"
                )
            answer = first if first is not None else self._answer_of(authobject, challenge)
            first = None
            self.send(Hidden(b64encode(answer or b"") + b"\r\n"))
            reply = self.getreply()
        return reply

    def _challenge(self, text: bytes) -> bytes | None:
        """A challenge, decoded, which does not show if it repeats a secret; None if it is not Base64."""
        try:
            challenge = b64decode(text, validate=True)
        except ValueError:
            return None
        return challenge if scrubbed(challenge, self._secrets) == challenge else Hidden(challenge)

    def _answer_of(self, authobject: AuthObject, challenge: bytes | None) -> bytes | None:
        if isinstance(authobject, Mechanism):
            answer: str | bytes | None = authobject.respond(challenge)
        else:
            answer = authobject() if challenge is None else authobject(challenge)
        if answer is None:
            return None
        hidden, answer = Hidden(answer.encode("utf-8") if isinstance(answer, str) else answer), None
        if len(hidden) > _LONGEST_RESPONSE // 4 * 3:
            raise CommandArgumentError(f"the answer to AUTH has {len(hidden)} octets, too many (RFC 4954 4)")
        known = authobject.identity if isinstance(authobject, Mechanism) else getattr(self, "user", "")
        if not isinstance(known, str) or hidden != known.encode("utf-8", "replace"):
            self._secrets += (hidden,)
        return hidden

    def _refused(
        self, mechanism: str, authobject: AuthObject, reply: tuple[int, bytes]
    ) -> AuthenticationError:
        offered = self._mechanisms()
        complaint = authobject.complaint if isinstance(authobject, Mechanism) else b""
        complaint = scrubbed(complaint, self._secrets)
        said = f"the server refused {mechanism}: {reply[0]} {printable(reply[1])}"
        if complaint:
            said += f"; it says: {printable(complaint, 400)}"
        said += f"; it offers {_listed(offered)}"
        # Some offer what they can't do with a password that they keep as a hash of another kind.
        if reply[0] == 535 and mechanism in PASSWORD[:-2] and set(PASSWORD[-2:]) & set(offered):
            said += f". If the password is right, the server may not have it in the form for {mechanism}; "
            said += 'mechanism="PLAIN", or auth=plain in a URL, sends it as it is'
        error: AuthenticationError = self._error(
            AuthenticationError,
            None,
            said,
            smtp_code=reply[0],
            smtp_error=reply[1],
            mechanism=mechanism,
            offered=offered,
            complaint=complaint,
        )
        return error

    # --- the choice ------------------------------------------------------------------------------

    def _mechanisms(self) -> tuple[str, ...]:
        """What the server offers, in its order."""
        return tuple(dict.fromkeys(self.esmtp_features.get("auth", "").upper().split()))

    def _offered(self) -> tuple[str, ...]:
        self._refuse_plaintext_credentials()
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("auth"):
            raise smtplib.SMTPNotSupportedError("SMTP AUTH extension not supported by server.")
        return self._mechanisms()

    def _chosen(self, named: str | None, ours: tuple[str, ...], offered: tuple[str, ...]) -> list[str]:
        """The mechanisms to use, one of which was named perhaps.

        Raises:
            CommandArgumentError: the one that was named is none of ours.
            smtplib.SMTPNotSupportedError: there is none.
        """
        if named is not None and named.upper() not in ours:
            raise CommandArgumentError(f"mechanism: '{printable(named, 40)}' is none of {', '.join(ours)}")
        wanted = ours if named is None else (named.upper(),)
        usable = [
            name
            for name in wanted
            if name in offered
            and (name != CramMD5.name or has_cram_md5())
            and (not name.endswith("-PLUS") or self._binding() is not None)
        ]
        if usable:
            return usable
        hint = "; login_oauth2() takes a token" if ours is PASSWORD and set(OAUTH) & set(offered) else ""
        raise smtplib.SMTPNotSupportedError(
            f"No suitable authentication method found. The server offers {_listed(offered)}; "
            f"wanted was {' or '.join(wanted)}{hint}"
        )

    def _binding(self) -> bytes | None:
        """What SCRAM can bind to, where the connection is in TLS."""
        if self._peer is None:
            return None
        from ..tls.binding import server_end_point

        return server_end_point(self._peer.certificate)

    # --- one login -------------------------------------------------------------------------------

    def _log_in(
        self, name: str, user: str, secret: Secret, offered: tuple[str, ...], initial_response_ok: bool
    ) -> tuple[int, bytes]:
        method = "auth_" + name.lower().replace("-", "_")
        if method in vars(self) or getattr(type(self), method, None) is not getattr(StockSMTP, method, None):
            return self._log_in_by_override(name, method, user, secret, initial_response_ok)
        mechanism: Mechanism
        if name in (Plain.name, Login.name, CramMD5.name):
            mechanism = {Plain.name: Plain, Login.name: Login, CramMD5.name: CramMD5}[name](user, secret)
        else:
            plus_offered = f"{name.removesuffix('-PLUS')}-PLUS" in offered
            mechanism = Scram(name, user, secret, binding=self._binding(), plus_offered=plus_offered)
        return self._exchange(mechanism, offered, initial_response_ok=initial_response_ok)

    def _log_in_by_override(
        self, name: str, method: str, user: str, secret: Secret, initial_response_ok: bool
    ) -> tuple[int, bytes]:
        """Let somebody's own `auth_plain()` or the like answer, from the attributes that smtplib sets."""
        self.password = secret.text
        try:
            reply = self.auth(name, getattr(self, method), initial_response_ok=initial_response_ok)
        finally:
            del self.password
        self._remember_login(user, name, secret.octets)
        return reply

    def _exchange(
        self, mechanism: Mechanism, offered: tuple[str, ...], *, initial_response_ok: bool = True
    ) -> tuple[int, bytes]:
        reply = self.auth(mechanism.name, mechanism, initial_response_ok=initial_response_ok)
        self._remember_login(mechanism.identity, mechanism.name, *mechanism.secrets)
        return reply

    def _remember_login(self, user: str, name: str, *secrets: bytes) -> None:
        key = urandom(16)
        self._logged_in = user, name
        self._login_digest = key, hmac.digest(key, b"".join(secrets), "sha256")

    def _known_login(self, user: str, secret: Secret | None = None) -> tuple[int, bytes] | None:
        """What to say where the connection is logged in already: a server would refuse (RFC 4954 4)."""
        if self._logged_in is None or self._login_digest is None or self.sock is None:
            return None
        key, digest = self._login_digest
        same = secret is None or hmac.compare_digest(hmac.digest(key, secret.octets, "sha256"), digest)
        if self._logged_in[0] == user and same:
            return _LOGGED_IN
        other = "with another password" if self._logged_in[0] == user else "as another user"
        raise self._error(
            AuthenticationError,
            None,
            f"the connection is logged in already, {other}; connect anew",
            smtp_code=_LOGGED_IN[0],
            smtp_error=_LOGGED_IN[1],
        )

    def _forget_ehlo(self) -> None:
        super()._forget_ehlo()
        self._logged_in = self._login_digest = None


def _listed(offered: tuple[str, ...]) -> str:
    return printable(", ".join(offered), 400) or "no mechanism"
