"""``python -m oncall.simulator``: a phone company on this machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import httpx
import typer
import uvicorn
from rich.console import Console

from oncall.settings import is_e164
from oncall.simulator.call import Account, Pace
from oncall.simulator.exchange import Exchange
from oncall.simulator.journal import Journal
from oncall.simulator.script import Behaviour, Change, Phone, Script
from oncall.simulator.web import application
from wire.clock import utcnow

DEMO_SID = "AC" + "0" * 31 + "1"
DEMO_TOKEN = "demo-token"  # noqa: S105 - known to everybody; it guards nothing but this program
DEMO_NUMBER = "+15005550006"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 = any free one.")] = 8071,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    public_url: Annotated[str, typer.Option(help="Where people open the page; shown at the start.")] = "",
    account_sid: Annotated[str, typer.Option(help="The one account.")] = DEMO_SID,
    auth_token: Annotated[str, typer.Option(help="Its token.", envvar="UCX_SIMULATOR_TOKEN")] = DEMO_TOKEN,
    number: Annotated[list[str] | None, typer.Option(help="A number the account may call from.")] = None,
    phone: Annotated[list[str] | None, typer.Option(help="NAME=+390501234567; may be repeated.")] = None,
    auto_answer: Annotated[bool, typer.Option(help="Every phone picks up and presses --key.")] = False,
    key: Annotated[str, typer.Option(help="The key that --auto-answer presses.")] = "4",
    after: Annotated[float, typer.Option(help="Seconds until a phone picks up by itself.")] = 3.0,
    speed: Annotated[
        float, typer.Option(help="Multiplies every pause on the line; 0.1 = ten times faster.")
    ] = 1.0,
    sms_url: Annotated[str, typer.Option(help="Where replies to messages are delivered.")] = "",
    voice_url: Annotated[str, typer.Option(help="What is asked when a phone rings us.")] = "",
    journal: Annotated[Path | None, typer.Option(help="File that keeps what really happened.")] = None,
    quiet: Annotated[bool, typer.Option(help="No lines on the terminal.")] = False,
) -> None:
    """Accept calls, ring phones on a web page, say what the callee hears, take keys."""
    behaviour = Behaviour.AUTO if auto_answer else Behaviour.MANUAL
    script = Script(Phone("", "", behaviour, after, key))
    script.change(Change(phones=[_phone(text, behaviour, after, key) for text in phone or []]))
    account = Account(account_sid, auth_token, frozenset(number or [DEMO_NUMBER]))
    console = Console(highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        if not quiet:
            console.print(f"\N{BLACK TELEPHONE} {line}", markup=False)

    logging.getLogger("httpx").setLevel(logging.WARNING)
    urls = (public_url, sms_url, voice_url)
    asyncio.run(_serve(script, account, Journal(journal, utcnow), Pace(speed), host, port, urls, say))


async def _serve(
    script: Script,
    account: Account,
    journal: Journal,
    pace: Pace,
    host: str,
    port: int,
    urls: tuple[str, str, str],
    say: Callable[[str], None],
) -> None:
    async with httpx.AsyncClient() as http:
        exchange = Exchange(account, script, http, journal, utcnow, say, pace)
        public_url, exchange.sms_url, exchange.voice_url = urls
        config = uvicorn.Config(
            application(exchange, journal),
            host=host,
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        sock = config.bind_socket()
        shown = public_url or f"http://{host}:{sock.getsockname()[1]}"
        say(f"the phones are at {shown}")
        await server.serve(sockets=[sock])
    journal.close()


def _phone(text: str, behaviour: Behaviour, after: float, key: str) -> Phone:
    name, _, number = text.rpartition("=")
    if not is_e164(number):
        raise typer.BadParameter(f"--phone {text!r}: NAME=+390501234567 is needed")
    return Phone(number, name, behaviour, after, key)


if __name__ == "__main__":
    app()
