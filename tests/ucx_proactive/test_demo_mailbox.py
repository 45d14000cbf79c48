"""The demo's mail server: what a mail program sends is what lies in the directory."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from pathlib import Path

import pytest

from ucx_proactive.demo.mailbox import Mailbox
from wire.clock import utcnow


def letter(recipient: str, identity: str = "<1@demo>") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "support@ucx.example", recipient, identity
    mail["Subject"] = "تم فتح تذكرة"
    mail.set_content("plain\n.a line that begins with a dot\n")
    mail.add_alternative("<p dir='rtl'>نص</p>", subtype="html")
    mail["Content-Language"] = "ar"
    return mail


def test_a_mail_is_kept_as_it_came_and_as_it_reads(tmp_path: Path) -> None:
    """Subject and both bodies are read out of what came over the wire, dots and Arabic included."""
    with Mailbox(tmp_path / "mail", utcnow) as box, smtplib.SMTP("127.0.0.1", box.port) as client:
        client.send_message(letter("it@platinum.example"))
        client.noop()
        [mail] = box.mails
    assert (mail.recipient, mail.subject, mail.language) == ("it@platinum.example", "تم فتح تذكرة", "ar")
    assert "\n.a line" in mail.text.replace("\r\n", "\n")
    assert mail.file.name == "001-it@platinum.example.eml"
    assert "نص" in mail.file.with_suffix(".html").read_text(encoding="utf-8")


def test_a_mail_that_comes_twice_is_kept_once(tmp_path: Path) -> None:
    """The same Message-ID to the same reader is the retry of a doubtful attempt; another reader's is not."""
    with Mailbox(tmp_path, utcnow) as box, smtplib.SMTP("127.0.0.1", box.port) as client:
        for recipient in ("a@x.example", "a@x.example", "b@x.example"):
            client.send_message(letter(recipient))
        assert [mail.recipient for mail in box.mails] == ["a@x.example", "b@x.example"]


def test_a_name_in_an_address_cannot_leave_the_directory(tmp_path: Path) -> None:
    """The file is named after the recipient, made harmless."""
    with Mailbox(tmp_path / "mail", utcnow) as box, smtplib.SMTP("127.0.0.1", box.port) as client:
        client.sendmail("s@x.example", ["../../up@x.example"], b"Subject: x\r\n\r\ny\r\n")
        [mail] = box.mails
    assert mail.file.parent == tmp_path / "mail"


@pytest.mark.parametrize(("words", "code"), [("RCPT TO:nobody", 501), ("DATA", 503), ("VRFY x", 502)])
def test_a_client_out_of_order_is_told(tmp_path: Path, words: str, code: int) -> None:
    """Commands that make no sense get their SMTP code, and the session goes on."""
    with Mailbox(tmp_path, utcnow) as box, smtplib.SMTP("127.0.0.1", box.port) as client:
        client.ehlo()
        assert client.docmd(words)[0] == code
        assert client.noop()[0] == 250
