"""Alerts by mail: aiosmtplib, plain text, one connection per message."""

from __future__ import annotations

import email.utils
import socket
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

import aiosmtplib
from pydantic import SecretStr

from fraudguard.alerts.channel import Message, NotDeliveredError, system_reason
from fraudguard.alerts.text import shown
from fraudguard.config import SmtpChannel

SMTP_SECONDS = 20.0
"""For each step of the dialogue: servers that delay greetings to annoy spammers take up to 15."""

ANSWER_LIMIT = 200
"""Characters kept of what a server says."""


class MailChannel:
    """Sends to all recipients at once. Part of them refused counts as delivered, and is said."""

    def __init__(self, settings: SmtpChannel, password: SecretStr | None, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._password = password
        self._tls = tls
        self._domain = Address(addr_spec=email.utils.parseaddr(settings.sender)[1]).domain

    async def send(self, message: Message) -> str:
        settings = self._settings
        try:
            refused, _ = await aiosmtplib.send(
                compose(message, settings.sender, settings.recipients, self._domain),
                hostname=settings.host,
                port=settings.port,
                use_tls=settings.tls == "implicit",
                start_tls=settings.tls == "starttls",
                tls_context=self._tls,
                username=settings.username or None,
                password=None if self._password is None else self._password.get_secret_value(),
                # Or it is looked up, and a slow name server would stop the event loop.
                local_hostname=socket.gethostname() or "localhost",
                timeout=SMTP_SECONDS,
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotDeliveredError(_why(error), where=f"{settings.host}:{settings.port}") from None
        return "; ".join(f"{name} refused: {answer.code}" for name, answer in refused.items())

    async def close(self) -> None:
        """Nothing to close."""


def compose(message: Message, sender: str, recipients: tuple[str, ...], domain: str) -> EmailMessage:
    """Write the mail. Raises ValueError for addresses that are none."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = message.subject
    mail["Date"] = email.utils.localtime()
    mail["Message-ID"] = f"<{message.id}@{domain}>"
    if message.thread != message.id:  # repeats are shown below the first
        mail["In-Reply-To"] = mail["References"] = f"<{message.thread}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # nobody's holiday notice answers it (RFC 3834)
    if message.severity == "critical":
        mail["Importance"] = "high"
    mail.set_content(message.text, cte="quoted-printable")
    return mail


def _why(error: Exception) -> str:
    match error:
        case aiosmtplib.SMTPRecipientsRefused():
            told = ", ".join(f"{one.recipient}: {one.code} {one.message}" for one in error.recipients)
            return shown(f"every recipient was refused: {told}", ANSWER_LIMIT)
        case aiosmtplib.SMTPResponseException():
            return shown(f"the server said {error.code} {error.message}", ANSWER_LIMIT)
        case aiosmtplib.SMTPConnectError() | OSError():
            return system_reason(error)
        case _:
            return shown(str(error), ANSWER_LIMIT)
