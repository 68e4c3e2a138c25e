"""The start of the operator: watches first, then one complete list, and only then judgements."""

from datetime import UTC, datetime
from pathlib import Path

from sandbox.waiting import until
from tests.support.operator_api import OperatorApi, operator_of

EMPTY = {"fieldSelector": "metadata.name=_", "resourceVersion": "0", "limit": "1"}


async def test_nothing_is_judged_before_the_first_complete_list_and_nothing_is_missed(
    tmp_path: Path,
) -> None:
    api = OperatorApi(refuses_expired_by_status=False)  # as the API server's watch cache
    now = {"endTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    for name in ("due", "deleted-meanwhile", "stays"):
        api.put_rayjob(name, ttl="0" if name == "due" else "50w", status=now)
    async with operator_of(api, tmp_path) as operator:

        async def has_scheduled(number: int) -> bool:
            return await operator.metric("raysweep_scheduled") == number

        await until(api.listed.is_set, timeout=60)
        api.put_rayjob("created-meanwhile", ttl="0", status=now)
        api.put_rayjob("due", ttl="1s", status=now)
        api.delete("rayjobs", "deleted-meanwhile")
        await until(lambda: has_scheduled(2), timeout=60)  # the watch has reported them
        assert await operator.get("/readyz") == (503, "the first complete list is not done\n")
        assert api.deleted == []
        api.may_answer.set()
        await until(lambda: len(api.deleted) == 2, timeout=60)
        await until(operator.is_ready, timeout=60)
        await until(lambda: has_scheduled(1), timeout=60)  # stays
        assert sorted(api.deleted) == ["created-meanwhile", "due"]
        assert api.lists == [EMPTY, {"limit": "200"}]
        watches = [query for _, _, query in api.requests if "watch" in query]
        assert {query.get("fieldSelector") for query in watches} == {None}
        api.expire()  # Kopf's watch cannot continue, so it lists and watches anew
        await until(lambda: len(api.lists) == 4, timeout=60)
        assert api.lists[2:] == [EMPTY, {"limit": "200"}]
