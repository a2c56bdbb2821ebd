"""The clients, each as its documentation has it, and with a context that verifies.

smtplib and smtpverify run the very same code.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from typing import TYPE_CHECKING, Any

import smtpverify
from tests.hostile.errand import LOCAL_NAME, MESSAGES, PASSWORD, RECIPIENT, SENDER, USER
from tests.hostile.gullible import by_gullible

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hostile.errand import Errand, Report


def _send(module: Any, errand: Errand, report: Report, context: ssl.SSLContext | None) -> None:
    where = {
        "host": errand.host,
        "port": errand.port,
        "local_hostname": LOCAL_NAME,
        "timeout": errand.timeout,
    }
    with module.SMTP_SSL(**where, context=context) if errand.implicit else module.SMTP(**where) as smtp:
        if not errand.implicit:
            smtp.starttls(context=context)
        smtp.ehlo_or_helo_if_needed()
        report.features = sorted(smtp.esmtp_features)
        smtp.login(USER, PASSWORD)
        smtp.sendmail(SENDER, RECIPIENT, MESSAGES[errand.message])
        report.sent = True


def by_smtpverify(errand: Errand, report: Report) -> None:
    _send(smtpverify, errand, report, None)


def by_smtplib(errand: Errand, report: Report) -> None:
    _send(smtplib, errand, report, ssl.create_default_context())


def by_smtplib_without_context(errand: Errand, report: Report) -> None:
    _send(smtplib, errand, report, None)


def by_aiosmtplib(errand: Errand, report: Report) -> None:
    import aiosmtplib

    async def send() -> None:
        smtp = aiosmtplib.SMTP(
            hostname=errand.host,
            port=errand.port,
            local_hostname=LOCAL_NAME,
            timeout=errand.timeout,
            use_tls=errand.implicit,
            start_tls=not errand.implicit,
            tls_context=ssl.create_default_context(),
        )
        async with smtp:
            await smtp.ehlo()
            report.features = sorted(smtp.esmtp_extensions)
            await smtp.login(USER, PASSWORD)
            await smtp.sendmail(SENDER, RECIPIENT, MESSAGES[errand.message])
            report.sent = True

    async def send_and_close() -> None:
        try:
            await send()
        finally:
            await asyncio.sleep(0.1)  # asyncio closes what was closed in one of its next turns

    asyncio.run(send_and_close())


CLIENTS: dict[str, Callable[[Errand, Report], None]] = {
    "smtpverify": by_smtpverify,
    "smtplib": by_smtplib,
    "aiosmtplib": by_aiosmtplib,
    # To show that the bed can see what it looks for.
    "smtplib without a context": by_smtplib_without_context,
    "gullible": by_gullible,
}


def expected(error: BaseException) -> bool:
    """Whether a program that follows the client's documentation catches this."""
    if isinstance(error, (smtplib.SMTPException, OSError)):
        return True
    # aiosmtplib's exceptions are a family of their own.
    return any(kind.__module__ == "aiosmtplib.errors" for kind in type(error).__mro__)
