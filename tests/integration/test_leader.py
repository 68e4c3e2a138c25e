"""Leader election between two processes: after SIGKILL, SIGTERM, stalls and network faults."""

import asyncio
import base64
import contextlib
import fcntl
import itertools
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest_asyncio
import yaml

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.waiting import until
from tests.support.network_faults import Relay, through
from tests.support.operator_process import Operator, deploy, running_operator, start_operator
from tests.support.workbench import Body, Lab, utc_now

LEASE = "/apis/coordination.k8s.io/v1/namespaces/raysweep/leases/raysweep"
DUE = {"raysweep.io/ttl": "0"}
QUICK = {"lease_duration": "8s", "renew_deadline": "5s", "retry_period": "1s"}
PATIENT = {"lease_duration": "1h", "renew_deadline": "30m", "retry_period": "1s"}
"""With these nobody takes over in time but by what was given back."""
UNCONFIRMED = {"confirmed_within": "10m"}
"""Keeps confirmations valid, so that only RayJob and RayCluster are read before the DELETE."""
UNTROUBLED = PATIENT | UNCONFIRMED | {"retry_period": "20m"}
"""No renewal uses the open connection while the answers are held."""
_numbers = itertools.count(1)


@dataclass
class Replica(Operator):
    """A replica with its own token, by which the audit log identifies it."""

    token: str = ""

    async def leads(self) -> bool:
        return await self.metric("raysweep_leader") == 1

    async def stands_by(self) -> bool:
        return (await self.get("/readyz"))[1].startswith("standby; the leader is ")

    async def requests(self, cluster: Cluster) -> list[Body]:
        return [
            e
            for e in await cluster.audit("raysweep")
            if self.token in e["user"].get("extra", {}).get(CREDENTIAL, [])
        ]

    async def asked(self, cluster: Cluster, verb: str) -> list[tuple[str, str]]:
        """(resource, name) of its requests with one verb, in order."""
        found = sorted(
            (e for e in await self.requests(cluster) if e["verb"] == verb), key=received_at
        )
        return [
            (ref["resource"], ref["name"])
            for event in found
            if (ref := event.get("objectRef")) and "name" in ref
        ]

    async def deletions(self, cluster: Cluster) -> list[tuple[str, str]]:
        return await self.asked(cluster, "delete")

    def said(self, text: str) -> bool:
        return any(text in str(line["msg"]) for line in self.log())


@dataclass(frozen=True)
class Lease:
    """The Lease."""

    holder: str
    renewed_at: datetime
    transitions: int


CREDENTIAL = "authentication.kubernetes.io/credential-id"


def received_at(event: Body) -> datetime:
    return datetime.fromisoformat(event["requestReceivedTimestamp"])


@pytest_asyncio.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """A sandbox without another operator."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        await deploy(running)
        yield running


@pytest_asyncio.fixture(scope="module")
async def head(cluster: Cluster) -> Head:
    return await cluster.heads.light("quiet")


@pytest_asyncio.fixture
async def lab(cluster: Cluster, head: Head) -> Lab:
    """A new namespace, after the Lease of an earlier test was deleted."""
    await cluster.api.delete(LEASE)
    return await Lab.open(cluster, head)


@contextlib.asynccontextmanager
async def replica(
    cluster: Cluster,
    times: Mapping[str, str],
    *,
    relay: Relay | None = None,
    ready: bool = True,
    **settings: str,
) -> AsyncIterator[Replica]:
    """A replica under the service account of the manifests, with its own token."""
    settings = {**times, **settings}
    kubeconfig, token = await own_token(cluster)
    kubeconfig = through(relay, kubeconfig) if relay else kubeconfig
    async with running_operator(
        cluster, kubeconfig, ready=ready, lease_name="raysweep", **settings
    ) as running:
        yield Replica(running.process, running.url, running.output, token)


async def own_token(cluster: Cluster) -> tuple[Path, str]:
    """A kubeconfig with a new token, and the ID of the token in the audit log."""
    kubeconfig = await cluster.kubeconfig_for("raysweep", "raysweep")
    told: Body = yaml.safe_load(kubeconfig.read_text())
    number = next(_numbers)
    shared, own = (
        Path(told["users"][0]["user"]["tokenFile"]),
        cluster.folder / f"replica-{number}.token",
    )
    token = await asyncio.to_thread(shared.read_text)
    own.write_text(token)
    told["users"][0]["user"]["tokenFile"] = str(own)
    path = cluster.folder / f"replica-{number}.kubeconfig"
    path.write_text(yaml.safe_dump(told))
    claims = token.split(".")[1]
    return path, f"JTI={json.loads(base64.urlsafe_b64decode(claims + '=='))['jti']}"


async def lease(cluster: Cluster) -> Lease:
    spec = (await cluster.api.request("GET", LEASE))["spec"]
    return Lease(
        spec["holderIdentity"], datetime.fromisoformat(spec["renewTime"]), spec["leaseTransitions"]
    )


async def test_after_a_sigkill_of_the_leader_the_standby_leads_when_the_lease_expires(
    lab: Lab, cluster: Cluster
) -> None:
    async with replica(cluster, QUICK) as old, replica(cluster, QUICK) as new:
        assert await new.stands_by()
        await lab.create_finished("first", annotations=DUE)
        await lab.expect_deleted("rayclusters", "first-c")
        await until(lambda: old.said("deleted RayJob first"), timeout=90)
        await old.kill()
        await lab.create_finished("second", annotations=DUE)
        await lab.expect_deleted("rayclusters", "second-c", timeout=90)

    assert await old.deletions(cluster) == [("rayjobs", "first"), ("rayclusters", "first-c")]
    assert await new.deletions(cluster) == [("rayjobs", "second"), ("rayclusters", "second-c")]
    assert (await lease(cluster)).transitions == 1


async def test_after_a_sigterm_of_the_leader_the_standby_leads_at_its_next_retry(
    lab: Lab, cluster: Cluster
) -> None:
    async with replica(cluster, PATIENT) as old, replica(cluster, PATIENT) as new:
        old.process.terminate()
        assert await old.process.wait() == 0
        await until(new.leads, timeout=90)
        await lab.create_finished("train", annotations=DUE)
        await lab.expect_deleted("rayclusters", "train-c")

    assert await old.deletions(cluster) == []
    assert len(await new.deletions(cluster)) == 2


async def test_after_a_sigterm_deletions_in_progress_end_and_no_new_ones_start(
    lab: Lab, cluster: Cluster
) -> None:
    """One deletion has sent its first DELETE. The ceiling delays the others."""
    names = [f"train-{number}" for number in range(4)]
    async with Relay.to(cluster.server) as api, Relay.to(cluster.head_proxy) as heads:
        slow = {
            "head_proxy": f"http://127.0.0.1:{heads.port}",
            "deletions_per_second": "0.01",
            "deletion_burst": "1",
        }
        async with (
            replica(cluster, UNTROUBLED | slow, relay=api) as old,
            replica(cluster, PATIENT) as new,
        ):
            heads.hold_answers()
            ended_at = utc_now()
            for name in names:  # due together, when all of them are there
                await lab.create_finished(
                    name, ended_at=ended_at, annotations={"raysweep.io/ttl": "5s"}
                )
            await until(lambda: heads.received > 0, timeout=90)
            api.hold_answers()
            heads.let_answers_through()

            async def is_under_way() -> bool:
                return len(await old.deletions(cluster)) == 1

            await until(is_under_way, timeout=90)
            old.process.terminate()
            await until(lambda: old.said("shutting down"), timeout=90)
            api.let_answers_through()
            assert await old.process.wait() == 0
            for name in names:
                await lab.expect_deleted("rayclusters", f"{name}-c", timeout=60)

    (_, first), *rest = await old.deletions(cluster)
    assert rest == [("rayclusters", f"{first}-c")]
    assert sorted(await new.deletions(cluster)) == sorted(
        each
        for name in names
        if name != first
        for each in (("rayjobs", name), ("rayclusters", f"{name}-c"))
    )
    writes = [
        event for event in await old.requests(cluster) if event["verb"] in ("delete", "update")
    ]
    last = max(writes, key=received_at)  # an Event may have been on its way still
    assert (last["verb"], last["objectRef"]["resource"]) == ("update", "leases")


async def test_a_hanging_api_server_ends_the_leader_and_one_replica_leads_afterwards(
    lab: Lab, cluster: Cluster
) -> None:
    async with replica(cluster, QUICK) as old, replica(cluster, QUICK) as new:
        await cluster.suspend_apiserver()
        try:
            assert await old.process.wait() == 1
            assert old.said("the Lease raysweep/raysweep is lost: no renewal succeeded within 5s")
            assert not await new.leads()
        finally:
            await cluster.resume_apiserver()
        async with replica(cluster, QUICK) as restarted:
            await until(new.leads, timeout=90)
            await until(restarted.stands_by, timeout=90)
            await lab.create_finished("train", annotations=DUE)
            await lab.expect_deleted("rayclusters", "train-c")
            assert not await restarted.leads()

    assert (await old.deletions(cluster), await restarted.deletions(cluster)) == ([], [])


async def test_stalled_connections_do_not_end_the_leadership(lab: Lab, cluster: Cluster) -> None:
    """A load balancer dropped them: requests arrive, responses do not, new connections work."""
    async with Relay.to(cluster.server) as relay, replica(cluster, QUICK, relay=relay) as leader:
        await until_renewed(cluster)
        relay.freeze_open_connections()
        await until(lambda: leader.said("was not renewed"), timeout=90)
        await until_renewed(cluster)
        await until_renewed(cluster)
        assert await leader.leads()
        assert (await lease(cluster)).transitions == 0


async def test_a_leader_that_was_stopped_before_a_delete_does_not_send_it(
    lab: Lab, cluster: Cluster
) -> None:
    """Its last request is answered while it is stopped. Only the DELETE follows."""
    times = {"lease_duration": "20s", "renew_deadline": "15s", "retry_period": "5s"} | UNCONFIRMED
    async with Relay.to(cluster.server) as api, Relay.to(cluster.head_proxy) as heads:
        proxy = f"http://127.0.0.1:{heads.port}"
        async with (
            replica(cluster, times, relay=api, head_proxy=proxy) as old,
            replica(cluster, QUICK) as new,
        ):
            heads.hold_answers()
            await until_renewed(
                cluster
            )  # the next renewal is 5 s away, and takes no connection meanwhile
            await lab.create_finished(
                "train", annotations={"raysweep.io/ttl": "never", "raysweep.io/cluster-ttl": "0"}
            )
            await until(lambda: heads.received > 0, timeout=90)
            api.hold_answers()
            heads.let_answers_through()

            async def has_asked_for_all() -> bool:
                return ("rayjobs", "train") in await old.asked(cluster, "get")

            await until(has_asked_for_all, timeout=90)
            old.process.send_signal(signal.SIGSTOP)
            await until(new.leads, timeout=40)
            api.let_answers_through()
            await lab.expect_deleted("rayclusters", "train-c")
            old.process.send_signal(signal.SIGCONT)
            assert await old.process.wait() == 1

    assert await old.deletions(cluster) == []
    assert await new.deletions(cluster) == [("rayclusters", "train-c")]


async def until_renewed(cluster: Cluster) -> None:
    before = (await lease(cluster)).renewed_at

    async def is_renewed() -> bool:
        return (await lease(cluster)).renewed_at > before

    await until(is_renewed, timeout=90)


async def test_a_standby_is_ready_and_only_reads_the_lease(lab: Lab, cluster: Cluster) -> None:
    async with replica(cluster, QUICK) as leader, replica(cluster, QUICK) as standby:

        async def has_looked() -> bool:
            return len(await standby.asked(cluster, "get")) > 5

        await until(has_looked, timeout=90)
        holder = (await lease(cluster)).holder
        assert await standby.get("/readyz") == (200, f"standby; the leader is {holder}\n")
        assert await standby.get("/livez") == (200, "ok\n")
        assert await leader.get("/readyz") == (200, "ok\n")
        assert (await leader.leads(), await standby.leads()) == (True, False)
        standby.process.terminate()
        assert await standby.process.wait() == 0
        asked = {(e["verb"], e["requestURI"]) for e in await standby.requests(cluster)}

    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert asked == {("get", "/apis/ray.io/v1"), ("create", reviews), ("get", LEASE)}


async def test_one_of_two_replicas_that_start_together_leads(lab: Lab, cluster: Cluster) -> None:
    async with (
        replica(cluster, QUICK, ready=False) as one,
        replica(cluster, QUICK, ready=False) as other,
    ):
        both = (one, other)
        await until(lambda: _all_ready(both), timeout=90)
        assert sorted([await each.leads() for each in both]) == [False, True]
        assert sorted([await each.stands_by() for each in both]) == [False, True]
        assert (await lease(cluster)).transitions == 0


async def _all_ready(replicas: tuple[Replica, ...]) -> bool:
    return all([await each.is_ready() for each in replicas])


async def test_after_the_deletion_of_the_lease_the_leader_ends_and_the_other_leads(
    lab: Lab, cluster: Cluster
) -> None:
    async with replica(cluster, PATIENT) as old, replica(cluster, PATIENT) as new:
        await cluster.api.request("DELETE", LEASE)
        assert await old.process.wait() == 1
        assert old.said("the Lease raysweep/raysweep is lost: ")
        await until(new.leads, timeout=90)


async def test_a_foreign_holder_of_the_lease_ends_the_leader_until_the_lease_expires(
    lab: Lab, cluster: Cluster
) -> None:
    async with replica(cluster, QUICK) as old, replica(cluster, QUICK) as new:
        await cluster.api.patch(LEASE, {"spec": {"holderIdentity": "thief\n"}})
        assert await old.process.wait() == 1
        assert old.said("the Lease raysweep/raysweep is lost: 'thief ' holds it")
        await until(new.leads, timeout=90)
        assert (await lease(cluster)).transitions == 1


async def test_an_annotation_of_the_lease_does_not_end_the_leadership(
    lab: Lab, cluster: Cluster
) -> None:
    async with replica(cluster, QUICK) as leader:
        await cluster.api.patch(LEASE, {"metadata": {"annotations": {"seen-by": "somebody"}}})
        await until_renewed(cluster)
        assert await leader.leads()
    assert (await cluster.api.request("GET", LEASE))["metadata"]["annotations"] == {
        "seen-by": "somebody"
    }
    assert (await lease(cluster)).holder == ""


async def test_it_ends_after_a_sigterm_while_the_api_server_hangs(
    lab: Lab, cluster: Cluster
) -> None:
    async with replica(cluster, PATIENT) as leader:
        await cluster.suspend_apiserver()
        try:
            leader.process.terminate()
            assert await leader.process.wait() == 0
            assert leader.said("the Lease raysweep/raysweep was not released: no answer in time")
        finally:
            await cluster.resume_apiserver()


async def test_with_an_unfinished_deletion_the_lease_is_not_released(
    lab: Lab, cluster: Cluster
) -> None:
    """The API server can execute the request later, so the Lease must expire first."""
    async with Relay.to(cluster.server) as api, Relay.to(cluster.head_proxy) as heads:
        proxy = f"http://127.0.0.1:{heads.port}"
        async with replica(
            cluster, UNTROUBLED, relay=api, head_proxy=proxy, termination_grace="1s"
        ) as leader:
            heads.hold_answers()
            await lab.create_finished("train", annotations=DUE)
            await until(lambda: heads.received > 0, timeout=90)
            api.hold_answers()
            heads.let_answers_through()
            await lab.expect_deleted("rayjobs", "train")
            leader.process.terminate()
            assert await leader.process.wait() == 0
    assert (await lease(cluster)).holder != ""
    assert await leader.deletions(cluster) == [("rayjobs", "train")]


async def test_the_watchdog_ends_a_process_with_a_blocked_event_loop(
    lab: Lab, cluster: Cluster
) -> None:
    """The pipe of its log is full, so it blocks in a log call."""
    kubeconfig, _ = await own_token(cluster)
    unread, log = os.pipe()
    fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, 4096)
    process = await start_operator(cluster, kubeconfig, log, listen="127.0.0.1:0", **QUICK)
    try:
        await until(lambda: _is_there(cluster), timeout=90)
        for number in range(20):
            await lab.create_finished(
                f"odd-{number}",
                annotations={"raysweep.io/ttl": "soon"},
                head_status=None,
                with_cluster=False,
            )
        async with replica(cluster, QUICK) as new:
            assert await process.wait() == 1
            await until(new.leads, timeout=90)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(unread)
        os.close(log)


async def _is_there(cluster: Cluster) -> bool:
    return await cluster.api.find(LEASE) is not None


async def test_without_leader_election_it_requests_no_lease(lab: Lab, cluster: Cluster) -> None:
    async with replica(cluster, {}, leader_election="false") as only:
        await lab.create_finished("train", annotations=DUE)
        await lab.expect_deleted("rayclusters", "train-c")
        assert await only.leads()
    assert [
        e
        for e in await only.requests(cluster)
        if e.get("objectRef", {}).get("resource") == "leases"
    ] == []
    assert await cluster.api.find(LEASE) is None
