"""What may go over the connection of an object of smtplib's own, once `inject` has taken hold of its class.

The conversation stays smtplib's. Owned here is the rule for it: TLS is judged before anything is said in it,
by whomever it was set up; in plaintext go no credentials, and nothing at all where TLS was asked for. A
connection that failed stays closed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import (
    InsecureContextWarning,
    PlaintextCredentialsError,
    PlaintextInjectionError,
    PlaintextWarning,
    ReferenceIdentifierError,
    SMTPVerifyError,
    STARTTLSRefusedError,
    TLSRequiredError,
    printable,
)
from ..stdlib import StockSMTP_SSL, is_socket, smtplib, socket_behind
from ..tls.causes import Cause
from ..tls.context import create_context
from ..tls.evidence import Diagnosis
from ..tls.foreign import identify, is_tls, secure, still_has_tls, verifies_chain
from ..tls.waiting import set_timeout
from .endpoints import as_text, leads_here
from .secrecy import begun_line, holds_auth
from .session import (
    EXCHANGED,
    NOT_OFFERED,
    injected,
    one_of,
    refused,
    warn_caller,
)
from .stock import forget_ehlo, name_of, split, state_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from ..tls.trust import Trust
    from .policy import Policy
    from .stock import State

__all__ = [
    "admit",
    "context_for",
    "say_starttls",
    "secure_from_first_byte",
    "start_tls",
    "verb_of",
    "verb_sent",
]

_WORD = re.compile(rb"(?:\A|[\r\n])\s*(\S+)")  # the first of a line
# Commands that give nothing away; whatever else is said, a response to AUTH or a message too, may.
_HARMLESS = frozenset({"EHLO", "HELO", "LHLO", "STARTTLS", "NOOP", "RSET", "QUIT", "HELP"})


# --- TLS -----------------------------------------------------------------------------------------


def context_for(
    smtp: Any, policy: Policy, host: str | bytes, client: tuple[Any, Any], context: Any
) -> ssl.SSLContext:
    """The context for a new `SMTP_SSL`: the given one where it may be used, else one of ours."""
    state = state_of(smtp)
    one_of(context, *client)
    name = split(host or "", 0)[0]
    chosen = _chosen(context, policy.trust_for(name, client), name)
    if chosen is None:  # not for this host alone: the program may take it for others from `smtp.context`
        chosen = state.own_context = create_context(policy.trust_given(name, client))
        state.client = client
    return chosen


def secure_from_first_byte(smtp: Any, policy: Policy, sock: Any) -> ssl.SSLSocket:
    """Set TLS up on a socket of `SMTP_SSL`'s and verify the server (RFC 8314 3.3)."""
    state = state_of(smtp)
    context = getattr(smtp, "context", None)
    ours = context is state.own_context
    return _secure(smtp, policy, sock, None if ours else context, state.client if ours else (None, None))


def start_tls(smtp: Any, policy: Policy, keyfile: Any, certfile: Any, context: Any) -> tuple[int, bytes]:
    """As `smtplib.SMTP.starttls`, with a verified server; closes the connection where there is none."""
    try:
        one_of(context, keyfile, certfile)
        smtp.ehlo_or_helo_if_needed()
        state = state_of(smtp)
        if state.peer is None:
            return _start_tls(smtp, policy, (keyfile, certfile), context)
    except BaseException as error:  # whatever it is must not leave plaintext where TLS was asked for
        _close_for(smtp, error)
        raise
    raise smtplib.SMTPNotSupportedError("the connection is in TLS already (RFC 3207 4.2)")


def _start_tls(smtp: Any, policy: Policy, client: tuple[Any, Any], context: Any) -> tuple[int, bytes]:
    if not smtp.has_extn("starttls"):
        raise _error(smtp, TLSRequiredError, *NOT_OFFERED)
    code, reply = smtp.docmd("STARTTLS")
    if code != 220:
        raise _error(smtp, STARTTLSRefusedError, *refused(code, reply), smtp_code=code, smtp_error=reply)
    smtp.sock = _secure(smtp, policy, smtp.sock, context, client)
    smtp.file = None
    forget_ehlo(smtp)  # RFC 3207 4.2
    return code, reply


def say_starttls(smtp: Any, say: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
    """Have STARTTLS said, by whomever, and see that no plaintext comes around the reply."""
    try:
        _nothing_waits(smtp, "ahead of")
        code, reply = say()
        if code == 220:
            _nothing_waits(smtp, "behind")
    except BaseException as error:
        _close_for(smtp, error)
        raise
    return code, reply


def _secure(smtp: Any, policy: Policy, sock: Any, context: Any, client: tuple[Any, Any]) -> ssl.SSLSocket:
    state = state_of(smtp)
    try:
        name = _server_name(smtp)
        trust = policy.trust_for(name, client)
        chosen = _chosen(context, trust, name)
        secured, state.peer = secure(sock, name, trust, chosen, chain_suffices=True)
    except BaseException as error:
        sock.close()
        _close_for(smtp, error)
        raise
    state.judged = secured
    return secured


def _chosen(context: Any, trust: Trust, name: str | bytes) -> ssl.SSLContext | None:
    """The context that a program gave, or None where ours takes its place."""
    if context is None:
        return None
    if not verifies_chain(context):
        shown = printable(name) or "smtplib"
        warn_caller(
            InsecureContextWarning,
            f"{shown}: the context given here accepts an impostor; smtpverify verifies the server by its own "
            "in its place. A client certificate loaded into it can't be read back and is not shown: give it "
            "by Trust(client_cert=…).",
        )
        return None
    # Who injected has said whom to believe, and a context can't be told.
    if trust.roots or trust.client_cert or trust.pins_only:
        return None
    return context  # type: ignore[no-any-return]


def _judge(smtp: Any, policy: Policy) -> None:
    """Judge a socket that somebody else made or put in place, before the first byte."""
    state, sock = state_of(smtp), smtp.sock
    if sock is state.judged and (state.peer is None or still_has_tls(sock)):
        return
    try:
        if is_tls(sock):
            name = _server_name(smtp)
            state.peer = identify(sock, name, policy.trust_for(name))
            _leave_plaintext(smtp, sock)
        elif state.peer is not None:
            raise _error(smtp, TLSRequiredError, *EXCHANGED)
    except BaseException as error:
        _close_for(smtp, error)
        raise
    state.judged = sock


def _leave_plaintext(smtp: Any, sock: Any) -> None:
    """Forget what came before TLS (RFC 3207 4.2), also what has been received and not been read."""
    raw = socket_behind(smtp.file, sock)
    if raw is not sock:
        _nothing_waits(smtp, "behind", raw)
        smtp.file = None
    forget_ehlo(smtp)


def _nothing_waits(smtp: Any, where: str, sock: Any = None) -> None:
    """Refuse octets in plaintext that the server, or somebody before it, sent unasked."""
    waiting = _unread(smtp.file, smtp.sock if sock is None else sock)
    if waiting:
        raise _error(smtp, PlaintextInjectionError, *injected(where, waiting))


def _unread(file: Any, sock: Any) -> bytes:
    """What has come and was not read; waits for nothing."""
    if not is_socket(sock) or not hasattr(file, "peek"):
        return b""
    is_open = sock.fileno() >= 0
    before = sock.gettimeout()
    try:
        if is_open:
            set_timeout(sock, 0)
        return bytes(file.peek(1))
    except OSError:  # closed, or part of a TLS socket by now: nothing more can come over it
        return b""
    finally:
        if is_open:
            set_timeout(sock, before)


# --- what may be said ----------------------------------------------------------------------------


def verb_sent(smtp: Any, sent: str | bytes) -> str:
    """The same for what is sent as it is: it may go on with a line that an earlier piece has begun."""
    state = state_of(smtp)
    if state.in_message:
        return ""
    line = state.line + (sent.encode("ascii", "replace") if isinstance(sent, str) else bytes(sent))
    verb = verb_of(line)
    # What goes on from here is a secret, which is not for keeping; and in TLS nothing hangs on it.
    state.line = b"" if verb == "AUTH" or state.peer is not None else begun_line(line)
    return verb


def verb_of(said: str | bytes) -> str:
    """The command that something said has to be judged by, in upper case: of several the gravest."""
    octets = said.encode("ascii", "replace") if isinstance(said, str) else bytes(said)
    if holds_auth(octets):
        return "AUTH"
    first = ""
    for match in _WORD.finditer(octets):
        verb = match[1].decode("ascii", "replace").upper()
        if verb not in _HARMLESS:
            return verb
        first = first or verb
    return first


def admit(smtp: Any, policy: Policy, verb: str) -> None:
    """Raise unless a command may go over the connection as it is.

    Args:
        smtp: the object.
        policy: what was asked for.
        verb: the command's first word, in upper case.

    Raises:
        PeerVerificationError, TLSHandshakeError: TLS was set up by somebody else, and the server is not whom
            we asked for, or nobody looked. This and the next close the connection.
        TLSRequiredError: in plaintext, where TLS was asked for.
        PlaintextCredentialsError: credentials, in plaintext, to another machine.
        smtplib.SMTPServerDisconnected: the connection was closed by one of these.
    """
    state = state_of(smtp)
    if smtp.sock is None:
        if state.refusal is not None:
            raise smtplib.SMTPServerDisconnected(
                f"the connection was closed: {state.refusal}"
            ) from state.refusal
        return  # smtplib's own to tell
    _judge(smtp, policy)
    if state.peer is not None or verb in _HARMLESS:
        if verb == "STARTTLS":  # by hand, perhaps; whatever the reply to it
            state.wants_tls = state.wants_tls or "STARTTLS was sent"
        return
    local = _is_local(smtp, state)
    _require_tls(smtp, state, policy, local=local)
    if state.in_message or local:
        return
    if verb == "AUTH" and not policy.allow_plaintext_login:
        # The connection stays, for STARTTLS; what a server takes without the login is not to go either.
        state.wants_tls = "credentials were about to go in plaintext"
        raise _error(
            smtp,
            PlaintextCredentialsError,
            None,
            "credentials do not go over plaintext, and the program did not, or could not, start TLS; "
            "allow_plaintext_login=True permits it",
        )
    if verb == "MAIL" and not state.warned:
        warn_caller(
            PlaintextWarning,
            f"{_shown_host(smtp)}: the mail goes in plaintext, as the program has it; "
            "require_tls=True would refuse",
        )
        state.warned = True  # only then: where a warning is an error, the next try gets it too


def _require_tls(smtp: Any, state: State, policy: Policy, *, local: bool) -> None:
    why = state.wants_tls
    if not why and isinstance(smtp, StockSMTP_SSL):
        why = f"{type(smtp).__name__} speaks TLS from the first byte"
    # Also where somebody has written down by hand whom the connection leads to.
    if not why and (policy.names(name_of(smtp)) or policy.names(state.host or "")):
        why = "a trust was given for this host"
    if not why and policy.require_tls and not local:
        why = "TLS is required"
    if not why:
        return
    error = _error(
        smtp,
        TLSRequiredError,
        Cause.PLAINTEXT_NOT_TLS,
        f"nothing goes in plaintext, since {why}",
        "Have the program set up TLS, and see whether the server offers it.",
    )
    _close_for(smtp, error)
    raise error


def _is_local(smtp: Any, state: State) -> bool:
    """Whether the server is on this machine: mail and credentials stay here, even in plaintext."""
    name = as_text(name_of(smtp) or state.host or "")
    dialled = smtp.sock is state.dialled and name == as_text(state.host or "")
    return leads_here(smtp.sock, name, dialled=dialled)


# --- state and errors ----------------------------------------------------------------------------


def _server_name(smtp: Any) -> str | bytes:
    name = name_of(smtp)
    if not name:
        raise ReferenceIdentifierError(
            "this connection was made before smtpverify, and its host is not known"
        )
    return name


def _shown_host(smtp: Any) -> str:
    return printable(state_of(smtp).host or name_of(smtp)) or "Unix socket"


def _error(
    smtp: Any, kind: type[Any], cause: Cause | None, summary: str, remedy: str = "", **attributes: Any
) -> Any:
    diagnosis = Diagnosis(cause, summary, remedy) if cause else None
    where = {"host": _shown_host(smtp), "port": state_of(smtp).port, "diagnosis": diagnosis}
    return kind(summary, **where, **attributes)


def _close_for(smtp: Any, error: BaseException) -> None:
    """Close for good: whoever swallows the error can't go on, and is told why."""
    state, sock = state_of(smtp), smtp.sock
    state.refusal = state.refusal or error
    if isinstance(error, SMTPVerifyError) and state.port is not None:
        error.port = state.port
    try:
        smtp.close()
    finally:  # a subclass may close in its own way
        smtp.sock = smtp.file = None
        if sock is not None:
            sock.close()
    forget_ehlo(smtp)
