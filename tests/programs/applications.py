"""Applications of others, each made to send one mail with a login.

Each adapter does what the documentation shows for a server that wants TLS and a login, and nothing more;
where it leaves a choice, what is the default.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

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


@program(
    "Mercurial",
    "mercurial",
    implicit=True,
    line="`smtpverify.integrations.mercurial =` under `[extensions]`",
)
def mercurial(errand: Errand) -> None:
    hg = str(Path(sys.executable).with_name("hg"))
    config = {
        "extensions.patchbomb": "",
        "smtp.host": HOST,
        "smtp.port": errand.port,
        "smtp.tls": "smtps" if errand.implicit else "starttls",
        "smtp.username": USER,
        "smtp.password": PASSWORD,
        "web.cacerts": os.environ["SSL_CERT_FILE"],  # it does not read this by itself
        **({"extensions.smtpverify.integrations.mercurial": ""} if errand.line else {}),
    }
    options = [part for key, value in config.items() for part in ("--config", f"{key}={value}")]
    mail = ["-r", ".", "-f", SENDER, "-t", RECIPIENT, "-s", SUBJECT]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "file").write_text(TEXT, encoding="utf-8")
        for command in (
            ["init"],
            ["commit", "-A", "-m", SUBJECT, "-u", USER],
            ["email", *mail, *options],
        ):
            subprocess.run([hg, *command], check=True, cwd=directory, stdin=subprocess.DEVNULL)


@program("breezy", "breezy", "breezy.smtp_connection")
def breezy(errand: Errand) -> None:
    config = {"smtp_server": f"{HOST}:{errand.port}", "smtp_username": USER, "smtp_password": PASSWORD}
    use("breezy.smtp_connection").SMTPConnection(config).send_email(message())


@program("b4", "b4", "b4", implicit=True)
def b4(errand: Errand) -> None:
    module = use("b4")
    # As git's configuration has it.
    module.SENDEMAIL_CONFIG = {
        "from": SENDER,
        "smtpserver": HOST,
        "smtpserverport": str(errand.port),
        "smtpencryption": "ssl" if errand.implicit else "tls",
        "smtpuser": USER,
        "smtppass": PASSWORD,
    }
    smtp, sender = module.get_smtp()
    module.send_mail(smtp, [message()], sender)


@program("roundup", "roundup", "roundup.configuration", "roundup.mailer")
def roundup(errand: Errand) -> None:
    config = use("roundup.configuration").CoreConfig()
    for name, value in (
        ("MAILHOST", HOST),
        ("MAIL_PORT", str(errand.port)),
        ("MAIL_TLS", "yes"),
        ("MAIL_USERNAME", USER),
        ("MAIL_PASSWORD", PASSWORD),
    ):
        config[name] = value
    use("roundup.mailer").Mailer(config).smtp_send([RECIPIENT], message().as_string(), SENDER)


@program("Radicale", "Radicale", "radicale.hook.email", implicit=True)
def radicale(errand: Errand) -> None:
    module = use("radicale.hook.email")
    template = module.MessageTemplate(subject=SUBJECT, body=TEXT)
    config = module.EmailConfig(
        host=HOST,
        port=errand.port,
        security="tls" if errand.implicit else "starttls",
        ssl_verify_mode="REQUIRED",
        username=USER,
        password=PASSWORD,
        from_email=SENDER,
        send_mass_emails=False,
        dryrun=False,
        new_or_added_to_event_template=template,
        deleted_or_removed_from_event_template=template,
        updated_event_template=template,
    )
    # As it would have read from a calendar.
    attendee = module.Attendee(module.ContentLine("ATTENDEE", f"mailto:{RECIPIENT}"))
    config._send_email(SUBJECT, TEXT, [attendee])


@program("rss2email", "rss2email", "rss2email.config", "rss2email.email", implicit=True)
def rss2email(errand: Errand) -> None:
    config = use("rss2email.config").CONFIG
    config["DEFAULT"].update(
        {
            "from": SENDER,
            "smtp-server": HOST,
            "smtp-port": str(errand.port),
            "smtp-ssl": str(errand.implicit),
            "smtp-auth": "True",
            "smtp-username": USER,
            "smtp-password": PASSWORD,
        }
    )
    use("rss2email.email").smtp_send(RECIPIENT, message(), config)


@program("urlwatch", "urlwatch", "urlwatch.mailer")
def urlwatch(errand: Errand) -> None:
    mailer = use("urlwatch.mailer").SMTPMailer(USER, HOST, errand.port, True, True, PASSWORD)
    mailer.send(mailer.msg_plain(SENDER, RECIPIENT, None, SUBJECT, TEXT))


@program("mailmerge", "mailmerge", "mailmerge.sendmail_client", implicit=True)
def mailmerge(errand: Errand) -> None:
    security = "SSL/TLS" if errand.implicit else "STARTTLS"
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "mailmerge_server.conf")
        config.write_text(
            f"[smtp_server]\nhost={HOST}\nport={errand.port}\nsecurity={security}\nusername={USER}\n",
            encoding="utf-8",
        )
        client = use("mailmerge.sendmail_client").SendmailClient(config)
        client.password = PASSWORD  # which it asks for on the terminal
        client.sendmail(SENDER, [RECIPIENT], message())


@program("luigi", "luigi", "luigi.configuration", "luigi.notifications", implicit=True)
def luigi(errand: Errand) -> None:
    config = use("luigi.configuration").get_config()
    settings = {
        "host": HOST,
        "port": str(errand.port),
        "ssl": str(errand.implicit).lower(),
        "username": USER,
        "password": PASSWORD,
    }
    for name, value in settings.items():
        config.set("smtp", name, value)
    use("luigi.notifications").send_email_smtp(SENDER, SUBJECT, TEXT, [RECIPIENT], None)


@program("c7n-mailer", "c7n-mailer", "c7n_mailer.smtp_delivery", in_ci=False)
def c7n_mailer(errand: Errand) -> None:
    module = use("c7n_mailer.smtp_delivery")
    # Its own decrypts the password by a service of the cloud.
    module.utils.decrypt = lambda config, logger, session, field: config[field]
    config = {
        "smtp_server": HOST,
        "smtp_port": errand.port,
        "smtp_username": USER,
        "smtp_password": PASSWORD,
    }
    module.SmtpDelivery(config, None, logging.getLogger()).send_message(message(), [RECIPIENT])


@program("salt", "salt", "salt.utils.smtp", in_ci=False)
def salt(errand: Errand) -> None:
    options = {
        "smtp.to": RECIPIENT,
        "smtp.from": SENDER,
        "smtp.host": HOST,
        "smtp.port": errand.port,
        "smtp.tls": True,
        "smtp.username": USER,
        "smtp.password": PASSWORD,
        "smtp.subject": SUBJECT,
        "smtp.content": TEXT,
    }
    use("salt.utils.smtp").send({}, options)
