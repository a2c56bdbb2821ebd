"""The mechanisms of AUTH (RFC 4422, RFC 4954): what a client answers to which challenge. Pure.

A mechanism serves one exchange. It can be given to `SMTP.auth()`, and as far as its answers are ASCII to
that of `smtplib`, which does not call `finish`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from os import urandom
from typing import TYPE_CHECKING, overload

from ..errors import AuthenticationError, CommandArgumentError, ServerSignatureError, printable
from .secrecy import Hidden, Secret

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import ClassVar, TypeAlias

    Exchange: TypeAlias = Generator[bytes | None, bytes, None]

__all__ = [
    "CramMD5",
    "External",
    "Login",
    "Mechanism",
    "OAuthBearer",
    "Plain",
    "Scram",
    "XOAuth2",
]

# Fewer make it cheap to guess the password from what was overheard (RFC 7677 4), more keep us busy for
# seconds.
MIN_ITERATIONS, MAX_ITERATIONS = 4096, 2_000_000

_SERVER_FIRST = re.compile(rb"r=([!-+\--~]+),s=([A-Za-z0-9+/]+={0,2}),i=([1-9][0-9]{0,9})(?:,.*)?", re.DOTALL)
_VERIFIER = re.compile(rb"v=([A-Za-z0-9+/]+={0,2})(?:,.*)?", re.DOTALL)
_B64TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 2.1
_SASLNAME = str.maketrans({"=": "=3D", ",": "=2C"})  # RFC 5801 4


class Mechanism:
    """One exchange of a mechanism.

    Attributes:
        name: as in EHLO's AUTH.
        identity: whom it logs in; not a secret.
        complaint: what the server found wrong, octets that it sent in the place of a challenge, or empty.
    """

    name = ""
    identity = ""
    complaint = b""
    _exchange: Exchange | None = None

    def respond(self, challenge: bytes | None) -> bytes | None:
        """Answer a challenge.

        Args:
            challenge: decoded; None to ask for an initial response.

        Returns:
            The answer; None where there is no initial response, since the server must begin.

        Raises:
            AuthenticationError: the challenge makes no sense.
            ServerSignatureError: the server does not know the password.
        """
        if self._exchange is None:
            self._exchange = self._answers()
            first = next(self._exchange)
            if challenge is None or first is not None:
                return first  # a server that waits for the client's word challenges with nothing
        try:
            return self._exchange.send(challenge or b"")
        except StopIteration:
            raise AuthenticationError(
                f"the server sent a challenge where all of {self.name} had been said"
            ) from None

    @overload
    def __call__(self, challenge: None = None, /) -> str | None: ...

    @overload
    def __call__(self, challenge: bytes, /) -> str: ...

    def __call__(self, challenge: bytes | None = None, /) -> str | None:
        """As `respond`, for smtplib's `auth()`, which wants text."""
        answer = self.respond(challenge)
        return None if answer is None else answer.decode("utf-8")

    @property
    def begun(self) -> bool:
        """Whether it serves an exchange, or has: what that has proved says nothing of another."""
        return self._exchange is not None

    def finish(self) -> None:
        """Say that the server has accepted.

        Raises:
            ServerSignatureError: it had not proved that it may.
        """

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What a server must not repeat."""
        return ()

    def _answers(self) -> Exchange:
        """Yield the answers, and take the challenges; None comes first where the server begins."""
        raise NotImplementedError


class _WithPassword(Mechanism):
    """A mechanism with user and password.

    Args:
        user: the authentication identity.
        password: a text, or octets in UTF-8.
    """

    def __init__(self, user: str, password: str | bytes | Secret) -> None:
        self._password, password = Secret(password), b""  # no frame of ours shows it from here on
        self._password.valid()
        self.identity = Secret(user, "user").text

    @property
    def secrets(self) -> tuple[bytes, ...]:
        return (self._password.octets,)


class Plain(_WithPassword):
    """PLAIN (RFC 4616): the password as it is, in UTF-8."""

    name = "PLAIN"

    def __init__(self, user: str, password: str | bytes | Secret) -> None:
        password = Secret(password)
        super().__init__(user, password)
        if "\0" in self.identity or b"\0" in self._password.octets:
            raise CommandArgumentError("user or password: a NUL has no place in PLAIN (RFC 4616 2)")

    def _answers(self) -> Exchange:
        yield b"\0" + self.identity.encode() + b"\0" + self._password.octets


class Login(_WithPassword):
    """LOGIN: PLAIN in two steps, which no RFC describes."""

    name = "LOGIN"

    def _answers(self) -> Exchange:
        challenge = yield self.identity.encode()
        while challenge[:4].lower() == b"user":  # a server that does not listen to initial responses
            challenge = yield self.identity.encode()
        yield self._password.octets


class CramMD5(_WithPassword):
    """CRAM-MD5 (RFC 2195): the password does not go over, the server proves nothing.

    Raises:
        ValueError: this Python's OpenSSL has no MD5, by policy.
    """

    name = "CRAM-MD5"

    def _answers(self) -> Exchange:
        challenge = yield None
        digest = hmac.new(self._password.octets, challenge, "md5").hexdigest()
        yield f"{self.identity} {digest}".encode()


class Scram(_WithPassword):
    """SCRAM (RFC 5802, RFC 7677): the server must prove, too, that it knows the password.

    Args:
        name: a key of `HASHES`, with `-PLUS` behind it for channel binding.
        user, password: they go through SASLprep.
        binding: channel binding data of type `tls-server-end-point` (RFC 5929 4), or None.
        plus_offered: the server offers channel binding for a mechanism of this kind.
        nonce: printable ASCII without a comma; a random one if None.
    """

    HASHES: ClassVar = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}

    def __init__(
        self,
        name: str,
        user: str,
        password: str | bytes | Secret,
        *,
        binding: bytes | None = None,
        plus_offered: bool = False,
        nonce: str | None = None,
    ) -> None:
        password = Secret(password)
        super().__init__(user, password)
        if name.removesuffix("-PLUS") not in self.HASHES:
            raise CommandArgumentError(f"{printable(name)}: not one of {', '.join(self.HASHES)}")
        self.name = name
        self._hash = self.HASHES[name.removesuffix("-PLUS")]
        self._saslname = _prepared(Secret(user), "user", stored=False).translate(_SASLNAME)
        if not self._saslname:
            raise CommandArgumentError("user: nothing is left of it, and SCRAM wants one (RFC 5802 5.1)")
        self._prepared = Secret(_prepared(self._password, "password", stored=True))
        self._nonce = b64encode(urandom(24)).decode() if nonce is None else nonce
        self._verified = False
        # RFC 5802 6: `y` tells the server that we would have bound, so that a server that does offer it knows
        # that somebody has hidden the offer.
        if name.endswith("-PLUS"):
            if binding is None:
                raise CommandArgumentError(f"{name}: there is no channel to bind to")
            self._gs2, self._bound = b"p=tls-server-end-point,,", binding
        else:
            self._gs2, self._bound = b"n,," if plus_offered or binding is None else b"y,,", b""

    def _answers(self) -> Exchange:
        first_bare = f"n={self._saslname},r={self._nonce}".encode()
        server_first = yield self._gs2 + first_bare
        if not self._is_complaint(server_first):
            nonce, salt, iterations = self._read(server_first)
            without_proof = b"c=" + b64encode(self._gs2 + self._bound) + b",r=" + nonce
            signed = b",".join((first_bare, server_first, without_proof))  # RFC 5802 3: AuthMessage
            proof, signature = self._proof_and_signature(salt, iterations, signed)
            server_final = yield without_proof + b",p=" + proof
            if not self._is_complaint(server_final):
                self._verify(server_final, signature)
        yield b""  # RFC 4954 4: what SASL sends along with its outcome comes as a challenge of its own

    def _is_complaint(self, message: bytes) -> bool:
        """Keep a message that is a server-error (RFC 5802 7), behind which the refusal comes."""
        if message[:2] != b"e=":
            return False
        self.complaint = message
        return True

    def _read(self, server_first: bytes) -> tuple[bytes, bytes, int]:
        """Nonce, salt and iteration count of the server-first-message (RFC 5802 7)."""
        match = _SERVER_FIRST.fullmatch(server_first)
        if match is None:
            wants = " without an extension" if server_first[:2] == b"m=" else ""
            raise AuthenticationError(
                f"{self.name}: '{printable(server_first, 60)}' is no server-first-message{wants} (RFC 5802 7)"
            )
        nonce = match[1]
        if not nonce.startswith(self._nonce.encode()) or len(nonce) == len(self._nonce):
            raise AuthenticationError(
                f"{self.name}: the server's nonce does not go on from ours (RFC 5802 5.1)"
            )
        iterations = int(match[3])
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise AuthenticationError(
                f"{self.name}: the server wants {iterations} iterations; "
                f"{MIN_ITERATIONS} to {MAX_ITERATIONS} are allowed (RFC 7677 4)"
            )
        try:
            return nonce, b64decode(match[2], validate=True), iterations
        except ValueError:
            raise AuthenticationError(f"{self.name}: the salt is not Base64 (RFC 5802 7)") from None

    def _proof_and_signature(self, salt: bytes, iterations: int, signed: bytes) -> tuple[bytes, bytes]:
        """Ours and the server's, in Base64 (RFC 5802 3); passwords can be tried on both."""
        salted = hashlib.pbkdf2_hmac(self._hash, self._prepared.octets, salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", self._hash)
        stored_key = hashlib.new(self._hash, client_key).digest()
        signature = hmac.digest(stored_key, signed, self._hash)
        proof = bytes(ours ^ theirs for ours, theirs in zip(client_key, signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", self._hash)
        return Hidden(b64encode(proof)), Hidden(b64encode(hmac.digest(server_key, signed, self._hash)))

    def _verify(self, server_final: bytes, signature: bytes) -> None:
        match = _VERIFIER.fullmatch(server_final)
        if match is None or not hmac.compare_digest(match[1], signature):
            raise ServerSignatureError(
                f"{self.name}: the server's signature is wrong: it does not know the password (RFC 5802 5)"
            )
        self._verified = True

    def finish(self) -> None:
        """As for every mechanism; here it matters."""
        if not self._verified:
            raise ServerSignatureError(
                f"{self.name}: the server accepted without proving that it knows the password (RFC 5802 5)"
            )


class _WithToken(Mechanism):
    """A mechanism with an OAuth 2 token.

    Args:
        user: whose mailbox.
        token: the access token, `b64token` of RFC 6750 2.1.
    """

    _end = b""

    def __init__(self, user: str, token: str | bytes | Secret) -> None:
        self._token, token = Secret(token, "token"), b""
        self._token.valid()
        self.identity = Secret(user, "user").text
        if "\1" in self.identity or "\0" in self.identity:
            raise CommandArgumentError("user: it contains a control character")
        if not _B64TOKEN.fullmatch(self._token.octets):
            raise CommandArgumentError("token: it holds something else than an access token (RFC 6750 2.1)")

    @property
    def secrets(self) -> tuple[bytes, ...]:
        return (self._token.octets,)

    def _first(self) -> bytes:
        raise NotImplementedError

    def _answers(self) -> Exchange:
        self.complaint = yield self._first()
        yield self._end


class OAuthBearer(_WithToken):
    """OAUTHBEARER (RFC 7628); `host` and `port` are those of the server, or None."""

    name = "OAUTHBEARER"
    _end = b"\1"  # RFC 7628 3.2.3

    def __init__(
        self, user: str, token: str | bytes | Secret, *, host: str | None = None, port: int | None = None
    ) -> None:
        token = Secret(token, "token")
        super().__init__(user, token)
        self._server, self._port = host, port

    def _first(self) -> bytes:
        where = (f"host={self._server}\1" if self._server else "") + (
            f"port={self._port}\1" if self._port else ""
        )
        identity = f"a={self.identity.translate(_SASLNAME)}" if self.identity else ""  # RFC 5801 4
        header = f"n,{identity},\1{where}auth=Bearer ".encode()
        return header + self._token.octets + b"\1\1"


class XOAuth2(_WithToken):
    """XOAUTH2, which Google has described and others have taken over."""

    name = "XOAUTH2"

    def _first(self) -> bytes:
        return f"user={self.identity}\1auth=Bearer ".encode() + self._token.octets + b"\1\1"


class External(Mechanism):
    """EXTERNAL (RFC 4422 A): the client is who its TLS certificate says.

    Args:
        authorize_as: the identity to act as; "" for the certificate's own.
    """

    name = "EXTERNAL"

    def __init__(self, authorize_as: str = "") -> None:
        self.identity = Secret(authorize_as, "user").text
        if "\0" in self.identity:
            raise CommandArgumentError("user: a NUL has no place in EXTERNAL (RFC 4422 A.1)")

    def _answers(self) -> Exchange:
        yield self.identity.encode()


def _prepared(secret: Secret, what: str, *, stored: bool) -> str:
    if secret.text.isascii() and secret.text.isprintable():
        return secret.text  # which SASLprep leaves as it is
    from .saslprep import saslprep

    return saslprep(secret.text, what, stored=stored)
