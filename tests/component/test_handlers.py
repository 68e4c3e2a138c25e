"""What Kopf hears: an odd object costs itself alone, in the watch as in a list."""

from typing import Any

import pytest

from raysweep.controller.kopf_watch import on_namespace_event, on_rayjob_event
from raysweep.controller.store import Store
from tests.support.builders import namespace_json, rayjob_json

YEAR_0: Any = {"managedFields": [{"time": "0000-01-01T00:00:00Z"}]}


def test_a_rayjob_whose_metadata_becomes_odd_is_unreadable_at_once() -> None:
    """H1."""
    store = Store(lambda _: None)
    on_rayjob_event(store, "ADDED", rayjob_json())
    on_rayjob_event(store, "MODIFIED", rayjob_json(metadata=YEAR_0 | {"resourceVersion": "101"}))
    job = store.rayjob("uid-train")
    assert job is not None
    assert job.unreadable.startswith("metadata.managedFields")


def test_a_namespace_whose_metadata_becomes_odd_is_unreadable_at_once_and_its_rayjobs_are_judged_again() -> (
    None
):
    """H1."""
    judged: list[str] = []
    store = Store(judged.append)
    on_rayjob_event(store, "ADDED", rayjob_json())
    on_namespace_event(store, "ADDED", namespace_json())
    judged.clear()
    body = namespace_json()
    body["metadata"] |= YEAR_0 | {"resourceVersion": "8"}
    on_namespace_event(store, "MODIFIED", body)
    found = store.namespace("team-a")
    assert found is not None
    assert found[0].unreadable.startswith("metadata.managedFields")
    assert judged == ["uid-train"]


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED", None])
def test_what_cannot_be_named_changes_nothing(kind: str | None) -> None:
    """H1."""
    store = Store(lambda _: None)
    on_rayjob_event(store, "ADDED", rayjob_json())
    on_rayjob_event(store, kind, rayjob_json(metadata={"uid": 7}))
    on_namespace_event(store, kind, {"metadata": {"name": None}})
    assert (len(store.rayjobs), len(store.namespaces)) == (1, 0)


def test_only_the_keys_that_somebody_asked_for_are_kept() -> None:
    """H6."""
    store = Store(lambda _: None)
    json = rayjob_json(metadata={"annotations": {f"example.com/{n}": "" for n in range(1000)}})
    on_rayjob_event(store, "ADDED", json, frozenset({"example.com/7"}))
    job = store.rayjob("uid-train")
    assert job is not None
    assert job.keys == {"example.com/7"}
