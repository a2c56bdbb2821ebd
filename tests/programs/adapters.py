"""Programs of others that send mail through smtplib: each is made to send one, with a login over STARTTLS.

Run as `python -m tests.programs.adapters NAME PORT`, in a process that may be injected. Each adapter does
what the program's documentation shows for a server that wants STARTTLS and a login, and nothing more.
"""

from __future__ import annotations

import email.message
import logging
import logging.handlers
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HOST, USER, PASSWORD = "localhost", "alice", "secret"
SENDER, RECIPIENT = "alice@example.org", "bob@example.org"
SUBJECT, TEXT = "hello", "hello Bob"

# The name of a program in the table -> what pip installs, and the adapter.
PROGRAMS: dict[str, tuple[str, Callable[[int], object]]] = {}


def program(name: str, requirement: str = "") -> Callable[[Callable[[int], object]], Callable[[int], object]]:
    def register(adapter: Callable[[int], object]) -> Callable[[int], object]:
        PROGRAMS[name] = requirement, adapter
        return adapter

    return register


def use(module: str) -> Any:
    """Import a module that has no types, and may not be installed."""
    return import_module(module)


def message() -> email.message.EmailMessage:
    made = email.message.EmailMessage()
    made["From"], made["To"], made["Subject"] = SENDER, RECIPIENT, SUBJECT
    made.set_content(TEXT)
    return made


@program("logging.handlers")
def log_handler(port: int) -> None:
    handler = logging.handlers.SMTPHandler(
        (HOST, port), SENDER, [RECIPIENT], SUBJECT, credentials=(USER, PASSWORD), secure=(), timeout=10
    )
    logger = logging.getLogger("program")
    logger.addHandler(handler)
    logger.error(TEXT)


@program("Flask-Mail", "Flask-Mail")
def flask_mail(port: int) -> None:
    app = use("flask").Flask("program")
    app.config.update(
        MAIL_SERVER=HOST, MAIL_PORT=port, MAIL_USE_TLS=True, MAIL_USERNAME=USER, MAIL_PASSWORD=PASSWORD
    )
    module = use("flask_mail")
    with app.app_context():
        module.Mail(app).send(module.Message(SUBJECT, sender=SENDER, recipients=[RECIPIENT], body=TEXT))


@program("yagmail", "yagmail")
def yagmail(port: int) -> None:
    smtp = use("yagmail").SMTP({SENDER: USER}, PASSWORD, HOST, port, smtp_starttls=True, smtp_ssl=False)
    smtp.send(RECIPIENT, SUBJECT, TEXT)
    smtp.close()


@program("emails", "emails")
def emails(port: int) -> None:
    made = use("emails").html(text=TEXT, subject=SUBJECT, mail_from=SENDER)
    made.send(
        to=RECIPIENT, smtp={"host": HOST, "port": port, "tls": True, "user": USER, "password": PASSWORD}
    )


@program("envelopes", "envelopes")
def envelopes(port: int) -> None:
    made = use("envelopes").Envelope(from_addr=SENDER, to_addr=RECIPIENT, subject=SUBJECT, text_body=TEXT)
    made.send(HOST, port=port, login=USER, password=PASSWORD, tls=True)


@program("notifiers", "notifiers")
def notifiers(port: int) -> None:
    use("notifiers").get_notifier("email").notify(
        message=TEXT,
        to=RECIPIENT,
        from_=SENDER,
        subject=SUBJECT,
        host=HOST,
        port=port,
        username=USER,
        password=PASSWORD,
        tls=True,
        raise_on_errors=True,
    )


@program("pyramid_mailer", "pyramid_mailer")
def pyramid_mailer(port: int) -> None:
    mailer = use("pyramid_mailer.mailer").Mailer(
        host=HOST, port=port, username=USER, password=PASSWORD, tls=True
    )
    made = use("pyramid_mailer.message").Message(
        subject=SUBJECT, sender=SENDER, recipients=[RECIPIENT], body=TEXT
    )
    mailer.send_immediately(made)


@program("web.py", "web.py")
def web_py(port: int) -> None:
    web = use("web")
    web.config.update(
        smtp_server=HOST, smtp_port=port, smtp_username=USER, smtp_password=PASSWORD, smtp_starttls=True
    )
    web.sendmail(SENDER, RECIPIENT, SUBJECT, TEXT)


@program("urlwatch", "urlwatch")
def urlwatch(port: int) -> None:
    mailer = use("urlwatch.mailer").SMTPMailer(USER, HOST, port, True, True, PASSWORD)
    mailer.send(mailer.msg_plain(SENDER, RECIPIENT, None, SUBJECT, TEXT))


@program("salt", "salt")
def salt(port: int) -> None:
    options = {
        "smtp.to": RECIPIENT,
        "smtp.from": SENDER,
        "smtp.host": HOST,
        "smtp.port": port,
        "smtp.tls": True,
        "smtp.username": USER,
        "smtp.password": PASSWORD,
        "smtp.subject": SUBJECT,
        "smtp.content": TEXT,
    }
    use("salt.utils.smtp").send({}, options)


@program("c7n-mailer", "c7n-mailer")
def c7n_mailer(port: int) -> None:
    module = use("c7n_mailer.smtp_delivery")
    # Its own decrypts the password by a service of the cloud.
    module.utils.decrypt = lambda config, logger, session, field: config[field]
    config = {"smtp_server": HOST, "smtp_port": port, "smtp_username": USER, "smtp_password": PASSWORD}
    module.SmtpDelivery(config, None, logging.getLogger()).send_message(message(), [RECIPIENT])


@program("breezy", "breezy")
def breezy(port: int) -> None:
    config = {"smtp_server": f"{HOST}:{port}", "smtp_username": USER, "smtp_password": PASSWORD}
    use("breezy.smtp_connection").SMTPConnection(config).send_email(message())


@program("luigi", "luigi")
def luigi(port: int) -> None:
    config = use("luigi.configuration").get_config()
    for name, value in (("host", HOST), ("port", port), ("username", USER), ("password", PASSWORD)):
        config.set("smtp", name, str(value))
    use("luigi.notifications").send_email_smtp(SENDER, SUBJECT, TEXT, [RECIPIENT], None)


@program("mailmerge", "mailmerge")
def mailmerge(port: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "mailmerge_server.conf")
        config.write_text(
            f"[smtp_server]\nhost = {HOST}\nport = {port}\nsecurity = STARTTLS\nusername = {USER}\n",
            encoding="utf-8",
        )
        client = use("mailmerge.sendmail_client").SendmailClient(config)
        client.password = PASSWORD  # which it asks for on the terminal
        client.sendmail(SENDER, [RECIPIENT], message())


@program("redmail", "redmail")
def redmail(port: int) -> None:
    sender = use("redmail").EmailSender(host=HOST, port=port, username=USER, password=PASSWORD)
    sender.send(subject=SUBJECT, sender=SENDER, receivers=[RECIPIENT], text=TEXT)


@program("Django", "Django")
def django(port: int) -> None:
    use("django.conf").settings.configure(
        EMAIL_HOST=HOST,
        EMAIL_PORT=port,
        EMAIL_USE_TLS=True,
        EMAIL_HOST_USER=USER,
        EMAIL_HOST_PASSWORD=PASSWORD,
    )
    use("django.core.mail").send_mail(SUBJECT, TEXT, SENDER, [RECIPIENT])


def main() -> None:
    """Have one of them send."""
    import_module("smtplib")
    if os.environ.get("PROGRAMS_ARE_REMOTE") and "smtpverify.inject" in sys.modules:
        # The server is here, and is to count as one elsewhere.
        vars(import_module("smtpverify.smtp.guard"))["is_local"] = lambda sock: False
    name, port = sys.argv[1:]
    PROGRAMS[name][1](int(port))


if __name__ == "__main__":
    main()
