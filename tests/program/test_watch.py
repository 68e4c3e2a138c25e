"""`plan --watch` and `why --watch`: kept current by watches, in place or printed on a change."""

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox.waiting import until
from tests.support.builders import says
from tests.support.cli import AT_TERMINAL, PROGRAM, write_kubeconfig
from tests.support.terminal import HOSTILE, ROWS, TerminalSession, terminal_session
from tests.support.watched_api import TEAM, Api, serving_api

FAR = "2199-01-01T00:00:00Z"


def _just_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextlib.asynccontextmanager
async def watching(
    api: Api, folder: Path, *words: str, stdout: int | None = None
) -> AsyncIterator[TerminalSession]:
    async with serving_api(api) as url:
        command = [
            *PROGRAM,
            *words,
            "--watch",
            "--kubeconfig",
            write_kubeconfig(folder / "config", url),
        ]
        async with terminal_session(command, AT_TERMINAL, stdout=stdout, columns=140) as person:
            yield person


@dataclass
class Printed:
    """A command whose stdout is a file."""

    file: Path
    person: TerminalSession

    @property
    def text(self) -> str:
        return self.file.read_text()

    @property
    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.text.splitlines()]

    async def has(self, holds: Callable[[str], bool]) -> None:
        try:
            await until(lambda: holds(self.text), timeout=60)
        except TimeoutError:
            raise AssertionError(f"never printed:\n{self.text}\n{self.person.text}") from None

    async def has_documents(self, number: int) -> None:
        await self.has(lambda text: text.count("\n") >= number)


@contextlib.asynccontextmanager
async def printing(api: Api, folder: Path, *words: str) -> AsyncIterator[Printed]:
    """Runs a command with stdout in a file and stderr at a terminal."""
    path = folder / "out"
    with path.open("wb") as file:
        async with watching(api, folder, *words, stdout=file.fileno()) as person:
            yield Printed(path, person)


def rows(text: str) -> dict[str, str]:
    """The rows of the last table on the screen, by name of the RayJob."""
    lines = text.splitlines()
    head = max(
        (at for at, line in enumerate(lines) if line.startswith("NAMESPACE")), default=len(lines)
    )
    return {line.split()[1]: line for line in lines[head + 1 :] if line.startswith(TEAM)}


async def test_a_plan_shows_changes_without_another_list(
    tmp_path: Path,
) -> None:
    api = Api()
    api.put_rayjob("first", ttl="50w")
    async with watching(api, tmp_path, "plan") as person:
        await person.sees_that(lambda text: set(rows(text)) == {"first"})
        api.put_rayjob("second", ttl="40w")
        await person.sees_that(lambda text: list(rows(text)) == ["second", "first"])
        api.put_rayjob("second", ttl="40w", keep_until=FAR)
        await person.sees_that(lambda text: "KeptByUser" in rows(text).get("second", ""))
        api.delete("rayjobs", "first")
        await person.sees_that(lambda text: set(rows(text)) == {"second"})
        await person.sees("namespace team-a: 0 due now, 1 later, 0 kept")
        person.types("\x03")
        await person.ends(130)
    assert [
        api.count("list", plural) for plural in ("rayjobs", "rayclusters", "rayjobcleanuppolicies")
    ] == [1, 1, 1]
    assert api.count("get", "namespaces") == 1
    assert person.text.count("NAMESPACE") == 1, "it is drawn over, not printed again"
    assert "interrupted" not in person.text
    assert person.is_as_before


async def test_every_fact_of_a_decision_is_watched(tmp_path: Path) -> None:
    api = Api()
    api.put_rayjob("train", status={"endTime": _just_now()})
    async with watching(api, tmp_path, "plan", "--all") as person:
        await person.sees_that(lambda text: "NoTTL" in rows(text).get("train", ""))
        api.put("namespaces", TEAM, {"metadata": {"annotations": says(ttl="50w")}})
        await person.sees_that(
            lambda text: "Namespace team-a annotation" in rows(text).get("train", "")
        )
        policy = {"metadata": {"generation": 1}, "spec": {"limits": {"rayJob": {"max": "1w"}}}}
        api.put("rayjobcleanuppolicies", "bounds", policy)
        await person.sees_that(lambda text: "ttl 1w" in rows(text).get("train", ""))
        owner = {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "name": "train",
            "uid": "uid-train",
            "controller": True,
        }
        api.put(
            "rayclusters", "its-own", {"metadata": {"namespace": TEAM, "ownerReferences": [owner]}}
        )
        await person.sees_that(lambda text: "OtherCluster" in rows(text).get("train", ""))
        api.delete("rayclusters", "its-own")
        api.delete("rayjobcleanuppolicies", "bounds")
        await person.sees_that(lambda text: "ttl 50w" in rows(text).get("train", ""))
        api.delete("namespaces", TEAM)
        await person.sees_that(lambda text: "NamespaceUnknown" in rows(text).get("train", ""))
    assert {asked.plural for asked in api.asked if asked.verb == "list"} == {
        "rayjobs",
        "rayclusters",
        "rayjobcleanuppolicies",
    }


async def test_a_rayjob_without_the_selected_label_leaves_the_plan(tmp_path: Path) -> None:
    api = Api()
    api.put_rayjob("mine", labels={"team": "vision"}, ttl="50w")
    api.put_rayjob("other", ttl="50w")
    async with watching(api, tmp_path, "plan", "-l", "team=vision") as person:
        await person.sees_that(lambda text: set(rows(text)) == {"mine"})
        api.put_rayjob("other", labels={"team": "vision"}, ttl="50w")
        await person.sees_that(lambda text: set(rows(text)) == {"mine", "other"})
        api.put_rayjob("mine", ttl="50w")
        await person.sees_that(lambda text: set(rows(text)) == {"other"})


async def test_time_counts_down_without_requests(tmp_path: Path) -> None:
    api = Api()
    api.put_rayjob("later", ttl="50w")
    async with watching(api, tmp_path, "plan") as person:
        await person.sees_that(lambda text: set(rows(text)) == {"later"})
        await until(
            lambda: len({asked.plural for asked in api.asked if asked.verb == "watch"}) == 4,
            timeout=60,
        )
        asked = len(api.asked)
        api.put_rayjob("train", status={"endTime": _just_now()}, ttl="12s")
        await person.sees_that(
            lambda text: "Expired (head not asked)" in rows(text).get("train", "")
        )
    left = [int(found) for found in re.findall(r" in (\d+)s ", person.raw.decode())]
    assert sorted(set(left), reverse=True) == list(dict.fromkeys(left)), "it only counts down"
    assert len(set(left)) > 3
    assert len(api.asked) == asked


EXPIRED = [pytest.param(True, id="as a status"), pytest.param(False, id="as an event")]


@pytest.mark.parametrize("by_status", EXPIRED)
async def test_an_expired_resource_version_leads_to_one_list(
    tmp_path: Path, by_status: bool
) -> None:
    api = Api(refuses_expired_by_status=by_status)
    api.put_rayjob("first", ttl="50w")
    async with watching(api, tmp_path, "plan") as person:
        await person.sees_that(lambda text: set(rows(text)) == {"first"})
        await until(lambda: api.count("watch", "rayjobs") == 1, timeout=60)
        api.objects["rayjobs"].clear()
        api.put_rayjob("second", ttl="50w")
        api.expire()
        await person.sees_that(lambda text: set(rows(text)) == {"second"})
        await until(lambda: api.count("watch", "rayjobs") == 3, timeout=60)
        api.put_rayjob("third", ttl="50w")
        await person.sees_that(lambda text: set(rows(text)) == {"second", "third"})
    assert api.count("list", "rayjobs") == 2


async def test_a_watch_that_ends_is_resumed(tmp_path: Path) -> None:
    api = Api()
    api.put_rayjob("first", ttl="50w")
    async with watching(api, tmp_path, "plan") as person:
        await person.sees_that(lambda text: set(rows(text)) == {"first"})
        await until(lambda: api.count("watch", "rayjobs") == 1, timeout=60)
        api.put_rayjob("second", ttl="50w")
        last = str(api.version)
        await person.sees_that(lambda text: set(rows(text)) == {"first", "second"})
        api.end_watches()
        api.put_rayjob("third", ttl="50w")
        await person.sees_that(lambda text: set(rows(text)) == {"first", "second", "third"})
    since = [
        asked.since for asked in api.asked if (asked.verb, asked.plural) == ("watch", "rayjobs")
    ]
    assert since[1] == last
    assert api.count("list", "rayjobs") == 1


async def test_without_the_api_server_the_last_plan_is_shown_with_a_note(tmp_path: Path) -> None:
    api = Api()
    api.put_rayjob("first", ttl="50w")
    async with watching(api, tmp_path, "plan") as person:
        await person.sees_that(lambda text: set(rows(text)) == {"first"})
        await until(lambda: api.count("watch", "rayjobs") == 1, timeout=60)
        api.is_away = True
        api.end_watches()
        await person.sees("RayJobs may be out of date: GET ")
        assert set(rows(person.text)) == {"first"}
        api.put_rayjob("second", ttl="50w")
        api.is_away = False
        await person.sees_that(
            lambda text: set(rows(text)) == {"first", "second"} and "out of date" not in text
        )
    assert api.count("list", "rayjobs") == 1


async def test_without_the_right_to_watch_lists_are_repeated(tmp_path: Path) -> None:
    api = Api(may_watch=frozenset({"rayclusters", "rayjobcleanuppolicies", "namespaces"}))
    api.put_rayjob("first", ttl="50w")
    async with watching(api, tmp_path, "plan") as person:
        await person.sees("you may not watch RayJobs, so they are read again every 10 s: ")
        api.put_rayjob("second", ttl="50w")
        await person.sees_that(lambda text: set(rows(text)) == {"first", "second"})
        api.delete("rayjobs", "first")
        await person.sees_that(lambda text: set(rows(text)) == {"second"})
    assert person.text.count("you may not watch") == 1
    assert api.count("watch", "rayjobs") == 1
    assert api.count("list", "rayjobs") == 3
    assert api.count("list", "rayclusters") == 1


async def test_a_burst_of_changes_is_drawn_once(tmp_path: Path) -> None:
    api = Api()
    api.put_rayjob("first", ttl="50w")
    async with watching(api, tmp_path, "plan") as person:
        await person.sees_that(lambda text: set(rows(text)) == {"first"})
        await until(lambda: api.count("watch", "rayjobs") == 1, timeout=60)
        before = person.raw.count(b"NAMESPACE")
        for number in range(500):
            api.put_rayjob(f"job-{number}", ttl="50w")
        await person.sees("501 later")
        assert person.raw.count(b"NAMESPACE") - before < 100


async def test_a_long_plan_is_cut_above_its_foot(tmp_path: Path) -> None:
    api = Api()
    for number in range(60):
        api.put_rayjob(f"job-{number}", ttl="50w", keep_reason="x" * 150)
    async with watching(api, tmp_path, "plan", "-o", "wide") as person:
        await person.sees("60 later")
        shown = person.lines[-ROWS:]
        assert "more lines: the terminal is too low to show them" in person.text
        assert re.match(
            r"as of 20\d\d-.*; press Ctrl-C to end", [line for line in shown if line][-1]
        )
        assert all(line.endswith("…") for line in rows(person.text).values())
        person.types("\x03")
        await person.ends(130)
    assert len(person.lines) <= ROWS + 5, "nothing scrolled away"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
@pytest.mark.parametrize("words", [["plan"], ["why", "train"]], ids=" ".join)
async def test_a_killed_watch_leaves_a_usable_terminal(
    tmp_path: Path, words: list[str], end: signal.Signals
) -> None:
    api = Api()
    api.put_rayjob("train", ttl="50w")
    async with watching(api, tmp_path, *words) as person:
        await person.sees("press Ctrl-C to end")
        person.process.send_signal(end)
        await person.ends(130 if end is signal.SIGTERM else -9)
    assert b"\x1b[?" not in person.raw
    assert end is signal.SIGKILL or person.is_as_before


async def test_foreign_text_is_neither_markup_nor_control(tmp_path: Path) -> None:
    api = Api()
    held = HOSTILE.replace("\x00", "")
    api.put_rayjob("train", ttl=f"[red]1h {held}", keep_reason=held)
    async with watching(api, tmp_path, "why", "train") as person:
        await person.sees("[red]1h")
    assert b"\x1b]0;" not in person.raw
    assert b"\x1b[2J" not in person.raw
    assert "\u202e" not in person.raw.decode()


async def test_a_pipe_gets_the_table_again_when_it_changes(
    tmp_path: Path,
) -> None:
    api = Api()
    api.put_rayjob("first", ttl="50w")
    async with printing(api, tmp_path, "plan") as printed:
        await printed.has(lambda text: set(rows(text)) == {"first"})
        await until(lambda: api.count("watch", "rayjobs") == 1, timeout=60)
        api.put_rayjob("first", labels={"odd": "label"}, ttl="50w")
        await asyncio.sleep(2.5)  # the resourceVersion and the time that is left change
        assert printed.text.count("NAMESPACE") == 1
        api.put_rayjob("second", ttl="50w")
        await printed.has(lambda text: set(rows(text)) == {"first", "second"})
        assert printed.text.count("NAMESPACE") == 2
    assert "\x1b" not in printed.text
    assert b"\x1b" not in printed.person.raw


async def test_every_change_is_a_line_of_json(tmp_path: Path) -> None:
    api = Api()
    api.put_rayjob("later", ttl="50w")
    async with printing(api, tmp_path, "plan", "-o", "json") as printed:
        await printed.has_documents(1)
        api.put_rayjob("train", status={"endTime": _just_now()}, ttl="9s")
        await printed.has_documents(3)  # time alone makes it due
        api.delete("rayjobs", "train")
        await printed.has_documents(4)
        printed.person.types("\x03")
        await printed.person.ends(130)
    told = [
        [(item["name"], item["decision"]) for item in document["items"]]
        for document in printed.documents
    ]
    assert told == [
        [("later", "wait")],
        [("train", "wait"), ("later", "wait")],
        [("train", "delete"), ("later", "wait")],
        [("later", "wait")],
    ]
    assert {document["kind"] for document in printed.documents} == {"Plan"}


async def test_every_change_is_a_yaml_document(tmp_path: Path) -> None:
    api = Api()
    api.put_rayjob("first", ttl="50w")
    async with printing(api, tmp_path, "plan", "-o", "yaml") as printed:
        await printed.has(lambda text: "name: first" in text)
        api.put_rayjob("second", ttl="50w")
        await printed.has(lambda text: "name: second" in text)
    assert printed.text.count("---\n") == 2


async def test_why_stays_current_and_ends_when_the_rayjob_is_deleted(tmp_path: Path) -> None:
    api = Api()
    api.put_rayjob("train", ttl="50w")
    async with watching(api, tmp_path, "why", "train") as person:
        await person.sees("RayJob team-a/train waits: NotDue")
        api.put_rayjob("train", ttl="50w", keep_until=FAR)
        await person.sees("RayJob team-a/train waits: KeptByUser")
        api.delete("rayjobs", "train")
        await person.ends(0)
    assert "RayJob team-a/train was deleted." in person.text
    assert person.text.count("RayJob team-a/train waits") == 1
    assert person.is_as_before
    assert api.count("list", "rayjobs") == 1


async def test_why_ends_when_its_rayjob_is_replaced(tmp_path: Path) -> None:
    api = Api(may_watch=frozenset())
    api.put_rayjob("train", ttl="50w")
    async with watching(api, tmp_path, "why", "train") as person:
        await person.sees("RayJob team-a/train waits: NotDue")
        api.objects["rayjobs"]["train"]["metadata"]["uid"] = "another"
        await person.ends(0)
    assert "RayJob team-a/train was deleted." in person.text


async def test_the_last_json_document_of_why_shows_the_deletion(tmp_path: Path) -> None:
    api = Api()
    api.put_rayjob("train", ttl="50w")
    async with printing(api, tmp_path, "why", "train", "-o", "json") as printed:
        await printed.has_documents(1)
        api.put_rayjob("train", ttl="40w")
        await printed.has_documents(2)
        api.delete("rayjobs", "train")
        await printed.person.ends(0)
    assert [document["found"] for document in printed.documents] == [True, True, False]


async def test_why_does_not_wait_for_an_absent_rayjob(tmp_path: Path) -> None:
    async with watching(Api(), tmp_path, "why", "train") as person:
        await person.ends(3)
    assert "RayJob team-a/train does not exist." in person.text


async def test_heads_are_asked_when_a_rayjob_is_due_and_not_at_every_change(
    tmp_path: Path,
) -> None:
    api = Api(head={"type": "SUBMISSION", "submission_id": "train-x7k2p", "status": "RUNNING"})
    owner = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "name": "train",
        "uid": "uid-train",
        "controller": True,
    }
    api.put(
        "rayclusters",
        "train-cluster",
        {"metadata": {"namespace": TEAM, "ownerReferences": [owner]}},
    )
    api.put_rayjob("train", status={"rayClusterName": "train-cluster"}, ttl="0")
    async with printing(api, tmp_path, "plan", "--ask", "--all", "-o", "json") as printed:
        await printed.has_documents(1)
        assert printed.documents[0]["items"][0]["reason"] == "StillRunning"
        asked = api.heads_asked
        for number in range(20):
            api.put_rayjob(
                "train",
                labels={"n": str(number)},
                status={"rayClusterName": "train-cluster"},
                ttl="0",
            )
            await asyncio.sleep(0.05)
        api.put_rayjob("other", ttl="50w")
        await printed.has(lambda text: '"other"' in text)
        assert api.heads_asked - asked <= 2


def test_watch_cannot_print_names() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raysweep", "plan", "-w", "-o", "name"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "use -o json" in done.stderr
