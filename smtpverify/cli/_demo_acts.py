"""The demo's two acts: mail to the right server, and impostors who ask for it.

For those who have the extra `demo`. The clients block, and run in threads; the servers share the event
loop. Who got what is told by what the servers saw, and never by what a client says.
"""

from __future__ import annotations

import asyncio
import functools
import platform
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..relay import Relay
from ..smtp.client import SMTP
from ..stdlib import smtplib
from ..tls.causes import Cause
from ..tls.trust import Trust
from . import _demo_clients as clients
from ._demo_certs import HOST, mint
from ._demo_servers import Offer, Service, ignore_broken_connections, serving
from ._screen import Style
from ._table import Cell, print_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..tls.evidence import Diagnosis
    from ..tls.identity import PeerIdentity
    from ._demo_certs import Certificates
    from ._screen import Screen

__all__ = ["play"]

_EVERYTHING = ("password", "mail")
_CODE = f"""\
  Both libraries run the same code, that of smtplib's documentation:
    smtp = SMTP("{HOST}", port)
    smtp.starttls(); smtp.login(user, password); smtp.send_message(message)
  with smtplib.SMTP, and with partial(smtpverify.SMTP, trust=Trust(cafile))."""
_NOTE = f"""\
* Both with the usual 'if smtp.has_extn("starttls")' before starttls().
  smtpverify's host here is "tls://{HOST}", which requires STARTTLS."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """What both acts play with."""

    screen: Screen
    certificates: Certificates
    trust: Trust
    errand: clients.Errand

    @property
    def account(self) -> tuple[str, str]:
        return self.errand.user, self.errand.password


async def play(screen: Screen) -> int:
    """Play the demo.

    Returns:
        The exit status: 0, or 1 if anything was not as it should be.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(ignore_broken_connections)
    loop.slow_callback_duration = float("inf")  # nothing to tell the user, even under -X dev
    with tempfile.TemporaryDirectory(prefix="smtpverify-demo-") as directory:
        certificates = mint(directory)
        stage = _Stage(screen, certificates, Trust(certificates.cafile), clients.Errand.make())
        faults = [*await _send_mail(stage), *await _meet_impostors(stage)]
    screen.line()
    for fault in faults:
        screen.paragraph(f"✗ {fault}", Style.BAD)
    if not faults:
        screen.line("✓ smtplib gave them all the password and the mail; smtpverify, nothing.", Style.GOOD)
    return 1 if faults else 0


# --- the first act -------------------------------------------------------------------------------


async def _send_mail(stage: _Stage) -> list[str]:
    """Send to the right server by URL, in both ways of coming to TLS; return what went wrong."""
    screen = stage.screen
    screen.line("Mail to the right server", Style.TITLE)
    faults: list[str] = []
    received: list[bytes] = []
    proofs: list[str] = []
    for scheme, offer in (("tls", Offer.STARTTLS), ("smtps", Offer.IMPLICIT)):
        peer, failure = None, None
        async with serving(Service(stage.certificates.good, offer), stage.account) as server:
            user, password = stage.account
            relay = Relay(scheme, HOST, server.port, user=user, password=password, trust=stage.trust)
            try:
                peer = await server.visited_by(clients.by_url, relay.to_url(), stage.errand)
            except OSError as error:  # smtplib's, ssl's and the network's
                failure = f"the mail was not sent: {error}"
        if peer is not None:
            proofs.append(_proof(peer))
        elif failure is None:
            failure = "the mail was sent to a server that proved nothing"
        if failure is None and server.deliveries != [stage.errand.wire]:
            failure = "the mail did not arrive as it was sent"
        received += server.deliveries
        mark, style = ("✗", Style.BAD) if failure else ("✓", Style.GOOD)
        screen.line(f"{mark} {f'{relay}?cafile=…':44} {offer.value}", style)
        faults += [f"{scheme}://: {failure}"] if failure else []
    # Each once: both are the same, and what differs shows.
    for mail in dict.fromkeys(received):
        screen.block("What the server received:", mail.decode("ascii", "backslashreplace"))
    for proof in dict.fromkeys(proofs):
        screen.block("Who it proved to be (smtp.peer):", proof)
    return faults


def _proof(peer: PeerIdentity) -> str:
    return (
        f"reference  {peer.reference.text}\n"
        f"matched    {peer.matched}, in a certificate by {peer.certificate.issuer}\n"
        f"over       {peer.tls_version}, {peer.cipher}"
    )


# --- the second act ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Impostor:
    """A server that nobody should trust.

    Attributes:
        name: what is wrong with it.
        service: how it behaves.
        cause: why smtpverify should refuse it.
        send: the code that both libraries run.
        our_host: the host that smtpverify is given.
    """

    name: str
    service: Service
    cause: Cause
    send: Callable[..., None] = clients.as_documented
    our_host: str = HOST


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What an impostor got, as its server saw it, and the error that the client ended in."""

    loot: tuple[str, ...]
    error: OSError | None

    @property
    def diagnosis(self) -> Diagnosis | None:
        return getattr(self.error, "diagnosis", None)

    @property
    def ending(self) -> str:
        """The error, in a line, for people."""
        return self.diagnosis.summary if self.diagnosis else str(self.error or "no error")

    def cell(self) -> Cell:
        """What it got, for the table."""
        if self.loot:
            return Cell(f"✗ {', '.join(self.loot)}", Style.BAD)
        return Cell("✓ nothing", Style.GOOD)


async def _meet_impostors(stage: _Stage) -> list[str]:
    """Let each impostor ask each library for the mail; return what was not as it should be."""
    screen = stage.screen
    screen.line()
    screen.line("Impostors who ask for the same mail", Style.TITLE)
    screen.line(_CODE)
    screen.line()
    ours = functools.partial(SMTP, trust=stage.trust)
    faults: list[str] = []
    rows = []
    for impostor in _impostors(stage.certificates):
        plain = await _meet(stage, impostor, smtplib.SMTP, HOST)
        verified = await _meet(stage, impostor, ours, impostor.our_host)
        rows.append([Cell(impostor.name), plain.cell(), verified.cell(), Cell(verified.ending)])
        faults += [f"{impostor.name}: {fault}" for fault in _faults(impostor, plain, verified)]
    print_table(screen, ("Impostor", "smtplib gave", "smtpverify", "because"), rows)
    screen.line(_NOTE, Style.FAINT)
    return faults


def _impostors(certificates: Certificates) -> list[_Impostor]:
    good = certificates.good
    return [
        _Impostor("wrong name", Service(certificates.wrong_name), Cause.WRONG_NAME),
        _Impostor("unknown CA", Service(certificates.unknown_ca), Cause.UNKNOWN_ISSUER),
        _Impostor("self-signed", Service(certificates.self_signed), Cause.SELF_SIGNED_LEAF),
        _Impostor("expired", Service(certificates.expired), Cause.EXPIRED),
        _Impostor("text injected", Service(good, injection=b"250 read me"), Cause.PLAINTEXT_INJECTED),
        _Impostor(
            "no STARTTLS*",
            Service(good, Offer.NOTHING),
            Cause.STARTTLS_NOT_OFFERED,
            # On loopback the drop-in lets a login go in plaintext, as a caller's own code asks for it.
            send=clients.where_offered,
            our_host=f"tls://{HOST}",
        ),
    ]


async def _meet(
    stage: _Stage, impostor: _Impostor, smtp_class: Callable[..., smtplib.SMTP], host: str
) -> _Outcome:
    failure = None
    async with serving(impostor.service, stage.account) as server:
        try:
            await server.visited_by(impostor.send, smtp_class, stage.errand, host, server.port)
        except OSError as error:  # smtplib's, ssl's and the network's
            failure = error
    secrets = zip(_EVERYTHING, (stage.errand.password, stage.errand.secret), strict=True)
    return _Outcome(tuple(what for what, secret in secrets if server.saw(secret)), failure)


def _faults(impostor: _Impostor, plain: _Outcome, verified: _Outcome) -> list[str]:
    faults = []
    if verified.loot:
        faults.append(f"smtpverify gave the {' and the '.join(verified.loot)} away")
    elif verified.diagnosis is None or verified.diagnosis.cause is not impostor.cause:
        faults.append(f"smtpverify gave it nothing, but not for what it is: {verified.ending}")
    if plain.loot != _EVERYTHING or plain.error is not None:
        faults.append(
            f"smtplib, which has never verified a server, did not give it everything; this is that of "
            f"Python {platform.python_version()}: {plain.ending}"
        )
    return faults
