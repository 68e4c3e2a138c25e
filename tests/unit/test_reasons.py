"""The words of reasons, and that each one explains itself."""

import re

import pytest

from raysweep import names
from raysweep.core.model.reasons import Reason
from raysweep.settings import Settings, flag

WORDS = """
    NotFinished NoTTL NotDue KeptByUser BulkExpiryDelay BulkExpiryBlocked BeingDeleted Suspended
    ManagedElsewhere ProtectedNamespace WillBeRecreated WouldBeRebuilt WaitingForKubeRay
    StillRunning ClusterInUse NotOwned OtherCluster LimitsConflict Ambiguous HeadUnreachable
    HeadUnauthorized HeadsUnreachable Invalid Unreadable InternalError NamespaceUnknown
    PoliciesUnknown
"""
DELETION_WORDS = """
    Expired KubeRayCleanupMissed Unconfirmed FinishedUnreported NeverSubmitted JobLost
    StuckInitializing StuckRunning StuckInUse StuckUnreachable DeletionUnfinished Swept
"""
ONE_SENTENCE = r"[A-Z]([^.]|\.(?=\w))*\."
"""A point inside a word, as in spec.jobId, ends no sentence."""
BOUNDS = {
    *names.ANNOTATIONS,
    *(f"spec.{path}" for path in names.POLICY_DURATIONS),
    *(flag(name).removeprefix("--") for name in Settings.model_fields),
}

every_reason = pytest.mark.parametrize("reason", Reason, ids=str)


def test_the_words() -> None:
    """Alerts, dashboards and scripts of users depend on them."""
    assert {reason.value for reason in Reason if not reason.deletes} == set(WORDS.split())
    assert {reason.value for reason in Reason if reason.deletes} == set(DELETION_WORDS.split())


@every_reason
def test_a_word_is_in_pascal_case_and_the_same_in_code(reason: Reason) -> None:
    assert re.fullmatch(r"([A-Z][a-z]+|TTL)+", reason.value)
    assert reason.name.replace("_", "").lower() == reason.value.lower()


@every_reason
def test_description_and_hint_are_one_sentence_each(reason: Reason) -> None:
    assert re.fullmatch(ONE_SENTENCE, reason.description)
    assert re.fullmatch(ONE_SENTENCE, reason.hint)


def test_no_two_reasons_share_a_description_or_hint() -> None:
    assert len({reason.description for reason in Reason}) == len(Reason)
    assert len({reason.hint for reason in Reason}) == len(Reason)


@every_reason
def test_a_reason_to_keep_says_what_ends_it(reason: Reason) -> None:
    assert (reason.ends != "") is not reason.deletes
    assert reason.deletes or re.fullmatch(r"[A-Z].*\.", reason.ends)


@every_reason
def test_bounds_exist(reason: Reason) -> None:
    assert set(reason.bounds) <= BOUNDS


def test_a_reason_to_delete_is_no_warning_and_has_no_bounds() -> None:
    for reason in Reason:
        if reason.deletes:
            assert not reason.is_warning
            assert reason.bounds == ()
