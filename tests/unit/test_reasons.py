"""The closed vocabulary: which words there are, and that each can explain itself."""

import re

import pytest

from raysweep import names
from raysweep.core.model.reasons import Reason
from raysweep.settings import Settings, flag

DESIGNED = frozenset(
    re.findall(
        r"\w+",
        """
        NotFinished NoTTL NotDue KeptByUser BulkExpiryDelay BulkExpiryBlocked BeingDeleted Suspended ManagedElsewhere
        ProtectedNamespace WillBeRecreated WouldBeRebuilt WaitingForKubeRay StillRunning ClusterInUse NotOwned OtherCluster
        LimitsConflict Ambiguous HeadUnreachable HeadUnauthorized HeadsUnreachable Invalid Unreadable InternalError
        Expired KubeRayCleanupMissed Unconfirmed FinishedUnreported NeverSubmitted JobLost StuckInitializing StuckRunning
        StuckInUse StuckUnreachable DeletionUnfinished Swept
        """,
    )
)
"""Every word that the design knows."""
ADDED = frozenset({"NamespaceUnknown", "PoliciesUnknown"})
"""Where honesty needed more."""

every_reason = pytest.mark.parametrize("reason", Reason, ids=str)


def test_no_word_is_invented() -> None:
    assert {reason.value for reason in Reason} <= DESIGNED | ADDED


@every_reason
def test_a_reason_is_one_word_in_pascal_case_and_its_name_in_code_is_the_same_word(
    reason: Reason,
) -> None:
    assert re.fullmatch(r"([A-Z][a-z]+|TTL)+", reason.value)
    assert reason.name.replace("_", "").lower() == reason.value.lower()


@every_reason
def test_meaning_and_remedy_are_one_sentence_each(reason: Reason) -> None:
    one_sentence = (
        r"[A-Z]([^.]|\.(?=\w))*\."  # a point inside a word, as in spec.jobId, ends nothing
    )
    assert re.fullmatch(one_sentence, reason.description)
    assert re.fullmatch(one_sentence, reason.hint)


def test_no_two_reasons_mean_the_same_or_share_a_remedy() -> None:
    assert len({reason.description for reason in Reason}) == len(Reason)
    assert len({reason.hint for reason in Reason}) == len(Reason)


def test_these_delete_and_no_other() -> None:
    assert {reason for reason in Reason if reason.deletes} == {
        Reason.EXPIRED,
        Reason.KUBERAY_CLEANUP_MISSED,
        Reason.UNCONFIRMED,
        Reason.FINISHED_UNREPORTED,
        Reason.NEVER_SUBMITTED,
        Reason.JOB_LOST,
        Reason.STUCK_INITIALIZING,
        Reason.STUCK_RUNNING,
        Reason.STUCK_IN_USE,
        Reason.STUCK_UNREACHABLE,
        Reason.DELETION_UNFINISHED,
        Reason.SWEPT,
    }


def test_what_deletes_is_no_warning() -> None:
    assert not any(reason.is_warning and reason.deletes for reason in Reason)


BOUNDS = {
    *names.ANNOTATIONS,
    *(f"spec.{path}" for path in names.POLICY_DURATIONS),
    *(flag(name).removeprefix("--") for name in Settings.model_fields),
}
"""Everything that can bound a keep: annotations, fields of a RayJobCleanupPolicy, settings."""


@every_reason
def test_every_reason_that_keeps_says_what_ends_it_and_names_only_bounds_that_exist(
    reason: Reason,
) -> None:
    assert (reason.ends != "") is not reason.deletes
    assert reason.deletes or re.fullmatch(r"[A-Z].*\.", reason.ends)
    assert set(reason.bounds) <= BOUNDS
    assert not (reason.deletes and reason.bounds)
