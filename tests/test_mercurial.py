"""The Mercurial extension: what its settings come to. Mercurial is a stand-in; `interop` has the real one."""

from __future__ import annotations

import base64
import gc
import hashlib
import importlib
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import smtpverify
from smtpverify.errors import printable
from tests import mercurial_stand_in
from tests.bed import Behaviour, End, Starttls, Tls, closed_port
from tests.mercurial_stand_in import Abort, SecurityError, Ui

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tests.bed import Issued, Server, World
    from tests.conftest import ServerFactory

HOST = "mail.example.org"
EXTENSION = "smtpverify.integrations.mercurial"
ALICE, BOB, CAROL = "alice@example.org", "bob@example.net", "carol@example.net"
MESSAGE = b"Subject: [PATCH] hello\n\nHello.\n"
SECRET = {"smtp.username": "alice", "smtp.password": "secret"}


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Give Mercurial's mail module with the extension in it."""
    for name, module in mercurial_stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, EXTENSION, raising=False)
    importlib.import_module(EXTENSION).uisetup(None)
    yield sys.modules["mercurial.mail"]
    del sys.modules[EXTENSION]


def smtp(server: Server, tls: str | None = "starttls", **others: str) -> dict[str, str]:
    config = {"smtp.host": HOST, "smtp.port": str(server.port)}
    if tls is not None:
        config["smtp.tls"] = tls
    return config | {f"hostsecurity.{HOST}:{name}": value for name, value in others.items()}


def send(mail: ModuleType, ui: Ui, *recipients: str) -> dict[str, Any]:
    sender = mail._smtp(ui)
    refused: dict[str, Any] = sender(ALICE, list(recipients or (BOB,)), MESSAGE)
    return refused


def refusal(mail: ModuleType, ui: Ui, *recipients: str) -> tuple[str, str]:
    with pytest.raises(Abort) as caught:
        send(mail, ui, *recipients)
    told = caught.value.message.decode(), (caught.value.hint or b"").decode()
    # The traceback holds on to the function with which Mercurial sends, which takes leave when it is dropped.
    del caught
    gc.collect()
    return told


def fingerprint(issued: Issued, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, issued.leaf_der).digest().hex(':')}"


# --- how to connect ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tls", "served"),
    [
        ("starttls", Tls.STARTTLS),
        ("STARTTLS", Tls.STARTTLS),
        ("true", Tls.STARTTLS),
        ("smtps", Tls.IMPLICIT),
        ("none", Tls.NONE),
        ("no", Tls.NONE),
        ("", Tls.NONE),
        (None, Tls.NONE),
    ],
)
def test_smtp_tls(mail: ModuleType, smtp_server: ServerFactory, tls: str | None, served: Tls) -> None:
    with smtp_server(tls=served) as server:
        ui = Ui(smtp(server, tls))
        assert send(mail, ui) == {}
    assert server.messages[0].data == MESSAGE.replace(b"\n", b"\r\n")
    assert server.connections[0].handshake_done is (served is not Tls.NONE)
    assert ui.warnings == []
    assert ui.notes[0].startswith("sending mail: ")
    assert len(ui.notes) == (1 if served is Tls.NONE else 2)


@pytest.mark.parametrize("tls", ["ssl", "startls", "tls"])
def test_smtp_tls_that_mercurial_would_take_for_none(
    mail: ModuleType, smtp_server: ServerFactory, tls: str
) -> None:
    with smtp_server() as server:
        said, _ = refusal(mail, Ui(smtp(server, tls)))
    assert said == f"smtp.tls: '{tls}' is none of starttls, smtps, none"
    assert server.connections == []


def test_no_host(mail: ModuleType) -> None:
    assert refusal(mail, Ui({})) == ("smtp.host not configured - cannot send mail", "")


def test_unsaid_plaintext_to_another_machine_warns(
    mail: ModuleType, smtp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtpverify.smtp.endpoints.is_local", lambda sock: False)
    with smtp_server() as server:
        unsaid, said = Ui(smtp(server, None)), Ui(smtp(server, "none"))
        send(mail, unsaid)
        send(mail, said)
        refused, _ = refusal(mail, Ui(smtp(server, None) | SECRET))
    (warning,) = unsaid.warnings
    assert warning.startswith(f"warning: {HOST}: the mail goes in plaintext. ")
    assert said.warnings == []
    assert refused.startswith(f"{HOST}:{server.port}: credentials do not go over plaintext; ")
    assert [len(connection.messages) for connection in server.connections] == [1, 1, 0]


def test_a_fallback_to_plaintext_warns(mail: ModuleType, smtp_server: ServerFactory) -> None:
    with smtp_server(Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)) as server:
        ui = Ui({"smtp.host": f"smtp+tls://{HOST}:{server.port}"})
        send(mail, ui)
    (warning,) = ui.warnings
    assert "tls:// would have refused" in warning


def test_the_port_may_be_a_service_s_name(mail: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as port:
        monkeypatch.setattr("socket.getservbyname", {"submission": port}.__getitem__)
        config = {"smtp.host": HOST, "smtp.port": "submission", "smtp.tls": "starttls"}
        said, hint = refusal(mail, Ui(config))
    assert said.startswith(f"tls://{HOST}:{port}: ")  # and then the system's words
    assert hint == ""


def test_the_local_name(mail: ModuleType, smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        send(mail, Ui(smtp(server) | {"smtp.local_hostname": "laptop.example.org"}))
    assert server.connections[0].commands[0] == "ehlo laptop.example.org"


def test_leave_is_taken_when_mercurial_is_done(mail: ModuleType, smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        sender = mail._smtp(Ui(smtp(server)))
        sender(ALICE, [BOB], MESSAGE)
        sender(ALICE, [CAROL], MESSAGE)
        assert server.connections[0].end is None
        del sender
        gc.collect()
        server.wait_closed()
    assert [message.rcpts for message in server.messages] == [(BOB,), (CAROL,)]
    assert server.connections[0].end is End.QUIT


# --- a relay URL in the place of the host --------------------------------------------------------


def test_a_url_with_user_and_password(mail: ModuleType, smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.IMPLICIT) as server:
        ui = Ui({"smtp.host": f"smtps://alice:secret@{HOST}:{server.port}"})
        send(mail, ui)
    assert [one.password for one in server.connections[0].credentials] == ["secret"]
    assert not any("secret" in note for note in ui.notes)
    assert ui.prompts == []


@pytest.mark.parametrize("scheme", ["tls", "tls+auth"])
@pytest.mark.parametrize("source", ["smtp.password", "question", "environment"])
def test_where_the_password_of_a_url_s_user_comes_from(
    mail: ModuleType,
    smtp_server: ServerFactory,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    scheme: str,
    source: str,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where no netrc is
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr("smtpverify.smtp.credentials._from_keyring", lambda host, user: None)
    monkeypatch.setenv("MAIL_PASSWORD", "secret")
    with smtp_server(tls=Tls.STARTTLS) as server:
        url = f"{scheme}://alice@{HOST}:{server.port}"
        if source == "environment":
            url += "?password-env=MAIL_PASSWORD"
        config = {"smtp.host": url} | ({"smtp.password": "secret"} if source == "smtp.password" else {})
        ui = Ui(config, typed="secret")
        send(mail, ui)
        if source == "question":
            said, hint = refusal(mail, Ui(config))
            assert said == "no password for alice at the mail server"
            assert hint == "set smtp.password, or run Mercurial where it can ask"
    assert [one.password for one in server.connections[0].credentials] == ["secret"]
    assert ui.prompts == (["password for alice: "] if source == "question" else [])


def test_a_user_beside_a_url_without_one(mail: ModuleType, smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        send(mail, Ui({"smtp.host": f"tls://{HOST}", "smtp.port": str(server.port)} | SECRET))
    assert [one.username for one in server.connections[0].credentials] == ["alice"]


def test_lmtp(mail: ModuleType, smtp_server: ServerFactory) -> None:
    from tests.bed import Protocol

    with smtp_server(protocol=Protocol.LMTP) as server:
        send(mail, Ui({"smtp.host": f"lmtp://{HOST}:{server.port}"}))
    assert len(server.messages) == 1


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"smtp.host": f"tls://{HOST}", "smtp.tls": "none"}, "smtp.tls: leave it out; "),
        ({"smtp.host": f"tls://bob@{HOST}"} | SECRET, "smtp.username: leave it out, or the user"),
        ({"smtp.host": f"tls://bob:pw@{HOST}", "smtp.password": "x"}, f"tls://bob:***@{HOST}: password: "),
        ({"smtp.host": f"tsl://{HOST}"}, "smtp.host: scheme: tsl:// is unknown"),
        ({"smtp.host": HOST, "smtp.port": "70000", "smtp.tls": "smtps"}, "smtp.host: port: it is no number"),
        (
            {
                "smtp.host": f"tls://{HOST}?pin=sha256:{'0a' * 32}",
                f"hostsecurity.{HOST}:fingerprints": "sha256:" + "0b" * 32,
            },
            f"tls://{HOST}: pin: the URL and the trust argument both give one",
        ),
    ],
)
def test_settings_that_contradict_each_other(mail: ModuleType, config: dict[str, str], said: str) -> None:
    assert refusal(mail, Ui(config))[0].startswith(said)


def test_a_cafile_of_a_url_beside_what_is_told_of_the_host(mail: ModuleType, world: World) -> None:
    url = {"smtp.host": f"tls://{HOST}?cafile={world.root_file}"}
    key = f"hostsecurity.{HOST}:fingerprints"
    said, _ = refusal(mail, Ui(url | {key: "sha256:" + "0b" * 32}))
    assert said.startswith(f"{key}: fingerprints stand in place of the cafile")
    key = f"hostsecurity.{HOST}:verifycertsfile"
    said, _ = refusal(mail, Ui(url | {key: str(world.unknown_file)}))
    assert said == f"tls://{HOST}: cafile: the URL and the trust argument both give one"


# --- logging in ----------------------------------------------------------------------------------


def test_the_password_is_asked_for_by_mercurial_s_hook(mail: ModuleType, smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        ui = Ui(smtp(server) | {"smtp.username": "alice"}, typed="secret")
        send(mail, ui)
        said, _ = refusal(mail, Ui(smtp(server) | {"smtp.username": "alice"}))
    assert said == "no password for alice at the mail server"
    assert ui.prompts == [None]
    assert [[one.password for one in each.credentials] for each in server.connections] == [["secret"], []]
    assert server.connections[1].leaked() == []


def test_a_refused_password(mail: ModuleType, smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.STARTTLS, auth_reply="535 5.7.8 no") as server:
        said, _ = refusal(mail, Ui(smtp(server) | SECRET))
    assert said.startswith(f"{HOST}:{server.port}: the server refused PLAIN: 535 5.7.8 no")
    assert "secret" not in said
    assert server.messages == []


# --- whom to believe -----------------------------------------------------------------------------


def test_the_system_s_cas_are_the_default(mail: ModuleType, smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served("wrong_name")) as server:
        said, hint = refusal(mail, Ui(smtp(server) | SECRET))
    assert said == f"{HOST}:{server.port}: the certificate is valid for other.example.net, not for {HOST}"
    assert hint.startswith("Connect by a name that the certificate bears")
    assert server.leaked() == []


@pytest.mark.parametrize("kind", ["unknown_issuer", "self_signed_leaf", "self_signed_root_in_chain"])
def test_a_fingerprint_is_proposed_where_nobody_vouches_and_then_believed(
    mail: ModuleType, smtp_server: ServerFactory, world: World, kind: str
) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served(kind)) as server:
        with pytest.raises(SecurityError) as caught:
            send(mail, Ui(smtp(server) | SECRET))
        hint = (caught.value.hint or b"").decode()
        setting = f"{HOST}:fingerprints = {fingerprint(world.served(kind))}\n"
        assert hint.endswith(f" write\n[hostsecurity]\n{setting}")
        assert f"hostsecurity.{HOST}:verifycertsfile" in hint
        assert server.leaked() == []
        key, _, value = setting.strip().partition(" = ")
        send(mail, Ui(smtp(server) | SECRET | {f"hostsecurity.{key}": value}))
    assert len(server.messages) == 1


@pytest.mark.parametrize(
    "kind", ["wrong_name", "expired", "missing_intermediate", "wrong_usage", "not_yet_valid"]
)
def test_no_fingerprint_is_proposed_for_anything_else(
    mail: ModuleType, smtp_server: ServerFactory, world: World, kind: str
) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served(kind)) as server:
        _, hint = refusal(mail, Ui(smtp(server)))
    assert hint
    assert "fingerprint" not in hint
    assert server.leaked() == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", ["self_signed_leaf", "expired", "wrong_name", "good"])
def test_fingerprints_stand_in_place_of_chain_and_name(
    mail: ModuleType, smtp_server: ServerFactory, world: World, kind: str, algorithm: str
) -> None:
    """As Mercurial's help says: one of them must match, and nothing else counts."""
    other = fingerprint(world.served("unknown_issuer"), algorithm)
    both = f"{other}, {fingerprint(world.served(kind), algorithm).upper().replace('SHA', 'sha')}"
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served(kind)) as server:
        send(mail, Ui(smtp(server, fingerprints=both)))
        said, _ = refusal(mail, Ui(smtp(server, fingerprints=other) | SECRET))
    assert f"the certificate is not the pinned one: expected {algorithm}:" in said
    assert [len(connection.messages) for connection in server.connections] == [1, 0]
    assert server.connections[1].leaked() == []


def test_a_fingerprint_of_the_public_key(mail: ModuleType, smtp_server: ServerFactory, world: World) -> None:
    issued = world.served("self_signed_leaf")
    digest = base64.b64encode(hashlib.sha256(issued.spki_der).digest()).decode()
    with smtp_server(tls=Tls.STARTTLS, certificate=issued) as server:
        send(mail, Ui(smtp(server, fingerprints=f"spki-sha256:{digest}")))
        refusal(mail, Ui(smtp(server, fingerprints=f"spki-sha256:{'0' * 64}")))
    assert [len(connection.messages) for connection in server.connections] == [1, 0]


@pytest.mark.parametrize("name", ["MAIL.example.org", HOST])
def test_the_section_is_found_as_the_host_is_configured_or_looked_up(
    mail: ModuleType, smtp_server: ServerFactory, world: World, name: str
) -> None:
    issued = world.served("self_signed_leaf")
    with smtp_server(tls=Tls.STARTTLS, certificate=issued) as server:
        config = smtp(server) | {"smtp.host": "MAIL.example.org"}
        send(mail, Ui(config | {f"hostsecurity.{name}:fingerprints": fingerprint(issued)}))
    assert len(server.messages) == 1


@pytest.mark.parametrize("setting", [f"hostsecurity.{HOST}:verifycertsfile", "web.cacerts"])
def test_a_file_of_cas_is_the_only_one(
    mail: ModuleType,
    smtp_server: ServerFactory,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
) -> None:
    monkeypatch.setenv("CAS", str(world.unknown_file.parent))
    config = {setting: f"$CAS/{world.unknown_file.name}"}
    behaviours = [Behaviour(certificate=world.served(kind)) for kind in ("unknown_issuer", "good")]
    with smtp_server(*behaviours, tls=Tls.STARTTLS) as server:
        send(mail, Ui(smtp(server) | config))
        refusal(mail, Ui(smtp(server) | config))
    assert [len(connection.messages) for connection in server.connections] == [1, 0]


def test_what_is_told_of_the_host_comes_before_what_is_told_of_all(
    mail: ModuleType, smtp_server: ServerFactory, world: World
) -> None:
    general = {"web.cacerts": str(world.unknown_file)}
    with smtp_server(tls=Tls.STARTTLS) as server:
        send(mail, Ui(smtp(server, verifycertsfile=str(world.root_file)) | general))
        url = f"tls://{HOST}:{server.port}?cafile={world.root_file}"
        send(mail, Ui({"smtp.host": url} | general))
    assert len(server.messages) == 2


def test_fingerprints_come_before_a_file_and_it_is_told(
    mail: ModuleType, smtp_server: ServerFactory, world: World
) -> None:
    issued = world.served("self_signed_leaf")
    with smtp_server(tls=Tls.STARTTLS, certificate=issued) as server:
        ui = Ui(smtp(server, fingerprints=fingerprint(issued), verifycertsfile=str(world.root_file)))
        send(mail, ui)
    key = f"hostsecurity.{HOST}:verifycertsfile"
    assert ui.warnings == [f"({key} does not count, since there are fingerprints for the host)\n"]


def test_insecure_does_not_count(mail: ModuleType, smtp_server: ServerFactory, world: World) -> None:
    with smtp_server(tls=Tls.STARTTLS, certificate=world.served("self_signed_leaf")) as server:
        ui = Ui(smtp(server), insecure=True)
        refusal(mail, ui)
    assert ui.warnings == [f"(--insecure does not count for the mail server {HOST})\n"]
    assert server.leaked() == []


@pytest.mark.parametrize("name", [f"hostsecurity.{HOST}:minimumprotocol", "hostsecurity.minimumprotocol"])
@pytest.mark.parametrize("believed", ["default", "file", "fingerprint"])
def test_the_oldest_tls(
    mail: ModuleType, smtp_server: ServerFactory, world: World, name: str, believed: str
) -> None:
    others = {
        "default": {},
        "file": {"verifycertsfile": str(world.root_file)},
        "fingerprint": {"fingerprints": fingerprint(world.good())},
    }[believed]
    with smtp_server(tls=Tls.IMPLICIT, tls_version=ssl.TLSVersion.TLSv1_2) as server:
        config = smtp(server, "smtps", **others)
        said, _ = refusal(mail, Ui(config | {name: "tls1.3"}))
        send(mail, Ui(config | {name: "tls1.2"}))
    assert said.startswith(f"{HOST}:{server.port}: ")
    assert [len(connection.messages) for connection in server.connections] == [0, 1]


def test_what_the_host_may_have_although_others_may_not(mail: ModuleType, smtp_server: ServerFactory) -> None:
    general = {"hostsecurity.minimumprotocol": "tls1.0", "hostsecurity.ciphers": "ALL"}
    with smtp_server(tls=Tls.STARTTLS) as server:
        send(mail, Ui(smtp(server, minimumprotocol="tls1.2", ciphers="") | general))
    assert len(server.messages) == 1


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (f"hostsecurity.{HOST}:fingerprints", "sha1:" + "0a" * 20, "pin 'sha1:"),
        (f"hostsecurity.{HOST}:fingerprints", f"sha256:{'0a' * 32} sha1:{'0a' * 20}", "pin 'sha1:"),
        (f"hostsecurity.{HOST}:fingerprints", "0a" * 31, "pin '"),
        (f"hostfingerprints.{HOST}", "0a" * 20, "a SHA-1 fingerprint can be forged"),
        (f"hostsecurity.{HOST}:minimumprotocol", "tls1.1", "tls1.1: TLS below 1.2 is never spoken"),
        ("hostsecurity.minimumprotocol", "tls1.0", "tls1.0: TLS below 1.2 is never spoken"),
        ("hostsecurity.minimumprotocol", "ssl3", "ssl3: unknown protocol"),
        ("hostsecurity.ciphers", "ALL", "smtpverify lets nobody choose ciphers"),
        (f"hostsecurity.{HOST}:ciphers", "ALL", "smtpverify lets nobody choose ciphers"),
        (
            f"hostsecurity.{HOST}:verifycertsfile",
            "nowhere.pem",
            f"{printable(str(Path('nowhere.pem').absolute()))}: ",
        ),
        ("web.cacerts", "nowhere.pem", f"{printable(str(Path('nowhere.pem').absolute()))}: "),
        ("devel.disableloaddefaultcerts", "yes", "it leaves nobody to believe"),
    ],
)
def test_what_can_t_be_honoured_is_refused_before_any_connection(
    mail: ModuleType, smtp_server: ServerFactory, key: str, value: str, said: str
) -> None:
    with smtp_server(tls=Tls.STARTTLS) as server:
        assert refusal(mail, Ui(smtp(server) | {key: value}))[0].startswith(f"{key}: {said}")
    assert server.connections == []


def test_fingerprints_that_nothing_would_be_compared_with(
    mail: ModuleType, smtp_server: ServerFactory
) -> None:
    pinned = {"fingerprints": "sha256:" + "0a" * 32}
    with smtp_server() as server:
        said, hint = refusal(mail, Ui(smtp(server, None, **pinned)))
        assert said == f"hostsecurity.{HOST}:fingerprints: nothing would be compared: smtp.tls is not set"
        assert hint == "set smtp.tls to starttls or smtps, or to none if plaintext is meant"
        assert server.connections == []
        send(mail, Ui(smtp(server, "none", **pinned)))
    assert len(server.messages) == 1


# --- failures ------------------------------------------------------------------------------------


def test_starttls_stripped(mail: ModuleType, smtp_server: ServerFactory) -> None:
    with smtp_server(Behaviour(tls=Tls.STARTTLS, starttls=Starttls.ABSENT)) as server:
        said, hint = refusal(mail, Ui(smtp(server) | SECRET))
    assert said == f"{HOST}:{server.port}: the server does not offer STARTTLS"
    assert hint.startswith("If it used to, ")
    assert server.leaked() == []


def test_some_recipients_refused(mail: ModuleType, smtp_server: ServerFactory) -> None:
    def answer(line: str) -> str | None:
        return "550 5.1.1 \x1b[2Jnobody" if CAROL in line else None

    with smtp_server(tls=Tls.STARTTLS, replies={"RCPT": answer}) as server:
        ui = Ui(smtp(server))
        assert list(send(mail, ui, BOB, CAROL)) == [CAROL]
        said, _ = refusal(mail, Ui(smtp(server)), CAROL)
    line = f"the mail server refused {CAROL}: 550 5.1.1 \\x1b[2Jnobody"
    assert ui.warnings == [f"({line})\n"]
    assert said == line
    assert [message.rcpts for message in server.messages] == [(BOB,)]


def test_a_refused_message(mail: ModuleType, smtp_server: ServerFactory) -> None:
    with smtp_server(tls=Tls.STARTTLS, replies={".": "554 5.6.0 \x1b[2Jno"}) as server:
        said, _ = refusal(mail, Ui(smtp(server)))
    assert said == f"tls://{HOST}:{server.port}: the mail server said 554 5.6.0 \\x1b[2Jno"


# --- loading -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("mail")
def test_the_package_itself_has_the_hooks_where_mercurial_is() -> None:
    extension = sys.modules[EXTENSION]
    for name in ("uisetup", "testedwith", "minimumhgversion"):
        assert getattr(smtpverify, name) is getattr(extension, name)
    assert not hasattr(smtpverify, "reposetup")


def test_the_package_has_no_hooks_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mercurial", raising=False)
    assert not hasattr(smtpverify, "uisetup")


@pytest.mark.parametrize("name", ["_smtp", "_smtp_login"])
def test_a_mercurial_without_what_would_be_replaced(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for module_name, module in mercurial_stand_in.modules().items():
        monkeypatch.setitem(sys.modules, module_name, module)
    monkeypatch.delitem(sys.modules, EXTENSION, raising=False)
    monkeypatch.delattr(sys.modules["mercurial.mail"], name)
    with pytest.raises(ImportError, match=rf"^this Mercurial has no mail\.{name}\(\), "):
        importlib.import_module(EXTENSION)
