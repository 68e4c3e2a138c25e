"""YAML of users: the scalars of each reader, and an error for a text that expands too far (H26)."""

from datetime import date

import pytest
import yaml

from raysweep.clients.parsing.yaml_text import Dialect, YamlError, load, load_documents
from tests.support.yaml_bombs import BOMBS, ERROR

WRITTEN_OTHERWISE: list[tuple[str, object, object]] = [
    ("1e-5", 1e-5, "1e-5"),
    ("2026-01-01", "2026-01-01", date(2026, 1, 1)),
    ("1:30", "1:30", 90),
    ("y", True, "y"),
    ("0o17", 15, "0o17"),
    ("010", 8, 8),
    ("1.5", 1.5, 1.5),
    ("~", None, None),
    ('"10"', "10", "10"),
]


def test_each_dialect_has_its_own_scalars() -> None:
    for text, by_kubernetes, by_pyyaml in WRITTEN_OTHERWISE:
        assert load(f"a: {text}") == {"a": by_kubernetes}, text
        assert (
            load(f"a: {text}", Dialect.PYYAML) == {"a": by_pyyaml} == yaml.safe_load(f"a: {text}")
        ), text
        assert load(f"a: {text}", Dialect.WRITTEN) == {"a": text.strip('"')}, text


def test_keys_are_texts_in_the_kubernetes_dialect() -> None:
    assert load("{1: a, yes: b, 2026-01-01: c, ~: d}") == {
        "1": "a",
        "yes": "b",
        "2026-01-01": "c",
        "~": "d",
    }


def test_merged_mappings() -> None:
    text = "base: &base {ttl: 1, size: 2}\nmine: {<<: *base, ttl: 3}\n"
    assert load(text)["mine"] == {"size": 2, "ttl": 3}
    assert load(text, Dialect.WRITTEN)["mine"] == {"size": "2", "ttl": "3"}


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_h26_aliases_that_multiply_raise(text: str, dialect: Dialect) -> None:
    with pytest.raises(YamlError, match=ERROR):
        load_documents(text, dialect)
