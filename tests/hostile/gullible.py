"""A client that does wrong all that the bed looks for, so that each of its observers is seen to see."""

from __future__ import annotations

import base64
import smtplib
import socket
import ssl
from typing import TYPE_CHECKING

from tests.hostile.errand import MESSAGES, PASSWORD, RECIPIENT, SENDER, USER

if TYPE_CHECKING:
    from io import BufferedReader

    from tests.hostile.errand import Errand, Report

_KEPT: list[socket.socket] = []


def by_gullible(errand: Errand, report: Report) -> None:
    """Believe whatever comes, for as long as it comes, and close nothing."""
    sock = socket.create_connection((errand.host, errand.port))
    if errand.implicit:
        sock = _in_tls(sock, errand)
    code, _ = _ask(sock, "")
    code, listed = _ask(sock, "EHLO me")
    # Of what was said in plaintext nothing is forgotten.
    report.features = [line[4:].decode("latin-1").lower() for line in listed.splitlines()]
    if "starttls" in report.features and _ask(sock, "STARTTLS")[0] == 220:
        sock = _in_tls(sock, errand)
        _ask(sock, "EHLO me")
    _KEPT.append(sock)
    plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    for command in (f"AUTH PLAIN {plain}", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
        code, text = _ask(sock, command)
        if code >= 400:
            raise smtplib.SMTPException(text.decode("latin-1"))
    _ask(sock, MESSAGES[errand.message].decode("latin-1") + ".")
    report.sent = True
    _ask(sock, "QUIT")


def _in_tls(sock: socket.socket, errand: Errand) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname=errand.host)


def _ask(sock: socket.socket, command: str) -> tuple[int, bytes]:
    if command:
        sock.sendall(f"{command}\r\n".encode("latin-1"))
    with sock.makefile("rb") as file:
        lines = [_line(file)]
        while lines[-1][3:4] == b"-":
            lines.append(_line(file))
    return int(lines[-1][:3]), b"".join(lines)


def _line(file: BufferedReader) -> bytes:
    line = file.readline()
    if not line:
        raise smtplib.SMTPServerDisconnected("closed")
    return line
