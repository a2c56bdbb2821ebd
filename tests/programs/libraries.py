"""Libraries of others, each made to send one mail with a login.

Each adapter does what the documentation shows for a server that wants TLS and a login, and nothing more;
where it leaves a choice, what is the default.
"""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import sys
from email.mime.text import MIMEText
from typing import Any

from tests.programs.program import (
    HOST,
    PASSWORD,
    RECIPIENT,
    SENDER,
    SUBJECT,
    TEXT,
    USER,
    Errand,
    message,
    program,
    use,
)

# --- Logging -------------------------------------------------------------------------------------


@program("logging.handlers", line="`smtpverify.integrations.logging.SMTPHandler(…)`")
def log_handler(errand: Errand) -> None:
    module = use("smtpverify.integrations.logging") if errand.line else logging.handlers
    handler = module.SMTPHandler(
        (HOST, errand.port), SENDER, [RECIPIENT], SUBJECT, credentials=(USER, PASSWORD), secure=(), timeout=10
    )
    logger = logging.getLogger("program")
    logger.addHandler(handler)
    logger.error(TEXT)


@program("Logbook", "Logbook", "logbook", implicit=True)
def logbook(errand: Errand) -> None:
    module = use("logbook")
    handler = module.MailHandler(
        SENDER,
        [RECIPIENT],
        server_addr=(HOST, errand.port),
        credentials=(USER, PASSWORD),
        secure=True,
        starttls=not errand.implicit,
    )
    with handler.applicationbound():
        module.Logger("program").error(TEXT)


@program("Paste", "Paste", "paste.exceptions.reporter", "paste.exceptions.collector")
def paste(errand: Errand) -> None:
    reporter = use("paste.exceptions.reporter").EmailReporter(
        from_address=SENDER,
        to_addresses=[RECIPIENT],
        smtp_server=f"{HOST}:{errand.port}",
        smtp_username=USER,
        smtp_password=PASSWORD,
        smtp_use_tls=True,
    )
    try:
        raise RuntimeError(TEXT)
    except RuntimeError:
        reporter.report(use("paste.exceptions.collector").collect_exception(*sys.exc_info()))


# --- Frameworks ----------------------------------------------------------------------------------


DJANGO_LINE = "smtpverify.integrations.django.EmailBackend"


@program("Django", "Django", "django.core.mail", implicit=True, line=f'`EMAIL_BACKEND = "{DJANGO_LINE}"`')
def django(errand: Errand) -> None:
    settings = {
        "EMAIL_HOST": HOST,
        "EMAIL_PORT": errand.port,
        "EMAIL_USE_SSL" if errand.implicit else "EMAIL_USE_TLS": True,
        "EMAIL_HOST_USER": USER,
        "EMAIL_HOST_PASSWORD": PASSWORD,
        **({"EMAIL_BACKEND": DJANGO_LINE} if errand.line else {}),
    }
    use("django.conf").settings.configure(**settings)
    use("django.core.mail").send_mail(SUBJECT, TEXT, SENDER, [RECIPIENT])


def flask_app(errand: Errand) -> Any:
    app = use("flask").Flask("program")
    app.config.update(
        {
            "MAIL_SERVER": HOST,
            "MAIL_PORT": errand.port,
            "MAIL_USE_SSL" if errand.implicit else "MAIL_USE_TLS": True,
            "MAIL_USERNAME": USER,
            "MAIL_PASSWORD": PASSWORD,
        }
    )
    return app


@program("Flask-Mail", "Flask-Mail", "flask_mail", implicit=True, line="`flask_mail.smtplib = smtpverify`")
def flask_mail(errand: Errand) -> None:
    app, module = flask_app(errand), use("flask_mail")
    if errand.line:
        module.smtplib = use("smtpverify")
    with app.app_context():
        module.Mail(app).send(module.Message(SUBJECT, sender=SENDER, recipients=[RECIPIENT], body=TEXT))


@program(
    "Flask-Mailman",
    "Flask-Mailman",
    "flask_mailman.backends.smtp",
    implicit=True,
    line="`flask_mailman.backends.smtp.smtplib = smtpverify`",
)
def flask_mailman(errand: Errand) -> None:
    app, module = flask_app(errand), use("flask_mailman")
    if errand.line:
        use("flask_mailman.backends.smtp").smtplib = use("smtpverify")
    with app.app_context():
        module.Mail(app).send_mail(SUBJECT, TEXT, SENDER, [RECIPIENT])


# Not with ssl=True, which Python 3.12 and later have no argument for that it gives.
@program("pyramid_mailer", "pyramid_mailer", "pyramid_mailer.mailer", "pyramid_mailer.message")
def pyramid_mailer(errand: Errand) -> None:
    mailer = use("pyramid_mailer.mailer").Mailer(
        host=HOST, port=errand.port, username=USER, password=PASSWORD, tls=True
    )
    made = use("pyramid_mailer.message").Message(
        subject=SUBJECT, sender=SENDER, recipients=[RECIPIENT], body=TEXT
    )
    mailer.send_immediately(made)


@program("repoze.sendmail", "repoze.sendmail", "repoze.sendmail.mailer", implicit=True)
def repoze_sendmail(errand: Errand) -> None:
    mailer = use("repoze.sendmail.mailer").SMTPMailer(HOST, errand.port, USER, PASSWORD, ssl=errand.implicit)
    made = MIMEText(TEXT)
    made["From"], made["To"], made["Subject"] = SENDER, RECIPIENT, SUBJECT
    mailer.send(SENDER, [RECIPIENT], made)


@program("zope.sendmail", "zope.sendmail", "zope.sendmail.mailer", implicit=True)
def zope_sendmail(errand: Errand) -> None:
    module = use("zope.sendmail.mailer")
    mailer = module.SMTPMailer(HOST, errand.port, USER, PASSWORD, implicit_tls=errand.implicit)
    mailer.send(SENDER, [RECIPIENT], message().as_string())


@program("web.py", "web.py", "web")
def web_py(errand: Errand) -> None:
    web = use("web")
    web.config.update(
        smtp_server=HOST,
        smtp_port=errand.port,
        smtp_username=USER,
        smtp_password=PASSWORD,
        smtp_starttls=True,
    )
    web.sendmail(SENDER, RECIPIENT, SUBJECT, TEXT)


# --- Libraries -----------------------------------------------------------------------------------


@program("yagmail", "yagmail", "yagmail", implicit=True)
def yagmail(errand: Errand) -> None:
    secured = {"smtp_ssl": True} if errand.implicit else {"smtp_starttls": True, "smtp_ssl": False}
    smtp = use("yagmail").SMTP({SENDER: USER}, PASSWORD, HOST, errand.port, **secured)
    smtp.send(RECIPIENT, SUBJECT, TEXT)
    smtp.close()


@program("emails", "emails", "emails", implicit=True)
def emails(errand: Errand) -> None:
    made = use("emails").html(text=TEXT, subject=SUBJECT, mail_from=SENDER)
    secured = {"ssl" if errand.implicit else "tls": True}
    made.send(
        to=RECIPIENT, smtp={"host": HOST, "port": errand.port, "user": USER, "password": PASSWORD, **secured}
    )


@program("envelopes", "Envelopes", "envelopes")
def envelopes(errand: Errand) -> None:
    made = use("envelopes").Envelope(from_addr=SENDER, to_addr=RECIPIENT, subject=SUBJECT, text_body=TEXT)
    made.send(HOST, port=errand.port, login=USER, password=PASSWORD, tls=True)


@program("redmail", "redmail", "redmail", implicit=True)
def redmail(errand: Errand) -> None:
    # What its documentation shows for TLS from the first byte.
    secured = {"cls_smtp": use("smtplib").SMTP_SSL, "use_starttls": False} if errand.implicit else {}
    sender = use("redmail").EmailSender(
        host=HOST, port=errand.port, username=USER, password=PASSWORD, **secured
    )
    sender.send(subject=SUBJECT, sender=SENDER, receivers=[RECIPIENT], text=TEXT)


@program("notifiers", "notifiers", "notifiers.providers.email", implicit=True)
def notifiers(errand: Errand) -> None:
    use("notifiers").get_notifier("email").notify(
        message=TEXT,
        to=RECIPIENT,
        from_=SENDER,
        subject=SUBJECT,
        host=HOST,
        port=errand.port,
        username=USER,
        password=PASSWORD,
        tls=not errand.implicit,
        ssl=errand.implicit,
        raise_on_errors=True,
    )


@program("apprise", "apprise", "apprise", "apprise.plugins.email", implicit=True)
def apprise(errand: Errand) -> None:
    notifier = use("apprise").Apprise()
    mode = "ssl" if errand.implicit else "starttls"
    notifier.add(f"mailtos://{USER}:{PASSWORD}@{HOST}:{errand.port}?mode={mode}&from={SENDER}&to={RECIPIENT}")
    notifier.notify(TEXT, SUBJECT)


@program(
    "aiosmtplib",
    "aiosmtplib",
    "aiosmtplib",
    implicit=True,
    by_smtplib=False,
    line="`start_tls=True, tls_context=smtpverify.create_context()`",
)
def aiosmtplib(errand: Errand) -> None:
    secured: dict[str, object] = {}
    if errand.line:
        secured = {"tls_context": use("smtpverify").create_context(), "start_tls": not errand.implicit}
    made = use("aiosmtplib").send(
        message(),
        hostname=HOST,
        port=errand.port,
        username=USER,
        password=PASSWORD,
        use_tls=errand.implicit,
        **secured,
    )
    asyncio.run(made)


@program("fastapi-mail", "fastapi-mail", "fastapi_mail", implicit=True, by_smtplib=False)
def fastapi_mail(errand: Errand) -> None:
    module = use("fastapi_mail")
    config = module.ConnectionConfig(
        MAIL_USERNAME=USER,
        MAIL_PASSWORD=PASSWORD,
        MAIL_FROM=SENDER,
        MAIL_PORT=errand.port,
        MAIL_SERVER=HOST,
        MAIL_STARTTLS=not errand.implicit,
        MAIL_SSL_TLS=errand.implicit,
    )
    made = module.MessageSchema(
        subject=SUBJECT, recipients=[RECIPIENT], body=TEXT, subtype=module.MessageType.plain
    )
    asyncio.run(module.FastMail(config).send_message(made))
