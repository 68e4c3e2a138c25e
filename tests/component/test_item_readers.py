"""Items of a list: what is neither decoded nor parsed again, and where an item ends."""

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest

from raysweep.clients.kubernetes.item_readers import CachedItemReader, Unnamed
from raysweep.clients.kubernetes.pages import members
from tests.support.builders import Body

ENTRY = {"apiVersion": "ray.io/v1", "fieldsType": "FieldsV1"}
NESTED = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "nested"}}
TRICKY = '"},{\\"apiVersion\\":\\"ray.io/v1\\",\\"kind\\":\\"RayJob\\",'


def rayjob(name: str, version: str = "1", **fields: Any) -> Body:
    metadata = {"managedFields": [ENTRY, ENTRY], "name": name, "resourceVersion": version}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, **fields}


class Reading:
    """Lists that are read one after the other, and the names that were parsed meanwhile."""

    def __init__(self) -> None:
        self.parsed: list[str] = []
        self.reader: CachedItemReader[Body] = CachedItemReader(self.parse)

    def parse(self, json_object: Any) -> Body:
        name = json_object["metadata"].get("name")
        if not name:
            raise ValueError("no name")
        self.parsed.append(name)
        return dict(json_object)

    def read(self, items: Iterable[Any], *, is_complete: bool = True) -> list[Any]:
        """The facts of a list in the compact form of the API server. Forgets what was parsed."""
        self.parsed.clear()
        text = json.dumps({"items": list(items), "kind": "RayJobList"}, separators=(",", ":"))
        self.reader.begin_list()
        facts = [value for key, value, _ in members(text, self.reader.decode) if key == "items"]
        if is_complete:
            self.reader.end_list()
        return facts


def test_an_unchanged_item_is_the_same_fact_and_is_not_parsed_again() -> None:
    reading = Reading()
    items = [rayjob("a"), rayjob("b"), rayjob("c")]
    first = reading.read(items)
    assert (first, reading.parsed) == (items, ["a", "b", "c"])
    again = reading.read(items)
    assert all(fact is before for fact, before in zip(again[:-1], first[:-1], strict=True))
    assert again == items
    assert reading.parsed == ["c"]  # nothing shows where the last item of a page ends


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(rayjob("b", version="2"), id="another resourceVersion"),
        pytest.param(rayjob("b", spec={"suspend": True}), id="the same resourceVersion"),
        pytest.param(rayjob("b", spec={"x": [NESTED, NESTED]}), id="objects like the items"),
    ],
)
def test_a_changed_text_is_parsed(changed: Body) -> None:
    reading = Reading()
    reading.read([rayjob("a"), rayjob("b"), rayjob("c")])
    assert reading.read([rayjob("a"), changed, rayjob("c")])[1] == changed
    assert reading.parsed == ["b", "c"]


def test_a_restored_resource_version_with_another_text_is_parsed() -> None:
    reading = Reading()
    before, after = rayjob("a", "7", spec={"suspend": False}), rayjob("a", "7", spec={})
    last = rayjob("z")
    assert reading.read([before, last])[0] == before
    assert reading.read([after, last])[0] == after
    assert reading.read([before, last])[0] == before
    assert reading.parsed == ["a", "z"]


def test_the_items_are_the_same_whatever_they_contain() -> None:
    """An item may hold the text that begins an item, as a value or as a part of a text."""
    contents: list[Any] = [{}, {"x": [NESTED, NESTED]}, {"x": TRICKY}, {"x": [rayjob("b")]}]
    items = [rayjob(f"job-{number}", spec=spec) for number, spec in enumerate(contents)]
    reading = Reading()
    for order in itertools.permutations([*items, rayjob("b"), 7, {"metadata": {}}], 4):
        expected = [item if _is_named(item) else Unnamed.UNNAMED for item in order]
        assert reading.read(order) == expected, order


def _is_named(item: Any) -> bool:
    return isinstance(item, dict) and "name" in item["metadata"]


def test_what_a_complete_list_does_not_show_is_forgotten() -> None:
    reading = Reading()
    a, b, c = rayjob("a"), rayjob("b"), rayjob("c")
    reading.read([a, b, c])
    assert len(reading.reader) == 3
    reading.read([a, c])
    assert len(reading.reader) == 2
    reading.read([a, b, c])
    assert reading.parsed == ["b", "c"]


def test_an_incomplete_list_keeps_what_it_has_shown() -> None:
    reading = Reading()
    a, b, c = rayjob("a"), rayjob("b"), rayjob("c")
    reading.read([a, b, c])
    reading.read([a, b], is_complete=False)
    reading.read([a, b, c])
    assert reading.parsed == ["c"]
    assert len(reading.reader) == 3
