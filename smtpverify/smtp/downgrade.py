"""What an opportunistic relay remembers: who has offered TLS, so that an offer that is taken out is missed.

Without it, the first word of every connection is anybody's who is on the way (RFC 3207 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import TrustError, printable
from ..tls.causes import Cause
from ..tls.known_hosts import read_known_hosts
from ..tls.names import reference_identifier

if TYPE_CHECKING:
    from ..tls.trust import Trust

__all__ = ["downgrade", "keep_in_mind"]


def keep_in_mind(trust: Trust, server_name: str | bytes, port: int) -> str | None:
    """Write down that a server, which was verified, is to be had in TLS.

    Args:
        trust: whose known hosts are written to, if it has any.
        server_name: whom the server has proved to be.
        port: that was asked for.

    Returns:
        Why it could not be written, or None. The mail is safe without it.

    Raises:
        TrustError: the known hosts can't be read.
    """
    if trust.known_hosts is None:
        return None
    host = reference_identifier(server_name).text
    if (host, port) in read_known_hosts(trust.known_hosts).tls:
        return None
    from ..memory import remember_tls

    try:
        remember_tls(trust.known_hosts, host, port)
    except TrustError as error:
        return f"{error}; a later downgrade to plaintext will go unnoticed"
    return None


def downgrade(trust: Trust, server_name: str | bytes, port: int) -> tuple[Cause, str, str] | None:
    """Cause, summary and remedy where a server was to be had in TLS before, and now is not; else None.

    Raises:
        TrustError: the known hosts can't be read.
    """
    if trust.known_hosts is None:
        return None
    host = reference_identifier(server_name).text
    known = read_known_hosts(trust.known_hosts)
    since = known.tls.get((host, port))
    if since is None and host not in known.keys:
        return None
    what = f"has offered TLS since {since}" if since else "is known by its key"
    return (
        Cause.TLS_DOWNGRADE,
        f"the server {what}, and TLS was not to be had now; nothing was sent in plaintext",
        (
            "Somebody may be between you and the server. If it has given up TLS for good, "
            f"'smtpverify trust --forget {host}' strikes it from {printable(trust.known_hosts)}."
        ),
    )
