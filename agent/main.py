"""The command line of the agent: flags only; each command is a module of its own."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from agent import VERSION
from agent.options import Options, default_config_file, default_state_dir

_EPILOG = """\
first steps:
  ucx-agent enrol --collector https://collector.example.com --token ucxe_...
  ucx-agent check             what this host measures, once, as a table
  ucx-agent check --explain   exactly what would leave this host
  ucx-agent run               measure and deliver (normally started by the system's service manager)
  ucx-agent doctor            what is wrong and what to do about it

As an ordinary user, name a directory of your own: ucx-agent --state-dir ~/.ucx-agent ...
"""


_TEACHING = {
    "enrol": """\
The token comes from your support team, works once and for a day. The key is made here and never leaves this
host. When the answer is lost, say the same again; a refusal leaves nothing behind.

  ucx-agent enrol --collector https://collector.example.com --token-file token
""",
    "run": """\
Normally the system's service manager starts this: systemd, or 'ucx-agent service' on Windows. By hand it
shows its log. It is quiet on purpose: the first readings go out after about a minute, then only trouble is
logged.
Ctrl-C stops it in good order; SIGHUP makes it read its configuration anew.
""",
    "check": """\
Reads everything twice, a second apart, and sends nothing. It needs no enrolment. Exit code 1 when a check
failed.
""",
    "doctor": """\
Looks at configuration, identity, the way to the collector, the service and every check, and changes nothing.
Each problem comes with what to do. Exit code 1 when there is one.
""",
    "status": """\
What the running agent wrote down at most a minute ago. Exit code 1 when it never ran here.
""",
    "service": """\
  ucx-agent service install   make the service: an account of its own, delayed start, restart when it fails
  ucx-agent service start     start it and see that it stays
  ucx-agent service reload    read the configuration anew
  ucx-agent service remove    stop it and take it away again

On Linux systemd does this: see docs/agent.md.
""",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit code: 0 done, 1 it could not be done, 2 wrong use or configuration."""
    _never_fail_to_print()
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        code = command(parsed)
        sys.stdout.flush()  # here, where a reader that has gone can be answered
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # "| head" has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor does the end of Python complain
        return 1


def _never_fail_to_print() -> None:
    """A console of few characters (cp1252, ASCII) must not end a command: it shows the others as numbers."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


# ---- commands -----------------------------------------------------------------------------------------


def _enrol(parsed: argparse.Namespace) -> int:
    from agent.address import fault_of_url
    from agent.enrol import EnrolmentError, enrol, host_name
    from agent.identity import IdentityError, NotEnrolled, load_identity
    from agent.proxy import choose as choose_proxy

    options = _options(parsed)
    token = _token(parsed)
    if options.collector_url is None or not token:
        return _fail(
            "enrol needs --collector URL and a token (--token, --token-file or UCX_ENROLMENT_TOKEN).", 2
        )
    if fault := fault_of_url(options.collector_url, insecure_http=options.insecure_http):
        return _fail(f"--collector {fault}.", 2)
    try:
        known = load_identity(options.state_dir)
        if not parsed.again:
            return _fail(f"This host is already enrolled as '{known.host}'. To enrol it anew: --again.", 1)
    except NotEnrolled:
        pass
    except IdentityError as fault_:
        if not parsed.again:
            return _fail(str(fault_), 1)
    try:
        identity = enrol(
            options.state_dir,
            options.collector_url,
            token,
            parsed.host_name or host_name(),
            ca_file=options.ca_file,
            platform_version=parsed.platform_version,
            proxy=choose_proxy(options.collector_url, options.proxy),
        )
    except (EnrolmentError, IdentityError, OSError) as fault_:
        return _fail(str(fault_), 1)
    print(f"Enrolled: host '{identity.host}' of {identity.tenant}/{identity.deployment}.")
    print(f"Agent {identity.agent_id}; its key lies in {options.state_dir} and never leaves this host.")
    return 0


def _run(parsed: argparse.Namespace) -> int:
    from agent.config import ConfigError
    from agent.identity import IdentityError
    from agent.lock import Locked
    from agent.run import BadAddress, run

    try:
        run(_options(parsed))
    except ConfigError as fault:
        return _fail(f"The configuration is faulty:\n{fault}", 2)
    except BadAddress as fault:
        return _fail(str(fault), 2)
    except (IdentityError, Locked, OSError) as fault:
        return _fail(str(fault), 1)
    return 0


def _check(parsed: argparse.Namespace) -> int:
    from agent.config import ConfigError, load_config
    from agent.preview import document, explanation, look, table

    options = _options(parsed)
    try:
        preview = look(load_config(options.config_file, required=options.config_given))
    except ConfigError as fault:
        return _fail(f"The configuration is faulty:\n{fault}", 2)
    if parsed.explain:
        print(json.dumps(explanation(preview), indent=2))
    elif parsed.json:
        print(json.dumps(document(preview), indent=2))
    else:
        print("\n".join(table(preview)))
    return 1 if any(result.fault for result in preview.results) else 0


def _doctor(parsed: argparse.Namespace) -> int:
    from agent.doctor import examine
    from agent.finding import Level

    worst = 0
    for finding in examine(_options(parsed)):
        if parsed.json:
            print(json.dumps(finding._asdict()))
        else:
            print(f"{finding.level:>7}  {finding.subject}: {finding.what}")
            if finding.do:
                print(f"{'':>7}  -> {finding.do}")
        worst = max(worst, int(finding.level is Level.PROBLEM))
    return worst


def _status(parsed: argparse.Namespace) -> int:
    from agent import status, supervisor
    from wire.clock import utcnow

    said = status.read(_options(parsed).state_dir)
    if parsed.json:
        import msgspec

        print(msgspec.json.encode(said).decode())
    else:
        print("\n".join(status.lines(said, utcnow().timestamp())))
        if (supervision := supervisor.look()) is not None:
            print(f"service      {supervision.what}")
    return 0 if said is not None else 1


def _rotate_key(parsed: argparse.Namespace) -> int:
    from agent.config import ConfigError
    from agent.identity import IdentityError
    from agent.rotate import rotate
    from agent.rotation import RotationError
    from agent.run import BadAddress
    from agent.transport import Unreachable

    try:
        print(rotate(_options(parsed)))
    except (ConfigError, BadAddress) as fault:
        return _fail(str(fault), 2)
    except (RotationError, IdentityError, Unreachable, OSError) as fault:
        return _fail(f"The key was not replaced, the old one stays in force. {fault}", 1)
    return 0


def _service(parsed: argparse.Namespace) -> int:
    from agent.windows.command import run
    from agent.windows.service import ServiceError

    if parsed.collector or parsed.ca_file or parsed.proxy or parsed.insecure_http:
        keys = "collector_url, ca_file and proxy stand in the configuration"
        return _fail(f"the service takes --state-dir and --config only; {keys}.", 2)
    try:
        print("\n".join(run(parsed.action, _options(parsed))))
    except (ServiceError, OSError) as fault:
        return _fail(str(fault), 1)
    return 0


# ---- flags --------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ucx-agent",
        description="Measures this host and delivers the readings to its UCX Proactive collector.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ucx-agent {VERSION}")
    _shared(parser, default=None)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, function, help_text, more in (
        ("enrol", _enrol, "make this host known to the collector", _enrol_flags),
        ("run", _run, "measure and deliver until stopped", _run_flags),
        ("check", _check, "measure once and print it", _check_flags),
        ("doctor", _doctor, "find out what is wrong and what to do", _json_flag),
        ("rotate-key", _rotate_key, "replace this host's key by a new one, now", lambda parser: None),
        ("status", _status, "what the running agent says of itself", _json_flag),
        ("service", _service, "Windows: install, start, stop, remove the service", _service_flags),
    ):
        sub = commands.add_parser(
            name,
            help=help_text,
            description=help_text[0].upper() + help_text[1:] + ".",
            epilog=_TEACHING.get(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _shared(sub, default=argparse.SUPPRESS)
        more(sub)
        sub.set_defaults(command=function)
    return parser


def _shared(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Flags that may stand before or after the command."""
    add = parser.add_argument
    add(
        "--state-dir",
        type=Path,
        default=default,
        help=f"key, identity and spool (default {_shown(default_state_dir())})",
    )
    add(
        "--config",
        type=Path,
        default=default,
        help=f"configuration (default {_shown(default_config_file())})",
    )
    add("--collector", default=default, metavar="URL", help="the collector's address")
    add("--ca-file", type=Path, default=default, help="trust only the roots in this PEM file")
    add(
        "--proxy",
        type=_proxy,
        default=default,
        metavar="URL",
        help="http proxy to go through, or 'none' (default: configuration, then the system's)",
    )
    add(
        "--insecure-http",
        action="store_true",
        default=False if default is None else default,
        help="allow plain http to other than loopback addresses (for trials only)",
    )


def _shown(path: Path) -> str:
    """For argparse, which takes a percent sign for a format."""
    return str(path).replace("%", "%%")


def _enrol_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--token", help="enrolment token (seen in process lists: prefer the other ways)")
    parser.add_argument("--token-file", type=Path, help="file that holds the token")
    parser.add_argument("--host-name", help="name of this host (default: its own)")
    parser.add_argument("--platform-version", help="version of the platform on this host, e.g. 2025.Winter.1")
    parser.add_argument("--again", action="store_true", help="enrol a host anew that is enrolled already")


def _run_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--interval", type=_seconds, metavar="S", help="seconds between readings, for all checks (for trials)"
    )
    add("--ship-every", type=_seconds, metavar="S", help="seconds that readings wait for company")
    add("--max-backoff", type=_seconds, metavar="S", help="longest pause between two tries")
    add("--log-level", choices=("debug", "info", "warning", "error"))


def _check_flags(parser: argparse.ArgumentParser) -> None:
    _json_flag(parser)
    parser.add_argument("--explain", action="store_true", help="exactly what would leave this host, as JSON")


def _service_flags(parser: argparse.ArgumentParser) -> None:
    from agent.windows.command import ACTIONS

    parser.add_argument("action", choices=ACTIONS, help="in a command prompt 'as administrator'")


def _json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError("must be between 0.1 and 3600 seconds")
    return value


def _proxy(text: str) -> str:
    from agent.proxy import fault_of_proxy

    if fault := fault_of_proxy(text):
        raise argparse.ArgumentTypeError(fault)
    return text


def _options(parsed: argparse.Namespace) -> Options:
    return Options(
        state_dir=parsed.state_dir or default_state_dir(),
        config_file=parsed.config or default_config_file(),
        config_given=parsed.config is not None,
        collector_url=parsed.collector or os.environ.get("UCX_COLLECTOR"),
        ca_file=parsed.ca_file,
        insecure_http=parsed.insecure_http,
        proxy=parsed.proxy,
        interval_s=getattr(parsed, "interval", None),
        ship_every_s=getattr(parsed, "ship_every", None),
        max_backoff_s=getattr(parsed, "max_backoff", None),
        log_level=getattr(parsed, "log_level", None),
    )


def _token(parsed: argparse.Namespace) -> str:
    if parsed.token:
        return str(parsed.token)
    if parsed.token_file:
        try:
            return str(parsed.token_file.read_text(encoding="utf-8")).strip()
        except OSError as fault:
            print(f"ucx-agent: {parsed.token_file}: {fault.strerror}", file=sys.stderr)
            return ""
    return os.environ.get("UCX_ENROLMENT_TOKEN", "")


def _fail(message: str, code: int) -> int:
    print(f"ucx-agent: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
