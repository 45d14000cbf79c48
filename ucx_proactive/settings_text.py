"""All settings as a document to start from: every one with what it means, its unit and its default.

The meaning of a field is the text that stands below it in the source, so the document cannot fall behind.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import yaml
from pydantic import BaseModel, SecretStr

import alerting.settings
import oncall.settings
import ticketing.settings
from collector.settings import CollectorSettings
from ucx_proactive.settings import PREFIX, Settings

_ROOMS: dict[str, type[msgspec.Struct]] = {
    "collector": CollectorSettings,
    "alerting": alerting.settings.Settings,
    "ticketing": ticketing.settings.Settings,
    "oncall": oncall.settings.Settings,
}
_HEAD = f"""\
# The settings of ucx-proactive, each with its default. Uncomment what you change (take the "#: " away).
#   ucx-proactive serve --config FILE     flags win over the environment, the environment over this file
#   {PREFIX}PORT=8081 {PREFIX}ONCALL__RING_S=25   the same settings in the environment
# Keep a file with secrets at mode 0600, or give the secrets in the environment.
"""


def settings_text() -> str:
    """A settings file in which nothing is changed: every line of a setting stands commented, as ``#: ``."""
    lines = [_HEAD]
    for name, meaning, default in _fields_of_process():
        lines += _entry(name, meaning, default, indent="")
    for room, kind in _ROOMS.items():
        lines.append(f"#: {room}:")
        for name, meaning, default in _fields_of_room(kind):
            lines += _entry(name, meaning, default, indent="  ")
    return "\n".join(lines) + "\n"


def _fields_of_process() -> Iterator[tuple[str, str, Any]]:
    meanings = _meanings(Settings)
    for name, field in Settings.model_fields.items():
        if name not in _ROOMS:
            yield name, meanings.get(name, ""), field.get_default(call_default_factory=True)


def _fields_of_room(kind: type[msgspec.Struct]) -> Iterator[tuple[str, str, Any]]:
    meanings, defaults = _meanings(kind), kind()
    for field in msgspec.structs.fields(kind):
        parts = [_parts(part) for part in get_args(field.type) if _is_struct(part)]
        meaning = "\n".join([meanings.get(field.name, ""), *parts]).strip()
        yield field.encode_name, meaning, getattr(defaults, field.name)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _parts(kind: type[msgspec.Struct]) -> str:
    """What one item of a list of these says."""
    meanings = _meanings(kind)
    fields = [
        f"    {field.encode_name}: {meanings.get(field.name, '')}"
        f"{'' if field.required else f' [{_written(_default(field))}]'}"
        for field in msgspec.structs.fields(kind)
    ]
    return "\n".join(["A list; each item has", *fields])


def _default(field: msgspec.structs.FieldInfo) -> Any:
    """The default of a field that has one."""
    made = field.default_factory is not msgspec.NODEFAULT
    return field.default_factory() if made else field.default


def _meanings(kind: type[BaseModel] | type[msgspec.Struct]) -> dict[str, str]:
    """Field -> the text below it in the source of its class."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                found[name] = inspect.cleandoc(meaning)
    return found


def _entry(name: str, meaning: str, default: Any, indent: str) -> list[str]:
    comment = [f"# {indent}{line}" for line in meaning.splitlines()]
    return [*comment, f"#: {indent}{name}: {_written(default)}", ""]


def _written(value: Any) -> str:
    """A value in one line of YAML."""
    plain = (
        value.get_secret_value() if isinstance(value, SecretStr) else msgspec.to_builtins(value, enc_hook=str)
    )
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10_000).splitlines()[0]
