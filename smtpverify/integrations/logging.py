"""`SMTPHandler`: as that of `logging.handlers`, to a server that is verified.

What is owned here besides: that a record is not mailed which came of mailing one.
"""

from __future__ import annotations

import dataclasses
import logging
import logging.handlers
import os
import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import PlaintextWarning, RelayURLError
from ..relay import Relay
from ..smtp.client import DEFAULT_DIALECT, LMTP, SMTP
from ..smtp.credentials import kept
from ..smtp.endpoints import is_loopback, port_number
from ..smtp.timeouts import Timeouts
from ..stdlib import smtplib
from ..tls.trust import Trust, trust_given, with_client_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..schemes import Dialect
    from ..smtp.credentials import Password

__all__ = ["SMTPHandler"]


class SMTPHandler(logging.handlers.SMTPHandler):
    """As `logging.handlers.SMTPHandler`: mails each record, to a server that is verified.

    A failure goes to `handleError()`, as the standard library's does. Each thread sends by itself, and
    waits for no other's mail. Records that come of sending (a warning, a library's debugging output) are
    not mailed.

    Args:
        mailhost: a host, a pair of host and port, or a relay URL in the place of the host.
        fromaddr, toaddrs, subject: as in the standard library.
        credentials: user and password; they go over TLS alone, unless the server is on this machine.
        secure: `()` for STARTTLS, with credentials or without; `(keyfile, certfile)` if the client has a
            certificate. A URL's scheme says it too: `tls://`, or `smtps://` for TLS from the first byte.
        timeout: seconds, for each step of `Timeouts`, or a `Timeouts`; None for its defaults, which are long.
        trust, server_hostname, password, allow_plaintext_login, dialect: as for `smtpverify.SMTP`.

    Raises:
        RelayURLError: the host can't be used, or does not go together with the rest.
        TrustError: the client's certificate can't be used.
        ValueError: `timeout` is not positive.
    """

    def __init__(
        self,
        mailhost: str | tuple[str, int],
        fromaddr: str,
        toaddrs: str | list[str],
        subject: str,
        credentials: tuple[str, str] | None = None,
        secure: Sequence[str] | None = None,
        timeout: float | Timeouts | None = 5.0,
        *,
        trust: Trust | None = None,
        server_hostname: str | None = None,
        password: Password | None = None,
        allow_plaintext_login: bool = False,
        dialect: Dialect = DEFAULT_DIALECT,
    ) -> None:
        if not (timeout is None or isinstance(timeout, Timeouts) or timeout > 0):
            raise ValueError(f"timeout: {timeout!r} is not a positive number of seconds")
        files: Any = secure
        seconds: Any = timeout
        super().__init__(mailhost, fromaddr, toaddrs, subject, credentials, files, seconds)
        self._trust = trust
        self._server_hostname = server_hostname
        self._password = kept(password)
        self._allow_plaintext_login = allow_plaintext_login
        self._dialect: Dialect = dialect
        # Now, and not when the first error is to be told of.
        relay, _ = self._server()
        if self._is_unsaid_plaintext(relay):
            warnings.warn(
                f"{relay.host}: log records will be mailed in plaintext. Give secure=(), or write tls:// "
                "(STARTTLS) or smtps:// before the host, or smtp+notls:// if that is meant.",
                PlaintextWarning,
                stacklevel=2,
            )

    def handle(self, record: logging.LogRecord) -> Any:
        """As `logging.Handler.handle`, without its lock: a slow server holds up one thread, and not all.

        Returns:
            As the standard library's.
        """
        passed: Any = self.filter(record)
        if isinstance(passed, logging.LogRecord):
            record = passed
        if passed:
            self.emit(record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Mail a record, unless it came of mailing another; what fails goes to `handleError()`."""
        if _sendings.gave_rise_to(record):
            return
        with _sendings.one():
            try:
                self._mail(record)
            except Exception:  # noqa: BLE001  as every handler: a program does not fail for its log
                self.handleError(record)

    def _mail(self, record: logging.LogRecord) -> None:
        from email.message import EmailMessage
        from email.utils import localtime

        message = EmailMessage()
        message["From"] = self.fromaddr
        message["To"] = ",".join(self.toaddrs)
        message["Subject"] = self.getSubject(record)
        message["Date"] = localtime()
        message.set_content(self.format(record))
        smtp = self._client()
        try:
            if self.username:
                smtp.login(self.username, self.password)
            refused = smtp.send_message(message)
            smtp.quit()
        finally:
            smtp.close()
        if refused:
            raise smtplib.SMTPRecipientsRefused(refused)

    def _client(self) -> SMTP:
        relay, trust = self._server()
        url: Any = self.mailhost
        if not relay.scheme and relay.path is None:
            scheme = "smtp+notls" if self.secure is None else relay.strict_scheme  # the first was warned of
            url = dataclasses.replace(relay, scheme=scheme, trust=Trust()).to_url()
        timeout: Any = self.timeout
        return (LMTP if relay.meaning.lmtp else SMTP)(
            url,
            self.mailport or 0,
            timeout=timeout,
            trust=trust,
            server_hostname=self._server_hostname,
            password=self._password,
            allow_plaintext_login=self._allow_plaintext_login,
            dialect=self._dialect,
        )

    def _server(self) -> tuple[Relay, Trust]:
        """What the attributes say, which somebody may have set anew."""
        files: Sequence[str | None] = (*(self.secure or ()), None, None)
        trust = with_client_certificate(trust_given(self._trust), *files[:2])
        relay = Relay.parse(self.mailhost, trust=trust, dialect=self._dialect)
        port = port_number(self.mailport)
        if not relay.scheme:
            if trust.pins and self.secure is None:
                raise RelayURLError("trust: without secure=() there is no TLS; its pins would be of no use")
            return dataclasses.replace(relay, port=relay.port or port), trust
        if self.secure is not None and not relay.mode.requires_tls:
            raise RelayURLError(f"scheme: secure asks for TLS, and {relay.scheme}:// may go without")
        if self.username and relay.user is not None:
            raise RelayURLError("user: the URL and credentials both give one")
        return relay, trust

    def _is_unsaid_plaintext(self, relay: Relay) -> bool:
        unsaid = not relay.scheme and relay.path is None and self.secure is None
        return unsaid and not is_loopback(relay.host)


class _Sendings:
    """Which threads are sending, and when they did: a queue may bring us a record of that time much later.

    Each thread writes an entry of its own and nobody waits: a lock would be one more to hang in, in a signal
    handler or behind a fork.
    """

    MOST = 1000  # of threads, and of times of each

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a forked child: its threads bear the numbers of others, who may have been sending."""
        self._since: dict[int, float] = {}
        self._past: dict[int, tuple[tuple[float, float], ...]] = {}

    def gave_rise_to(self, record: logging.LogRecord) -> bool:
        """Whether the record was made while its thread was sending."""
        here = threading.get_ident()
        if here in self._since:
            return True
        if record.process not in (None, os.getpid()) or record.thread is None:
            return False
        # The record that is being sent is older than its sending, and may reach another handler behind it.
        begun = self._since.get(record.thread)
        if begun is not None and begun < record.created:
            return True
        return any(start < record.created < end for start, end in self._past.get(record.thread, ()))

    @contextmanager
    def one(self) -> Iterator[None]:
        """The time of the block."""
        here = threading.get_ident()
        start = self._since[here] = time.time()
        try:
            yield
        finally:
            self._past[here] = (*self._past.get(here, ())[1 - self.MOST :], (start, time.time()))
            self._since.pop(here, None)
            if len(self._past) > self.MOST:
                self._past.pop(next(iter(self._past)), None)


_sendings = _Sendings()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_sendings.forget)
