"""A Django project that has nothing but our app."""

from __future__ import annotations

import importlib.util

HAS_DJANGO = importlib.util.find_spec("django") is not None
collect_ignore_glob = [] if HAS_DJANGO else ["test_*.py"]

if HAS_DJANGO:
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="none",
        USE_TZ=True,
        LOGGING_CONFIG=None,
        INSTALLED_APPS=["smtpverify.integrations.django"],
    )
    django.setup()


def pytest_report_header() -> str:
    return "Django: " + (django.__version__ if HAS_DJANGO else "not here, and its tests left out")
