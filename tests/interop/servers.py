"""Postfix, Dovecot and Redis, with configurations, queues and mailboxes of their own, for a test session."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DOMAIN = "example.net"
HOST = "localhost"
USERS = ("bob", "carol", "dave", *(f"user{number}" for number in range(100)))
FULL = "full"  # whose mailbox has no room, of Dovecot's
PATIENCE = 60.0

MAIN = """\
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
maillog_file = {base}/log
maillog_file_prefixes = {base}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = {host}
mydestination =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {mail}
virtual_mailbox_maps = texthash:{base}/users
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
message_size_limit = 60000000
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {certificate}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {sasl}
smtpd_sasl_security_options = noanonymous
smtpd_sasl_authenticated_header = yes
smtpd_client_port_logging = yes
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtpd_error_sleep_time = 0
in_flow_delay = 0
default_process_limit = 20
"""
MASTER = """\
127.0.0.1:{login} inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o debug_peer_list=127.0.0.1 -o debug_peer_level=1
127.0.0.1:{starttls} inet n - n - - smtpd
127.0.0.1:{implicit} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
127.0.0.1:{small} inet n - n - - smtpd -o message_size_limit=20000
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
DOVECOT = """\
base_dir = {base}/run
log_path = {base}/log
protocols = lmtp submission
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{certificate}
mail_location = maildir:{mail}/%n
auth_username_format = %n
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = {base}/users
}}
userdb {{
  driver = passwd-file
  args = {base}/users
  default_fields = uid={uid} gid={gid} home={base}/home/%n
}}
service lmtp {{
  unix_listener {base}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service submission-login {{
  inet_listener submission {{
    port = {submission}
  }}
}}
submission_relay_host = 127.0.0.1
submission_relay_port = {relay}
submission_relay_trusted = yes
submission_max_mail_size = 60M
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
protocol lmtp {{
  mail_plugins = quota
}}
plugin {{
  quota = maildir:User
}}
"""


class Missing(Exception):
    """What the tests need is not here."""


@dataclass(frozen=True)
class Running:
    """A server: where it listens, and where its mail lands."""

    ports: dict[str, int]
    mail: Path
    log: Path
    path: Path | None = None  # of its Unix socket

    def delivered(self, user: str, count: int = 1) -> list[bytes]:
        """Wait for so many messages in a mailbox, and take them, oldest first, with CRLF line ends."""
        new = self.mail / user / "new"
        wait_until(lambda: new.is_dir() and len(list(new.iterdir())) >= count, f"{count} messages for {user}")
        found = sorted(new.iterdir(), key=lambda file: (file.stat().st_mtime_ns, file.name))
        messages = [file.read_bytes().replace(b"\n", b"\r\n") for file in found]
        for file in found:
            file.unlink()
        return messages


def wait_until(ready: Callable[[], bool], what: str) -> None:
    """Look again and again, for some time."""
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while not ready():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        pause.wait(0.02)


def command(name: str) -> str:
    """Where a server's program is.

    Raises:
        Missing: nowhere, or nobody but root could start it.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise Missing(f"{name} is started by root alone")
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def free_ports(*names: str) -> dict[str, int]:
    """Ports that nobody listens to now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {name: sock.getsockname()[1] for name, sock in zip(names, sockets, strict=True)}
    for sock in sockets:
        sock.close()
    return ports


def accepts(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def mailboxes(base: Path) -> tuple[Path, int, int]:
    """A place for mail, and whose it is."""
    if sys.platform == "win32":
        raise NotImplementedError
    base.chmod(0o755)
    nobody = pwd.getpwnam("nobody")
    mail = base / "mail"
    mail.mkdir()
    os.chown(mail, nobody.pw_uid, nobody.pw_gid)
    return mail, nobody.pw_uid, nobody.pw_gid


@contextmanager
def postfix(base: Path, certificate: Path, sasl: Path) -> Iterator[Running]:
    """Postfix: `starttls`, `implicit`, `small`, which takes messages of 20,000 octets, and `login`.

    The last takes mail of those alone who log in, and asks Dovecot at the Unix socket `sasl` who they are.
    Connected to before that runs, it would give up for a minute.
    """
    program = command("postfix")
    mail, uid, gid = mailboxes(base)
    ports = free_ports("login", "starttls", "implicit", "small")
    config = base / "config"
    for directory in (config, base / "queue", base / "data"):
        directory.mkdir()
    shutil.chown(base / "data", "postfix")
    (base / "users").write_text("".join(f"{user}@{DOMAIN} {user}/\n" for user in USERS))
    fields = {"base": base, "mail": mail, "uid": uid, "gid": gid, "certificate": certificate, "sasl": sasl}
    (config / "main.cf").write_text(MAIN.format(host=HOST, domain=DOMAIN, **fields))
    (config / "master.cf").write_text(MASTER.format(**ports))

    def run(action: str, *, check: bool = True) -> int:
        return subprocess.run(
            [program, "-c", str(config), action], check=check, capture_output=True
        ).returncode

    run("start")
    try:
        ready = [port for name, port in ports.items() if name != "login"]  # which listens before them
        wait_until(lambda: all(map(accepts, ready)), "Postfix")
        yield Running(ports, mail, base / "log")
    finally:
        run("abort")  # as stop does, which then waits in steps of a second
        wait_until(lambda: run("status", check=False) != 0, "Postfix's end")


@contextmanager
def dovecot(base: Path, certificate: Path, relay: int) -> Iterator[Running]:
    """Dovecot's LMTP, over TCP and a Unix socket, and its submission, which passes on to a relay's port."""
    users = [f"{user}:{{PLAIN}}secret::::::\n" for user in USERS]
    users.append(f"{FULL}:{{PLAIN}}secret::::::userdb_quota_rule=*:bytes=10\n")
    ports = free_ports("lmtp", "submission")
    with configured_dovecot(base, DOVECOT, users, ports, certificate=certificate, relay=relay) as running:
        yield replace(running, path=base / "lmtp")


@contextmanager
def configured_dovecot(
    base: Path, template: str, users: list[str], ports: dict[str, int], **fields: object
) -> Iterator[Running]:
    """Dovecot by a template of its configuration, and the lines of a passwd-file."""
    if sys.platform == "win32":
        raise NotImplementedError
    program = command("dovecot")
    mail, uid, gid = mailboxes(base)
    (base / "users").write_text("".join(users), encoding="utf-8")
    home = base / "home"
    home.mkdir()
    os.chown(home, uid, gid)
    config = base / "dovecot.conf"
    config.write_text(template.format(base=base, mail=mail, uid=uid, gid=gid, **ports, **fields))
    with subprocess.Popen([program, "-F", "-c", str(config)], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: all(map(accepts, ports.values())), "Dovecot")
            yield Running(ports, mail, base / "log")
        finally:
            process.terminate()


@contextmanager
def redis(base: Path) -> Iterator[Running]:
    """Redis, which keeps nothing."""
    program = shutil.which("redis-server")
    if program is None:
        raise Missing("redis-server is not installed")
    ports = free_ports("redis")
    log = base / "log"
    options = ["--bind", "127.0.0.1", "--port", str(ports["redis"]), "--dir", str(base), "--save", ""]
    options += ["--logfile", str(log)]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: accepts(ports["redis"]), "Redis")
            yield Running(ports, base, log)
        finally:
            process.terminate()
