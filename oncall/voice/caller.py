"""What somebody who rings the on-call line hears. English only, as the support programme says. Pure.

Nothing of any customer is ever spoken - no name, no ticket, no host: whoever guesses a PIN learns nothing by
it.
"""

from __future__ import annotations

from oncall.pin import DIGITS
from oncall.voice import twiml

WELCOME = (
    "This is U C X on-call assistance, in English only, for critical problems that cannot wait and for "
    "maintenance that was agreed beforehand. "
)
ENTER = f"Please enter the {DIGITS} digits of your PIN."
WRONG = "That PIN is not right. "
SILENCE = "No key was pressed. Good bye."
CONFIRM = (
    "Your PIN is right. To have the technician on call alerted now, press 4. "
    "If it can wait, or it is about using the system, hang up and call your support team in working hours."
)
UNCONFIRMED = "No key was pressed: nobody was alerted. Good bye."
REPORTED = (
    "Your report was recorded as a critical ticket. The technician on call is being alerted "
    "and will call you back. You may hang up now. Good bye."
)
RECORDED = (
    "Your report was recorded as a critical ticket, but nobody can be alerted by telephone at the moment. "
    "Please also call your support team, at the number in your contract. Good bye."
)
ENOUGH = (
    "No further PIN can be entered. If you need help, please call your support team in working hours, "
    "at the number in your contract. Good bye."
)
CLOSED = (
    "On-call assistance cannot check your PIN by telephone. Please call your support team, "
    "at the number in your contract. Good bye."
)
BROKEN = "On-call assistance is out of order at the moment. Please call again in a few minutes. Good bye."


def ask_pin(lead: str, gather_url: str, again_url: str | None) -> str:
    """Ask for the PIN; nothing entered: ``again_url``, or good-bye."""
    return twiml.ask(lead + ENTER, gather_url, again_url, DIGITS, SILENCE)


def ask_confirmation(gather_url: str, again_url: str | None) -> str:
    """Ask for key 4: nobody is woken by a PIN alone."""
    return twiml.ask(CONFIRM, gather_url, again_url, 1, UNCONFIRMED)


def not_served(phone: str) -> str:
    """Where to call instead."""
    return twiml.goodbye(
        "Your PIN is right, but your contract does not include on-call assistance at this moment. "
        f"Please call your support team in its working hours, at {spoken_phone(phone)}. "
        f"Once more: {spoken_phone(phone)}. Good bye."
    )


def spoken_phone(phone: str) -> str:
    """Digit by digit: ``+39 0584943232`` -> ``plus 3 9, 0 5 8 4 9 4 3 2 3 2``."""
    return ", ".join(" ".join(group) for group in phone.split()).replace("+", "plus")
