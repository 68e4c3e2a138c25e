"""`kubectl raysweep submit` on real heads through the API server, with the operator."""

import asyncio
import json
import os
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from raysweep.submission.image_paths import resolve
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.network_faults import Between
from tests.support.operator_process import Operator, running_operator
from tests.support.person import Person
from tests.support.workbench import Body, Lab, utc_now

PRINTS = ("--", "python", "-c", "print('the job ran')")
RUNS_ON = "python -c 'import time; print(\"it runs\", flush=True); time.sleep(600)'"


@pytest.fixture
def person(cluster: Cluster, lab: Lab) -> Person:
    return Person(cluster.kubeconfig, cluster.kubectl, lab.namespace)


async def rayjob_file(
    lab: Lab, folder: Path, name: str, entrypoint: str, head: str = "name:shared", **more: Body
) -> str:
    """A RayJob on a running head, which saves the start of one. `more` extends the cluster spec."""
    cluster = {
        "rayVersion": "2.60.0",
        "headGroupSpec": {
            "rayStartParams": {},
            "template": {"spec": {"containers": [{"name": "ray-head", "image": "ray"}]}},
        },
    }
    metadata = {"name": name, "annotations": {"sandbox/head": head}}
    body = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata}
    path = folder / f"{name}.yaml"
    spec = {"entrypoint": entrypoint, "rayClusterSpec": cluster | more}
    await asyncio.to_thread(path.write_text, json.dumps(body | {"spec": spec}))
    return str(path)


async def the_rayjob(lab: Lab, name: str) -> Body:
    found = await lab.get("rayjobs", name)
    assert found is not None
    return found


async def test_a_short_job_is_deleted_and_its_name_is_free_again(
    person: Person, lab: Lab, operator: Operator, tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text("WORD = 'from the working directory'\n")
    imports = ("--", "python", "-c", "import helper; print(helper.WORD)")
    practice = ("--shutdown-after-job-finishes", "--ttl-seconds-after-finished", "60")
    first = await person.submits(
        "--name", "try", "--working-dir", str(tmp_path), *practice, *imports
    )
    assert first.code == 0, first.err
    assert "from the working directory" in first.out
    ended = utc_now()

    rayjob = await the_rayjob(lab, "try")
    submission_id = rayjob["spec"]["jobId"]
    assert f"submitted as {submission_id}" in first.out
    assert rayjob["spec"]["shutdownAfterJobFinishes"] is True
    assert rayjob["spec"]["ttlSecondsAfterFinished"] == 60
    assert rayjob["metadata"]["annotations"]["raysweep.io/ttl"] == "60"
    assert rayjob["metadata"]["annotations"]["raysweep.io/ttl-unsubmitted"] == "1h"

    await lab.expect_deleted("rayjobs", "try", timeout=100)
    await lab.expect_deleted("rayclusters", rayjob["status"]["rayClusterName"])
    assert utc_now() >= ended + timedelta(seconds=55)
    await lab.expect_event("try", "Expired")

    again = await person.submits(
        "--name", "try", "--working-dir", str(tmp_path), *practice, "--no-wait", *imports
    )
    assert again.code == 0, again.err


async def test_a_longer_ttl_sets_the_shutdown_and_replace_replaces_the_finished_job(
    person: Person, lab: Lab, operator: Operator
) -> None:
    name, seconds = "study", 86400
    practice = ("--name", name, "--ttl-seconds-after-finished", str(seconds))
    first = await person.submits(*practice, "-o", "json", *PRINTS)
    assert first.code == 0, first.err
    assert first.json["outcome"] == "succeeded"
    assert "implies --shutdown-after-job-finishes" in first.err
    assert "the job ran" in first.err  # stdout is the answer's

    async def is_complete() -> bool:
        return bool((await the_rayjob(lab, name))["status"]["jobDeploymentStatus"] == "Complete")

    await until(is_complete, timeout=90)
    before = await the_rayjob(lab, name)
    why = await person.types("raysweep", "why", name, "-n", lab.namespace, "--no-ask", "-o", "json")
    due, finished = (datetime.fromisoformat(why.json[key]) for key in ("at", "finishedAt"))
    assert timedelta(seconds=seconds) <= due - finished <= timedelta(seconds=seconds + 2)

    taken = await person.submits(*practice, *PRINTS)
    assert taken.code == 3
    assert "it finished at" in taken.err
    assert f"--replace-finished -n {lab.namespace} --name {name}" in taken.err

    replaced = await person.submits(*practice, "--replace-finished", *PRINTS)
    assert replaced.code == 0, replaced.err
    after = await the_rayjob(lab, name)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    await lab.expect_event(name, "Swept")

    # The annotation is shortened, because the test cannot wait an hour.
    annotate = (
        "annotate",
        "rayjob",
        name,
        "-n",
        lab.namespace,
        "raysweep.io/ttl=1s",
        "--overwrite",
    )
    assert (await person.types(*annotate)).code == 0
    await lab.expect_deleted("rayjobs", name, timeout=60)
    await lab.expect_deleted("rayclusters", after["status"]["rayClusterName"])
    await lab.expect_event(name, "Expired")
    assert (await person.submits(*practice, "--no-wait", *PRINTS)).code == 0


async def test_the_outcome_is_the_exit_code(person: Person, lab: Lab, tmp_path: Path) -> None:
    fails = await person.submits(
        "-f", await rayjob_file(lab, tmp_path, "fails", "python -c 'raise SystemExit(7)'")
    )
    assert fails.code == 1

    async with person.typing(
        "raysweep",
        "submit",
        "-n",
        lab.namespace,
        "-f",
        await rayjob_file(lab, tmp_path, "stopped", RUNS_ON),
    ) as typed:
        await typed.says("it runs")
        log = await person.types("raysweep", "logs", "stopped", "-n", lab.namespace, "-o", "json")
        assert "it runs" in log.json["log"]
        stop = await person.types("raysweep", "stop", "stopped", "-n", lab.namespace)
        assert (stop.code, stop.out.split()[-1]) == (0, "STOPPED")
        assert await asyncio.wait_for(typed.process.wait(), 30) == 4


async def test_ctrl_c_leaves_the_job_running_and_a_second_one_stops_it(
    person: Person, lab: Lab, tmp_path: Path
) -> None:
    words = (
        "raysweep",
        "submit",
        "-n",
        lab.namespace,
        "-f",
        await rayjob_file(lab, tmp_path, "runs", RUNS_ON),
    )
    async with person.typing(*words) as typed:
        await typed.says("it runs")
        typed.press_ctrl_c()
        await typed.says("raysweep stop runs")
        assert await asyncio.wait_for(typed.process.wait(), 30) == 130
    job_id = (await the_rayjob(lab, "runs"))["spec"]["jobId"]
    assert await lab.head.wait_for(job_id, "RUNNING") == "RUNNING"
    assert (await person.types("raysweep", "stop", "runs", "-n", lab.namespace)).code == 0

    words = (
        "raysweep",
        "submit",
        "-n",
        lab.namespace,
        "-f",
        await rayjob_file(lab, tmp_path, "twice", RUNS_ON),
    )
    async with person.typing(*words) as typed:
        await typed.says("it runs")
        typed.press_ctrl_c()
        await typed.says("Ctrl-C again")
        typed.press_ctrl_c()
        assert await asyncio.wait_for(typed.process.wait(), 30) == 4
    assert await lab.head.wait_for((await the_rayjob(lab, "twice"))["spec"]["jobId"]) == "STOPPED"


async def test_ctrl_c_before_the_submission_and_a_missing_head_leave_nothing(
    person: Person, lab: Lab, tmp_path: Path
) -> None:
    path = await rayjob_file(lab, tmp_path, "early", "true", head="name:nobody")
    async with person.typing("raysweep", "submit", "-n", lab.namespace, "-f", path) as typed:
        await typed.says("Initializing")
        typed.press_ctrl_c()
        assert await asyncio.wait_for(typed.process.wait(), 30) == 130
    await lab.expect_deleted("rayjobs", "early")

    late = await person.submits("-f", path, "--head-timeout", "3s")
    assert late.code == 5
    assert "no Ray head within 3 s" in late.err
    assert "was deleted" in late.err
    await lab.expect_deleted("rayjobs", "early")


@pytest.mark.parametrize(
    ("step", "head", "reasons"),
    [
        ("created RayJob", "name:nobody", {"StuckInitializing"}),
        ("submitting the job", "full", {"NeverSubmitted", "FinishedUnreported"}),
        ("submitted as", "full", {"Expired"}),
    ],
)
async def test_the_rayjob_of_a_killed_submit_is_deleted(
    person: Person,
    lab: Lab,
    cluster: Cluster,
    kubeconfig: Path,
    tmp_path: Path,
    step: str,
    head: str,
    reasons: set[str],
) -> None:
    """If the head accepted the job just before the kill, it is deleted as an unreported end."""
    path = await rayjob_file(lab, tmp_path, "killed", "true", head=head)
    cleanup = ("--ttl-seconds-after-finished", "2", "--working-dir", str(tmp_path))
    async with person.typing(
        "raysweep", "submit", "-n", lab.namespace, "-f", path, *cleanup
    ) as typed:
        await typed.says(step)
        await typed.kill()
    await lab.annotate("killed", {"raysweep.io/ttl-unsubmitted": "3s"})

    async def is_explained() -> bool:
        return bool(reasons & {reason for _, reason, _ in await lab.events("killed")})

    async with running_operator(
        cluster, kubeconfig, unchanged_after="3s", unreported_after="3s", status_probe_after="2s"
    ):
        await lab.expect_deleted("rayjobs", "killed", timeout=120)
        await until(is_explained, timeout=90)


async def test_a_head_that_hangs_during_the_upload_leaves_nothing(
    person: Person, lab: Lab, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "weights.bin").write_bytes(os.urandom(60 * 2**20))
    path = await rayjob_file(lab, tmp_path, "train", "true", head="light")
    words = ("-f", path, "--working-dir", str(tmp_path / "work"), "--upload-timeout", "6s")
    async with person.typing("raysweep", "submit", "-n", lab.namespace, *words) as typed:
        await typed.says("uploading the working directory")
        name = (await the_rayjob(lab, "train"))["status"]["rayClusterName"]
        lab.cluster.heads[f"{lab.namespace}/{name}"].suspend()
        assert await asyncio.wait_for(typed.process.wait(), 60) == 5
    assert b"was not uploaded within 6 s" in typed.err
    assert b"was deleted" in typed.err
    await lab.expect_deleted("rayjobs", "train")


async def test_a_head_that_requires_a_token(
    person: Person, lab: Lab, cluster: Cluster, tmp_path: Path
) -> None:
    await cluster.heads.full("guarded", token="open-sesame")
    options: Body = {"mode": "token", "secretName": "check"}
    path = await rayjob_file(
        lab, tmp_path, "train", "true", head="name:guarded", authOptions=options
    )
    secrets = f"/api/v1/namespaces/{lab.namespace}/secrets"

    without = await person.submits("-f", path, "--submit-timeout", "5s")
    assert (without.code, "the Secret 'check' or its key" in without.err) == (5, True), without.err

    await cluster.api.request(
        "POST", secrets, {"metadata": {"name": "check"}, "stringData": {"auth_token": "wrong"}}
    )
    wrong = await person.submits("-f", path, "--submit-timeout", "5s")
    assert (wrong.code, "requires a token: 403 Forbidden" in wrong.err) == (5, True), wrong.err
    await lab.expect_deleted("rayjobs", "train")

    await cluster.api.patch(f"{secrets}/check", {"stringData": {"auth_token": "open-sesame"}})
    right = await person.submits("-f", path)
    assert right.code == 0, right.err
    assert "open-sesame" not in right.out + right.err


def is_post(request: web.Request) -> bool:
    return request.method == "POST" and request.path == "/api/jobs/"


def is_list(request: web.Request) -> bool:
    return request.method == "GET" and request.path == "/api/jobs/"


async def test_after_a_500_for_an_accepted_job_it_is_not_submitted_again(
    person: Person, lab: Lab, tmp_path: Path
) -> None:
    between = Between(
        lab.head,
        lambda request, answer: (
            web.Response(status=500, text="boom") if is_post(request) else answer
        ),
    )
    path = await rayjob_file(lab, tmp_path, "train", "python -c 'print(1)'")
    async with between.running() as address:
        answer = await person.submits("-f", path, "--address", address)

    assert answer.code == 0, answer.err
    assert between.posts == 1
    job_id = (await the_rayjob(lab, "train"))["spec"]["jobId"]
    assert f"submitted as {job_id}" in answer.out


async def test_an_unreadable_list_after_the_submission_confirms_nothing(
    person: Person, lab: Lab, tmp_path: Path
) -> None:
    def spoil(request: web.Request, answer: web.Response) -> web.Response:
        return web.json_response([{"type": 7}]) if is_list(request) and between.posts else answer

    between = Between(lab.head, spoil)
    path = await rayjob_file(lab, tmp_path, "train", "python -c 'print(1)'")
    async with between.running() as address:
        answer = await person.submits("-f", path, "--address", address, "--submit-timeout", "4s")

    assert (answer.code, between.posts) == (5, 1)
    assert "the head accepted the job, but did not confirm it within 4 s" in answer.err
    assert "kubectl patch rayjob train" in answer.err
    assert "jobId" not in (await the_rayjob(lab, "train"))["spec"]


async def test_with_two_new_entries_and_no_answer_no_entry_is_chosen(
    person: Person, lab: Lab, tmp_path: Path
) -> None:
    def spoil(request: web.Request, answer: web.Response) -> web.Response:
        if is_list(request) and between.posts:
            assert isinstance(answer.body, bytes)
            entries = json.loads(answer.body)
            return web.json_response(
                [*entries, entries[0] | {"submission_id": "somebodys", "type": "SUBMISSION"}]
            )
        return web.Response(status=500, text="boom") if is_post(request) else answer

    between = Between(lab.head, spoil)
    path = await rayjob_file(lab, tmp_path, "train", "python -c 'print(1)'")
    async with between.running() as address:
        answer = await person.submits("-f", path, "--address", address, "--submit-timeout", "20s")

    assert (answer.code, between.posts) == (5, 1)
    assert "2 new submissions" in answer.err
    assert "are kept, since the job may run there" in answer.err


def in_the_quiet(person: Person, quiet_lab: Lab) -> Person:
    """No Service leads to a head there, but the forward proxy does."""
    variables = {"RAYSWEEP_HEAD_PROXY": quiet_lab.cluster.head_proxy}
    return replace(person, namespace=quiet_lab.namespace, variables=variables)


@pytest.mark.parametrize(
    ("annotations", "status", "replaced", "told"),
    [
        ({}, {}, 0, "it finished at"),
        ({}, {"rayClusterName": ""}, 0, "it finished at"),
        ({}, {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, 3, "it has not finished"),
        (
            {},
            {"jobDeploymentStatus": "Waiting", "jobStatus": "", "jobId": ""},
            3,
            "it has not finished",
        ),
        ({"raysweep.io/keep-until": "2099-01-01T00:00:00Z"}, {}, 3, "KeptByUser"),
        ({"raysweep.io/ttl": "soon"}, {}, 3, "Invalid"),
    ],
    ids=["finished", "without a cluster", "running", "waiting", "kept", "invalid"],
)
async def test_a_name_conflict(
    person: Person,
    quiet_lab: Lab,
    annotations: dict[str, str],
    status: Body,
    replaced: int,
    told: str,
) -> None:
    """Without KubeRay in the namespace, the submission waits until its timeout."""
    has_cluster = status.get("rayClusterName", "there") != ""
    await quiet_lab.create_finished(
        "train", annotations=annotations, status=status, with_cluster=has_cluster
    )
    person = in_the_quiet(person, quiet_lab)
    submits = ("--name", "train", "--head-timeout", "1s", *PRINTS)

    plain = await person.submits(*submits)
    assert plain.code == 3
    before = await the_rayjob(quiet_lab, "train")

    answer = await person.submits("--replace-finished", *submits)
    assert told in plain.err + answer.err
    if replaced:
        assert answer.code == 3
        assert (await the_rayjob(quiet_lab, "train"))["metadata"]["uid"] == before["metadata"][
            "uid"
        ]
    else:
        assert answer.code == 5  # it was submitted, and no head came
        assert "(Swept)" in answer.err
        assert await quiet_lab.remaining() == set()


@pytest.mark.timeout(700)  # each starts a job of its own: a question of the machine
async def test_ten_at_once(person: Person, lab: Lab, tmp_path: Path) -> None:
    files = [await rayjob_file(lab, tmp_path, f"many-{number}", "true") for number in range(10)]

    answers = await asyncio.gather(
        *(
            person.submits("-f", path, "--submission-id", Path(path).stem, "--no-wait", timeout=600)
            for path in files
        )
    )

    assert [answer.err for answer in answers if answer.code] == []


async def test_it_waits_for_the_deletion_of_an_existing_rayjob(
    person: Person, quiet_lab: Lab
) -> None:
    await quiet_lab.create_finished("train", metadata={"finalizers": ["example.com/hold"]})
    await quiet_lab.cluster.api.delete(quiet_lab.path("rayjobs", "train"))
    person = in_the_quiet(person, quiet_lab)
    submits = ("--name", "train", "--head-timeout", "1s", *PRINTS)

    plain = await person.submits(*submits)
    assert plain.code == 3
    assert f"kubectl wait --for=delete rayjob/train -n {quiet_lab.namespace}" in plain.err
    held = await person.submits("--replace-finished", "--replace-timeout", "2s", *submits)
    assert held.code == 3
    assert (
        "is not deleted after 2 s: RayJob train waits for finalizers example.com/hold" in held.err
    )

    async with person.typing(
        "raysweep", "submit", "-n", quiet_lab.namespace, "--replace-finished", *submits
    ) as typed:
        await typed.says("waiting until RayJob")
        typed.press_ctrl_c()
        assert await asyncio.wait_for(typed.process.wait(), 30) == 130
        assert b"created" not in typed.err

    async with person.typing(
        "raysweep", "submit", "-n", quiet_lab.namespace, "--replace-finished", *submits
    ) as typed:
        await typed.says("waiting until RayJob")
        await quiet_lab.cluster.api.patch(
            quiet_lab.path("rayjobs", "train"), {"metadata": {"finalizers": None}}
        )
        await quiet_lab.cluster.api.delete(
            quiet_lab.path("rayclusters", "train-c")
        )  # as the garbage collector would, later
        await typed.says("created RayJob")


async def test_an_outage_of_the_api_server_of_ten_seconds(
    person: Person, lab: Lab, cluster: Cluster, tmp_path: Path
) -> None:
    script = 'import time; print("it runs", flush=True); time.sleep(4); print("it ends")'
    entrypoint = f"python -c '{script}'"
    words = (
        "raysweep",
        "submit",
        "-n",
        lab.namespace,
        "-f",
        await rayjob_file(lab, tmp_path, "train", entrypoint),
    )
    async with person.typing(*words) as typed:
        await typed.says("it runs")
        await cluster.suspend_apiserver()
        try:
            await asyncio.sleep(10)
        finally:
            await cluster.resume_apiserver()
        assert await asyncio.wait_for(typed.process.wait(), 60) == 0, typed.err.decode()
    lines = typed.out.decode().splitlines()
    assert (lines.count("it runs"), lines.count("it ends")) == (1, 1)


async def test_a_head_that_dies_during_the_submission_keeps_the_rayjob(
    person: Person, lab: Lab, tmp_path: Path
) -> None:
    """A head without a node waits 10 s for a node before it answers a submission."""
    path = await rayjob_file(lab, tmp_path, "train", "true", head="light")
    async with person.typing(
        "raysweep", "submit", "-n", lab.namespace, "-f", path, "--submit-timeout", "15s"
    ) as typed:
        await typed.says("submitting the job")
        name = (await the_rayjob(lab, "train"))["status"]["rayClusterName"]
        await asyncio.sleep(3)  # the request is on its way
        lab.cluster.heads[f"{lab.namespace}/{name}"].suspend()
        assert await asyncio.wait_for(typed.process.wait(), 90) == 5
        assert b"the head may have accepted the job (its answer was lost: " in typed.err
        assert f"kubectl delete rayjob train -n {lab.namespace}".encode() in typed.err
    assert await lab.get("rayjobs", "train") is not None


async def test_dry_runs_create_nothing_and_generated_names_differ(
    person: Person, lab: Lab, tmp_path: Path
) -> None:
    for where in ("client", "server"):
        dry = await person.submits("--name", "train", f"--dry-run={where}", "-o", "json", *PRINTS)
        assert (dry.code, dry.json["kind"]) == (0, "RayJob"), dry.err
    assert await lab.remaining() == set()

    path = await rayjob_file(lab, tmp_path, "train", "true")
    named = [
        await person.submits(
            "-f", path, "--generate-name", "--no-wait", "-o", "name", "--submission-id", one
        )
        for one in "ab"
    ]
    assert [answer.code for answer in named] == [0, 0], named[0].err + named[1].err
    first, second = (answer.out.strip() for answer in named)
    assert first != second
    assert first.startswith("rayjob.ray.io/train-")


async def test_a_missing_api_server_is_not_reported_as_a_failed_job(
    person: Person, tmp_path: Path
) -> None:
    nowhere = tmp_path / "kubeconfig"
    known = await asyncio.to_thread(person.kubeconfig.read_text)
    nowhere.write_text(re.sub(r"(https://127\.0\.0\.1):\d+", r"\1:1", known))
    answer = await replace(person, kubeconfig=nowhere).submits("--name", "train", *PRINTS)
    assert answer.code == 5
    assert "cannot connect to 127.0.0.1:1" in answer.err
    assert answer.err.rstrip().endswith("Nothing was submitted")


IMAGE_FILES = {
    "main.py": """\
import ray
from helper import WORD

ray.init()


@ray.remote
def work():
    import helper

    return helper.WORD


print('driver', WORD, 'worker', ray.get(work.remote()), open('data.txt').read())
""",
    "helper.py": "WORD = 'from the image'\n",
    "data.txt": "and its data",
}
SAID = "driver from the image worker from the image and its data"


def image_folder(folder: Path) -> Path:
    """A folder of every node. The heads of the sandbox see the files of this machine."""
    (folder / "image").mkdir()
    for name, text in IMAGE_FILES.items():
        (folder / "image" / name).write_text(text)
    return folder / "image"


async def test_a_working_directory_of_the_image_is_used_in_place(
    person: Person, lab: Lab, tmp_path: Path
) -> None:
    there = await asyncio.to_thread(image_folder, tmp_path)
    path = await rayjob_file(lab, tmp_path, "inside", "python main.py")
    body = json.loads(await asyncio.to_thread(Path(path).read_text))
    body["spec"]["runtimeEnvYAML"] = f"working_dir: {there}\nenv_vars: {{COUNTER: '1'}}\n"
    await asyncio.to_thread(Path(path).write_text, json.dumps(body))
    done = await person.submits("-f", path)
    assert done.code == 0, done.err
    assert SAID in done.out
    assert "uploading" not in done.err
    assert (await the_rayjob(lab, "inside"))["spec"]["runtimeEnvYAML"] == body["spec"][
        "runtimeEnvYAML"
    ]


async def test_a_working_directory_without_a_uri_is_used_in_place(lab: Lab, tmp_path: Path) -> None:
    there = await asyncio.to_thread(image_folder, tmp_path)
    job = resolve(
        {"entrypoint": "python main.py", "runtime_env": {"working_dir": str(there)}}, "2.52.0"
    )
    assert "working_dir" not in job["runtime_env"]
    await lab.head.submit(job["entrypoint"], "c26-older", runtime_env=job["runtime_env"])
    assert await lab.head.wait_for("c26-older") == "SUCCEEDED"
    _, log = await lab.head.get("/api/jobs/c26-older/logs")
    assert SAID in json.loads(log)["logs"]


async def test_variables_of_the_command_are_replaced_on_the_head(person: Person, lab: Lab) -> None:
    env = json.dumps({"env_vars": {"DATA_DIR": "/data"}})
    words = (
        "--",
        "python",
        "-c",
        "import sys; print(sys.argv[1:])",
        "$DATA_DIR/x",
        "a b",
        "`id`",
        "*",
    )
    done = await person.submits("--name", "words", "--runtime-env-json", env, *words)
    assert done.code == 0, done.err
    assert "['/data/x', 'a b', '`id`', '*']" in done.out


async def queued_file(lab: Lab, folder: Path, name: str) -> str:
    """A RayJob as the webhook of Kueue leaves it: suspended until its queue admits it."""
    path = await rayjob_file(lab, folder, name, "true")
    body = json.loads(await asyncio.to_thread(Path(path).read_text))
    body["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "lq"}
    body["spec"] |= {"suspend": True, "shutdownAfterJobFinishes": True}
    await asyncio.to_thread(Path(path).write_text, json.dumps(body))
    return path


async def test_time_in_the_queue_does_not_count_as_head_timeout(
    person: Person, lab: Lab, tmp_path: Path
) -> None:
    path = await queued_file(lab, tmp_path, "queued")
    limit = 20
    async with person.typing(
        "raysweep",
        "submit",
        "-n",
        lab.namespace,
        "-f",
        path,
        "--head-timeout",
        f"{limit}s",
        "--no-wait",
    ) as typed:
        await typed.says("waiting in Kueue queue lq: Suspended")
        await asyncio.sleep(limit + 2)
        assert (await the_rayjob(lab, "queued"))["status"]["jobDeploymentStatus"] == "Suspended"
        resume = (
            "patch",
            "rayjob",
            "queued",
            "-n",
            lab.namespace,
            "--type",
            "merge",
            "-p",
            '{"spec": {"suspend": false}}',
        )
        assert (await person.types(*resume)).code == 0
        assert await asyncio.wait_for(typed.process.wait(), 60) == 0


async def test_ctrl_c_deletes_a_queued_rayjob(
    person: Person, lab: Lab, operator: Operator, tmp_path: Path
) -> None:
    path = await queued_file(lab, tmp_path, "patient")
    words = ("submit", "-n", lab.namespace, "-f", path)
    async with person.typing("raysweep", *words) as typed:
        await typed.says("Ctrl-C deletes the RayJob")
        await lab.annotate("patient", {"raysweep.io/ttl-unsubmitted": "1s"})
        await asyncio.sleep(5)
        why = await person.types(
            "raysweep", "why", "patient", "-n", lab.namespace, "--no-ask", "-o", "json"
        )
        assert why.json["reason"] == "Suspended"
        typed.press_ctrl_c()
        assert await asyncio.wait_for(typed.process.wait(), 30) == 130
        assert f"RayJob {lab.namespace}/patient was deleted".encode() in typed.err
    await lab.expect_deleted("rayjobs", "patient")
    late = await person.submits("-f", path, "--queue-timeout", "3s")
    assert late.code == 5
    assert "still queued after 3 s" in late.err
    assert "--queue-timeout" in late.err
    await lab.expect_deleted("rayjobs", "patient")
