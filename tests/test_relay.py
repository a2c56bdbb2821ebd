"""Relay URLs: what each scheme means, what is refused and how it is said, and that no password shows."""

from __future__ import annotations

import copy
import os
import pickle
import re
import ssl
import string
import sys
import traceback
import urllib.parse
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from hypothesis import assume, example, given, settings, strategies as st

from smtpverify import Mode, Pin, Relay, RelayURLError, Trust
from smtpverify.schemes import DIALECTS, Scheme, extension_names
from smtpverify.urls import QUERY_KEYS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed import World

OLD: Literal["opensmtpd-2012"] = "opensmtpd-2012"
NEW: Literal["opensmtpd-6.4"] = "opensmtpd-6.4"

HOST = "mail.example.org"
PIN = "sha256:" + 32 * "ab"
OTHER_PIN = "spki-sha256:q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="

# Dialect, scheme -> mode, default port, LMTP, user required. The table of the documentation.
MEANINGS: dict[tuple[str, str], tuple[Mode, int | None, bool, bool]] = {
    (OLD, "smtp"): (Mode.PLAINTEXT, 25, False, False),
    (OLD, "smtp+tls"): (Mode.STARTTLS_IF_OFFERED, 25, False, False),
    (OLD, "tls"): (Mode.STARTTLS, 25, False, False),
    (OLD, "smtps"): (Mode.IMPLICIT, 465, False, False),
    (OLD, "ssl"): (Mode.STARTTLS_OR_IMPLICIT, 25, False, False),
    (OLD, "tls+auth"): (Mode.STARTTLS, 25, False, True),
    (OLD, "smtps+auth"): (Mode.IMPLICIT, 465, False, True),
    (OLD, "ssl+auth"): (Mode.STARTTLS_OR_IMPLICIT, 25, False, True),
    (OLD, "smtp+notls"): (Mode.PLAINTEXT, 25, False, False),
    (OLD, "lmtp"): (Mode.PLAINTEXT, None, True, False),
    (NEW, "smtp"): (Mode.STARTTLS_IF_OFFERED, 25, False, False),
    (NEW, "smtp+tls"): (Mode.STARTTLS, 25, False, False),
    (NEW, "smtps"): (Mode.IMPLICIT, 465, False, False),
    (NEW, "smtp+notls"): (Mode.PLAINTEXT, 25, False, False),
    (NEW, "lmtp"): (Mode.PLAINTEXT, None, True, False),
}
PLAINTEXT = sorted(key for key, (mode, *_) in MEANINGS.items() if mode is Mode.PLAINTEXT)


def refused(text: Any, part: str, *, dialect: Any = OLD, trust: Trust | None = None) -> str:
    """Parse what must not parse; return the message, which names the part first."""
    with pytest.raises(RelayURLError) as caught:
        Relay.parse(text, dialect=dialect, trust=trust)
    message = str(caught.value)
    assert message.startswith(f"{part}: ")
    return message


def said(error: BaseException) -> str:
    """All that a log may say of an error: itself, and what led to it."""
    return "".join((str(error), repr(error), *traceback.format_exception(error)))


# --- schemes -------------------------------------------------------------------------------------


def test_the_table_is_whole() -> None:
    assert {(dialect, scheme) for dialect, schemes in DIALECTS.items() for scheme in schemes} == set(MEANINGS)


@pytest.mark.parametrize(("dialect", "scheme"), MEANINGS)
def test_scheme(dialect: Any, scheme: str) -> None:
    mode, port, lmtp, auth = MEANINGS[dialect, scheme]
    user = "alice@" if auth else ""
    relay = Relay.parse(f"{scheme}://{user}{HOST}:2525", dialect=dialect)
    assert relay == Relay(scheme, HOST, 2525, user="alice" if auth else None, dialect=dialect)
    assert relay.mode is mode
    assert relay.meaning == Scheme(mode, port, lmtp, auth)
    assert Relay.parse(f"{scheme.upper()}://{user}{HOST}:2525", dialect=dialect) == relay


@pytest.mark.parametrize(("dialect", "scheme"), MEANINGS)
def test_without_port(dialect: Any, scheme: str) -> None:
    _, port, _, auth = MEANINGS[dialect, scheme]
    url = f"{scheme}://{'alice@' if auth else ''}{HOST}"
    if port is None:
        refused(url, "port", dialect=dialect)
    else:
        relay = Relay.parse(url, dialect=dialect)
        assert (relay.port, relay.meaning.port) == (None, port)


def test_only_these_modes_leave_plaintext_open() -> None:
    assert {mode for mode in Mode if not mode.requires_tls} == {
        Mode.CALLER,
        Mode.PLAINTEXT,
        Mode.STARTTLS_IF_OFFERED,
    }
    assert {mode for mode in Mode if not mode.uses_tls} == {Mode.CALLER, Mode.PLAINTEXT}


@pytest.mark.parametrize("scheme", ["tls+auth", "smtps+auth", "ssl+auth"])
def test_auth_needs_a_user(scheme: str) -> None:
    refused(f"{scheme}://{HOST}", "user")
    assert Relay.parse(f"{scheme}://alice@{HOST}").user == "alice"


@pytest.mark.parametrize(
    "scheme", ["http", "smpt", "tls+notls", "starttls", "smtp+tls+auth", "mailto", "backup"]
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_unknown_scheme(dialect: str, scheme: str) -> None:
    message = refused(f"{scheme}://{HOST}", "scheme", dialect=dialect)
    assert f"{scheme}://" in message
    assert all(f"{known}://" in message for known in DIALECTS[dialect])


@pytest.mark.parametrize("scheme", ["tls", "ssl", "tls+auth", "smtps+auth", "ssl+auth"])
def test_schemes_that_are_gone(scheme: str) -> None:
    refused(f"{scheme}://alice@{HOST}", "scheme", dialect=NEW)


def test_unknown_dialect() -> None:
    message = refused(HOST, "dialect", dialect="postfix")
    assert "'postfix'" in message
    assert OLD in message
    with pytest.raises(RelayURLError, match=r"^scheme: tls:// is unknown in the dialect postfix$"):
        Relay("tls", HOST, dialect=cast("Any", "postfix"))


@pytest.mark.parametrize(("dialect", "strict"), [(OLD, "tls"), (NEW, "smtp+tls")])
@pytest.mark.parametrize("text", [HOST, f"smtp://{HOST}"])
def test_strict_scheme(text: str, dialect: Any, strict: str) -> None:
    relay = Relay.parse(text, dialect=dialect)
    assert relay.strict_scheme == strict
    assert Relay.parse(f"{strict}://{HOST}", dialect=dialect).mode is Mode.STARTTLS


# --- bare hosts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (HOST, HOST, None),
        (f"{HOST}:587", HOST, 587),
        ("MAIL.Example.ORG.", f"{HOST}.", None),
        ("localhost", "localhost", None),
        ("my_relay:25", "my_relay", 25),
        ("192.0.2.1", "192.0.2.1", None),
        ("192.0.2.1:25", "192.0.2.1", 25),
        ("::1", "::1", None),
        ("2001:DB8:0::1", "2001:db8::1", None),
        ("[::1]", "::1", None),
        ("[::1]:25", "::1", 25),
        ("fe80::1%eth0", "fe80::1%eth0", None),
        ("[fe80::1%eth0.100]:25", "fe80::1%eth0.100", 25),
        ("bücher.example", "xn--bcher-kva.example", None),
        ("faß.example:25", "xn--fa-hia.example", 25),
        (b"mail.example.org:25", HOST, 25),
        (b"::1", "::1", None),
    ],
)
def test_bare_host(text: str | bytes, host: str, port: int | None) -> None:
    relay = Relay.parse(text)
    assert relay == Relay("", host, port)
    assert relay.mode is Mode.CALLER
    assert relay.meaning == Scheme(Mode.CALLER, None)
    assert Relay.parse(str(relay)) == relay


def test_bare_host_takes_the_trust_given() -> None:
    trust = Trust(pins=PIN)
    assert Relay.parse(HOST, trust=trust).trust is trust
    assert Relay.parse("/run/lmtp", trust=trust).trust is trust
    assert Relay.parse(f"tls://{HOST}?server-name=other.example.org", trust=trust).trust is trust


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "host"),
        (b"", "host"),
        (":25", "host"),
        (" mail.example.org", "host"),
        ("mail.example.org\n", "host"),
        ("mail..example.org", "host"),
        ("*.example.org", "host"),
        ("010.0.0.1", "host"),
        ("192.0.2.1 evil", "host"),
        ("1::2::3", "host"),
        ("[::1", "host"),
        ("[mail.example.org]", "host"),
        ("fe80::1%", "host"),
        ("fe80::1%eth 0", "host"),
        ("fe80::1%eth]0", "host"),
        (b"b\xfccher.example", "host"),
        ("mail.example.org:", "port"),
        ("mail.example.org:0", "port"),
        ("mail.example.org:smtp", "port"),
        ("tls:mail.example.org", "port"),
        ("alice@mail.example.org", "relay"),
        ("mail.example.org/", "relay"),
        ("tls:/mail.example.org", "relay"),
        ("t_ls://mail.example.org", "scheme"),
        (" tls://mail.example.org", "scheme"),
        ("//mail.example.org", "scheme"),
        ("/tls://mail.example.org", "scheme"),
        ("/run/lmtp\0.sock", "path"),
        (None, "relay"),
        (25, "relay"),
        (("mail.example.org", 25), "relay"),
    ],
)
def test_bare_text_refused(text: Any, part: str) -> None:
    refused(text, part)


@pytest.mark.parametrize(
    "text", ["/run/dovecot/lmtp", "/run/my lmtp", "/run/lmtp@1.sock", "/a%20b", "/run/büro"]
)
def test_bare_path_is_taken_as_it_stands(text: str) -> None:
    relay = Relay.parse(text)
    assert relay == Relay("", "", path=text)
    assert relay.meaning == Scheme(Mode.CALLER, None, lmtp=True)
    assert relay.to_url() == text


def test_bare_path_in_bytes() -> None:
    assert Relay.parse(b"/run/my lmtp") == Relay("", "", path="/run/my lmtp")
    relay = Relay.parse(b"/run/b\xfcro")  # as the system has it, in whatever encoding
    assert relay.path == "/run/b\udcfcro"
    assert str(relay) == r"/run/b\xfcro"


# --- host and port of a URL ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "host", "port"),
    [
        (HOST, HOST, None),
        (f"{HOST}:587", HOST, 587),
        ("MAIL.example.org.:1", f"{HOST}.", 1),
        (f"{HOST}:65535", HOST, 65535),
        (f"{HOST}:00025", HOST, 25),
        ("mail%2Eexample.org", HOST, None),
        ("192.0.2.1:25", "192.0.2.1", 25),
        ("[2001:DB8:0:0::1]", "2001:db8::1", None),
        ("[::1]:465", "::1", 465),
        ("[fe80::1%25eth0]:25", "fe80::1%eth0", 25),  # RFC 6874
        ("[fe80::1%eth0]", "fe80::1%eth0", None),  # as people write it
        ("[fe80::1%2525]", "fe80::1%25", None),
        ("bücher.example:25", "xn--bcher-kva.example", 25),
        ("b%C3%BCcher.example", "xn--bcher-kva.example", None),
        ("BÜCHER.example", "xn--bcher-kva.example", None),
        ("faß.example", "xn--fa-hia.example", None),  # IDNA 2008, not 2003's fass.example
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
    ],
)
def test_location(location: str, host: str, port: int | None) -> None:
    relay = Relay.parse(f"tls://{location}")
    assert relay == Relay("tls", host, port)
    assert Relay.parse(relay.to_url()) == relay


@pytest.mark.parametrize(
    "port",
    [
        "",
        "0",
        "00000",
        "65536",
        "99999",
        "100000",
        "smtp",
        "+25",
        "-25",
        "2_5",
        " 25",
        "25%20",
        "٢٥",
        "²",
        "0x19",
        "25.0",
    ],
)
@pytest.mark.parametrize("host", [HOST, "[::1]", "192.0.2.1"])
def test_port_refused(host: str, port: str) -> None:
    text = f"tls://{host}:{port}"
    refused(text, "relay" if " " in port else "port")


@pytest.mark.parametrize(
    "location",
    [
        "",
        ":25",
        "alice@",
        "::1",
        "::1:25",
        "2001:db8::1",
        "mail.example.org:25:25",
        "[::1",
        "::1]",
        "[]",
        "[]:25",
        "[::1]x",
        "[::1]25",
        "x[::1]",
        "[[::1]]",
        "[mail.example.org]",
        "[192.0.2.1]",
        "[fe80::1%25]",
        "[fe80::1%]",
        "[fe80::1%25eth%250]",
        "[fe80::1%25eth%5D0]",
        "mail..example.org",
        "-mail.example.org",
        "*.example.org",
        "mail.example.org%00.example.net",
        "mail.example.org%3A25",
        "mail.example.org%2Fx",
        "mail.example.org%40x",
        "mail%20.example.org",
        "mail%.example.org",
        "mail%zz.example.org",
        "mail%FF.example.org",
        "mail,other",
        "010.0.0.1",
        "192.0.2.256",
        "0x7f.1",
        "a" * 64 + ".example.org",
        "xn--\u4e00.example",
    ],
)
def test_host_refused(location: str) -> None:
    refused(f"tls://{location}", "host")


def test_host_error_repeats_what_can_only_be_a_host() -> None:
    assert "mail..example.org" in refused("tls://mail..example.org", "host")
    assert "mail..example.org" in refused("mail..example.org", "host")
    assert "s3cret" not in refused("tls://[alice:s3cret]", "host")


# --- user and password ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("userinfo", "user", "password"),
    [
        ("alice", "alice", None),
        ("alice:secret", "alice", "secret"),
        ("alice%40example.org:s%3Ae%2Fc%23r%25e%3Ft%40", "alice@example.org", "s:e/c#r%e?t@"),
        ("alice:a+b", "alice", "a+b"),  # + is itself: this is no HTML form
        ("alice:a%2Bb", "alice", "a+b"),
        ("alice:%20", "alice", " "),
        ("j%C3%BCrgen:p%c3%a4ss", "jürgen", "päss"),
        ("jürgen:päss", "jürgen", "päss"),
        ("alice:%F0%9F%94%91", "alice", "🔑"),
        ("alice:%25252F", "alice", "%252F"),  # decoded once
        ("alice:!$&'()*,;=-._~", "alice", "!$&'()*,;=-._~"),  # RFC 3986 2.2, sub-delims
        ("alice:***", "alice", "***"),
    ],
)
def test_userinfo(userinfo: str, user: str, password: str | None) -> None:
    relay = Relay.parse(f"smtps://{userinfo}@{HOST}")
    assert (relay.user, relay.password, relay.host) == (user, password, HOST)
    assert Relay.parse(relay.to_url()) == relay


@pytest.mark.parametrize(
    ("userinfo", "part"),
    [
        ("", "user"),
        (":", "user"),
        (":secret", "user"),
        ("alice:", "password"),
        ("alice@example.org:secret", "user"),
        ("alice:se@cret", "user"),
        ("alice:se:cret", "password"),
        ("alice:se%cret", "password"),
        ("alice:secret%", "password"),
        ("alice:secret%4", "password"),
        ("alice:secret%g0", "password"),
        ("ali%ce:secret", "user"),
        ("alice:s%E4cret", "password"),  # Latin-1
        ("alice:s%C0%AFcret", "password"),  # overlong
        ("alice:s%ED%A0%80cret", "password"),  # a surrogate
        ("ali%FFce:secret", "user"),
        *((f"alice:secret%{code:02X}", "password") for code in (*range(32), 127)),
        ("alice:secret%C2%85", "password"),  # NEL, a C1 control
        ("alice%0D%0A:secret", "user"),
        ("alice:se/cret", "path"),
        ("alice:/secret", "path"),
        ("al/ice:secret", "path"),
        ("alice:se?cret", "query"),
        ("alice:?secret", "query"),
        ("alice:se#cret", "fragment"),
        ("alice:se cret", "relay"),
        ("alice:se\ncret", "relay"),
        ("alice:se\xa0cret", "relay"),
        ("alice:se\u202ecret", "relay"),
        ("alice:se\udcffcret", "relay"),
    ],
)
def test_userinfo_refused(userinfo: str, part: str) -> None:
    message = refused(f"tls://{userinfo}@{HOST}", part)
    assert "cret" not in message


def test_a_user_that_is_an_address_and_a_password_that_looks_like_a_query() -> None:
    # The user's own @ must not hide that what follows ? is a password.
    for url in (
        f"tls://alice@example.org:?s3cret@{HOST}",
        f"tls://alice@example.org:25?s3cret@{HOST}",
        f"tls://alice@example.org:?s3cret=1@{HOST}",
        f"tls://alice@example.org:?cafile=s3cret@{HOST}",
        f"tls://alice@example.org:?pin=s3cret@{HOST}",
    ):
        assert "s3cret" not in refused(url, "query")


def test_control_characters_are_named_by_their_code() -> None:
    assert refused(f"tls://{HOST}\r\n", "relay").startswith("relay: the character U+000D ")
    assert refused(f"tls://{HOST}\0".encode("ascii"), "relay").startswith("relay: the character U+0000 ")
    assert refused(b"tls://b\xfccher.example", "relay").startswith("relay: the character U+DCFC ")


# --- LMTP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("lmtp:///run/dovecot/lmtp", "/run/dovecot/lmtp"),
        ("lmtp:///run/my%20lmtp", "/run/my lmtp"),
        ("lmtp:///run/lmtp%401%3F%23.sock", "/run/lmtp@1?#.sock"),
        ("lmtp:///run/b%C3%BCro", "/run/büro"),
        ("lmtp:////x", "//x"),
    ],
)
def test_lmtp_socket(dialect: Any, url: str, path: str) -> None:
    relay = Relay.parse(url, dialect=dialect)
    assert relay == Relay("lmtp", "", path=path, dialect=dialect)
    assert relay.to_url() == url
    assert str(relay) == url


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("lmtp://", "host"),
        ("lmtp:///", "host"),
        ("lmtp://:24", "host"),
        (f"lmtp://{HOST}", "port"),
        (f"lmtp://{HOST}:24/run/lmtp", "path"),
        ("lmtp://alice@/run/lmtp", "user"),
        ("lmtp://alice:secret@/run/lmtp", "user"),
        ("lmtp:///alice:secret@mail.example.org:24", "path"),
        ("lmtp:///run/lmtp%00", "path"),
        ("lmtp:///run/lmtp%", "path"),
        ("lmtp:///run/lmtp%FF", "path"),
        ("lmtp:///run/lmtp#1", "fragment"),
        (f"lmtp:///run/lmtp?pin={PIN}", "query"),
        ("lmtp:///run/lmtp?server-name=mail.example.org", "query"),
    ],
)
def test_lmtp_refused(url: str, part: str) -> None:
    assert "secret" not in refused(url, part)


# --- the query -----------------------------------------------------------------------------------


def test_every_key(world: World, tmp_path: Path) -> None:
    certificate, key = world.good("client.example.org").write(tmp_path, "client")
    url = (
        f"tls://{HOST}?pin={PIN}&pin={urllib.parse.quote(OTHER_PIN)}&cafile={world.root_file}"
        f"&server-name=other.example.org&client-cert={certificate}&client-key={key}"
    )
    trust = Trust(world.root_file, pins=[PIN, OTHER_PIN], client_cert=certificate, client_key=key)
    relay = Relay.parse(url)
    assert relay == Relay("tls", HOST, server_name="other.example.org", trust=trust)
    assert Relay.parse(relay.to_url()) == relay


@pytest.mark.parametrize("text", [f"tls://{HOST}", f"tls://{HOST}?"])
def test_no_query(text: str) -> None:
    assert Relay.parse(text) == Relay("tls", HOST)


@pytest.mark.parametrize("scheme", ["tls", "ssl", "smtps", "smtp+tls"])
def test_pins(scheme: str) -> None:
    pins = (Pin.parse(PIN), Pin.parse(OTHER_PIN))
    relay = Relay.parse(f"{scheme}://{HOST}?pin={PIN}&pin={OTHER_PIN}")
    assert (relay.trust.pins, relay.trust.pins_only) == (pins, False)
    encoded = urllib.parse.quote(OTHER_PIN, safe="")
    assert Relay.parse(f"{scheme}://{HOST}?%70in={PIN}&pin={encoded}") == relay


@pytest.mark.parametrize(
    "query",
    [
        f"pin-only={PIN}",
        f"pin={PIN}&pin-only",
        f"pin-only&pin={PIN}",
        f"pin={PIN}&pin-only=",
        f"pin={PIN}&pin-only=1",
        f"pin={PIN}&pin-only=yes",
        f"pin={PIN}&pin-only=true&pin-only=1",
    ],
)
def test_pin_only(query: str) -> None:
    relay = Relay.parse(f"tls://{HOST}?{query}")
    assert relay.trust == Trust(pins=PIN, pins_only=True)
    assert relay.to_url() == f"tls://{HOST}?pin-only={PIN}"


def test_pin_only_makes_every_pin_so() -> None:
    relay = Relay.parse(f"tls://{HOST}?pin={PIN}&pin-only={OTHER_PIN}")
    assert relay.trust == Trust(pins=[OTHER_PIN, PIN], pins_only=True)
    assert Relay.parse(relay.to_url()) == relay


@pytest.mark.parametrize("word", ["system", "certifi"])
def test_cafile_is_a_file_whatever_its_name(
    word: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(f"tls://{HOST}?cafile={word}", "cafile")
    world.root.write(tmp_path / word)
    relay = Relay.parse(f"tls://{HOST}?cafile={word}")
    assert relay.trust == Trust(f"./{word}")
    assert Relay.parse(relay.to_url()) == relay


def test_file_names_are_percent_encoded(world: World, tmp_path: Path) -> None:
    path = world.root.write(tmp_path / "büro @ 100% & co#.pem")
    relay = Relay("tls", HOST, trust=Trust(path))
    assert "büro" not in relay.to_url()
    assert Relay.parse(relay.to_url()) == relay


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("&", "query"),
        (f"pin={PIN}&", "query"),
        (f"=&pin={PIN}", "query"),
        ("Pin=1", "query"),
        ("pins=1", "query"),
        ("verify=no", "query"),
        ("insecure", "query"),
        ("%zz=1", "query"),
        ("%FF=1", "query"),
        ("%00=1", "query"),
        ("pin", "pin"),
        ("pin=", "pin"),
        ("pin=sha256:00", "pin"),
        (f"pin=sha1:{20 * 'ab'}", "pin"),
        (f"pin=md5:{16 * 'ab'}", "pin"),
        ("pin=%", "pin"),
        ("pin=%0a", "pin"),
        ("pin-only", "pin-only"),
        ("pin-only=1", "pin-only"),
        ("pin-only=0", "pin"),
        ("pin-only=false", "pin"),
        ("pin-only=%", "pin-only"),
        (f"pin={PIN}&pin-only=no", "pin"),
        ("cafile", "cafile"),
        ("cafile=", "cafile"),
        ("cafile=/nowhere/ca.pem", "cafile"),
        ("cafile=a%00b", "cafile"),
        ("cafile=a&cafile=b", "cafile"),
        ("cafile=a&cafil%65=a", "cafile"),
        ("server-name", "server-name"),
        ("server-name=", "server-name"),
        ("server-name=*.example.org", "server-name"),
        ("server-name=mail.example.org:25", "server-name"),
        ("server-name=[::1]:25", "server-name"),
        ("server-name=192.0.2.1%20evil", "server-name"),
        ("server-name=a.example&server-name=a.example", "server-name"),
        ("client-cert=", "client-cert"),
        ("client-cert=/nowhere/client.pem", "client-cert"),
        ("client-cert=a&client-cert=b", "client-cert"),
        ("client-key=", "client-key"),
        ("client-key=/nowhere/client.key", "client-key"),
        ("client-key=a&client-key=b", "client-key"),
    ],
)
def test_query_refused(query: str, part: str) -> None:
    refused(f"tls://{HOST}?{query}", part)


def test_unknown_key_is_repeated_on_one_line() -> None:
    message = refused(f"tls://{HOST}?%E2%80%AEverify=no", "query")
    assert r"'\u202everify'" in message
    assert all(key in message for key in QUERY_KEYS)
    assert message.isprintable()


def test_files_that_can_not_be_used_are_named(world: World, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.touch()
    certificate, key = world.good().write(tmp_path)
    other = world.good("other.example.org").write(tmp_path, "other")[1]
    for query, part, named in (
        (f"cafile={nothing}", "cafile", nothing),
        (f"cafile={tmp_path}", "cafile", tmp_path),
        (f"client-cert={nothing}", "client-cert", nothing),
        (f"client-cert={certificate}", "client-cert", certificate),  # without its key
        (f"client-cert={certificate}&client-key={other}", "client-cert", other),
        (f"client-key={key}", "client-key", "client_cert"),
    ):
        assert str(named) in refused(f"tls://{HOST}?{query}", part)


@pytest.mark.parametrize(("dialect", "scheme"), PLAINTEXT)
@pytest.mark.parametrize(
    "query", [f"pin={PIN}", f"pin-only={PIN}", "server-name=mail.example.org", "cafile=/x"]
)
def test_options_of_no_use(dialect: Any, scheme: str, query: str) -> None:
    message = refused(f"{scheme}://{HOST}:25?{query}", "query", dialect=dialect)
    assert query.partition("=")[0] in message


@pytest.mark.parametrize("scheme", ["tls", "smtp", "lmtp", "smtp+notls"])
def test_fragments_and_paths(scheme: str) -> None:
    refused(f"{scheme}://{HOST}:25#x", "fragment")
    refused(f"{scheme}://{HOST}:25?pin={PIN}#", "fragment")
    refused(f"{scheme}://{HOST}:25/x", "path")
    assert Relay.parse(f"{scheme}://{HOST}:25/") == Relay.parse(f"{scheme}://{HOST}:25")


def test_where_url_and_trust_both_speak(world: World, tmp_path: Path) -> None:
    certificate, key = world.good().write(tmp_path)
    client = Trust(client_cert=certificate, client_key=key)
    for query, part, trust in (
        (f"pin={PIN}", "pin", Trust(pins=PIN)),
        (f"pin-only={PIN}", "pin-only", Trust(pins=PIN)),
        ("pin-only", "pin-only", Trust(pins=PIN)),
        (f"pin={PIN}", "pin", Trust(pins=OTHER_PIN, pins_only=True)),
        (f"cafile={world.root_file}", "cafile", Trust(world.root_file)),
        (f"cafile={world.root_file}", "cafile", Trust("system")),
        (f"client-cert={certificate}", "client-cert", client),
        (f"client-key={key}", "client-key", client),
    ):
        message = refused(f"tls://{HOST}?{query}", part, trust=trust)
        assert message == f"{part}: the URL and the trust argument both give one"


def test_where_url_and_trust_speak_of_different_things(world: World, tmp_path: Path) -> None:
    certificate, key = world.good().write(tmp_path)
    base = Trust(world.root_file, minimum_version=ssl.TLSVersion.TLSv1_3)
    url = f"tls://{HOST}?pin={PIN}&client-cert={certificate}&client-key={key}"
    assert Relay.parse(url, trust=base).trust == Trust(
        world.root_file,
        pins=PIN,
        client_cert=certificate,
        client_key=key,
        minimum_version=ssl.TLSVersion.TLSv1_3,
    )
    pinned = Trust(pins=PIN, pins_only=True, client_cert=certificate, client_key=key)
    assert Relay.parse(f"tls://{HOST}?cafile={world.root_file}", trust=pinned).trust == Trust(
        world.root_file, pins=PIN, pins_only=True, client_cert=certificate, client_key=key
    )


def test_no_key_weakens_verification_but_pin_only(world: World, tmp_path: Path) -> None:
    """Of all keys, alone and together, only pin-only sets `pins_only`, and never without a pin."""
    certificate, key = world.good().write(tmp_path)
    values = {
        "pin": PIN,
        "pin-only": OTHER_PIN,
        "cafile": str(world.root_file),
        "server-name": "other.example.org",
        "client-cert": str(certificate),
        "client-key": str(key),
        "known-hosts": str(tmp_path / "known"),
        "ignore-extension": "chunking",
    }
    of_no_concern = {"auth", "password-env", "password-file"}  # to who the server is
    assert {*values, *of_no_concern} == set(QUERY_KEYS)
    for bits in range(1 << len(values)):
        chosen = [name for index, name in enumerate(values) if bits >> index & 1]
        if "client-cert" in chosen and "client-key" not in chosen:
            continue  # this file holds no key
        url = f"tls://{HOST}?" + "&".join(f"{name}={values[name]}" for name in chosen)
        if "client-key" in chosen and "client-cert" not in chosen:
            refused(url, "client-key")
            continue
        relay = Relay.parse(url)
        assert relay.mode is Mode.STARTTLS
        assert relay.trust.pins_only is ("pin-only" in chosen)
        assert len(relay.trust.pins) == ("pin" in chosen) + ("pin-only" in chosen)
        assert relay.trust.roots == (values["cafile"] if "cafile" in chosen else None)
        assert relay.trust.known_hosts == (values["known-hosts"] if "known-hosts" in chosen else None)
        assert relay.trust.minimum_version is ssl.TLSVersion.TLSv1_2


# --- the Relay as a value ------------------------------------------------------------------------


def test_value() -> None:
    url = f"tls://alice:secret@{HOST}:587?pin={PIN}"
    relay = Relay.parse(url)
    assert relay == Relay.parse(url)
    assert hash(relay) == hash(Relay.parse(url))
    assert relay != Relay.parse(url.replace("secret", "Secret"))
    assert pickle.loads(pickle.dumps(relay)) == relay
    assert copy.deepcopy(relay) == relay
    with pytest.raises(AttributeError):
        relay.host = "other.example.org"  # type: ignore[misc]


def test_how_it_shows() -> None:
    relay = Relay.parse(f"tls://alice:secret@{HOST}:587?pin={PIN}")
    assert str(relay) == f"tls://alice:***@{HOST}:587"
    assert relay.to_url(password=False) == f"tls://alice:***@{HOST}:587?pin={PIN}"
    assert repr(relay).startswith("Relay(scheme='tls', host='mail.example.org', port=587, ")
    assert "secret" not in repr(relay)
    assert str(Relay.parse(f"tls://alice@{HOST}")) == f"tls://alice@{HOST}"
    assert str(Relay.parse("tls://[fe80::1%25eth0]:25")) == "tls://[fe80::1%25eth0]:25"


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"scheme": "https"}, "scheme"),
        ({"password": "secret"}, "user"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"port": -25}, "port"),
        ({"user": "alice\r\n"}, "user"),
        ({"user": "alice", "password": "secret\0"}, "password"),
        ({"user": "alice", "password": "secret\ud800"}, "password"),
        ({"server_name": "mail\n.example.org"}, "server-name"),
        ({"scheme": "lmtp", "host": "", "path": "/run/\udcff"}, "path"),
    ],
)
def test_fields_refused(fields: dict[str, Any], part: str) -> None:
    with pytest.raises(RelayURLError, match=rf"^{part}: ") as caught:
        Relay(**{"scheme": "tls", "host": HOST, **fields})
    assert "secret" not in said(caught.value)


@pytest.mark.parametrize("scheme", ["", "smtp", "smtp+notls", "lmtp"])
@pytest.mark.parametrize("fields", [{"trust": Trust(pins=PIN)}, {"server_name": "other.example.org"}])
def test_what_a_plaintext_url_can_not_say(scheme: str, fields: dict[str, Any]) -> None:
    relay = Relay(scheme, HOST, 25, **fields)
    with pytest.raises(RelayURLError, match=r"^trust: part of it can't be said in a relay URL$"):
        relay.to_url()
    assert str(relay) == (f"{scheme}://{HOST}:25" if scheme else f"{HOST}:25")


def test_what_no_url_can_say(world: World, tmp_path: Path) -> None:
    certificate, key = world.good().write(tmp_path)
    for trust in (
        Trust("system"),
        Trust("certifi"),
        Trust(minimum_version=ssl.TLSVersion.TLSv1_3),
        Trust(client_cert=certificate, client_key=key, client_key_password="for no reason"),
    ):
        with pytest.raises(RelayURLError, match=r"^trust: "):
            Relay("tls", HOST, trust=trust).to_url()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file names")
@pytest.mark.parametrize("name", [b"line\nend.pem", b"\xff.pem"])
def test_what_no_url_can_say_of_a_file(name: bytes, world: World, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    try:
        world.root.write(path)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")  # macOS
    with pytest.raises(RelayURLError, match=r"^trust: "):
        Relay("tls", HOST, trust=Trust(path)).to_url()


def test_a_url_is_words_whatever_became_of_the_files(world: World, tmp_path: Path) -> None:
    cafile = world.root.write(tmp_path / "ca.pem")
    relay = Relay.parse(f"tls://{HOST}?cafile={cafile}")
    cafile.unlink()
    assert urllib.parse.unquote(relay.to_url()) == f"tls://{HOST}?cafile={cafile}"


def test_a_url_is_words_whatever_the_system_trusts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Relay.parse(f"tls://{HOST}")
    monkeypatch.setenv("SSL_CERT_FILE", str(world.unknown_file))
    assert relay.trust != Trust()
    assert relay.to_url() == f"tls://{HOST}"


# --- properties ----------------------------------------------------------------------------------

LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
NAMES = st.builds(
    lambda labels, last: ".".join([*labels, last]),
    st.lists(LABELS, max_size=3),
    st.sampled_from(["org", "example", "xn--bcher-kva", "_x"]),
)
ZONES = st.text(string.ascii_letters + string.digits + "._~-", min_size=1, max_size=8)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.builds("{}%{}".format, st.ip_addresses(v=6), ZONES),
)
# What may stand in a URL percent-encoded: all but controls, and surrogates, which are no characters.
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
DIGESTS = st.binary(min_size=32, max_size=32)
PINS = st.builds(Pin, st.sampled_from(["certificate", "spki"]), st.just("sha256"), DIGESTS)


@st.composite
def relays(draw: st.DrawFn) -> Relay:
    dialect, scheme = draw(st.sampled_from(sorted(MEANINGS)))
    meaning = DIALECTS[dialect][scheme]
    common = {"scheme": scheme, "dialect": dialect}
    if meaning.lmtp and draw(st.booleans()):
        return Relay(host="", path="/" + draw(TEXT), **cast("Any", common))
    fields: dict[str, Any] = {
        "host": draw(NAMES | ADDRESSES),
        "port": draw(st.integers(1, 65535) if meaning.port is None else st.none() | st.integers(1, 65535)),
        "user": draw(TEXT if meaning.auth else st.none() | TEXT),
    }
    if fields["user"] is not None:
        fields["password"] = draw(st.none() | TEXT)
    if meaning.mode.uses_tls:
        pins = draw(st.lists(PINS, max_size=3))
        fields["trust"] = Trust(pins=pins, pins_only=bool(pins) and draw(st.booleans()))
        fields["server_name"] = draw(st.none() | NAMES | ADDRESSES)
    return Relay(**fields, **cast("Any", common))


@given(relays())
@settings(deadline=None)
def test_a_relay_goes_to_a_url_and_back(relay: Relay) -> None:
    """The docstring of `to_url`: a URL "from which `parse` makes an equal one"."""
    url = relay.to_url()
    assert url.isascii()
    assert Relay.parse(url, dialect=relay.dialect) == relay
    assert Relay.parse(url.encode("ascii"), dialect=relay.dialect) == relay
    assert Relay.parse(url, dialect=relay.dialect).to_url() == url


@given(st.builds(Relay, st.just(""), NAMES | ADDRESSES, st.none() | st.integers(1, 65535)))
@settings(deadline=None)
def test_a_bare_relay_goes_to_text_and_back(relay: Relay) -> None:
    assert Relay.parse(relay.to_url()) == relay
    assert Relay.parse(str(relay)) == relay


# A password long enough that it stands in no message by chance.
SECRETS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8).map(
    lambda text: f"s3{text}cr3t"
)
STRANGE = "@:/?#[]%&=+ \0\n\x7f\x9f\xa0\u202e\ud800*.-_x"


@st.composite
def urls_with_a_secret(draw: st.DrawFn) -> tuple[str, str]:
    """A URL with a password in it, whole or mutilated; and the password as it stands in it."""
    secret = draw(SECRETS)
    if draw(st.booleans()):
        secret = urllib.parse.quote(secret, safe="")
    scheme = draw(st.sampled_from(["tls", "smtps", "ssl", "smtp+tls", "smtp", "lmtp", "tls+auth", "x"]))
    user = draw(st.sampled_from(["alice", "alice@example.org", "alice%40example.org", ""]))
    host = draw(
        st.sampled_from([HOST, f"{HOST}:25", "[::1]:25", "[fe80::1%25eth0]", "bücher.example", "", "/run/x"])
    )
    query = draw(st.sampled_from(["", f"?pin={PIN}", "?pin=1", "?verify=no", "?cafile=/x", "#x"]))
    url = f"{scheme}://{user}:{secret}@{host}{query}"
    start, end = url.index(secret), url.index(secret) + len(secret)
    for _ in range(draw(st.integers(0, 2))):
        # Anywhere but inside of the password, which would then be another.
        place = draw(st.integers(0, start) | st.integers(end, len(url)))
        char = draw(st.sampled_from(STRANGE))
        how = draw(st.sampled_from(["insert", "delete", "replace", "cut"]))
        if how == "insert":
            url = url[:place] + char + url[place:]
        elif how == "cut" and place >= end:
            url = url[:place]
        elif how in ("delete", "replace") and place not in (start, len(url)):
            url = url[:place] + (char if how == "replace" else "") + url[place + 1 :]
        start = url.index(secret)
        end = start + len(secret)
    # Without both of them nobody could tell it from a part of the host's name.
    assume(f":{secret}" in url or f"{secret}@" in url)
    return url, secret


@given(urls_with_a_secret(), st.sampled_from([OLD, NEW]), st.booleans())
@example(("alice:s3:cr3t", "s3:cr3t"), OLD, False)
@example(("/tls://alice:s3%3Acr3t@mail.example.org", "s3%3Acr3t"), OLD, False)
@example(("//alice:s3cr3t@mail.example.org", "s3cr3t"), OLD, False)
@example(("tls://alice:s3cr3t[::1]", "s3cr3t"), OLD, False)
@example(("tls://[::1]alice:s3cr3t", "s3cr3t"), OLD, False)
@example(("tls://alice:s3%3Acr3t%40mail.example.org", "s3%3Acr3t"), OLD, False)
@example(("tls://alice:?s3cr3t", "s3cr3t"), OLD, False)
@settings(deadline=None, max_examples=1000)
def test_no_password_shows(mutilated: tuple[str, str], dialect: Any, as_bytes: bool) -> None:
    """The docstring of `Relay`: "The password never shows in `str()` or `repr()`"; nor in an error."""
    url, secret = mutilated
    decoded = urllib.parse.unquote(secret)
    given_text = url.encode("utf-8", "surrogatepass") if as_bytes else url
    try:
        relay = Relay.parse(given_text, dialect=dialect)
    except RelayURLError as error:
        shown = said(error)
    else:
        shown = f"{relay} {relay!r} {relay.to_url(password=False)}"
        # Where the colon went, it is a user's name; where a slash came first, a socket's.
        assume(decoded not in (relay.user or ""))
        assume(all(text not in (relay.path or "") for text in (secret, decoded)))
    assert secret not in shown
    assert decoded not in shown


PARTS = ("relay", "scheme", "fragment", "user", "password", "host", "port", "path", "query", *QUERY_KEYS)


def relay_or_message(text: str | bytes) -> tuple[Relay | None, str]:
    try:
        return Relay.parse(text), ""
    except RelayURLError as error:
        return None, str(error)


@given(
    st.text()
    | st.binary()
    | st.text(STRANGE + "tlsmpe+0129", max_size=40)
    | st.builds("{}://{}".format, st.sampled_from(["tls", "lmtp", "smtps"]), st.text(max_size=30))
    | st.builds("tls://{}@{}:{}?{}={}".format, *5 * (st.text(STRANGE + "pin1", max_size=8),))
    | urls_with_a_secret().map(lambda mutilated: mutilated[0])
)
@settings(deadline=None, max_examples=1000)
def test_any_text_is_a_relay_or_refused(text: str | bytes) -> None:
    relay, message = relay_or_message(text)
    if relay is None:
        assert message.partition(": ")[0] in PARTS
        assert message.isprintable()
    else:
        assert str(relay).isprintable()
        if relay.path is None or relay.scheme:
            assert Relay.parse(relay.to_url()) == relay


def test_ignored_extensions() -> None:
    relay = Relay.parse(f"tls://{HOST}?ignore-extension=CHUNKING&ignore-extension=x-one")
    assert relay.ignored_extensions == {"chunking", "x-one"}
    assert relay.to_url() == f"tls://{HOST}?ignore-extension=chunking&ignore-extension=x-one"
    assert Relay.parse(relay.to_url()) == relay
    assert Relay.parse(f"smtp+notls://{HOST}?ignore-extension=size").ignored_extensions == {"size"}
    assert Relay.parse(f"tls://{HOST}").ignored_extensions == frozenset()
    assert extension_names(["SIZE"]) == {"size"}


@pytest.mark.parametrize("name", ["", "-a", "a b", "a=b", "\u017fize"])
def test_what_is_no_name_of_an_extension(name: str) -> None:
    with pytest.raises(RelayURLError, match=r"^ignore-extension: .* is no name of an extension$"):
        extension_names([name])


def test_extensions_that_can_not_be_ignored() -> None:
    refused(f"tls://{HOST}?ignore-extension=StartTLS", "ignore-extension")
    with pytest.raises(RelayURLError, match="a collection of names is wanted"):
        extension_names("chunking")


@pytest.mark.parametrize("scheme", ["smtp", "smtp+notls"])
def test_pins_where_nothing_could_bear_them(scheme: str) -> None:
    with pytest.raises(RelayURLError, match=rf"^trust: {re.escape(scheme)}:// never uses TLS"):
        Relay.parse(f"{scheme}://{HOST}", trust=Trust(pins=PIN))
    assert Relay.parse(HOST, trust=Trust(pins=PIN)).trust.pins  # starttls() may follow


def test_a_path_of_half_a_character() -> None:
    with pytest.raises(RelayURLError, match=r"^path: it contains half a character$"):
        Relay.parse("/run/\ud800")
