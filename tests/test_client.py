"""The classes as programs use them: how the host is given, when it is connected to, and what that means."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify import SMTP, SMTP_SSL, Trust
from tests.bed import HOST, Behaviour, Server, Sni, Tls, World
from tests.bed.certs import CLIENT_AUTH

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed import Resolver
    from tests.conftest import ServerFactory

OTHER = "other.example.net"
MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"
TIMEOUT = 5.0

starttls_server = Behaviour(tls=Tls.STARTTLS)


def send(smtp: smtplib.SMTP) -> None:
    smtp.sendmail("alice@example.org", ["bob@example.org"], MESSAGE)
    smtp.quit()


def assert_sent_in_tls(server: Server, connection: int = -1) -> None:
    seen = server.connections[connection]
    assert [message.data for message in seen.messages] == [MESSAGE]
    assert all(line.upper().startswith(("EHLO", "STARTTLS")) for line in seen.clear_commands)


# --- the host argument ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port_apart"),
    [
        (HOST, True),
        (f"{HOST}:{{port}}", False),
        (HOST.upper(), True),
        (f"{HOST}.", True),
        (f"{HOST}.:{{port}}", False),
        (HOST.encode(), True),
    ],
)
def test_spellings_of_the_host(smtp_server: ServerFactory, host: Any, port_apart: bool) -> None:
    """The server name is the host alone (RFC 6066 3): no port, no trailing dot, lower case."""
    with smtp_server(starttls_server) as server:
        if port_apart:
            smtp = SMTP(host, server.port, timeout=TIMEOUT)
        else:
            smtp = SMTP(host.format(port=server.port), timeout=TIMEOUT)
        smtp.starttls()
        assert smtp.peer is not None
        assert smtp.peer.reference.text == HOST
        send(smtp)
    assert_sent_in_tls(server)
    assert server.connections[0].sni == HOST


@pytest.mark.parametrize("port", ["{}", "0{}"])
def test_a_port_in_text(smtp_server: ServerFactory, port: str) -> None:
    with smtp_server() as server:
        SMTP(HOST, port.format(server.port), timeout=TIMEOUT).quit()  # type: ignore[arg-type]
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    "port", ["25 ", "25\0", "9" * 5000, "-25", "65536", 65536, -1, 2.5, "²5", b"25 ", "nosuchservice"]
)
def test_a_port_that_is_none(resolve: Resolver, port: Any) -> None:
    with pytest.raises(smtpverify.RelayURLError, match=r"^port: ") as caught:
        SMTP(HOST, port)
    assert str(caught.value).isprintable()
    assert resolve.asked == []


def test_a_port_by_its_service_s_name(smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    with smtp_server() as server:
        ports = {("submission", "tcp"): server.port}
        monkeypatch.setattr(socket, "getservbyname", lambda *service: ports[service])
        SMTP(HOST, "submission", timeout=TIMEOUT).quit()  # type: ignore[arg-type]
    assert len(server.connections) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:{port}"])
def test_an_address_is_no_server_name(smtp_server: ServerFactory, world: World, host: str) -> None:
    with smtp_server(starttls_server, certificate=world.served("address_good")) as server:
        smtp = SMTP(host.format(port=server.port), 0 if ":" in host else server.port, timeout=TIMEOUT)
        smtp.starttls()
        send(smtp)
    assert server.connections[0].client_hello
    assert server.connections[0].sni is None


def test_an_internationalized_name(smtp_server: ServerFactory, world: World, resolve: Resolver) -> None:
    """IDNA 2008: the sharp s keeps its identity (RFC 5892), and everybody gets A-labels."""
    name = "xn--strae-oqa.example.org"
    with smtp_server(starttls_server, certificate=world.root.issue(name)) as server:
        smtp = SMTP(f"tls://Straße.example.org:{server.port}", timeout=TIMEOUT)
        send(smtp)
    assert_sent_in_tls(server)
    assert server.connections[0].sni == name
    assert resolve.asked == [name]


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("010.0.0.1", "leading zeros"),
        ("192.0.2.1 evil", "a space"),
        ("*.example.org", "wildcard"),
        ("a" * 64 + ".example.org", "longer than 63 octets"),
        ("mail..example.org", "empty label"),
        ("mail.example.org\0.evil.test", "NUL"),
        ("@a", "neither a host nor a URL"),
        ("127.1", "no IPv4 address"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "tls://{}"])
def test_what_is_neither_name_nor_address_meets_nobody(
    resolve: Resolver, host: str, said: str, form: str
) -> None:
    smtp = SMTP()
    with pytest.raises(smtpverify.RelayURLError) as caught:
        smtp.connect(form.format(host))
    if form == "{}":
        assert said in str(caught.value)
    assert str(caught.value).isprintable()
    assert resolve.asked == []
    assert smtp.sock is None


@pytest.mark.parametrize("name", ["trust", "server_hostname", "dialect", "allow_plaintext_login"])
def test_ours_go_by_keyword_alone(name: str) -> None:
    with pytest.raises(TypeError):
        SMTP("", 0, None, TIMEOUT, None, None)  # type: ignore[call-arg]


# --- connect(), later and again --------------------------------------------------------------------


def test_connect_after_construction(smtp_server: ServerFactory) -> None:
    with smtp_server(starttls_server) as server:
        smtp = SMTP(timeout=TIMEOUT)
        assert smtp.connect(HOST, server.port) == (220, b"mail.example.org ESMTP")
        smtp.starttls()
        send(smtp)
    assert_sent_in_tls(server)
    assert server.connections[0].sni == HOST


def test_connect_again_is_about_the_new_host(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(starttls_server) as server:
        smtp = SMTP(HOST, server.port, timeout=TIMEOUT)
        smtp.starttls()
        smtp.connect(OTHER, server.port)
        assert smtp.peer is None
        with pytest.raises(smtpverify.HostnameMismatchError) as caught:
            smtp.starttls()
        assert caught.value.host == OTHER
        smtp.connect(f"{HOST}:{server.port}")
        smtp.starttls()
        send(smtp)
    assert [seen.sni for seen in server.connections] == [HOST, OTHER, HOST]
    assert_sent_in_tls(server)


@pytest.mark.parametrize("name", [HOST, HOST.encode()])
def test_a_host_written_by_hand_before_connect(smtp_server: ServerFactory, name: Any) -> None:
    """As Mercurial does, whose subclass knows the host and connects by another's doing."""
    with smtp_server(starttls_server) as server:
        smtp = SMTP(timeout=TIMEOUT)
        smtp._host = name
        smtp.connect("127.0.0.1", server.port)
        smtp.starttls()
        send(smtp)
    assert_sent_in_tls(server)
    assert server.connections[0].sni == HOST


@pytest.mark.parametrize("name", [OTHER, OTHER.encode()])
def test_a_host_written_by_hand_is_who_the_server_must_be(smtp_server: ServerFactory, name: Any) -> None:
    with smtp_server(starttls_server) as server:
        smtp = SMTP(timeout=TIMEOUT)
        smtp._host = name
        smtp.connect(HOST, server.port)
        with pytest.raises(smtpverify.HostnameMismatchError, match=rf"not for {re.escape(OTHER)}$"):
            smtp.starttls()
    assert server.leaked() == []


def test_a_host_and_port_written_by_hand(smtp_server: ServerFactory) -> None:
    """What the constructor of smtplib would have written itself."""
    with smtp_server(starttls_server) as server:
        smtp = SMTP(timeout=TIMEOUT)
        smtp._host = f"{HOST}:{server.port}"
        smtp.connect(f"{HOST}:{server.port}")
        assert smtp._host == HOST
        smtp.starttls()
        send(smtp)
    assert_sent_in_tls(server)


def test_server_hostname_is_who_the_server_must_be(smtp_server: ServerFactory) -> None:
    with smtp_server(starttls_server) as server:
        smtp = SMTP("127.0.0.1", server.port, timeout=TIMEOUT, server_hostname=HOST)
        smtp.starttls()
        send(smtp)
        smtp = SMTP(HOST, server.port, timeout=TIMEOUT, server_hostname=OTHER)
        with pytest.raises(smtpverify.HostnameMismatchError):
            smtp.starttls()
    assert_sent_in_tls(server, 0)
    assert server.connections[1].leaked() == []


def test_a_greeting_other_than_220(smtp_server: ServerFactory) -> None:
    with smtp_server(greeting="554 not here") as server:
        smtp = SMTP(timeout=TIMEOUT)
        with pytest.raises(smtplib.SMTPConnectError) as caught:
            smtp.connect(HOST, server.port)
        assert (caught.value.smtp_code, caught.value.smtp_error) == (554, b"not here")
        assert smtp.sock is None
        with pytest.raises(smtplib.SMTPServerDisconnected, match="554"):
            smtp.ehlo()
        with pytest.raises(smtplib.SMTPConnectError):
            SMTP(HOST, server.port, timeout=TIMEOUT)
    assert [seen.clear for seen in server.connections] == [b"", b""]


def test_a_connect_of_a_subclass_that_returns_another_code() -> None:
    class Odd(SMTP):
        def connect(self, *_: Any, **__: Any) -> tuple[int, bytes]:
            return 421, b"later"

    with pytest.raises(smtplib.SMTPConnectError, match="421"):
        Odd(HOST)


def test_what_ehlo_taught_is_forgotten_with_the_connection(smtp_server: ServerFactory) -> None:
    """Else a fresh plaintext connection would know the features of the TLS before it."""
    with smtp_server(Behaviour(tls=Tls.STARTTLS, after_tls=("X-INSIDE",)), starttls_server) as server:
        smtp = SMTP(HOST, server.port, timeout=TIMEOUT)
        smtp.starttls()
        assert not smtp.has_extn("x-inside"), "RFC 3207 4.2: what was learned before TLS, and no more"
        smtp.ehlo()
        assert smtp.has_extn("x-inside")
        smtp.close()
        assert (smtp.esmtp_features, smtp.ehlo_resp, smtp.helo_resp) == ({}, None, None)
        assert smtp.does_esmtp is False
        smtp.connect(HOST, server.port)
        smtp.ehlo_or_helo_if_needed()
        assert smtp.has_extn("starttls")
        assert not smtp.has_extn("x-inside")
        smtp.quit()


def test_before_any_connection() -> None:
    smtp = SMTP()
    with pytest.raises(smtplib.SMTPServerDisconnected, match="please run connect"):
        smtp.ehlo()
    assert (smtp.peer, smtp.relay) == (None, None)


@pytest.mark.parametrize("client", [SMTP, SMTP_SSL])
def test_tcp_nodelay(smtp_server: ServerFactory, client: type[SMTP]) -> None:
    with smtp_server(tls=Tls.IMPLICIT if client is SMTP_SSL else Tls.STARTTLS) as server:
        smtp = client(HOST, server.port, timeout=TIMEOUT)
        assert smtp.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        smtp.quit()


@pytest.mark.parametrize("url", ["ssl://{host}:{port}", "tls://{host}:{port}", "{host}:{port}"])
def test_the_timeout_is_the_callers(smtp_server: ServerFactory, url: str) -> None:
    """The wait for a greeting, which `ssl://` limits, is over with it."""
    with smtp_server(starttls_server) as server:
        smtp = SMTP(url.format(host=HOST, port=server.port), timeout=77)
        assert smtp.sock.gettimeout() == 77
        smtp.quit()
        smtp = SMTP(url.format(host=HOST, port=server.port))
        assert smtp._channel().own_timeout() is None
        smtp.quit()


def test_local_hostname_and_source_address(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        smtp = SMTP(HOST, server.port, "me.example.net", TIMEOUT, ("127.0.0.3", 0))
        assert smtp.sock.getsockname()[0] == "127.0.0.3"
        smtp.ehlo()
        smtp.connect(HOST, server.port, ("127.0.0.4", 0))
        assert smtp.sock.getsockname()[0] == "127.0.0.4"
        smtp.quit()
    assert server.connections[0].clear_commands == ["ehlo me.example.net"]


def test_the_audit_event(smtp_server: ServerFactory) -> None:
    events: list[tuple[Any, ...]] = []
    recording = True
    sys.addaudithook(lambda event, args: events.append(args) if recording and "smtplib.c" in event else None)
    with smtp_server() as server:
        smtp = SMTP(f"smtp://{HOST}:{server.port}", timeout=TIMEOUT)
        smtp.quit()
    recording = False
    assert events == [(smtp, HOST, server.port)]


# --- a relay URL as host ---------------------------------------------------------------------------


def test_the_port_of_a_url_wins(smtp_server: ServerFactory) -> None:
    with smtp_server(starttls_server) as server:
        send(SMTP(f"tls://{HOST}:{server.port}", 9, timeout=TIMEOUT))
        smtp = SMTP(timeout=TIMEOUT)
        smtp.connect(f"tls://{HOST}", server.port)  # and where it has none, the argument counts
        send(smtp)
    assert_sent_in_tls(server, 0)
    assert_sent_in_tls(server, 1)


@pytest.mark.parametrize(("scheme", "tls"), [("tls", Tls.STARTTLS), ("smtps", Tls.IMPLICIT)])
def test_starttls_where_the_scheme_has_secured_the_connection(
    smtp_server: ServerFactory, scheme: str, tls: Tls
) -> None:
    """A program that was told to use STARTTLS calls it, whatever stands in its host setting."""
    with smtp_server(tls=tls) as server:
        smtp = SMTP(f"{scheme}://{HOST}:{server.port}", timeout=TIMEOUT)
        peer = smtp.peer
        smtp.ehlo()
        code, _ = smtp.starttls()
        assert code == 220
        code, _ = smtp.starttls(context=ssl._create_unverified_context())
        assert code == 220
        assert smtp.peer is peer is not None
        smtp.login("alice", "secret")
        send(smtp)
    assert_sent_in_tls(server)


def test_starttls_after_a_fallback_to_plaintext_is_a_real_one(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        with pytest.warns(smtpverify.PlaintextFallbackWarning):
            smtp = SMTP(f"smtp+tls://{HOST}:{server.port}", timeout=TIMEOUT)
        with pytest.raises(smtpverify.TLSRequiredError):
            smtp.starttls()
    assert server.leaked() == []


def test_a_url_with_user_and_password_logs_in(smtp_server: ServerFactory) -> None:
    with smtp_server(starttls_server) as server:
        send(SMTP(f"tls://al%40ice:p%3Aw%2F@{HOST}:{server.port}", timeout=TIMEOUT))
        send(SMTP(f"tls://alice@{HOST}:{server.port}", timeout=TIMEOUT))
    (credential,) = server.connections[0].credentials
    assert (credential.username, credential.password) == ("al@ice", "p:w/")
    assert server.connections[1].credentials == []


def test_a_login_that_fails_is_final(smtp_server: ServerFactory) -> None:
    with (
        smtp_server(Behaviour(tls=Tls.STARTTLS, auth_reply="535 no"), Behaviour()) as server,
        pytest.raises(smtplib.SMTPAuthenticationError),
    ):
        SMTP(f"smtp+tls://alice:secret@{HOST}:{server.port}", timeout=TIMEOUT)
    assert len(server.connections) == 1


@pytest.mark.parametrize("scheme", ["smtp+tls", "ssl"])
def test_a_verified_server_that_fails_afterwards_is_not_left_for_another_try(
    smtp_server: ServerFactory, scheme: str
) -> None:
    """An EHLO refused inside TLS is no sign of a server without TLS."""
    answers = iter(["250-hello\r\n250-STARTTLS\r\n250 AUTH PLAIN", "500 not any more"])
    odd = Behaviour(tls=Tls.STARTTLS, replies={"EHLO": lambda _: next(answers), "HELO": "500 no"})
    with smtp_server(odd, Behaviour()) as server, pytest.raises(smtplib.SMTPHeloError):
        SMTP(f"{scheme}://alice:secret@{HOST}:{server.port}", timeout=TIMEOUT)
    assert len(server.connections) == 1
    assert server.leaked() == []


def test_smtp_ssl_takes_urls_that_use_tls(smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.IMPLICIT) as server:
        send(SMTP_SSL(f"smtps://{HOST}:{server.port}", timeout=TIMEOUT))
    assert_sent_in_tls(server)
    for scheme in ("smtp", "smtp+tls", "smtp+notls"):
        with pytest.raises(smtpverify.RelayURLError, match=r"^scheme: SMTP_SSL uses TLS"):
            SMTP_SSL(f"{scheme}://{HOST}")


@pytest.mark.parametrize("client", [SMTP, SMTP_SSL])
@pytest.mark.parametrize("host", ["lmtp://mail.example.org:24", "lmtp:///run/lmtp", "/run/lmtp"])
def test_lmtp_hosts_are_for_lmtp(client: type[SMTP], host: str) -> None:
    with pytest.raises(smtpverify.RelayURLError, match="LMTP"):
        client(host)


def test_connect_wants_a_scheme(resolve: Resolver) -> None:
    with pytest.raises(smtpverify.RelayURLError, match=r"^scheme: .* write tls://mail\.example\.org:587 "):
        smtpverify.connect(f"{HOST}:587")
    assert resolve.asked == []


def test_connect_is_smtp_or_lmtp(smtp_server: ServerFactory) -> None:
    with smtp_server(starttls_server) as server:
        smtp = smtpverify.connect(f"tls://{HOST}:{server.port}", timeout=TIMEOUT, local_hostname="me.test")
        assert type(smtp) is SMTP
        assert smtp.relay == smtpverify.Relay.parse(f"tls://{HOST}:{server.port}")
        send(smtp)
    assert_sent_in_tls(server)


def test_connect_in_the_other_dialect(smtp_server: ServerFactory) -> None:
    with smtp_server() as server:
        url = f"smtp+tls://{HOST}:{server.port}"
        with pytest.raises(smtpverify.TLSRequiredError):
            smtpverify.connect(url, timeout=TIMEOUT, dialect="opensmtpd-6.4")
        with pytest.warns(smtpverify.PlaintextFallbackWarning, match=r"; tls://"):
            smtp = smtpverify.connect(url, timeout=TIMEOUT)
        smtp.quit()


# --- SMTP_SSL, keys and contexts -------------------------------------------------------------------


def test_smtp_ssl(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.IMPLICIT) as server:
        with SMTP_SSL(HOST, server.port, timeout=TIMEOUT) as smtp:
            assert smtp.peer is not None
            smtp.login("alice", "secret")
        with pytest.raises(smtpverify.HostnameMismatchError):
            SMTP_SSL(OTHER, server.port, timeout=TIMEOUT)
        later = SMTP_SSL(timeout=TIMEOUT)
        later.connect(f"{HOST}:{server.port}")
        send(later)
    assert server.connections[1].leaked() == []
    assert_sent_in_tls(server)


def test_trust_is_what_counts(smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.IMPLICIT, certificate=world.served("unknown_issuer")) as server:
        with pytest.raises(smtpverify.UntrustedCertificateError):
            SMTP_SSL(HOST, server.port, timeout=TIMEOUT)
        pin = smtpverify.Pin.of_spki(smtpverify.Certificate.from_der(world.served("unknown_issuer").leaf_der))
        send(SMTP_SSL(HOST, server.port, timeout=TIMEOUT, trust=Trust(pins=pin, pins_only=True)))
    assert server.connections[0].leaked() == []
    assert_sent_in_tls(server)


def test_a_client_certificate_in_smtplib_s_way(
    smtp_server: ServerFactory, world: World, tmp_path: Path
) -> None:
    """`keyfile` and `certfile` by keyword, which smtplib itself has no more since 3.12."""
    issued = world.root.issue("client.example.net", extended_key_usage=(CLIENT_AUTH,))
    certfile, keyfile = map(str, issued.write(tmp_path))
    with smtp_server(tls=Tls.IMPLICIT, client_roots=(world.root,)) as server:
        send(SMTP_SSL(HOST, server.port, timeout=TIMEOUT, keyfile=keyfile, certfile=certfile))
    assert server.connections[0].client_certificate == issued.leaf_der
    with smtp_server(tls=Tls.STARTTLS, client_roots=(world.root,)) as server:
        smtp = SMTP(HOST, server.port, timeout=TIMEOUT)
        smtp.starttls(keyfile=keyfile, certfile=certfile)
        send(smtp)
    assert server.connections[0].client_certificate == issued.leaf_der
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with (
            smtp_server(tls=Tls.IMPLICIT, client_roots=(world.root,), tls_version=version) as server,
            pytest.raises(smtpverify.TLSHandshakeError, match="client certificate") as caught,
        ):
            SMTP_SSL(HOST, server.port, timeout=TIMEOUT)
        assert caught.value.port == server.port
    with pytest.raises(smtpverify.TrustError, match=r"nowhere\.pem"):
        SMTP_SSL(HOST, 9, certfile=str(tmp_path / "nowhere.pem"))


def test_verifying_contexts_of_callers_are_used(smtp_server: ServerFactory, world: World) -> None:
    context = ssl.create_default_context(cafile=world.root_file)
    blind = ssl.create_default_context(cafile=world.root_file)
    blind.check_hostname = False
    with smtp_server(Behaviour(tls=Tls.IMPLICIT), *[Behaviour(tls=Tls.STARTTLS)] * 2) as server:
        smtp = SMTP_SSL(HOST, server.port, timeout=TIMEOUT, context=context)
        assert smtp.context is context is smtp.sock.context
        send(smtp)
        other = SMTP(HOST, server.port, timeout=TIMEOUT)
        with pytest.raises(smtpverify.InsecureContextError, match="check_hostname"):
            other.starttls(context=blind)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="check_hostname"):
            other.noop()
        other.connect(HOST, server.port)
        other.starttls(context=context)
        assert other.sock.context is context
        send(other)
    assert_sent_in_tls(server, 0)
    assert server.connections[1].clear == b""
    assert_sent_in_tls(server, 2)
    with pytest.raises(smtpverify.InsecureContextError):
        SMTP_SSL(HOST, 9, context=ssl._create_unverified_context())


def test_a_context_excludes_keys() -> None:
    context = ssl.create_default_context()
    for name in ("keyfile", "certfile"):
        with pytest.raises(ValueError, match=rf"^context and {name} arguments are mutually exclusive$"):
            SMTP_SSL(HOST, 9, context=context, **{name: "x.pem"})  # type: ignore[arg-type]


def test_a_server_that_answers_only_to_a_name(smtp_server: ServerFactory, world: World) -> None:
    """Certificates made on demand: by the server name, and none without."""

    def on_demand(name: str | None) -> Any:
        return world.root.issue(name) if name else None

    for tls in (Tls.STARTTLS, Tls.IMPLICIT):
        with smtp_server(tls=tls, sni=Sni.REQUIRED, certificate=on_demand) as server:
            client = SMTP_SSL if tls is Tls.IMPLICIT else SMTP
            smtp = client(HOST, server.port, timeout=TIMEOUT)
            if tls is Tls.STARTTLS:
                smtp.starttls()
            send(smtp)
        assert_sent_in_tls(server)
