"""The store: which version replaces which, what is removed, and what is judged again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.reconcile import judge
from raysweep.controller import store as module
from raysweep.controller.store import Store
from raysweep.core.model.facts import RayJob
from raysweep.core.model.memory import NOTHING, Memory
from raysweep.core.model.parameters import DEFAULTS
from raysweep.core.model.reasons import Reason
from tests.support.builders import (
    END,
    a_namespace,
    a_policy,
    a_raycluster,
    a_rayjob,
    a_running,
    says,
)

KNOWN = Memory(first_finished=END)

ASKED, LATER = timedelta(hours=1), timedelta(hours=2)
"""Uptimes."""


def _store() -> tuple[Store, list[str]]:
    """A store, and the uids of the RayJobs to judge again."""
    judged_again: list[str] = []
    return Store(judged_again.append), judged_again


@pytest.mark.parametrize(
    ("first", "then", "left"),
    [
        pytest.param("100", "101", "101", id="a newer resourceVersion replaces"),
        pytest.param("101", "100", "101", id="an older one does not"),
        pytest.param("99", "100", "100", id="they are numbers, not texts"),
        pytest.param("100", "opaque", "opaque", id="what is no number counts as news"),
    ],
)
def test_which_of_two_versions_is_kept(first: str, then: str, left: str) -> None:
    store, judged_again = _store()
    store.upsert_rayjob(a_rayjob(resource_version=first))
    store.upsert_rayjob(a_rayjob(resource_version=then))
    assert store.rayjob("uid-train") == a_rayjob(resource_version=left)
    assert len(judged_again) == (1 if left == first else 2)


def test_the_same_version_again_changes_nothing() -> None:
    store, judged_again = _store()
    store.upsert_rayjob(a_rayjob())
    store.upsert_rayjob(a_rayjob())
    assert judged_again == ["uid-train"]


def test_a_rayjob_of_the_same_name_is_another() -> None:
    store, _ = _store()
    store.upsert_rayjob(a_rayjob())
    store.upsert_rayjob(a_rayjob(uid="uid-namesake"))
    store.remove_rayjob("uid-train")
    assert (store.rayjob("uid-train"), store.rayjob("uid-namesake")) == (
        None,
        a_rayjob(uid="uid-namesake"),
    )


def test_a_removed_rayjob_loses_its_memory_and_is_judged_once_more() -> None:
    store, judged_again = _store()
    store.upsert_rayjob(a_rayjob())
    store.update_memory("uid-train", KNOWN)
    store.remove_rayjob("uid-train")
    store.update_memory("uid-train", KNOWN)
    assert (store.memory("uid-train"), judged_again) == (NOTHING, ["uid-train", "uid-train"])


@pytest.mark.parametrize(
    ("show", "version", "is_back"),
    [
        pytest.param(
            Store.upsert_rayjob,
            "100",
            False,
            id="an event that was on its way does not bring it back",
        ),
        pytest.param(
            lambda store, job: store.rayjobs.upsert_listed(job),
            "100",
            False,
            id="nor does a list that began before",
        ),
        pytest.param(
            Store.upsert_rayjob, "101", True, id="a newer state does: a finalizer holds it"
        ),
    ],
)
def test_a_deleted_rayjob(
    show: Callable[[Store, RayJob], None], version: str, is_back: bool
) -> None:
    store, judged_again = _store()
    store.rayjobs.begin_list()
    store.upsert_rayjob(a_rayjob(resource_version="100"))
    store.remove_rayjob("uid-train")
    show(store, a_rayjob(resource_version=version))
    assert (store.rayjob("uid-train") is not None) == is_back
    assert len(judged_again) == 2 + is_back


def test_few_deleted_objects_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DELETED", 2)
    store, _ = _store()
    jobs = [a_rayjob(uid=f"uid-{number}") for number in range(3)]
    for job in jobs:
        store.upsert_rayjob(job)
        store.remove_rayjob(job.uid)
    for job in jobs:
        store.upsert_rayjob(job)
    assert store.rayjobs.uids() == ("uid-0",)


def test_a_list_that_begins_after_a_deletion_may_restore_the_rayjob() -> None:
    """As after a restore of etcd from a backup."""
    store, _ = _store()
    store.upsert_rayjob(a_rayjob(resource_version="100"))
    store.remove_rayjob("uid-train")
    store.rayjobs.begin_list()
    store.rayjobs.upsert_listed(a_rayjob(resource_version="90"))
    assert store.rayjob("uid-train") is not None


def test_an_empty_memory_is_removed() -> None:
    store, _ = _store()
    store.upsert_rayjob(a_rayjob())
    store.update_memory("uid-train", KNOWN)
    assert store.memory("uid-train") == KNOWN
    store.update_memory("uid-train", NOTHING)
    assert store.memory("uid-train") == NOTHING


def test_removing_an_unknown_object_changes_nothing() -> None:
    store, judged_again = _store()
    store.remove_rayjob("x")
    store.remove_raycluster("x")
    store.remove_namespace("x")
    assert judged_again == []


def test_the_clusters_of_a_rayjob() -> None:
    store, judged_again = _store()
    store.upsert_raycluster(a_raycluster())
    store.upsert_raycluster(a_raycluster(uid="uid-2", name="other", controller_uid="uid-other"))
    assert store.owned_by("uid-train") == (a_raycluster(),)
    store.remove_raycluster("uid-cluster")
    assert (store.owned_by("uid-train"), judged_again) == (
        (),
        ["uid-train", "uid-other", "uid-train"],
    )


def test_a_new_owner_of_a_cluster_judges_both_rayjobs_again() -> None:
    store, judged_again = _store()
    store.upsert_raycluster(a_raycluster())
    judged_again.clear()
    store.upsert_raycluster(a_raycluster(resource_version="91", controller_uid="uid-other"))
    assert (store.owned_by("uid-train"), sorted(judged_again)) == ((), ["uid-other", "uid-train"])


def test_a_new_resource_version_of_a_cluster_judges_nothing_again() -> None:
    store, judged_again = _store()
    store.upsert_raycluster(a_raycluster())
    judged_again.clear()
    store.upsert_raycluster(a_raycluster(resource_version="91"))
    assert (store.owned_by("uid-train"), judged_again) == (
        (a_raycluster(resource_version="91"),),
        [],
    )
    store.upsert_raycluster(a_raycluster(resource_version="92", deleting=True))
    assert judged_again == ["uid-train"]


def test_a_changed_namespace_judges_only_its_rayjobs_again() -> None:
    store, judged_again = _store()
    store.upsert_rayjob(a_rayjob())
    store.upsert_rayjob(a_rayjob(uid="uid-b", namespace="team-b"))
    judged_again.clear()
    store.upsert_namespace(a_namespace(ttl="1h"), ASKED)
    assert (store.namespace("team-a"), judged_again) == (
        (a_namespace(ttl="1h"), ASKED),
        ["uid-train"],
    )


def test_an_unchanged_namespace_is_confirmed() -> None:
    store, judged_again = _store()
    store.upsert_rayjob(a_rayjob())
    store.upsert_namespace(a_namespace(), ASKED)
    judged_again.clear()
    store.upsert_namespace(a_namespace(), LATER)
    assert (store.namespace("team-a"), judged_again) == ((a_namespace(), LATER), [])


def test_a_recreated_namespace_is_another() -> None:
    store, _ = _store()
    store.upsert_namespace(a_namespace(ttl="1h"), ASKED)
    again = a_namespace()
    again = type(again)("team-a", "uid-again", "3")
    store.upsert_namespace(again, LATER)
    assert (store.namespace("team-a"), len(store.namespaces)) == ((again, LATER), 1)


def test_a_removed_namespace_is_not_cached() -> None:
    store, judged_again = _store()
    store.upsert_rayjob(a_rayjob())
    store.upsert_namespace(a_namespace(), ASKED)
    judged_again.clear()
    store.remove_namespace("team-a")
    assert (store.namespace("team-a"), judged_again) == (None, ["uid-train"])


@pytest.mark.parametrize(
    ("fields", "selecting"),
    [
        pytest.param(
            {}, ("notebook",), id="an unfinished one of its namespace that names its cluster"
        ),
        pytest.param({"deployment_status": "Complete"}, (), id="a finished one uses nothing"),
        pytest.param(
            {"namespace": "team-b"}, (), id="one of another namespace means another cluster"
        ),
        pytest.param({"selected_cluster": "other"}, (), id="one that names another cluster"),
        pytest.param(
            {"deployment_status": "Sleeping"}, ("notebook",), id="an unknown word is not finished"
        ),
    ],
)
def test_which_rayjobs_select_a_cluster(fields: dict[str, str], selecting: tuple[str, ...]) -> None:
    store, _ = _store()
    other = {
        "uid": "uid-2",
        "name": "notebook",
        "deployment_status": "Running",
        "selected_cluster": "train-cluster",
    }
    store.upsert_rayjob(a_rayjob(**(other | fields)))
    assert store.selecting(a_rayjob()) == selecting


def test_a_rayjob_that_no_longer_selects_is_removed_from_the_index() -> None:
    store, _ = _store()
    store.upsert_rayjob(
        a_rayjob(uid="uid-2", deployment_status="Running", selected_cluster="train-cluster")
    )
    store.upsert_rayjob(a_rayjob(uid="uid-2", deployment_status="Running", resource_version="101"))
    assert store.selecting(a_rayjob()) == ()


def test_a_complete_list_removes_what_neither_it_nor_the_watch_shows() -> None:
    store, _ = _store()
    for uid in ("vanished", "listed", "watched"):
        store.upsert_rayjob(a_rayjob(uid=uid))
    began = store.rayjobs.begin_list()
    store.upsert_rayjob(a_rayjob(uid="listed"))
    store.upsert_rayjob(a_rayjob(uid="watched", resource_version="101"))
    store.upsert_rayjob(a_rayjob(uid="born"))
    store.rayjobs.end_list(began)
    assert {job.uid for job in store.rayjobs.values()} == {"listed", "watched", "born"}


def test_an_incomplete_list_removes_nothing() -> None:
    store, _ = _store()
    store.upsert_rayjob(a_rayjob(uid="a"))
    store.upsert_rayjob(a_rayjob(uid="b"))
    store.rayjobs.begin_list()
    store.upsert_rayjob(a_rayjob(uid="a"))  # and here it broke off
    assert len(store.rayjobs) == 2
    began = store.rayjobs.begin_list()
    store.upsert_rayjob(a_rayjob(uid="b", annotations=says(ttl="1h")))
    store.rayjobs.end_list(began)
    assert [job.uid for job in store.rayjobs.values()] == ["b"]


def test_a_watch_confirms_nothing_and_an_older_response_revokes_nothing() -> None:
    store, _ = _store()
    store.upsert_namespace(a_namespace(), None)
    assert store.namespace("team-a") == (a_namespace(), None)
    store.upsert_namespace(a_namespace(), LATER)
    store.upsert_namespace(a_namespace(), ASKED)
    store.upsert_namespace(a_namespace(), None)
    assert store.namespace("team-a") == (a_namespace(), LATER)


def test_an_earlier_request_does_not_replace_newer_policies() -> None:
    store, _ = _store()
    store.replace_policies((a_policy("stop", is_dry_run=True),), LATER)
    store.replace_policies((), ASKED)
    assert store.policies() == ((a_policy("stop", is_dry_run=True),), LATER)


def test_removing_an_older_namespace_keeps_its_successor() -> None:
    store, _ = _store()
    successor = replace(a_namespace(), uid="uid-again")
    store.upsert_namespace(successor, ASKED)
    store.remove_namespace("team-a", a_namespace().uid)
    assert store.namespace("team-a") == (successor, ASKED)
    store.remove_namespace("team-a", "uid-again")
    assert store.namespace("team-a") is None


@pytest.mark.parametrize(
    ("rayjob", "is_gone"),
    [
        pytest.param(
            a_rayjob(cluster_name="long-gone"), True, id="ended, and its cluster is in no list"
        ),
        pytest.param(
            a_rayjob(), False, id="ended, and a cluster of that name is there, whoever owns it"
        ),
        pytest.param(
            a_running(cluster_name="long-gone"),
            False,
            id="not ended: KubeRay may be making it right now",
        ),
        pytest.param(
            a_rayjob(cluster_name="young", end_time=END + timedelta(minutes=59)),
            False,
            id="ended about when the lists began: it may be younger than that of the clusters",
        ),
        pytest.param(
            a_rayjob(cluster_name="long-gone", end_time=None),
            False,
            id="ended, and unused knows when",
        ),
    ],
)
def test_clusters_that_complete_lists_do_not_show_are_marked_deleted(
    rayjob: RayJob, is_gone: bool
) -> None:
    store, _ = _store()
    store.upsert_rayjob(rayjob)
    store.upsert_raycluster(a_raycluster(controller_uid="somebody"))
    store.mark_deleted_clusters(END + timedelta(hours=1))
    assert store.memory("uid-train").cluster_gone is is_gone


def test_a_judged_rayjob_is_not_marked() -> None:
    store, _ = _store()
    store.upsert_rayjob(a_rayjob())
    store.update_memory("uid-train", KNOWN)
    store.mark_deleted_clusters(END + timedelta(hours=1))
    assert store.memory("uid-train") == KNOWN


def test_rayjobs_of_long_deleted_clusters_are_no_bulk_expiry_after_a_restart() -> None:
    """Their cluster TTL has elapsed and their TTL has not, so nothing is due."""
    store, _ = _store()
    store.replace_policies(
        (a_policy(times={"retention.rayJob.default": timedelta(days=7)}),), ASKED
    )
    store.upsert_namespace(a_namespace(), ASKED)
    for number in range(150):
        name = {
            "uid": f"uid-{number}",
            "name": f"job-{number}",
            "cluster_name": f"job-{number}-abcde",
        }
        store.upsert_rayjob(a_rayjob(annotations=says(cluster_ttl="0"), **name))
    store.mark_deleted_clusters(END + timedelta(hours=1))
    now, unused = END + timedelta(days=1), cast("Any", None)
    circuit_breaker = CircuitBreaker(timedelta)
    observer = Observer(
        store,
        unused,
        unused,
        lambda: now,
        DEFAULTS,
        timedelta(seconds=10),
        timedelta,
        now,
        circuit_breaker,
    )
    for number in range(150):
        result = judge(observer, f"uid-{number}")
        assert result is not None
        assert result.decision.explanation.reason is Reason.NOT_DUE
        store.update_memory(f"uid-{number}", result.memory)
    assert len(store.bulk_expiry) == 0


@pytest.mark.parametrize(
    ("waiting", "counted"),
    [
        pytest.param(
            {"team-a": 101, "team-b": 3}, 13, id="H4: of one tenant's hundred ten count for another"
        ),
        pytest.param({"team-b": 101}, 101, id="all of its own count"),
        pytest.param(
            {f"team-{number}": 20 for number in range(12)},
            120,
            id="a mistake in a default of the whole cluster counts",
        ),
        pytest.param({}, 0, id="nothing waits"),
    ],
)
def test_the_size_of_a_bulk_expiry(waiting: dict[str, int], counted: int) -> None:
    store, _ = _store()
    for namespace, count in {**waiting, "team-z": 5}.items():
        for number in range(count):
            uid = f"{namespace}-{number}"
            store.upsert_rayjob(a_rayjob(uid=uid, namespace=namespace))
            store.update_memory(uid, Memory(in_bulk_expiry=True))
    for number in range(5):
        store.remove_rayjob(f"team-z-{number}")
    assert (store.bulk_expiry_size("team-b"), len(store.bulk_expiry)) == (
        counted,
        sum(waiting.values()),
    )


def _listed(store: Store, *rayjobs: RayJob, shown: RayJob | None = None) -> RayJob | None:
    """uid-train after a complete list of these. shown: by the watch, since the list began."""
    began = store.rayjobs.begin_list()
    if shown:
        store.upsert_rayjob(shown)
    for rayjob in rayjobs:
        store.rayjobs.upsert_listed(rayjob)
    store.rayjobs.end_list(began)
    return store.rayjob("uid-train")


OLDER, NEWER = a_rayjob(resource_version="99"), a_rayjob(resource_version="101")
OTHERWISE = a_rayjob(annotations=says(ttl="2h"))


@pytest.mark.parametrize(
    ("listed", "shown", "left"),
    [
        pytest.param(NEWER, None, NEWER, id="a newer one replaces"),
        pytest.param(
            OLDER, None, OLDER, id="an older one replaces too: etcd was restored from a backup"
        ),
        pytest.param(
            OTHERWISE, None, OTHERWISE, id="so does another state at the same resourceVersion"
        ),
        pytest.param(
            OLDER,
            NEWER,
            NEWER,
            id="what was shown since the list began is compared by resourceVersion",
        ),
        pytest.param(NEWER, a_rayjob(), NEWER, id="and replaced if the list is newer"),
        pytest.param(
            None, NEWER, NEWER, id="what was shown since and is not listed was made meanwhile"
        ),
        pytest.param(None, None, None, id="what neither shows is gone"),
    ],
)
def test_a_complete_list_is_the_truth_even_if_resource_versions_went_backwards(
    listed: RayJob | None, shown: RayJob | None, left: RayJob | None
) -> None:
    store, _ = _store()
    store.upsert_rayjob(a_rayjob())
    assert _listed(store, *([listed] if listed else []), shown=shown) == left


def test_after_a_list_of_older_versions_the_watch_continues() -> None:
    store, _ = _store()
    store.upsert_rayjob(a_rayjob(resource_version="900"))
    _listed(store, a_rayjob(resource_version="100"))
    store.upsert_rayjob(NEWER)
    assert store.rayjob("uid-train") == NEWER


def test_a_list_that_shows_the_same_version_again_changes_nothing() -> None:
    store, judged_again = _store()
    store.upsert_rayjob(a_rayjob())
    _listed(store, a_rayjob())
    assert judged_again == ["uid-train"]


def test_a_list_of_metadata_keeps_the_fields_of_a_cluster_that_was_read() -> None:
    store, _ = _store()
    read = a_raycluster(head_service="its-head", dashboard_port=8266)
    store.upsert_raycluster(read)
    store.rayclusters.begin_list()
    store.rayclusters.upsert_listed(a_raycluster())
    assert store.owned_by("uid-train") == (read,)
    store.rayclusters.begin_list()
    store.rayclusters.upsert_listed(a_raycluster(controller_uid="uid-other"))
    assert store.owned_by("uid-train") == ()


class CountedWord(str):
    """A status that counts how often it is compared."""

    looked_up = 0

    def __hash__(self) -> int:
        CountedWord.looked_up += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


@pytest.mark.parametrize("status", ["Complete", "Running"])
def test_a_judgement_does_not_visit_ten_thousand_selecting_rayjobs(
    status: str,
) -> None:
    """They are indexed when they change."""
    store, _ = _store()
    word = CountedWord(status)
    for number in range(10_000):
        name = {"uid": f"uid-{number}", "name": f"notebook-{number:05}"}
        store.upsert_rayjob(
            a_rayjob(deployment_status=word, selected_cluster="train-cluster", **name)
        )
    CountedWord.looked_up = 0
    selecting = [store.selecting(a_rayjob()) for _ in range(100)]
    assert CountedWord.looked_up == 0
    assert selecting[0][:2] == (
        () if status == "Complete" else ("notebook-00000", "notebook-00001")
    )
    assert len(selecting[0]) <= 10


def test_a_finished_rayjob_selects_nothing_and_a_running_one_does() -> None:
    store, _ = _store()
    running = a_rayjob(
        uid="uid-2", name="notebook", deployment_status="Running", selected_cluster="train-cluster"
    )
    store.upsert_rayjob(running)
    store.upsert_rayjob(replace(running, deployment_status="Complete", resource_version="101"))
    assert store.selecting(a_rayjob()) == ()
    store.upsert_rayjob(replace(running, resource_version="102"))
    assert store.selecting(a_rayjob()) == ("notebook",)
    store.remove_rayjob("uid-2")
    assert store.selecting(a_rayjob()) == ()


def test_changed_policies_and_namespaces_judge_their_rayjobs_in_one_call() -> None:
    """The queue spreads 100,000 RayJobs over time."""
    single: list[str] = []
    many: list[set[str]] = []
    store = Store(single.append, lambda uids: many.append(set(uids)))
    for uid in ("uid-1", "uid-2"):
        store.upsert_rayjob(a_rayjob(uid=uid))
    store.replace_policies((a_policy(),), timedelta())
    store.upsert_namespace(a_namespace(ttl="1h"), timedelta())
    assert (single, many) == (["uid-1", "uid-2"], [{"uid-1", "uid-2"}] * 2)


def test_the_end_of_a_large_list_is_processed_in_steps() -> None:
    """The event loop gets its turn in between."""
    store, _ = _store()
    for number in range(5000):
        store.upsert_rayjob(a_rayjob(uid=f"uid-{number}", cluster_name="long-gone"))
    assert sum(1 for _ in store.mark_deleted_clusters_in_steps(END + timedelta(hours=1))) >= 5
    assert store.memory("uid-4999").cluster_gone
    assert sum(1 for _ in store.rayjobs.end_list_in_steps(store.rayjobs.begin_list())) >= 5
    assert len(store.rayjobs) == 0


def test_a_rayjob_that_appears_during_these_steps_is_kept() -> None:
    store, _ = _store()
    for number in range(3000):
        store.upsert_rayjob(a_rayjob(uid=f"uid-{number}"))
    steps = store.rayjobs.end_list_in_steps(store.rayjobs.begin_list())
    next(steps)
    store.upsert_rayjob(a_rayjob(uid="uid-2999", resource_version="101"))
    for _ in steps:
        pass
    assert [job.uid for job in store.rayjobs.values()] == ["uid-2999"]
