"""A SCRAM server (RFC 5802), written apart from the client: honest, or lying in one way."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bed.behaviour import Ask

SUCCESS = "235 2.7.0 Authentication successful"
FAILURE = "535 5.7.8 Authentication credentials invalid"
HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


def due(hash_name: str, password: bytes, salt: bytes, count: int, signed: bytes) -> tuple[bytes, bytes]:
    """Return the client's proof and the server's signature (RFC 5802 3), as the formulas have them."""

    def mac(key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, hash_name).digest()

    block = previous = mac(password, salt + b"\0\0\0\1")
    number = int.from_bytes(block, "big")
    for _ in range(count - 1):
        previous = mac(password, previous)
        number ^= int.from_bytes(previous, "big")
    salted = number.to_bytes(len(block), "big")
    client = mac(salted, b"Client Key")
    mask = int.from_bytes(mac(hashlib.new(hash_name, client).digest(), signed), "big")
    proof = (int.from_bytes(client, "big") ^ mask).to_bytes(len(client), "big")
    return proof, mac(mac(salted, b"Server Key"), signed)


@dataclass
class ScramServer:
    """An authenticator for the bed.

    Attributes:
        password: of whoever logs in, in UTF-8.
        binding: what a client that binds must bind to.
        lie: "" for none; "signature": a wrong one; "silent": none; "early": success before any; "replay": a
            nonce of its own alone; "iterations": a count of 1.
        headers: the GS2 headers that clients have sent.
        users: who has tried.
    """

    password: bytes = b"secret"
    binding: bytes = b""
    lie: str = ""
    count: int = 4096
    headers: list[bytes] = field(default_factory=list)
    users: list[bytes] = field(default_factory=list)

    def __call__(self, mechanism: str, initial: bytes | None, ask: Ask) -> str:
        """Converse with one client."""
        first = ask(b"") if initial is None else initial
        match = re.fullmatch(rb"((?:n|y|p=tls-server-end-point),,)(n=([^,]*),r=([!-+\--~]+))", first)
        if match is None:
            return "501 5.5.2 no client-first-message"
        header, first_bare, user, nonce = match.groups()
        self.headers.append(header)
        self.users.append(user)
        if self.lie == "early":
            return SUCCESS
        salt = b"salt of %s" % user
        nonce = b"server" if self.lie == "replay" else nonce + b"server"
        count = 1 if self.lie == "iterations" else self.count
        server_first = b"r=%s,s=%s,i=%d" % (nonce, b64encode(salt), count)
        final = ask(server_first)
        without_proof, _, proof = final.rpartition(b",p=")
        signed = b",".join((first_bare, server_first, without_proof))
        hash_name = HASHES[mechanism.removesuffix("-PLUS")]
        proof_due, signature = due(hash_name, self.password, salt, count, signed)
        bound = header + (self.binding if header.startswith(b"p=") else b"")
        honest = without_proof == b"c=%s,r=%s" % (b64encode(bound), nonce)
        if self.lie not in ("signature", "silent") and (not honest or b64decode(proof) != proof_due):
            return FAILURE
        if self.lie == "silent":
            return SUCCESS
        ask(b"v=" + b64encode(bytes(len(signature)) if self.lie == "signature" else signature))
        return SUCCESS
