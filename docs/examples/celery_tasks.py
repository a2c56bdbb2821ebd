"""Mail by Celery: one verified connection a worker process.

Environment:
    REDIS_URL: queue, results, and the memory of what was accepted.
    MAIL_RELAY: a relay URL, such as tls://alice@mail.example.org:587?password-file=/etc/mail/password;
        for workers only.
    MAIL_PAUSE: seconds before the second try, 60 unless given.
"""

from __future__ import annotations

import copy
import os
import re
from base64 import b64decode, b64encode
from contextlib import contextmanager
from email.parser import BytesHeaderParser
from email.utils import make_msgid
from functools import partial
from typing import TYPE_CHECKING

import redis
from celery import Celery
from celery.signals import worker_process_shutdown
from celery.utils.log import get_task_logger

import smtpverify
from smtpverify import Cause, Outcome, SendResult
from smtpverify.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage

    from celery import Task
    from celery.result import AsyncResult

REDIS_URL = os.environ["REDIS_URL"]
FIRST_PAUSE = float(os.environ.get("MAIL_PAUSE", "60"))  # doubled from try to try
LONGEST_PAUSE = 1800.0  # below the visibility timeout: a task that waits for longer is delivered twice
MOST_RETRIES = 100  # with these pauses about two days
MOST_UNKNOWN = 3  # retries of what may have been accepted: each may be one more copy
REMEMBERED = 7 * 86400  # seconds; more than all retries take
CLAIMED = 1800  # seconds; more than one try takes
TIMEOUTS = smtpverify.Timeouts(
    connect=20, greeting=60, command=60, data_start=60, data_block=60, data_end=600
)

log = get_task_logger(__name__)
memory = redis.Redis.from_url(REDIS_URL, decode_responses=True)
app = Celery("mail", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(
    task_acks_late=True,  # what a worker had in hand when it died is delivered again,
    task_reject_on_worker_lost=True,  # and so it is where a process of its pool did
    worker_prefetch_multiplier=1,  # nothing waits behind a slow relay while its time runs
    broker_transport_options={"visibility_timeout": 3600},
    broker_connection_retry_on_startup=True,
)


class Refused(Exception):
    """Some recipients do not get the message, by recipient -> reply; all the others have it."""


class Claimed(Exception):
    """Another process is sending this message; or was, when it died."""


class Connection:
    """To the relay: made when first needed, and again when it has ended."""

    def __init__(self) -> None:
        self._smtp: smtpverify.SMTP | None = None

    def send(self, mail: tuple[str, list[str], bytes]) -> SendResult:
        """Send over the connection that there is, or over a new one."""
        if self._smtp is not None and self._smtp.sock is not None:
            [result] = self._smtp.send_messages([mail])
            if not is_worn(result):
                return result
        self._smtp = smtpverify.connect(os.environ["MAIL_RELAY"], timeout=TIMEOUTS)
        [result] = self._smtp.send_messages([mail])
        return result

    def close(self) -> None:
        """Take leave."""
        if self._smtp is not None and self._smtp.sock is not None:
            self._smtp.quit()


def is_worn(result: SendResult) -> bool:
    """Whether nobody got it because the server has ended the connection, or wants no more on it (421)."""
    enough = result.reply is not None and result.reply.code == 421
    return result.outcome is Outcome.NOT_SENT or (result.outcome is Outcome.REFUSED and enough)


connection = Connection()  # of this process: nothing is opened before the pool has forked


@worker_process_shutdown.connect
def leave(**_: object) -> None:
    """Close the connection of a process that ends."""
    connection.close()


def queue(message: EmailMessage, sender: str, recipients: list[str]) -> AsyncResult:
    """Put a message into the queue; its Message-ID, new if need be, is its identity from now on."""
    if "Message-ID" not in message:
        message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    shown = copy.copy(message)
    del shown["Bcc"]
    # As octets: as text it would be at the mercy of email's settings, which some libraries change.
    return send.delay(sender, recipients, b64encode(shown.as_bytes()).decode("ascii"))


@app.task(bind=True, max_retries=MOST_RETRIES)
def send(
    self: Task,
    sender: str,
    recipients: list[str],
    message: str,
    refused: dict[str, str] | None = None,
    unknown: int = 0,
) -> None:
    """Send a message to those recipients that do not have it yet.

    Args:
        sender, recipients: of the envelope.
        message: its octets in Base64, with a Message-ID.
        refused, unknown: what came of earlier tries; not for callers.

    Raises:
        Refused: not all of them got it.
        smtpverify.DeliveryUnknownError: nobody knows, after several tries.
        others: what kept the message from being sent.
    """
    again = partial(self.retry, countdown=min(FIRST_PAUSE * 2**self.request.retries, LONGEST_PAUSE))
    try:
        result, later, never = attempt(sender, recipients, message)
    except (OSError, Claimed, redis.RedisError) as error:  # nothing was sent
        if may_pass(error):
            raise again(exc=error) from error
        diagnosis = getattr(error, "diagnosis", None)
        if diagnosis is not None:
            log.critical("nothing was sent: %s: %s", diagnosis.cause.name, diagnosis.remedy)
        raise
    refused = {**(refused or {}), **never}
    if later:
        unknown += result.outcome is Outcome.UNKNOWN
        lost = result.outcome in (Outcome.NOT_SENT, Outcome.UNKNOWN)
        reason = (result.error if lost else None) or Refused({**refused, **later})
        if unknown > MOST_UNKNOWN:
            raise reason
        raise again((sender, list(later), message), {"refused": refused, "unknown": unknown}, exc=reason)
    if refused:
        raise Refused(refused)


def attempt(
    sender: str, recipients: list[str], message: str
) -> tuple[SendResult, dict[str, str], dict[str, str]]:
    """Send to those who have not got it; gives who may get it later, and who never will, with the reply."""
    octets = b64decode(message, validate=True)
    message_id = identity(octets)
    with claim(message_id) as known:
        left = [recipient for recipient in recipients if recipient not in known]
        result = connection.send((sender, left, octets)) if left else SendResult(Outcome.ACCEPTED)
        accepted, later, never = verdicts(result, left)
        remember(message_id, accepted)
    return result, later, never


def may_pass(error: Exception) -> bool:
    """Whether another try may find it otherwise.

    The base class alone does not tell: every error of smtplib is an OSError, a failed verification too.
    """
    if isinstance(error, (smtpverify.PeerVerificationError, smtpverify.PlaintextInjectionError)):
        return False
    if isinstance(error, smtpverify.TLSHandshakeError):
        return error.diagnosis is not None and error.diagnosis.cause is Cause.BROKEN_OFF
    if isinstance(error, smtpverify.SMTPServerDisconnected):
        return True
    if isinstance(error, smtpverify.SMTPResponseException):
        return 400 <= error.smtp_code <= 499
    return not isinstance(error, smtpverify.SMTPException)  # the network, Redis, another process


def verdicts(result: SendResult, recipients: list[str]) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Who has it, who may get it later, and who never will; the latter two with the reply, if any."""
    error, for_all = result.error, None
    if result.outcome is Outcome.REFUSED and error is not None:
        if isinstance(error, smtpverify.SMTPResponseException):
            for_all = (error.smtp_code, error.smtp_error)
        elif isinstance(error, smtpverify.SMTPRecipientsRefused):
            for_all = (421, "")  # for those that had no reply of their own when the server left
        else:
            raise error  # it can't be sent as it is
    accepted: list[str] = []
    later: dict[str, str] = {}
    never: dict[str, str] = {}
    for recipient in recipients:
        reply = result.refused.get(recipient, for_all)
        if reply is not None:
            code, text = reply
            (later if 400 <= code <= 499 else never)[recipient] = f"{code} {printable(text)}"
        elif result.outcome is Outcome.ACCEPTED:
            accepted.append(recipient)
        else:
            later[recipient] = str(error)
    return accepted, later, never


def identity(message: bytes) -> str:
    """The Message-ID, by which a receiver too can tell a second copy."""
    found = BytesHeaderParser().parsebytes(re.split(rb"\r?\n\r?\n", message, maxsplit=1)[0])["Message-ID"]
    if not found:
        raise ValueError("a message without Message-ID is not sent: its copies could not be told apart")
    return str(found).strip()


@contextmanager
def claim(message_id: str) -> Iterator[set[str]]:
    """Keep other processes off a message; gives the recipients that have it."""
    lock = memory.lock(f"mail:claim:{message_id}", timeout=CLAIMED, blocking=False)
    if not lock.acquire():
        raise Claimed(message_id)
    try:
        yield {str(recipient) for recipient in memory.smembers(f"mail:accepted:{message_id}")}
    finally:
        try:
            lock.release()
        except redis.RedisError as error:  # it ends by itself, and what was sent must not be sent again
            log.warning("%s stays claimed: %s", message_id, error)


def remember(message_id: str, accepted: list[str]) -> None:
    """Note who has the message. A failure here must not lead to another try."""
    if not accepted:
        return
    try:
        with memory.pipeline() as pipeline:
            pipeline.sadd(f"mail:accepted:{message_id}", *accepted)
            pipeline.expire(f"mail:accepted:{message_id}", REMEMBERED)
            pipeline.execute()
    except redis.RedisError:
        log.exception("%s was accepted for %s, and that could not be noted", message_id, accepted)
