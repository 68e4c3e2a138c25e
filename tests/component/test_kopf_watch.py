"""Watch events: an object with invalid metadata affects no other object."""

from typing import Any

import pytest

from raysweep.controller.kopf_watch import on_namespace_event, on_rayjob_event
from raysweep.controller.store import Store
from tests.support.builders import namespace_json, rayjob_json

YEAR_0: Any = {"managedFields": [{"time": "0000-01-01T00:00:00Z"}]}


def test_a_rayjob_with_invalid_metadata_becomes_unreadable() -> None:
    store = Store(lambda _: None)
    on_rayjob_event(store, "ADDED", rayjob_json())
    on_rayjob_event(store, "MODIFIED", rayjob_json(metadata=YEAR_0 | {"resourceVersion": "101"}))
    job = store.rayjob("uid-train")
    assert job is not None
    assert job.unreadable.startswith("metadata.managedFields")


def test_a_namespace_with_invalid_metadata_judges_its_rayjobs_again() -> None:
    judged: list[str] = []
    store = Store(judged.append)
    on_rayjob_event(store, "ADDED", rayjob_json())
    on_namespace_event(store, "ADDED", namespace_json())
    judged.clear()
    body = namespace_json()
    body["metadata"] |= YEAR_0 | {"resourceVersion": "8"}
    on_namespace_event(store, "MODIFIED", body)
    entry = store.namespace("team-a")
    assert entry is not None
    assert entry[0].unreadable.startswith("metadata.managedFields")
    assert judged == ["uid-train"]


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED", None])
def test_an_object_without_a_name_changes_nothing(kind: str | None) -> None:
    store = Store(lambda _: None)
    on_rayjob_event(store, "ADDED", rayjob_json())
    on_rayjob_event(store, kind, rayjob_json(metadata={"uid": 7}))
    on_namespace_event(store, kind, {"metadata": {"name": None}})
    assert (len(store.rayjobs), len(store.namespaces)) == (1, 0)


def test_only_configured_keys_are_stored() -> None:
    store = Store(lambda _: None)
    json = rayjob_json(metadata={"annotations": {f"example.com/{n}": "" for n in range(1000)}})
    on_rayjob_event(store, "ADDED", json, frozenset({"example.com/7"}))
    job = store.rayjob("uid-train")
    assert job is not None
    assert job.keys == {"example.com/7"}
