"""The system check: what it flags, and the twin of each that it lets pass."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from django.core import mail
from django.core.checks import Tags, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from smtpverify.integrations.django import EmailBackend
from tests.gate import OTHER_PIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed import World

OURS = "smtpverify.integrations.django.EmailBackend"
DJANGOS = "django.core.mail.backends.smtp.EmailBackend"
HOST = "mail.example.org"
HAS_MAILERS = hasattr(mail, "mailers")  # Django 6.1

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


class Own(EmailBackend):
    """A subclass of ours verifies as ours does."""


class NotABackend:
    """Nothing is known of it."""


def flagged(**settings: Any) -> list[str]:
    with override_settings(**settings):
        found = run_checks(tags=[Tags.security], include_deployment_checks=True)
    return [message.id for message in found if message.id.startswith("smtpverify.")]


# Settings of old -> what is flagged.
OF_OLD: list[tuple[dict[str, Any], list[str]]] = [
    # Who verifies?
    ({"EMAIL_BACKEND": OURS}, []),  # on localhost
    ({"EMAIL_BACKEND": f"{__name__}.Own"}, []),
    ({"EMAIL_BACKEND": f"{__name__}.NotABackend"}, ["W001"]),
    ({"EMAIL_BACKEND": f"{__name__}.absent"}, ["E001"]),
    ({"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend", "EMAIL_HOST": HOST}, []),
    # Plaintext.
    ({"EMAIL_BACKEND": OURS, "EMAIL_HOST": HOST}, ["W002"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_HOST": HOST, "EMAIL_USE_TLS": True}, []),
    ({"EMAIL_BACKEND": OURS, "EMAIL_HOST": HOST, "EMAIL_USE_SSL": True}, []),
    ({"EMAIL_BACKEND": DJANGOS, "EMAIL_HOST": HOST}, ["W002"]),
    ({"EMAIL_BACKEND": DJANGOS, "EMAIL_HOST": HOST, "EMAIL_USE_TLS": True}, []),
    ({"EMAIL_BACKEND": DJANGOS, "EMAIL_HOST": "127.0.0.1"}, []),
    # Relay URLs.
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": f"tls://{HOST}:587"}, []),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": f"ssl://{HOST}"}, []),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": f"smtp+tls://{HOST}"}, ["W003"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": "smtp+tls://localhost"}, []),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": f"smtp://{HOST}"}, ["W002"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": "smtp+notls://[::1]"}, []),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": f"lmtp://{HOST}:24"}, ["W002"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": "lmtp:///run/lmtp"}, []),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": f"tls://alice:secret@{HOST}"}, ["W004"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": f"tls://alice@{HOST}", "EMAIL_HOST_PASSWORD": "secret"}, []),
    # Settings of ours without our backend.
    (
        {"EMAIL_BACKEND": DJANGOS, "EMAIL_RELAY_URL": f"tls://{HOST}", "EMAIL_SSL_PINS": ["x"]},
        ["W005", "W005"],
    ),
    ({"EMAIL_BACKEND": DJANGOS, "EMAIL_RELAY_URL": "", "EMAIL_SSL_CAFILE": None}, []),
    # What can't be used.
    ({"EMAIL_BACKEND": OURS, "EMAIL_USE_TLS": True, "EMAIL_USE_SSL": True}, ["E001"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": f"tls://{HOST}", "EMAIL_USE_TLS": True}, ["E001"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_RELAY_URL": HOST}, ["E001"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_SSL_CAFILE": "nowhere.pem"}, ["E001"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_SSL_CERTFILE": "nowhere.pem"}, ["E001"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_SSL_PINS": ["md5:00"], "EMAIL_USE_TLS": True}, ["E001"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_SSL_PINS": [OTHER_PIN]}, ["E001"]),
    ({"EMAIL_BACKEND": OURS, "EMAIL_SSL_PINS": [OTHER_PIN], "EMAIL_USE_TLS": True}, []),
]


@pytest.mark.parametrize(("settings", "ids"), OF_OLD)
def test_settings_of_old(settings: dict[str, Any], ids: list[str]) -> None:
    assert flagged(**settings) == [f"smtpverify.{each}" for each in ids]


def test_a_ca_file_that_is_there(world: World, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    settings = {"EMAIL_BACKEND": OURS, "EMAIL_HOST": HOST, "EMAIL_USE_TLS": True}
    assert flagged(**settings, EMAIL_SSL_CAFILE=str(world.root_file)) == []
    assert flagged(**settings, EMAIL_SSL_CAFILE=str(empty)) == ["smtpverify.E001"]


@pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS came with Django 6.1")
def test_mailers() -> None:
    """Each is checked, and by its options alone."""
    bad = {"relay_url": f"smtp+tls://{HOST}", "ssl_pins": "md5:00"}
    mailers = {
        "default": {"BACKEND": OURS, "OPTIONS": {"relay_url": f"tls://{HOST}"}},
        "plain": {"BACKEND": OURS, "OPTIONS": {"host": HOST, "username": "alice", "password": "secret"}},
        "weak": {"BACKEND": OURS, "OPTIONS": {"relay_url": f"smtp+tls://{HOST}"}},
        "broken": {"BACKEND": OURS, "OPTIONS": bad},
        "djangos": {"OPTIONS": {"host": HOST, "use_tls": True}},
        "shown": {"BACKEND": OURS, "OPTIONS": {"relay_url": f"tls://alice:secret@{HOST}"}},
        "typo": {"BACKEND": OURS, "OPTIONS": {"relay": f"tls://{HOST}"}},
        "other": {"BACKEND": f"{__name__}.NotABackend"},
    }
    with override_settings(MAILERS=mailers, EMAIL_RELAY_URL=f"tls://alice:secret@{HOST}"):
        found = run_checks(tags=[Tags.security], include_deployment_checks=True)
    assert [(each.id, each.msg.partition(":")[0]) for each in found if each.id.startswith("smtpverify")] == [
        ("smtpverify.W002", "MAILERS['plain']"),
        ("smtpverify.W003", "MAILERS['weak']"),
        ("smtpverify.E001", "MAILERS['broken']"),
        ("smtpverify.W004", "MAILERS['shown']"),
        ("smtpverify.E001", "MAILERS['typo']"),
        ("smtpverify.W001", "MAILERS['other']"),
        ("smtpverify.W005", "EMAIL_RELAY_URL is not looked at"),
    ]
    (plain,) = [each for each in found if each.id == "smtpverify.W002"]
    assert "mail, and the password, to mail.example.org goes in plaintext" in plain.msg


def test_as_a_command() -> None:
    """Only on deployment; an error fails it, a warning does not."""
    weak = {"EMAIL_BACKEND": OURS, "EMAIL_HOST": HOST}
    with override_settings(**weak):
        shown = io.StringIO()
        call_command("check", deploy=True, stdout=shown, stderr=shown)
        assert (
            "(smtpverify.W002) EMAIL_BACKEND: mail to mail.example.org goes in plaintext" in shown.getvalue()
        )
        assert "HINT: Set use_tls or use_ssl (EMAIL_USE_TLS, EMAIL_USE_SSL)" in shown.getvalue()
        shown = io.StringIO()
        call_command("check", stdout=shown, stderr=shown)
        assert "smtpverify" not in shown.getvalue()
    with override_settings(**weak, SILENCED_SYSTEM_CHECKS=["smtpverify.W002"]):
        shown = io.StringIO()
        call_command("check", deploy=True, stdout=shown, stderr=shown)
        assert "smtpverify" not in shown.getvalue()
    with (
        override_settings(**weak, EMAIL_SSL_PINS="md5:00"),
        pytest.raises(SystemCheckError, match=r"smtpverify\.E001"),
    ):
        call_command("check", deploy=True, stdout=io.StringIO(), stderr=io.StringIO())
