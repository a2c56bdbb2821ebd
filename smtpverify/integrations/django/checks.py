"""The system check: whether mail goes to a server that has proved its identity, as far as settings tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import mail
from django.core.checks import Error, Warning as Caution
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends import smtp as django_smtp
from django.utils.module_loading import import_string

from ...errors import SMTPVerifyError
from ...schemes import Mode
from ...smtp.endpoints import is_loopback
from .backend import EmailBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_mail"]

_OURS = "smtpverify.integrations.django.EmailBackend"
_DJANGOS = "django.core.mail.backends.smtp.EmailBackend"
_SEND_NOTHING = [
    f"django.core.mail.backends.{kind}.EmailBackend" for kind in ("console", "dummy", "filebased", "locmem")
]
_OUR_SETTINGS = ("EMAIL_RELAY_URL", "EMAIL_SSL_CAFILE", "EMAIL_SSL_PINS")


def check_mail(app_configs: Any, **kwargs: Any) -> list[Any]:
    """Check every mail backend that the settings name."""
    found = [message for name, path, options in _backends() for message in _check(name, path, options)]
    return [*found, *_check_unread()]


def _uses_mailers() -> bool:
    return hasattr(mail, "mailers") and hasattr(settings, "MAILERS")


def _backends() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The name by which settings have a backend, its path, and its arguments."""
    if _uses_mailers():
        for alias, entry in settings.MAILERS.items():
            yield (
                f"MAILERS[{alias!r}]",
                entry.get("BACKEND", _DJANGOS),
                {**entry.get("OPTIONS", {}), "alias": alias},
            )
    else:
        # Since Django 6.1 the alias None means that the settings count.
        yield "EMAIL_BACKEND", settings.EMAIL_BACKEND, {"alias": None} if hasattr(mail, "mailers") else {}


def _check(name: str, path: str, options: dict[str, Any]) -> Iterator[Any]:
    if path in _SEND_NOTHING:
        return
    try:
        kind = import_string(path)
        ours = isinstance(kind, type) and issubclass(kind, EmailBackend)
        if not ours and kind is not django_smtp.EmailBackend:
            yield Caution(
                f"{name}: {path} is not known to verify the mail server.",
                hint=f"Use {_OURS}, or, if you know what {path} does, silence this check.",
                id="smtpverify.W001",
            )
            return
        backend = kind(**options)
        if ours:
            backend.ssl_context  # noqa: B018 - reads the files that it is made of
    except (ImportError, ImproperlyConfigured, SMTPVerifyError, ValueError) as error:
        yield Error(f"{name}: {error}", id="smtpverify.E001")
        return
    yield from _check_way(name, backend)


def _check_way(name: str, backend: Any) -> Iterator[Any]:
    """What may go in plaintext over a network, and what shows the password."""
    relay: Any = getattr(backend, "relay", None)
    if relay is not None and relay.password is not None:
        yield Caution(
            f"{name}: the relay URL holds a password, which Django's error pages would show.",
            hint="Leave the user in it; put the password into EMAIL_HOST_PASSWORD, or the option password, "
            "or say where it is by ?password-env= or ?password-file=.",
            id="smtpverify.W004",
        )
    if relay is None:
        mode = Mode.STARTTLS if backend.use_tls or backend.use_ssl else Mode.PLAINTEXT
    else:
        mode = relay.mode
    is_local = is_loopback(backend.host) or (relay is not None and relay.path is not None)
    if mode.requires_tls or is_local:
        return
    if mode is Mode.STARTTLS_IF_OFFERED:
        yield Caution(
            f"{name}: {relay.scheme}:// goes on in plaintext where {backend.host} offers no TLS, "
            "and whoever is on the way can make it so.",
            hint=f"Use {relay.strict_scheme}://.",
            id="smtpverify.W003",
        )
        return
    secret = ", and the password," if backend.username and backend.password else ""
    yield Caution(
        f"{name}: mail{secret} to {backend.host} goes in plaintext, to whoever answers.",
        hint="Use a relay URL with tls:// or smtps://."
        if relay is not None
        else "Set use_tls or use_ssl (EMAIL_USE_TLS, EMAIL_USE_SSL), or a relay URL with tls:// or smtps://.",
        id="smtpverify.W002",
    )


def _check_unread() -> Iterator[Any]:
    """Settings of ours that nobody looks at: somebody counts on a pin that is never compared."""
    if _uses_mailers():
        reason, hint = "MAILERS is defined, and only its OPTIONS count", "Put it into OPTIONS."
    elif settings.EMAIL_BACKEND == _DJANGOS:
        reason, hint = "EMAIL_BACKEND is Django's, which does not know it", f"Use {_OURS}."
    else:
        return
    for name in _OUR_SETTINGS:
        if getattr(settings, name, None):
            yield Caution(f"{name} is not looked at: {reason}.", hint=hint, id="smtpverify.W005")
