"""The catalogue is well formed, and the page made from it is current."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from wire import layout as wire_layout
from wire.catalogue import Kind, load, markdown
from wire.layout import Layout, Series
from wire.validate import decode_layout

ROOT = Path(__file__).parents[2]


def test_every_metric_and_attribute_name_is_legal_on_the_wire() -> None:
    """A row that the collector would refuse could never be sent."""
    for row in load().metrics.values():
        series = Series(row.name, dict.fromkeys(row.attributes, "x"))
        decode_layout(wire_layout.encode(Layout(1, float(row.interval), (series,))))


def test_units_fit_kinds() -> None:
    """A rate is per second (or a share of time); a counter never is."""
    for row in load().metrics.values():
        if row.kind is Kind.RATE:
            assert row.unit == "1" or row.unit.endswith("/s"), row.name
        else:
            assert not row.unit.endswith("/s"), row.name
        assert re.fullmatch(r"1|s|By(/s)?|\{[a-z]+\}(/s)?", row.unit), row.name


def test_meanings_are_sentences() -> None:
    """Each row explains itself to somebody who reads only this row."""
    catalogue = load()
    metrics = [row.meaning for row in catalogue.metrics.values()]
    for meaning in [*metrics, *(row.meaning for row in catalogue.events.values())]:
        assert meaning[0].isupper()
        assert meaning.endswith(".")


def test_no_name_stands_twice() -> None:
    """The later row would silently win."""
    names = re.findall(r"^  - (?:name|id): (\S+)", (ROOT / "wire/metrics.yaml").read_text(), re.MULTILINE)
    assert len(names) == len(set(names)) == len(load().metrics) + len(load().events)


def test_unit_of_an_unknown_metric_is_empty() -> None:
    """Other senders' metrics are shown as plain numbers."""
    assert load().unit("system.memory.available") == "By"
    assert load().unit("somebody.elses.metric") == ""


def test_the_page_is_current() -> None:
    """docs/metrics.md says what wire/metrics.yaml says: python -m wire.catalogue > docs/metrics.md"""
    assert (ROOT / "docs/metrics.md").read_text() == markdown()


def test_rows_are_read_strictly() -> None:
    """A misspelt key in the catalogue is a fault, not a default."""
    from wire.catalogue import _Document

    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"metrics": [], "events": [], "metric": []}, _Document)
