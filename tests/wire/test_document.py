"""The one way in for YAML: what could harm the reader is refused before anything is built of it."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wire.document import MAX_DEPTH, UnreadableDocument, compose


def refusal(text: str, most_bytes: int = 10_000) -> tuple[int, str]:
    with pytest.raises(UnreadableDocument) as refused:
        compose(text, most_bytes=most_bytes)
    return refused.value.line, str(refused.value)


def test_a_document_is_its_nodes_and_an_empty_one_is_none() -> None:
    """Comments and blank lines alone are an empty document, which each reader judges for itself."""
    root = compose("a: [1, 2]\n", most_bytes=100)
    assert isinstance(root, yaml.MappingNode)
    assert compose("# nothing yet\n", most_bytes=100) is None


def test_aliases_are_refused_where_they_stand() -> None:
    """Nine lines of aliases would stand for a billion values; seen to fill the memory without the survey."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    tracemalloc.start()
    try:
        assert refusal("\n".join(lines)) == (2, "aliases (*name) are not read here: write it out")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_depth_and_size_are_bounded() -> None:
    """A stack that ends and a file that never does are told apart, each with its bound."""
    deep = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    assert refusal(deep) == (1, f"is nested more than {MAX_DEPTH} levels deep")
    assert compose("[" * MAX_DEPTH + "]" * MAX_DEPTH, most_bytes=100) is not None
    assert refusal("[" * 9_999) == (1, f"is nested more than {MAX_DEPTH} levels deep")
    assert refusal("è" * 51, 100) == (0, "is larger than 100 bytes")


def test_broken_yaml_names_its_line() -> None:
    """The line is the one an editor shows."""
    line, message = refusal("a: 1\nb: [1, 2\nc: 3\n")
    assert line == 3
    assert message.startswith("is not YAML: ")


def test_what_is_no_utf_8_is_said_so_with_its_line() -> None:
    """Bytes of another encoding arrive as halves of characters; seen failing without the look at them: an
    encoder's words about surrogates."""
    text = b"name: acme\ncity: M\xfcnchen\n".decode("utf-8", "surrogateescape")
    assert refusal(text) == (2, "is not UTF-8: save it in that encoding")


@given(st.text(max_size=300))
def test_any_text_is_nodes_or_a_refusal(text: str) -> None:
    """No text raises anything else: lone surrogates and control characters included."""
    with contextlib.suppress(UnreadableDocument):
        compose(text, most_bytes=1_000)
