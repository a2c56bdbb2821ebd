"""Django: a mail backend in the place of its SMTP backend, and a system check.

`EMAIL_BACKEND`, or `BACKEND` in `MAILERS`: `"smtpverify.integrations.django.EmailBackend"`. The check comes
with `"smtpverify.integrations.django"` in `INSTALLED_APPS`.
"""

from __future__ import annotations

from .backend import EmailBackend

__all__ = ["EmailBackend"]
