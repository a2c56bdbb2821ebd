"""The cipher suites that are offered below TLS 1.3: with forward secrecy, and without SHA-1.

Some distributions build Python with OpenSSL's own list, which includes key exchange by RSA, and CBC with
SHA-1. The list here is CPython's, so that every Python offers the same suites.
"""

from __future__ import annotations

import functools
import ssl

from .trust import StockContext

__all__ = ["restrict_ciphers"]

# In the order of preference (RFC 9325 4.2).
_SUITES = "ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM:!PSK:!SRP"
_SECURITY_LEVEL = 2  # of OpenSSL: keys of 112 bits of security


def restrict_ciphers(context: ssl.SSLContext) -> None:
    """Have a context offer no other suites than these; what the system's policy excludes stays excluded.

    Where it excludes all of them, TLS 1.3 is left, whose suites are not changed.
    """
    present = {cipher["name"] for cipher in context.get_ciphers()}
    suites = [name for name in _allowed() if name in present]
    if not suites:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return
    level = max(_SECURITY_LEVEL, context.security_level)
    context.set_ciphers(":".join([f"@SECLEVEL={level}", *suites]))


@functools.lru_cache(maxsize=1)
def _allowed() -> tuple[str, ...]:
    context = StockContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(_SUITES)
    return tuple(cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3")
