"""What a pass learns from its deletions, where the API server fails in the middle of them."""

from datetime import timedelta
from typing import Any, cast

from kubernetes_asyncio.client import ApiClient, Configuration

from raysweep.cleanup.act import Done
from raysweep.cleanup.brake import Brake
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.reconcile import _learn
from raysweep.clients.errors import ConflictError
from raysweep.clients.kubernetes import Kubernetes
from raysweep.controller.store import Store
from raysweep.core.decisions import Target
from raysweep.core.rules import DEFAULTS
from tests.builders import DUE, a_case
from tests.component.scripted import serving, told


async def test_a_read_that_fails_after_a_conflict_does_not_hide_what_was_deleted() -> None:
    """It raises nothing, so the pass is told: Event, log line and metrics."""
    case, store, nobody = a_case(), Store(lambda _: None), cast("Any", None)
    store.saw_rayjob(case.rayjob)
    deleted = Target("RayJob", case.rayjob.namespace, case.rayjob.name, case.rayjob.uid)
    failure = told({"kind": "Status", "message": "etcd is away", "code": 500}, 500)
    async with serving(failure) as script:
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None, nobody)
        minute, brake = timedelta(minutes=1), Brake(timedelta)
        observer = Observer(store, kubernetes, nobody, lambda: DUE, DEFAULTS, minute, timedelta, None, brake)
        try:
            await _learn(observer, case, Done((deleted,), stopped_by=ConflictError("409", code=409)))
        finally:
            await kubernetes.close()
    assert [asked.method for asked in script.asked] == ["GET"]
    assert store.rayjob(case.rayjob.uid) is None
