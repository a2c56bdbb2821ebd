"""`connect`: a relay URL, which must say how the connection is secured -> a client that is ready to send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RelayURLError
from ..relay import Relay
from .client import DEFAULT_DIALECT, DEFAULT_TIMEOUT, LMTP, SMTP
from .credentials import kept
from .secrecy import veiled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..schemes import Dialect
    from ..tls.trust import Trust
    from .client import SourceAddress
    from .credentials import Password
    from .timeouts import Timeouts

__all__ = ["connect"]


def connect(
    url: str,
    *,
    local_hostname: str | None = None,
    timeout: float | Timeouts | None = DEFAULT_TIMEOUT,
    source_address: SourceAddress | None = None,
    trust: Trust | None = None,
    server_hostname: str | None = None,
    password: Password | None = None,
    allow_plaintext_login: bool = False,
    dialect: Dialect = DEFAULT_DIALECT,
    ignore_extensions: Iterable[str] = (),
) -> SMTP:
    """Connect to a relay URL, verify the server, and log in if there is a user and a password.

    Args:
        url: such as `tls://alice@mail.example.org:587`; a scheme is required, so that nobody's mail
            goes in plaintext by omission.
        others: as for `SMTP`; `timeout` in seconds.

    Returns:
        An `SMTP`, or an `LMTP` where the scheme says so, ready to send.

    Raises:
        RelayURLError: there is no scheme.
        others: as for `SMTP`.
    """
    url, keeper, password = veiled(url), kept(password), None
    relay = Relay.parse(url, trust=trust, dialect=dialect)
    if not relay.scheme:
        raise RelayURLError(f"scheme: it is missing; write tls://{relay} (STARTTLS) or smtps://{relay}")
    smtp = (LMTP if relay.meaning.lmtp else SMTP)(
        local_hostname=local_hostname,
        timeout=timeout,
        source_address=source_address,
        trust=trust,
        server_hostname=server_hostname,
        password=keeper,
        allow_plaintext_login=allow_plaintext_login,
        dialect=dialect,
        ignore_extensions=ignore_extensions,
    )
    smtp.connect(url)
    return smtp
