"""Laws of decisions over generated worlds with wrong clocks, hanging statuses and odd heads.

A World is the truth about one job. A Process observes it, moment by moment, by passes as in
cleanup/reconcile.py: decide() and update_memory(), with a probe of the head when the decision asks
for one. A perfect observer, who knows the World, says whether a deletion was right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from raysweep.cleanup.clock import STEP, WallClock
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Decision, Delete, ProbeHead
from raysweep.core.model.facts import HeadList, HeadSilent, JobEntry, ProbeKind, ProbeResult, RayJob
from raysweep.core.model.memory import NOTHING, Memory
from raysweep.core.model.parameters import DEFAULTS
from raysweep.core.update_memory import update_memory
from tests.support.builders import END, a_raycluster, a_rayjob, a_running, an_assessment, says

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TRUE_START = END.replace(microsecond=0)
"""True time when the job starts. Monotonic times count from here; KubeRay's clock is true."""
JOB_ID = "train-x7k2p"

many = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Answer(Enum):
    """What the head answers at one moment."""

    TRUTH = auto()
    RUNNING = auto()  # a zombie, or a node that is gone
    NO_SUCH_JOB = auto()  # only after the end: a head does not forget a job that it runs
    UNREADABLE = auto()
    ODD_STATUS = auto()
    REFUSED = auto()
    TIMEOUT = auto()


@dataclass(frozen=True)
class World:
    """The truth. Durations since TRUE_START; None: never."""

    ttl: timedelta
    ends_at: timedelta | None
    reported_after: timedelta | None  # KubeRay writes the end that much later
    given_up_at: timedelta | None  # KubeRay writes Failed (SubmissionFailed) though the job runs on
    head_is_ahead: timedelta  # the head's clock
    head_ready: bool

    def has_ended(self, at: timedelta) -> bool:
        """Whether the job has ended then."""
        return self.ends_at is not None and self.ends_at <= at

    def may_be_deleted(self, at: timedelta) -> bool:
        """By the perfect observer, to the second: KubeRay truncates times to whole seconds."""
        return self.ends_at is not None and at - self.ends_at >= self.ttl - SECOND

    def rayjob(self, at: timedelta) -> RayJob:
        """What the API server holds then."""
        annotations = says(ttl=str(round(self.ttl.total_seconds())))
        running = a_running(
            annotations=annotations,
            resource_version="1",
            start_time=TRUE_START,
            status_written_at=TRUE_START,
        )
        given_up_at, reported_at = self.given_up_at, self._reported_at()
        if given_up_at is not None and (reported_at is None or given_up_at < reported_at):
            reported_at = None  # KubeRay writes one end only
            if given_up_at > at:
                return running
            written_at = _whole(given_up_at)
            return replace(
                running,
                resource_version="2",
                deployment_status="Failed",
                reason="SubmissionFailed",
                end_time=TRUE_START + written_at,
                status_written_at=TRUE_START + written_at,
            )
        if reported_at is None or reported_at > at:
            return running
        assert self.ends_at is not None
        return a_rayjob(
            annotations=annotations,
            resource_version="3",
            start_time=TRUE_START,
            end_time=TRUE_START + _whole(reported_at),
            ray_end_time=TRUE_START + self.ends_at + self.head_is_ahead,
            status_written_at=TRUE_START + _whole(reported_at),
        )

    def entry(self, at: timedelta) -> JobEntry:
        """The entry of an honest head, by its own clock."""
        if not self.has_ended(at):
            return JobEntry("SUBMISSION", JOB_ID, "RUNNING")
        assert self.ends_at is not None
        ended = TRUE_START + self.ends_at + self.head_is_ahead
        return JobEntry("SUBMISSION", JOB_ID, "SUCCEEDED", end_time=ended)

    def _reported_at(self) -> timedelta | None:
        if self.ends_at is None or self.reported_after is None:
            return None
        return self.ends_at + self.reported_after


def _whole(at: timedelta) -> timedelta:
    return timedelta(seconds=int(at.total_seconds()))


@dataclass(frozen=True)
class Moment:
    """Time passes, the wall clock may jump, the watch may be late, and the head answers."""

    after: timedelta
    clock_step: timedelta = timedelta()
    watch_is_late: bool = False
    answer: Answer = Answer.TRUTH


NOW = Moment(timedelta())


@dataclass
class Process:
    """One operator process that observes a World. `at`: monotonic, since TRUE_START."""

    world: World
    at: timedelta
    clock_is_ahead: timedelta
    memory: Memory = NOTHING
    visible: RayJob = field(init=False)
    started_at: timedelta = field(init=False)
    wall_clock: WallClock = field(init=False)
    decision: Decision | None = None
    deleted_at: timedelta | None = None
    set_forward_at: timedelta | None = None

    def __post_init__(self) -> None:
        self.started_at = self.at
        self.wall_clock = WallClock(self._now, self._uptime, DEFAULTS.bulk_expiry_wait)
        self.started_by_wall_clock = self._now()
        self.visible = self.world.rayjob(self.at)

    def live(self, moments: Sequence[Moment]) -> None:
        """Passes until the RayJob is deleted, or no moment is left."""
        for moment in moments:
            self.at += moment.after
            self.clock_is_ahead += moment.clock_step
            if moment.clock_step > STEP:
                self.set_forward_at = self.at
            if not moment.watch_is_late:
                self.visible = self.world.rayjob(self.at)
            self._pass(moment.answer)
            if self.deleted_at is not None:
                return

    def _pass(self, answer: Answer) -> None:
        decision = self._decide(None)
        for _ in range(2):
            if not isinstance(decision, ProbeHead):
                break
            decision = self._decide(self._probe(answer, decision.kind))
        self.decision = decision
        if not isinstance(decision, Delete):
            return
        newest = self.world.rayjob(self.at)
        if newest.resource_version == self.visible.resource_version:
            self.deleted_at = self.at
        else:  # the API server refuses it: the resourceVersion is another
            self.visible = newest

    def _decide(self, probe: ProbeResult | None) -> Decision:
        assessment = self._assess(probe)
        decision = decide(assessment)
        self.memory = update_memory(assessment, decision)
        return decision

    def _assess(self, probe: ProbeResult | None) -> Assessment:
        return an_assessment(
            now=self._now(),
            rayjob=self.visible,
            memory=self.memory,
            probe=probe,
            uptime=self._uptime(),
            started_at=self.started_by_wall_clock,
            clock_settles_at=self.wall_clock.settles_at(),
        )

    def _uptime(self) -> timedelta:
        return self.at - self.started_at

    def _now(self) -> datetime:
        return TRUE_START + self.at + self.clock_is_ahead

    def _probe(self, answer: Answer, kind: ProbeKind) -> ProbeResult:
        cluster = a_raycluster(head_ready=self.world.head_ready)
        is_whole = kind is not ProbeKind.STATUS
        return ProbeResult(cluster, self._head(answer, whole=is_whole), kind)

    def _head(self, answer: Answer, *, whole: bool) -> HeadList | HeadSilent:
        if answer is Answer.REFUSED:
            return HeadSilent("connection refused")
        if answer is Answer.TIMEOUT:
            return HeadSilent("TimeoutError: no answer in time")
        if answer is Answer.NO_SUCH_JOB and not self.world.has_ended(self.at):
            answer = Answer.TRUTH
        honest, running = self.world.entry(self.at), JobEntry("SUBMISSION", JOB_ID, "RUNNING")
        entries = {
            Answer.TRUTH: (honest,),
            Answer.RUNNING: (running,),
            Answer.NO_SUCH_JOB: (),
            Answer.UNREADABLE: (),
            Answer.ODD_STATUS: (replace(running, status="ODD"),),
        }[answer]
        unreadable = "entry 0: odd" if answer is Answer.UNREADABLE else ""
        return HeadList(entries, self._now(), unreadable, whole=whole)


times = st.sampled_from([10 * SECOND, 5 * MINUTE, 40 * MINUTE, 2 * HOUR])
worlds = st.builds(
    World,
    ttl=st.sampled_from([30 * MINUTE, HOUR, 12 * HOUR]),
    ends_at=st.one_of(st.none(), times, times),
    reported_after=st.sampled_from([SECOND, SECOND, MINUTE, None]),
    given_up_at=st.one_of(st.none(), st.none(), times),
    head_is_ahead=st.sampled_from([timedelta(), timedelta(), -DAY, -HOUR, HOUR, DAY]),
    head_ready=st.booleans(),
)
clock_steps = st.sampled_from([*5 * [timedelta()], 4 * MINUTE, HOUR, DAY, -4 * MINUTE, -HOUR, -DAY])
moments = st.builds(
    Moment,
    after=st.sampled_from([SECOND, MINUTE, 6 * MINUTE, 11 * MINUTE, 31 * MINUTE, 2 * HOUR]),
    clock_step=clock_steps,
    watch_is_late=st.sampled_from([False, False, True]),
    answer=st.sampled_from([*3 * [Answer.TRUTH], *Answer]),
)
offsets = st.sampled_from([*3 * [timedelta()], HOUR, DAY, -HOUR, -DAY])
histories = st.lists(moments, min_size=1, max_size=15)
endless_answers = st.sampled_from(Answer)


def _process_from_the_start(world: World, clock_is_ahead: timedelta) -> Process:
    """It starts with the job, so it observes the job unfinished, whatever its clock shows."""
    process = Process(world, timedelta(), clock_is_ahead)
    process.live([NOW])
    return process


QUIET = World(HOUR, None, SECOND, None, timedelta(), head_ready=False)
GIVEN_UP = replace(QUIET, given_up_at=10 * SECOND)
"""W1: KubeRay reports the job as failed, and it runs on. Its head Pod is not ready."""
UNREPORTED = replace(QUIET, ends_at=10 * SECOND, reported_after=None, head_is_ahead=-DAY)
"""H9: KubeRay does not report the end, and the head's clock is a day behind."""
REPORTED = replace(QUIET, ends_at=10 * SECOND)
"""H10: an ordinary end, and a wrong wall clock of the process."""
REFUSALS = [Moment(wait, answer=Answer.REFUSED) for wait in (2 * HOUR, MINUTE, 6 * MINUTE)]
HONEST = [Moment(wait) for wait in (31 * MINUTE, 11 * MINUTE)]
SET_FORWARD = [Moment(MINUTE), Moment(MINUTE, clock_step=DAY), Moment(SECOND)]


def _is_right(process: Process) -> bool:
    return process.deleted_at is None or process.world.may_be_deleted(process.deleted_at)


def _is_end_reported(world: World) -> bool:
    """Otherwise only the head's clock tells the end, compared with the process's wall clock."""
    return world.reported_after is not None or world.given_up_at is not None


def _never_ahead(clock_is_ahead: timedelta, history: Sequence[Moment]) -> bool:
    return clock_is_ahead <= timedelta() and not any(
        moment.clock_step > timedelta() for moment in history
    )


def _has_waited_after_a_jump(process: Process) -> bool:
    if process.deleted_at is None or process.set_forward_at is None:
        return False
    return process.deleted_at - process.set_forward_at >= DEFAULTS.bulk_expiry_wait


@given(worlds, offsets, histories)
@example(GIVEN_UP, timedelta(), REFUSALS)
@example(UNREPORTED, timedelta(), HONEST)
@example(REPORTED, timedelta(), SET_FORWARD)
@example(REPORTED, HOUR, [Moment(MINUTE)])
@many
def test_a_process_that_observed_the_job_running_deletes_nothing_early(
    world: World, clock_is_ahead: timedelta, history: list[Moment]
) -> None:
    """H9, H10 and W1 are histories of this kind."""
    assume(_is_end_reported(world) or _never_ahead(clock_is_ahead, history))
    process = _process_from_the_start(world, clock_is_ahead)
    process.live(history)
    assert _is_right(process), process.decision


@given(worlds, times, histories)
@example(REPORTED, 5 * MINUTE, [Moment(SECOND, clock_step=DAY)])
@many
def test_a_process_that_starts_late_with_a_right_clock_deletes_nothing_early(
    world: World, started_at: timedelta, history: list[Moment]
) -> None:
    """It did not observe the end, so what a jump forward makes due waits in bulk expiry."""
    assume(_is_end_reported(world) or _never_ahead(timedelta(), history))
    forgets = any(moment.answer is Answer.NO_SUCH_JOB for moment in history)
    head_knows = not forgets and world.head_is_ahead >= timedelta()
    assume(world.given_up_at is None or head_knows)  # or the end is unknown
    process = Process(world, started_at, timedelta())
    process.live([NOW, *history])
    assert _is_right(process) or _has_waited_after_a_jump(process), process.decision


@given(worlds, offsets, endless_answers)
@many
def test_the_same_answer_forever_deletes_nothing_early(
    world: World, clock_is_ahead: timedelta, answer: Answer
) -> None:
    assume(_is_end_reported(world) or _never_ahead(clock_is_ahead, []))
    process = _process_from_the_start(world, clock_is_ahead)
    process.live([Moment(6 * MINUTE, answer=answer)] * 40)
    assert _is_right(process), process.decision


@given(worlds.filter(lambda world: world.ends_at is not None), offsets, histories)
@many
def test_every_ended_job_is_deleted_once_all_answers_are_right(
    world: World, clock_is_ahead: timedelta, history: list[Moment]
) -> None:
    """It is kept no longer than the clocks were wrong by."""
    process = _process_from_the_start(world, clock_is_ahead)
    process.live(history)
    wrong_by = sum((abs(moment.clock_step) for moment in history), abs(clock_is_ahead))
    wait = world.ttl + wrong_by + abs(world.head_is_ahead) + DAY
    process.live([Moment(HOUR)] * (wait // HOUR))
    assert process.deleted_at is not None, process.decision


@given(worlds, offsets, histories, endless_answers)
@many
def test_every_history_leads_to_a_deletion_or_to_a_reason_that_says_what_ends_it(
    world: World, clock_is_ahead: timedelta, history: list[Moment], answer: Answer
) -> None:
    """The head gives one answer for the last ten days."""
    process = _process_from_the_start(world, clock_is_ahead)
    process.live(history)
    if process.deleted_at is None:
        process.live([Moment(2 * HOUR, answer=answer)] * 120)
    assert process.deleted_at is not None or (
        process.decision and process.decision.explanation.reason.ends
    )
