"""The app, which does nothing but register the check."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register


class SMTPVerifyConfig(AppConfig):
    """For `INSTALLED_APPS`."""

    name = "smtpverify.integrations.django"
    label = "smtpverify"
    verbose_name = "smtpverify"

    def ready(self) -> None:
        """Register the check for `manage.py check --deploy`."""
        from .checks import check_mail

        register(check_mail, Tags.security, deploy=True)
