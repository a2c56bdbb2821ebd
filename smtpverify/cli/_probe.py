"""A look at a relay: connects to it as the library does, keeps what happened, and hands nothing over."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import socket
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

from ..errors import (
    PeerVerificationError,
    PlaintextFallbackWarning,
    SMTPVerifyError,
    TLSHandshakeError,
    printable,
)
from ..smtp.timeouts import Timeouts
from ..stdlib import smtplib
from ..tls.x509 import Certificate
from ._client import Client, Watch, address_of
from ._screen import Screen, counted
from ._status import answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from ..relay import Relay
    from ..smtp.replies import Reply
    from ..tls.evidence import Diagnosis
    from ..tls.identity import PeerIdentity
    from ..tls.trust import Trust

__all__ = ["Findings", "Step", "Verdict", "look_at", "look_at_all"]

_SIDE_BY_SIDE = 16  # threads, at most


class Verdict(enum.Enum):
    """What came of it; the value is stable."""

    VERIFIED = "verified"
    REFUSED = "refused"
    PLAINTEXT = "plaintext"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what was done, what came of it, the seconds that it took, and whether it went well."""

    name: str
    detail: str
    seconds: float
    good: bool = True


@dataclass(slots=True)
class Findings:
    """What was found.

    Attributes:
        relay: what was looked at.
        verdict, summary, remedy: what came of it, in a line, and what to do.
        steps: in their order.
        address: the one that was connected to, or "".
        greeting: the server's, or "".
        peer: who it proved to be, or None.
        diagnosis: of the failure, or None.
        cause: the diagnosis's by its name, or what a command has found besides, or None.
        extensions: EHLO's, as they are offered at the end: keyword in lower case -> parameters.
        hints: what gives to think, and proves nothing.
    """

    relay: Relay
    verdict: Verdict = Verdict.UNREACHABLE
    summary: str = ""
    remedy: str = ""
    steps: list[Step] = field(default_factory=list)
    address: str = ""
    greeting: str = ""
    peer: PeerIdentity | None = None
    diagnosis: Diagnosis | None = None
    cause: str | None = None
    extensions: dict[str, str] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)

    @property
    def chain(self) -> tuple[Certificate, ...]:
        """The verified chain, or as much as can be read of what a refused server has sent."""
        chain: list[Certificate] = []
        shown = self.peer.chain if self.peer else self.diagnosis.chain if self.diagnosis else ()
        for der in shown:
            with suppress(SMTPVerifyError):
                chain.append(Certificate.from_der(der))
        return tuple(chain) or ((self.peer.certificate,) if self.peer else ())

    def days_left(self, certificate: Certificate) -> int:
        """Whole days for which a certificate is valid; negative when it has expired."""
        return (certificate.not_after - datetime.datetime.now(datetime.timezone.utc)).days

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Of AUTH, as they are offered."""
        return tuple(dict.fromkeys(self.extensions.get("auth", "").upper().split()))

    @property
    def size_limit(self) -> int | None:
        """Octets of a message (RFC 1870), or None where there is no limit, or none is told."""
        digits = self.extensions.get("size", "").strip()
        return int(digits) or None if digits.isascii() and digits.isdigit() else None


def look_at(relay: Relay, timeout: float, watch: Watch | None = None) -> Findings:
    """Look at a relay.

    Args:
        relay: its user and password are left out of it.
        timeout: seconds for each step.
        watch: who sees the conversation; nobody if None.
    """
    # A scheme with +auth wants a user, whom nobody logs in here.
    anybody = dataclasses.replace(
        relay,
        scheme=relay.scheme.removesuffix("+auth"),
        user=None,
        password=None,
        auth=None,
        password_env=None,
        password_file=None,
    )
    findings = Findings(anybody)
    probe = _Probe(findings, timeout, watch or Watch(Screen(), verbose=False))
    try:
        probe.connect(str(anybody))
        probe.ehlo()
        findings.extensions = {name: said.strip() for name, said in probe.esmtp_features.items()}
        findings.peer = probe.peer
        probe.quit()
    except (smtplib.SMTPException, OSError) as error:
        _conclude(findings, probe, error)
    finally:
        probe.close()
    if findings.peer is not None:
        findings.verdict, findings.summary = Verdict.VERIFIED, str(findings.peer)
    elif not findings.summary:
        findings.verdict = Verdict.PLAINTEXT
        findings.summary = "the connection is in plaintext, where nobody can be verified"
        starttls = dataclasses.replace(anybody, scheme="tls")
        implicit = dataclasses.replace(anybody, scheme="smtps", port=None)
        findings.remedy = f"Write {starttls} for STARTTLS, or {implicit} for TLS from the first byte."
        if anybody.mode.uses_tls:  # it was tried, in vain
            findings.remedy = (
                "If there used to be STARTTLS, somebody may be between you and the server. "
                f"{starttls} never goes on in plaintext; TLS from the first byte is {implicit}."
            )
    _gather_hints(findings, timeout)
    return findings


def look_at_all(relays: Sequence[Relay], timeout: float, *, verbose: bool) -> list[Findings]:
    """Look at relays side by side; on standard error, tell how far it is, or what is said to whom.

    In daemons: Ctrl-C would wait for each thread of a pool.

    Args:
        relays: at least one.
        timeout: as for `look_at`.
        verbose: show the conversations; each line says whose it is, where they are several.
    """
    screen, several = Screen(sys.stderr), len(relays) > 1
    tasks: SimpleQueue[tuple[Future[Findings], Relay]] = SimpleQueue()

    def work() -> None:
        with suppress(Empty):
            while True:
                future, relay = tasks.get_nowait()
                watch = Watch(
                    screen,
                    verbose=verbose,
                    title=str(relay) if several else "",
                    draws_steps=screen.draws and not several and not verbose,
                )
                try:
                    future.set_result(look_at(relay, timeout, watch))
                except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                    future.set_exception(error)

    waiting: list[Future[Findings]] = [Future() for _ in relays]
    for task in zip(waiting, relays, strict=True):
        tasks.put(task)
    for _ in relays[:_SIDE_BY_SIDE]:
        threading.Thread(target=work, daemon=True).start()
    draws = screen.draws and not verbose
    found: list[Findings] = []
    try:
        for future in waiting:
            if draws and several:
                screen.draw(f"{len(found)} of {len(waiting)} looked at")
            found.append(future.result())
    finally:
        if draws:
            screen.draw("")
        screen.mute()  # a daemon that writes while Python ends could break it
    return found


def _conclude(findings: Findings, probe: _Probe, error: Exception) -> None:
    findings.peer = findings.peer or probe.proved
    findings.diagnosis = getattr(error, "diagnosis", None)
    diagnosis = findings.diagnosis
    findings.cause = diagnosis.cause.name if diagnosis else None
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, smtplib.SMTPResponseException) and not isinstance(error, SMTPVerifyError):
        told = answer(error)  # str() would show a tuple
    findings.summary = diagnosis.summary if diagnosis else printable(told, 400)
    findings.remedy = diagnosis.remedy if diagnosis else ""
    answers = (PeerVerificationError, TLSHandshakeError, smtplib.SMTPResponseException)
    silent = any(isinstance(each, TimeoutError) for each in (error, error.__cause__))
    answered = (isinstance(error, answers) or findings.greeting) and not silent
    findings.verdict = Verdict.REFUSED if answered else Verdict.UNREACHABLE
    probe.give_up(findings.summary)


def _gather_hints(findings: Findings, timeout: float) -> None:
    host = findings.relay.host.rstrip(".").lower()
    first = findings.greeting.partition(" ")[0].rstrip(".").lower()
    named = "." in first and not first.replace(".", "").isdigit()  # 5.7.1 is an enhanced status
    if named and first != host:
        findings.hints.append(f"the server calls itself {printable(first, 80)} in its greeting, not {host}")
    if not findings.address:
        return
    looking = threading.Thread(target=_look_back, args=(findings.address, findings.hints), daemon=True)
    looking.start()
    looking.join(timeout)  # the system's resolver has limits of its own, and no hint is worth those


def _look_back(address: str, hints: list[str]) -> None:
    """Whether an address has a name that leads back to it (RFC 1912 2.1): a habit, and no proof."""
    name = ""
    with suppress(OSError):
        name = socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    if not name:
        hints.append(f"the address {address} has no reverse name")
        return
    forward: set[str] = set()
    with suppress(OSError):
        forward = {address_of(info[4]) for info in socket.getaddrinfo(name, None)}
    confirmed = "which leads back to it" if address in forward else "which does not lead back to it"
    hints.append(f"the reverse name of {address} is {printable(name, 80)}, {confirmed}")


class _Probe(Client):
    """A client that keeps what happens."""

    def __init__(self, findings: Findings, timeout: float, watch: Watch) -> None:
        limits = {step.name: timeout for step in dataclasses.fields(Timeouts)}
        super().__init__(watch, timeout=Timeouts(**limits))
        self._findings = findings
        self._step, self._since = "", monotonic()  # what is under way, and since when
        self.proved: PeerIdentity | None = None

    def _begin(self, name: str) -> None:
        if self._step:  # of a try that another follows
            self.give_up("nothing came of it")
        self._step, self._since = name, monotonic()
        self._watch.step(name)

    def _end(self, detail: str, *, good: bool = True) -> None:
        now = monotonic()
        self._findings.steps.append(Step(self._step, detail, now - self._since, good))
        self._step, self._since = "", now

    def give_up(self, why: str) -> None:
        """End what is under way, or what should have come next; an answer of no says it already."""
        steps = self._findings.steps
        if self._step or not steps or steps[-1].good:
            self._step = self._step or "STARTTLS"
            self._end(why, good=False)

    # What the library calls on its way.

    def _parsed(self, host: str) -> Relay:
        return self._findings.relay

    def _warn(self, category: type[Warning], message: str) -> None:
        name = "fallback" if issubclass(category, PlaintextFallbackWarning) else "warning"
        self._findings.steps.append(Step(name, printable(message, 400), 0.0, good=False))

    def _addresses(self, host: str, port: int) -> list[str]:
        self._begin("look up")
        addresses = super()._addresses(host, port)
        self._end(", ".join(addresses))
        return addresses

    def _connected(self, address: str, port: int, timeout: float | None) -> socket.socket:
        self._begin(f"connect to {address}")
        self._findings.address = address
        try:
            sock = super()._connected(address, port, timeout)
        except SMTPVerifyError:
            raise
        except OSError as error:
            self._end(error.strerror or str(error), good=False)
            raise
        self._end_connect(port)
        return sock

    def _end_connect(self, port: int) -> None:
        if self._step.startswith("connect"):
            self._end(f"port {port}")
            self._begin("greeting")

    def _secure(self, sock: socket.socket, context: ssl.SSLContext | None, trust: Trust) -> ssl.SSLSocket:
        self._end_connect(sock.getpeername()[1])
        self._step = "TLS"  # in the place of the greeting, which comes behind it then
        secured = super()._secure(sock, context, trust)
        self.proved = self._peer
        self._end(f"{secured.version()}, {(secured.cipher() or ('?',))[0]}")
        if not self._findings.greeting:
            self._begin("greeting")
        return secured

    def _transmit(self, octets: bytes, *, alone: bool) -> None:
        self._begin(octets.split(None, 1)[0].decode("ascii", "replace").upper())
        super()._transmit(octets, alone=alone)

    def _read_reply(self, step: str | float) -> Reply:
        reply = super()._read_reply(step)
        if self._step == "greeting":
            self._findings.greeting = reply.text.decode("ascii", "replace")
        lines = reply.text.count(b"\n")
        first = printable(reply.text.partition(b"\n")[0], 100)
        self._end(
            f"{reply.code} {first}" + (f" (and {counted(lines, 'line')} more)" if lines else ""),
            good=reply.code < 400,
        )
        return reply
