"""YAML and JSON as lint reads them: scalars as kubectl has them, and positions of all parts."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raysweep.cli.lint.yaml_positions import Path, Position, UnreadableTextError, YamlValue, read
from raysweep.clients.parsing.yaml_text import load, scalar

SCALARS: list[tuple[str, object]] = [
    ("3600", 3600),
    ("-1", -1),
    ("+1", 1),
    ("1_000", 1000),
    ("0x10", 16),
    ("0b11", 3),
    ("010", 8),
    ("0o17", 15),
    ("08", 8.0),
    ("1.5", 1.5),
    ("1e3", 1000.0),
    (".5", 0.5),
    ("9" * 400, float("inf")),
    (".inf", float("inf")),
    ("-.Inf", float("-inf")),
    ("true", True),
    ("Yes", True),
    ("on", True),
    ("y", True),
    ("NO", False),
    ("off", False),
    ("~", None),
    ("Null", None),
    ("", None),
    ("1h30m", "1h30m"),
    ("1:30", "1:30"),
    ("2026-12-24T18:00:00Z", "2026-12-24T18:00:00Z"),
    ("2026-12-24", "2026-12-24"),
    ("yES", "yES"),
    ('"3600"', "3600"),
    ("'on'", "on"),
    ("!!str 3600", "3600"),
    ("! 3600", "3600"),
    ("!!int '7'", 7),
    ("&x 7", 7),
    ("!vault x", "x"),
    ("|-\n  12", "12"),
    ("never", "never"),
]


def test_scalars_are_as_kubectl_reads_them() -> None:
    for text, value in SCALARS:
        (document,) = read(f"a: {text}\n")
        assert document.value == {"a": value}, text
        assert type(document.value["a"]) is type(value), text


def test_scalars_are_the_same_as_those_of_yaml_text() -> None:
    for text, value in SCALARS:
        if "!" in text or "&" in text:
            continue
        loaded = load(f"a: {text}\n")["a"]
        assert (loaded, type(loaded)) == (value, type(value)), text
        if not text.startswith(('"', "'")) and "\n" not in text:
            assert scalar(text) == value, text


TEXT = """\
one: &base {ttl: 1, "two": [x, {y: z}]}
merged:
  <<: [{ttl: 2, here: yes}, *base]
  ttl: 3
alias: *base
empty:
"""


POSITIONS: list[tuple[Path, tuple[int, int], tuple[int, int]]] = [
    ((), (1, 1), (1, 1)),
    (("one",), (1, 6), (1, 1)),
    (("one", "two", 1, "y"), (1, 36), (1, 33)),
    (("one", "two", 1), (1, 32), (1, 32)),
    (("one", "two", 7), (1, 28), (1, 28)),
    (("one", "two", "x"), (1, 28), (1, 28)),
    (("one", "three", "four"), (1, 6), (1, 6)),
    (("merged", "ttl"), (4, 8), (4, 3)),
    (("merged", "here"), (3, 23), (3, 17)),
    (("merged", "two"), (1, 28), (1, 21)),
    (("alias", "ttl"), (1, 18), (1, 13)),
    (("empty",), (6, 1), (6, 1)),
]


def test_every_part_has_its_line_and_column() -> None:
    for path, value_at, key_at in POSITIONS:
        (document,) = read(TEXT)
        assert document.value["merged"] == {"ttl": 3, "here": True, "two": ["x", {"y": "z"}]}, path
        assert (document.position(path), document.position(path, is_key=True)) == (
            Position(*value_at),
            Position(*key_at),
        ), path


def test_columns_count_characters() -> None:
    (document,) = read("é: {ü: \U0001f600, x: y}\n")
    assert document.position(("é", "x")) == (1, 14)


def test_a_live_object_has_no_positions() -> None:
    assert YamlValue({"a": 1}).position(("a",)) is None
    assert YamlValue({"a": [1]}).part("a", 0).value == 1
    assert YamlValue({"a": 1}).text_at(("a",)) == ""
    assert list(YamlValue({"a": 1}).duplicate_keys()) == []


def test_duplicate_keys_are_reported_and_merged_ones_are_not() -> None:
    text = "a: &a {x: 1, x: 2}\nb: *a\nc: [{y: 1, 'y': 2}]\nd: {<<: *a, x: 3}\na: 1\n"
    (document,) = read(text)
    assert sorted(document.duplicate_keys(), key=lambda one: one[1]) == [
        ("x", (1, 14)),
        ("y", (3, 12)),
        ("a", (5, 1)),
    ]
    assert document.value["a"] == 1


NOT_YAML: list[tuple[str, tuple[int, int]]] = [
    ("a: 1\n b: 2\n", (2, 3)),
    ("a:\n  - b\n  c: d\n", (3, 3)),
    ("ok: 1\n---\n*x\n", (3, 1)),
    ("a: \x07\n", (1, 4)),
    ("{[a]: b}", (1, 2)),
]


def test_invalid_yaml_is_reported_with_its_position() -> None:
    for text, at in NOT_YAML:
        with pytest.raises(UnreadableTextError) as caught:
            read(text)
        assert caught.value.position == at, text
        assert not caught.value.is_template, text


def test_a_template_is_reported_at_its_first_braces() -> None:
    with pytest.raises(UnreadableTextError) as caught:
        read("a: 1\n{{- if .Values.on }}\nb: 2\n{{- end }}\n")
    assert (caught.value.position, caught.value.is_template) == ((2, 1), True)


def test_braces_in_valid_yaml_make_no_template() -> None:
    assert [document.value for document in read("a: '{{ x }}'\n---\nb: x {{ y }}\n")] == [
        {"a": "{{ x }}"},
        {"b": "x {{ y }}"},
    ]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.text(st.characters(max_codepoint=0xD7FF), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(max_codepoint=0xD7FF), max_size=5), inner, max_size=4
        )
    ),
    max_leaves=15,
)


@given(
    PLAIN.filter(lambda value: isinstance(value, dict | list) and value),
    st.sampled_from([None, 1, "\t"]),
)
def test_json_has_its_value(value: Any, indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent)
    (document,) = read(text)
    assert document.value == json.loads(text)


@given(PLAIN.filter(lambda value: isinstance(value, dict | list) and value))
def test_yaml_has_its_value(value: Any) -> None:
    (document,) = read(yaml.safe_dump(value, default_style='"', allow_unicode=False))
    assert document.value == value
