"""What is said to a server and heard from it, command by command, as smtplib's methods do.

A reply that nobody asked for is an error before the next command; an argument that would end its command
never leaves; credentials and, without a warning, mail never go in plaintext to another machine.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import (
    GreetingError,
    MalformedReplyError,
    PlaintextCredentialsError,
    PlaintextWarning,
    ProtocolError,
    SMTPVerifyError,
    UnsolicitedReplyError,
    printable,
)
from ..schemes import Mode
from ..stdlib import host_of, print_debug, smtplib
from ..tls.causes import Cause
from .channel import PeerClosed, TimedOut
from .endpoints import as_text, leads_here
from .secrecy import Hidden, begun_line, hidden_command, hidden_words, holds_auth, scrubbed, shown
from .session import Session
from .timeouts import Timeouts
from .wire import check_argument, forward_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .replies import Reply

__all__ = ["Conversation"]

_RFC_5321 = Timeouts()


class Conversation(Session):
    """A session that talks, in time and in turn."""

    debuglevel: int

    _ignored: frozenset[str] = frozenset()  # extensions that count as not offered
    _dialled: object = None  # the socket that we have connected ourselves
    _dialled_host = ""  # to which host
    _awaited: str | float = "command"  # of Timeouts, or in seconds: how long getreply() waits
    _unanswered = 0  # commands of send()
    _sending = False  # the replies belong to send_messages()
    _in_data = False  # what send() gets is no command
    _line = b""  # the beginning of one that send() got without its end
    _accepted: tuple[str, ...] = ()  # by rcpt(), since mail()
    _authenticating = False  # AUTH was sent, and what goes behind it is secret until its last reply
    _secrets: tuple[bytes, ...] = ()  # what the server is not to repeat
    _late_replies: Sequence[Reply] = ()  # that had come when the last connection broke, and were not read

    def send(self, s: Any) -> None:
        """As `smtplib.SMTP.send`.

        Raises:
            PlaintextCredentialsError: the command is AUTH, over plaintext, to another machine; nothing was
                sent.
            UnsolicitedReplyError: the server has sent a reply that nobody asked for. This and all of the
                following close the connection.
            smtplib.SMTPServerDisconnected: there is no connection; names the failure that closed it.
            RuntimeError: a `send_messages` has not ended, and the replies are its own; nothing was sent.
        """
        self._want_turn()
        self._want_connection()
        is_command = isinstance(s, (str, Hidden))
        if isinstance(s, str):
            s = s.encode(self.command_encoding)
        by_hand = not isinstance(s, Hidden)  # auth() knows what is secret
        # A line may come in pieces: what has a beginning already is judged with it.
        line = Hidden(self._line + s)
        if self._authenticating:
            s = Hidden(s)
        elif not self._in_data and holds_auth(line):
            s = Hidden(s) if self._line else hidden_command(s)
            self._refuse_plaintext_credentials()
            self._authenticating = True
        known = self._authenticating or self._in_data
        self._line = b"" if known else begun_line(line)
        if by_hand and not self._in_data:
            self._secrets += hidden_words(s)
        self._unanswered += 1
        if self.debuglevel > 0:
            self._print_sent(*((s, b"") if is_command else (b"", s)))
        self._transmit(s, alone=self._unanswered == 1)

    def getreply(self) -> tuple[int, bytes]:
        """As `smtplib.SMTP.getreply`, within the time for the whole reply.

        Raises:
            MalformedReplyError: what came is no reply. This and all of the following close the connection.
            smtplib.SMTPServerDisconnected: as `send`; also where the reply did not come, or not whole.
            TLSHandshakeError: in the place of a reply, the server refused the client's certificate.
            RuntimeError: as `send`.
        """
        self._want_turn()
        self._want_connection()
        code, text = self._read_reply(self._awaited)
        self._unanswered = max(0, self._unanswered - 1)
        return code, text  # which prints and pickles as smtplib's

    def putcmd(self, cmd: str, args: str = "") -> None:
        """As `smtplib.SMTP.putcmd`.

        Raises:
            CommandArgumentError: a control character; nothing was sent.
            others: as `send`.
        """
        command = f"{cmd} {args}" if args else cmd
        check_argument(command, secret=self._authenticating or command.lstrip()[:4].upper() == "AUTH")
        self.send(f"{command}\r\n")

    # What the package uses itself, and no subclass overrides by accident.

    def _transmit(self, octets: bytes, *, alone: bool) -> None:
        """Write, and say so to whoever listens.

        Args:
            octets: what to send; nobody is told what of it is `Hidden`.
            alone: no reply is outstanding, so that none may be there.
        """
        if alone:
            self._expect_silence()
        sys.audit("smtplib.send", self, shown(octets))
        channel = self._channel()
        try:
            channel.write(octets, self._limit("data_block"), alone=alone)
        except OSError as error:
            self._fail("Server not connected", error)

    def _read_reply(self, step: str | float) -> Reply:
        """Read one reply, in the time for a step of `Timeouts`, or in so many seconds."""
        channel = self._channel()
        try:
            reply = channel.received_reply() or channel.read(self._limit(step))
        except OSError as error:
            self._fail("Connection unexpectedly closed", error)
        if reply.code != 334:  # a challenge must stay whole
            self._authenticating = False
            if self._secrets:
                reply = reply._replace(text=scrubbed(reply.text, self._secrets))
        if self.debuglevel > 0:
            self._print_reply(reply, step)
        return reply

    # Debugging output has smtplib's lines, without secrets.

    def _print_sent(self, commands: bytes, data: bytes = b"") -> None:
        """Print what is sent: commands line by line, as text, and data as octets."""
        lines = shown(commands).decode("utf-8", "backslashreplace").split("\r\n")
        for line in lines[:-1]:
            print_debug(self, "send:", repr(f"{line}\r\n"))
        if lines[-1]:
            print_debug(self, "send:", repr(lines[-1]))
        if data:
            print_debug(self, "send:", repr(shown(data)))

    def _print_reply(self, reply: Reply, step: str | float) -> None:
        text = scrubbed(reply.text, self._secrets)
        lines = text.split(b"\n")
        for number, line in enumerate(lines, 1):
            mark = b" " if number == len(lines) else b"-"
            print_debug(self, "reply:", repr(b"%d%b%b\r\n" % (reply.code, mark, line)))
        print_debug(self, f"reply: retcode ({reply.code}); Msg: {text!a}")
        if step in ("data_start", "data_end"):
            print_debug(self, "data:", (reply.code, text))

    def _in_time(
        self, step: str | float, ask: Callable[..., tuple[int, bytes]], *args: Any
    ) -> tuple[int, bytes]:
        """Call something that calls `getreply`, which then waits so long."""
        self._awaited = step
        try:
            return ask(*args)
        finally:
            self._awaited = "command"

    def _want_turn(self) -> None:
        if self._sending:
            raise RuntimeError("send_messages() has not ended; use up its results, or close() them, first")

    def _has_reply(self) -> bool:
        """Whether something of a reply is there to be read."""
        try:
            return bool(self._channel().unread())
        except OSError as error:
            self._fail("Connection unexpectedly closed", error)

    def _expect_no_more(self) -> None:
        """Refuse a reply behind the last that was due: nobody knows which of them were the answers.

        A server that closes may say so, and may close.
        """
        unread = self._channel().buffered()
        if unread and not unread.startswith(b"421"):
            self._fail_for(unread)

    def _expect_silence(self) -> None:
        """Refuse a reply that is there before it was asked for, and a connection that has ended."""
        channel = self._channel()
        try:
            unread = channel.unread()
        except OSError as error:
            self._fail("Server not connected", error)
        if unread:
            self._fail_for(unread)
        if channel.ended:
            self._fail("Connection unexpectedly closed", PeerClosed())
        if not self._authenticating:
            self._secrets = ()  # the login's replies are all in

    def _fail_for(self, unread: bytes) -> NoReturn:
        said = "the server spoke unasked"
        if not self._secrets:
            said += f": '{printable(unread.rstrip(), 100)}'"
        unsolicited = self._error(UnsolicitedReplyError, None, said)
        self._close_for(unsolicited)
        raise unsolicited

    @property
    def _written(self) -> int:
        """Octets that the system has taken over on this connection, or the last one."""
        return self._open_channel.written if self._open_channel else 0

    @property
    def _heard(self) -> bytes:
        """What has come on this connection, or the last one, and made no reply."""
        return self._open_channel.buffered() if self._open_channel else b""

    def _limit(self, step: str | float) -> float:
        if not isinstance(step, str):
            return step
        if self._timeouts is not None:
            return getattr(self._timeouts, step)  # type: ignore[no-any-return]
        return self._channel().limit(getattr(_RFC_5321, step))

    def _fail(self, what: str, error: OSError) -> NoReturn:
        """Close for an error of the socket or of the replies, and raise it as smtplib does."""
        if isinstance(error, SMTPVerifyError):
            if isinstance(error, ProtocolError):
                error.host = self._shown_host()
            if self._secrets and isinstance(error, MalformedReplyError):
                # It may repeat them, in part and in any form.
                said = "the server broke RFC 5321 4.2; how is not shown, since it was during a login"
                MalformedReplyError.__init__(error, said, host=error.host, smtp_code=error.smtp_code)
                error = error.with_traceback(None)
            self._close_with_port(error)
            raise error
        text = str(error) if isinstance(error, TimedOut) else f"{what}: {error}" if str(error) else what
        self._late_replies = self._open_channel.late_replies() if self._open_channel else []
        if self._late_replies:
            last = self._late_replies[-1]
            words = printable(scrubbed(last.text, self._secrets))
            text += f"; the server's last words: {last.code} {words}"
        disconnected = smtplib.SMTPServerDisconnected(text)
        self._close_for(disconnected)
        raise disconnected from error

    def _explain_greeting(self, error: smtplib.SMTPServerDisconnected, *, plaintext: bool) -> None:
        """Raise what tells more than that there was no greeting."""
        if isinstance(error, MalformedReplyError):
            # The beginning of a TLS record (RFC 8446 5.1).
            if plaintext and self._heard.startswith((b"\x15\x03", b"\x16\x03")):
                raise self._failed(
                    ProtocolError,
                    Cause.TLS_NOT_PLAINTEXT,
                    "the server speaks TLS where a greeting in plaintext was expected",
                    "Write smtps:// or use SMTP_SSL for TLS from the first byte.",
                ) from error
            failure = self._failed(
                GreetingError,
                Cause.NO_GREETING,
                f"no SMTP greeting came: {error.message}",
                "Is this a mail server's port? Most use 587 and 25 for STARTTLS, and 465 for TLS from the "
                "first byte.",
                smtp_code=error.smtp_code,
                smtp_error=error.smtp_error,
            )
            raise failure from error
        cause = error.__cause__
        if isinstance(cause, OSError):
            why = str(cause.strerror or cause)
            if isinstance(cause, PeerClosed):
                why = f"the server closed the connection {cause}".rstrip()
            remedy = "If it speaks TLS from the first byte, as on port 465, write smtps:// or use SMTP_SSL."
            raise self._failed(
                ProtocolError, Cause.NO_GREETING, f"no SMTP greeting came: {why}", remedy if plaintext else ""
            ) from cause

    def ehlo(self, name: str = "") -> tuple[int, bytes]:
        """As `smtplib.SMTP.ehlo`; extensions that are to be ignored count as not offered."""
        reply = super().ehlo(name)
        for extension in self._ignored | (self._relay.ignored_extensions if self._relay else frozenset()):
            self.esmtp_features.pop(extension, None)
        return reply

    def close(self) -> None:
        """As `smtplib.SMTP.close`; what was learned from the server is forgotten."""
        super().close()
        self._unanswered = 0
        self._authenticating, self._secrets, self._line = False, (), b""

    def _forget_connection(self) -> None:
        # What `send_messages` has sent on this connection would be judged by the replies of the next, and
        # what it has not would go there, in plaintext perhaps.
        self._want_turn()
        super()._forget_connection()
        self._late_replies = ()

    def mail(self, sender: str, options: Iterable[str] = ()) -> tuple[int, bytes]:
        """As `smtplib.SMTP.mail`; warns (`PlaintextWarning`) where mail is about to go in plaintext.

        Raises:
            CommandArgumentError: the address would not stay one; nothing was sent.
            smtplib.SMTPNotSupportedError: the options hold SMTPUTF8, which the server does not offer.
        """
        self._want_connection()
        self._warn_of_plaintext()
        options = [*options] if self.does_esmtp else []
        utf8 = self._goes_as_utf8(options)
        path = forward_path(sender, utf8=utf8)
        if utf8:
            self.command_encoding = "utf-8"
        self._accepted = ()
        self.putcmd("mail", " ".join([f"from:{path}", *options]))
        return self.getreply()

    def rcpt(self, recip: str, options: Iterable[str] = ()) -> tuple[int, bytes]:
        """As `smtplib.SMTP.rcpt`.

        Raises:
            CommandArgumentError: the address would not stay one; nothing was sent.
        """
        path = forward_path(recip, utf8=self.command_encoding == "utf-8")
        self.putcmd("rcpt", " ".join([f"to:{path}", *(options if self.does_esmtp else ())]))
        reply = self.getreply()
        if reply[0] in (250, 251):
            self._accepted += (recip,)
        return reply

    def verify(self, address: str) -> tuple[int, bytes]:
        """As `smtplib.SMTP.verify`, also by the name `vrfy`; raises as `putcmd`."""
        check_argument(address)  # smtplib would drop some of it unsaid
        return super().verify(address)

    vrfy = verify

    def expn(self, address: str) -> tuple[int, bytes]:
        """As `smtplib.SMTP.expn`; raises as `putcmd`."""
        check_argument(address)
        return super().expn(address)

    def _goes_as_utf8(self, mail_options: Iterable[str]) -> bool:
        """Whether a transaction's addresses go as they are (RFC 6531 3.4)."""
        if not any(option.lower() == "smtputf8" for option in mail_options):
            return False
        if not self.has_extn("smtputf8"):
            raise smtplib.SMTPNotSupportedError("SMTPUTF8 not supported by server")
        return True

    def _warn_of_plaintext(self) -> None:
        """Warn once a connection where mail goes in plaintext and nobody wrote a scheme that says so."""
        unsaid = self._relay is None or self._relay.mode is Mode.CALLER
        if self._peer is None and unsaid and not self._warned and not self._is_local():
            self._warn(
                PlaintextWarning,
                f"{printable(str(host_of(self)))}: the mail goes in plaintext. Write tls:// (STARTTLS) or "
                "smtps:// before the host, or smtp+notls:// if that is meant.",
            )
            self._warned = True  # only then: where the warning is an error, the next try gets it too

    def _is_local(self) -> bool:
        """Whether the server is on this machine: mail and credentials stay here, even in plaintext."""
        name = as_text(host_of(self))
        dialled = self.sock is self._dialled and self._dialled_host == name
        return leads_here(self.sock, name, dialled=dialled)

    def _refuse_plaintext_credentials(self) -> None:
        self._want_connection()
        if self._peer is None and not self._allow_plaintext_login and not self._is_local():
            raise self._error(
                PlaintextCredentialsError,
                None,
                "credentials do not go over plaintext; write tls:// or smtps:// before the host "
                "(or in Python, call starttls() first, or give allow_plaintext_login=True)",
            )
