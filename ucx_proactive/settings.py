"""Settings of the processes: flags before environment (``UCX_...``) before a YAML file before defaults.

Strict: unknown names and wrong values are faults, and all of them are reported at once, each with its field.
Rooms define their own settings (frozen structs with defaults); a section of the file fills them, or the
environment by ``UCX_COLLECTOR__LINGER_S`` and the like.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

import alerting.settings
import oncall.errors
import oncall.settings
import ticketing.settings
from collector.settings import CollectorSettings
from ucx_proactive.database import fault_of_url

Role = Literal["ingest", "desk", "pager", "sweep", "rollup"]
ROLES: tuple[Role, ...] = ("ingest", "desk", "pager", "sweep", "rollup")
PREFIX = "UCX_"
# Names that share the prefix and are not ours: the agent's, the tests', and where the file is.
FOREIGN = ("UCX_AGENT_", "UCX_TEST_", "UCX_DEMO_", "UCX_CONFIG")
S = TypeVar("S", bound=msgspec.Struct)


class BadSettings(Exception):
    """Settings that cannot be used; ``faults`` lists every one of them as ``field: what is wrong``."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("settings:\n" + "\n".join(f"  {fault}" for fault in faults))
        self.faults = faults


class Settings(BaseSettings):
    """What one ``serve`` process is told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=False,
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 = a free one, told in the log."""
    public_url: str | None = Field(default=None, pattern=r"^https?://[^/?#\s]+$")
    """Where agents, people and the telephone provider reach us; default: host and port."""
    data_dir: Path = Path("ucx-data")
    """Where the embedded database lives when no ``database_url`` is given."""
    database_url: SecretStr | None = None
    """An existing PostgreSQL; None = our own in ``data_dir``."""
    read_database_url: SecretStr | None = None
    """A streaming replica that charts, newest values and events are read from; None = the primary."""
    read_lag_s: float = Field(default=30.0, gt=0)
    """A replica whose newest commit is older than this is passed over for the primary, in seconds."""
    database_connections: int = Field(default=12, ge=4, le=200)
    """Most connections to the database from this process."""
    roles: tuple[Role, ...] = ROLES
    """Which work this process does."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    stop_within_s: int = Field(default=20, ge=1)
    """Time for requests in flight to end after SIGTERM, in seconds."""
    collector: dict[str, Any] = Field(default_factory=dict)
    alerting: dict[str, Any] = Field(default_factory=dict)
    ticketing: dict[str, Any] = Field(default_factory=dict)
    oncall: dict[str, Any] = Field(default_factory=dict)

    @field_validator("database_url", "read_database_url")
    @classmethod
    def _names_a_database(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and (fault := fault_of_url(url.get_secret_value())):
            raise ValueError(fault)
        return url

    def url(self) -> str:
        """The public address without a trailing slash."""
        return self.public_url or f"http://{self.host}:{self.port}"


class Rooms(msgspec.Struct, frozen=True):
    """The rooms' settings, filled and checked."""

    collector: CollectorSettings
    alerting: alerting.settings.Settings
    ticketing: ticketing.settings.Settings
    oncall: oncall.settings.Settings


def load(
    flags: Mapping[str, Any], *, file: Path | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[Settings, Rooms]:
    """Read all sources. ``flags`` are those that were given. Raises BadSettings with every fault."""
    written = _read_file(file)
    faults = _unknown_names(environment)
    try:
        settings = _sourced(written)(**flags)
    except ValidationError as error:
        faults += [f"{_path(fault['loc'])}: {_words(fault)}" for fault in error.errors()]
        raise BadSettings(faults) from None
    rooms = fill_rooms(settings, faults)
    if faults:
        raise BadSettings(faults)
    return settings, rooms


def fill_rooms(settings: Settings, faults: list[str]) -> Rooms:
    """The rooms' settings out of the sections; what is wrong with them is added to ``faults``."""
    rooms = Rooms(
        fill(CollectorSettings, settings.collector, "collector", faults),
        fill(alerting.settings.Settings, settings.alerting, "alerting", faults),
        fill(ticketing.settings.Settings, settings.ticketing, "ticketing", faults),
        fill(oncall.settings.Settings, {"public_url": settings.url()} | settings.oncall, "oncall", faults),
    )
    try:
        oncall.settings.check(rooms.oncall)
    except oncall.errors.SettingsFault as error:
        faults.append(str(error))
    return rooms


def fill(kind: type[S], values: Mapping[str, Any], section: str, faults: list[str]) -> S:
    """A room's settings from a section, field by field, so that one fault does not hide the others."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    good: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            faults.append(f"{section}.{name}: unknown; known are {', '.join(sorted(fields))}")
            continue
        try:
            good[name] = msgspec.convert(value, fields[name].type, strict=False)
        except msgspec.ValidationError as error:
            faults.append(f"{section}.{name}: {error}")
    return kind(**good)


def _sourced(written: dict[str, Any]) -> type[Settings]:
    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[Any, ...]:
            return init_settings, env_settings, lambda: written

    return Sourced


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSettings([f"{file}: {error.strerror}"]) from None
    except yaml.MarkedYAMLError as error:
        where = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadSettings([f"{file}{where}: not YAML: {error.problem or error.context}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadSettings([f"{file}: not YAML: {error}"]) from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(name, str) for name in document):
        raise BadSettings([f"{file}: a mapping of settings is needed"])
    return document


def _unknown_names(environment: Mapping[str, str]) -> list[str]:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    names = (name for name in environment if name.upper().startswith(PREFIX))
    return [
        f"{name} (environment): unknown; known are {', '.join(sorted(known))}"
        for name in sorted(names)
        if name.upper().partition("__")[0] not in known and not name.upper().startswith(FOREIGN)
    ]


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _words(fault: Mapping[str, Any]) -> str:
    """pydantic's fault in words of ours where its own do not say what to do."""
    if fault["type"] == "extra_forbidden":
        return f"unknown; known are {', '.join(sorted(Settings.model_fields))}"
    message: str = fault["msg"]
    return message.removeprefix("Value error, ")
