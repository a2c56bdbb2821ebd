"""Django's SMTP backend on a verified connection, and many messages ahead of their replies.

Everything that Django's backend is told, and tells, stays; what can't be used is `ImproperlyConfigured`,
silent or not. `fail_silently` hides errors from the caller, and failed verifications from nobody: they are
logged.
"""

from __future__ import annotations

import email.policy
from collections import deque
from contextlib import closing
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends import smtp as django_smtp
from django.core.mail.utils import DNS_NAME

import smtpverify

from ...errors import InsecureContextError, PinFormatError, RelayURLError, TrustError
from ...relay import Relay
from ...smtp.credentials import kept
from ...smtp.secrecy import veiled
from ...smtp.transaction import Outcome, SendResult
from ...stdlib import caller_frame
from ...tls.trust import Trust
from .reports import HIDDEN, report

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator, Iterable, Iterator
    from types import FrameType
    from typing import NoReturn

    DjangoMessage = Any
    Mail = tuple[str, list[str], bytes]

__all__ = ["EmailBackend"]

_UNUSABLE = (RelayURLError, TrustError, PinFormatError, InsecureContextError)


class EmailBackend(django_smtp.EmailBackend):
    """A mail backend for Django that verifies the server.

    Args:
        host, port, username, password, use_tls, fail_silently, use_ssl, timeout, ssl_keyfile, ssl_certfile:
            as for Django's SMTP backend.
        relay_url: in the place of host, port, `use_tls` and `use_ssl`; "" where a setting is to be ignored.
        ssl_cafile: PEM file, or hashed directory, of the CA certificates to trust instead of the default.
        ssl_pins: a pin, or several, of which the server must bear one besides.
        kwargs: as for Django's backend.

    Where nothing is given, the settings hold: Django's own, and `EMAIL_RELAY_URL`, `EMAIL_SSL_CAFILE`,
    `EMAIL_SSL_PINS`. For a backend of `MAILERS` its `OPTIONS` are the arguments, and no setting counts.

    Raises:
        ImproperlyConfigured: the relay URL can't be used, or contradicts the rest.
        ValueError: both `use_tls` and `use_ssl`, by settings; `InvalidMailer` by `MAILERS`.
    """

    connection: Any

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        use_tls: bool | None = None,
        fail_silently: bool = False,
        use_ssl: bool | None = None,
        timeout: float | None = None,
        ssl_keyfile: str | None = None,
        ssl_certfile: str | None = None,
        *,
        relay_url: str | None = None,
        ssl_cafile: str | None = None,
        ssl_pins: str | Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        alias = kwargs.get("alias")
        if alias is None:
            # Django 6.1 warns of backends that others than Django make, and would take us for such.
            if _is_django(caller_frame(1)):
                kwargs["alias"] = None
            relay_url = _setting("EMAIL_RELAY_URL") if relay_url is None else relay_url
            ssl_cafile = _setting("EMAIL_SSL_CAFILE") if ssl_cafile is None else ssl_cafile
            ssl_pins = _setting("EMAIL_SSL_PINS") if ssl_pins is None else ssl_pins
        relay_url = veiled(relay_url)
        super().__init__(
            host or relay_url or None,  # MAILERS wants one
            port,
            username,
            password,
            use_tls,
            fail_silently,
            use_ssl,
            timeout,
            ssl_keyfile,
            ssl_certfile,
            **kwargs,
        )
        password = None  # no traceback of ours shows it
        self.alias = alias
        self.relay: Relay | None = None
        self.ssl_cafile = ssl_cafile or None
        self.ssl_pins = ssl_pins or ()
        self._partial_connection: Any = None
        if relay_url:
            self._adopt(relay_url, host, port)
        elif "://" in str(self.host):  # the port of the settings would be taken for its own
            self._refuse("host is a relay URL; it wants to be given as relay_url (EMAIL_RELAY_URL)")
        elif self.ssl_pins and not (self.use_tls or self.use_ssl):
            self._refuse(
                "ssl_pins is given without use_tls, use_ssl or a relay URL: nothing would be compared"
            )

    def _adopt(self, url: str, host: str | None, port: int | None) -> None:
        """Take a relay URL, beside which nothing may say what it says."""
        by_setting = self.alias is None
        for what, given in (
            ("host", host is not None or (by_setting and settings.is_overridden("EMAIL_HOST"))),
            ("port", port is not None or (by_setting and settings.is_overridden("EMAIL_PORT"))),
            ("use_tls", self.use_tls),
            ("use_ssl", self.use_ssl),
        ):
            if given:
                self._refuse(
                    f"{what} is given beside relay_url, which says it already; leave one of them out"
                )
        try:
            relay = Relay.parse(url, trust=self.trust)
        except _UNUSABLE as error:
            self._refuse(f"relay_url: {error}", error)
        if not relay.scheme:
            self._refuse(f"relay_url: the scheme is missing; write tls://{relay} or smtps://{relay}")
        if relay.user is not None and self.username and self.username != relay.user:
            self._refuse("username is given beside relay_url, which names another user")
        if relay.password is not None and self.password:
            self._refuse("password is given beside relay_url, which has one already")
        self.relay, self._url = relay, url
        self.host, self.port = relay.path or relay.host, relay.port or relay.meaning.port

    def _refuse(self, problem: str, error: Exception | None = None) -> NoReturn:
        if self.alias is None:
            raise ImproperlyConfigured(f"Mail settings: {problem}") from error
        from django.core.mail import InvalidMailer  # Django 6.1

        raise InvalidMailer(f"OPTIONS: {problem}", alias=self.alias) from error

    # --- connection --------------------------------------------------------------------------------

    @property
    def connection_class(self) -> Any:
        """The class of the connection."""
        if self.relay is not None and self.relay.meaning.lmtp:
            return smtpverify.LMTP
        return smtpverify.SMTP_SSL if self.use_ssl else smtpverify.SMTP

    @cached_property
    def trust(self) -> Trust:
        """Whom the settings say to believe."""
        return Trust(
            self.ssl_cafile,
            pins=self.ssl_pins,
            client_cert=self.ssl_certfile or None,
            client_key=self.ssl_keyfile or None,
        )

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """The context for `use_tls` and `use_ssl`; a subclass's own must verify."""
        return smtpverify.create_context(self.trust)

    def open(self) -> bool | None:
        """Open a connection, unless there is one.

        Returns:
            Whether there was need for a new one; None where that failed silently.

        Raises:
            ImproperlyConfigured: a setting can't be used, be it silent or not.
            others: as `smtpverify.SMTP` and its `starttls` and `login`, unless silent.
        """
        if self.connection:
            return False
        self._leave_partial_connection()
        try:
            self._connect()
        except _UNUSABLE as error:
            self._refuse(str(error), error)
        except OSError as error:
            if not self.fail_silently:
                raise
            report(error, self.host, HIDDEN)
            return None
        self.connection, self._partial_connection = self._partial_connection, None
        return True

    def _connect(self) -> None:
        options: dict[str, Any] = {"local_hostname": DNS_NAME.get_fqdn()}
        if self.timeout is not None:
            options["timeout"] = self.timeout
        if self.trust != Trust():
            options["trust"] = self.trust
        if self.use_ssl:
            options["context"] = self.ssl_context
        host, port = self.host, self.port
        logs_in = bool(self.username and self.password)
        if self.relay is not None:
            host, port = self._url, 0
            if self.relay.user is not None:
                logs_in, options["password"] = False, kept(self.password or None)
        connection = self._partial_connection = self.connection_class(host, port, **options)
        if self.use_tls and not self.use_ssl:
            connection.starttls(context=self.ssl_context)
        if logs_in:
            connection.login(self.username, self.password)

    def close(self) -> None:
        """Take leave of the server."""
        self._leave_partial_connection()
        connection, self.connection = self.connection, None
        if connection is not None:
            self._close_connection(connection)

    def _leave_partial_connection(self) -> None:
        connection, self._partial_connection = self._partial_connection, None
        if connection is not None:
            self._close_connection(connection)

    def _close_connection(self, connection: Any) -> None:
        try:
            connection.quit()
        except OSError as error:
            # What was accepted stays so, however the server takes it that we leave.
            report(error, self.host, "on leaving")
            connection.close()

    # --- messages ----------------------------------------------------------------------------------

    def send_messages(self, email_messages: Iterable[DjangoMessage]) -> int:
        """Send messages over one connection, each ahead of the replies to the one before.

        An error ends the taking of messages. It is raised when those that are under way have their
        replies; `on_result` hears of every one of them.

        Returns:
            How many messages the server has accepted, for one recipient at least.

        Raises:
            others: for the first message that could not be sent, unless silent.
        """
        if not email_messages:
            return 0
        with self._lock:
            is_new = self.open()
            if not self.connection or is_new is None:
                return 0
            try:
                if getattr(self._send, "__func__", None) is not django_smtp.EmailBackend._send:
                    # A subclass's own, which wants them one by one.
                    return sum(bool(self._send(message)) for message in email_messages)
                return self._send_ahead(email_messages)
            finally:
                if is_new:
                    self.close()

    def on_result(self, email_message: DjangoMessage, result: SendResult) -> None:
        """Hear what became of a message; for subclasses. Messages without recipients have no result.

        Args:
            email_message: the message, as it was given.
            result: its `SendResult`.
        """

    def _send_ahead(self, email_messages: Iterable[DjangoMessage]) -> int:
        under_way: deque[DjangoMessage] = deque()
        failure: Exception | None = None
        unusable: Exception | None = None

        def mails() -> Iterator[Mail]:
            nonlocal unusable
            try:
                for message in email_messages:
                    if message.recipients():
                        mail = self._mail(message)
                        under_way.append(message)
                        yield mail
                        if failure is not None:
                            return
            except Exception as error:  # noqa: BLE001 - raised below, when those before it are through
                unusable = error

        sent = 0
        source = mails()
        first = next(source, None)
        if first is not None:
            with closing(self._results(chain([first], source))) as results:
                for result in results:
                    sent += result.accepted
                    if result.error is not None and failure is None:
                        if self.fail_silently:
                            report(result.error, self.host, HIDDEN)
                        else:
                            failure = result.error
                    self.on_result(under_way.popleft(), result)
        error = failure or unusable
        if error is not None:
            raise error
        return sent

    def _results(self, mails: Iterator[Mail]) -> Generator[SendResult, None, None]:
        """What became of each; of a connection that was dead already, or refuses EHLO, the first tells."""
        try:
            yield from self.connection.send_messages(mails)
        except OSError as error:
            yield SendResult(Outcome.NOT_SENT, error=error)

    def _mail(self, message: DjangoMessage) -> Mail:
        """Sender, recipients and octets, as this Django's own backend makes them."""
        if hasattr(self, "prep_address"):  # from Django 6.0 on
            return (
                self.prep_address(message.from_email),
                [self.prep_address(address) for address in message.recipients()],
                message.message(policy=email.policy.SMTP).as_bytes(),
            )
        from django.core.mail.message import sanitize_address

        encoding = message.encoding or settings.DEFAULT_CHARSET
        return (
            sanitize_address(message.from_email, encoding),
            [sanitize_address(address, encoding) for address in message.recipients()],
            message.message().as_bytes(linesep="\r\n"),
        )


def _setting(name: str) -> Any:
    return getattr(settings, name, None)


def _is_django(frame: FrameType | None) -> bool:
    return frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "django"
