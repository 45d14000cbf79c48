"""Mail: plain text and HTML by SMTP; a letter keeps its Message-ID, so that a doubled attempt is one mail."""

from __future__ import annotations

import ssl
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage

import aiosmtplib

from ticketing.notify.transport import Later, Never, Parcel
from ticketing.notify.wording import word
from ticketing.settings import Settings

_TEMPORARY = range(400, 500)


class Mail:
    """The SMTP transport."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def send(self, parcel: Parcel) -> None:
        """Hand it to the mail server. Raises Later or Never."""
        known = self._settings
        try:
            await aiosmtplib.send(
                compose(parcel, known),
                hostname=known.smtp_host,
                port=known.smtp_port,
                username=known.smtp_user or None,
                password=known.smtp_password or None,
                start_tls=known.smtp_security == "starttls",
                use_tls=known.smtp_security == "tls",
                tls_context=ssl.create_default_context() if known.smtp_security != "none" else None,
                timeout=known.notify_timeout_s,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            raise (Later if any(c in _TEMPORARY for c in codes) else Never)(str(error)) from error
        except aiosmtplib.SMTPResponseException as error:
            raise (Later if error.code in _TEMPORARY else Never)(str(error)) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Later(f"{type(error).__name__}: {error}") from error


def compose(parcel: Parcel, settings: Settings) -> EmailMessage:
    """The mail. Raises Never for an address that no mail can carry."""
    worded = word(parcel.message)
    mail = EmailMessage()
    try:
        mail["From"] = Address("UCX Proactive", addr_spec=settings.mail_from)
        mail["To"] = Address(addr_spec=parcel.recipient)
    except (ValueError, IndexError, MessageError) as error:
        raise Never(f"not a mail address: {error}") from error
    mail["Subject"] = worded.subject
    mail["Date"] = parcel.message.at
    mail["Message-ID"] = f"<{parcel.message_id}@{settings.mail_from.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["References"] = f"<{parcel.message.number}@{settings.mail_from.rpartition('@')[2]}>"
    mail.set_content(worded.text)
    mail.add_alternative(worded.html, subtype="html")
    mail["Content-Language"] = parcel.message.language  # after that: before, it would move into a part
    return mail
