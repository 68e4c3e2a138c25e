"""The command `raysweep lint`: exit codes, folders, stdin, JSON, and what it reads of a cluster."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from click.testing import CliRunner, Result

from raysweep.__main__ import main
from raysweep.cli.lint.problems import Rule
from tests.support.builders import Body, rayjob_json, says
from tests.support.cli import ENVIRONMENT, documented_fields, json_paths, write_kubeconfig
from tests.support.manifests import policy_yaml, rayjob_yaml
from tests.support.scripted_api import (
    Script,
    json_response,
    object_not_found,
    serving,
    status_response,
)

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "lint.md"
GOOD, WRONG, DUBIOUS = (
    rayjob_yaml("raysweep.io/ttl: 1h"),
    rayjob_yaml("raysweep.io/ttl: soon"),
    rayjob_yaml("raysweep.io/keep-reason: x"),
)


def lint(*words: str | Path, stdin: str = "", folder: Path | None = None) -> Result:
    """The command in this process, for files."""
    with contextlib.chdir(folder or Path.cwd()):
        return CliRunner().invoke(main, ["lint", *map(str, words)], input=stdin)


def lint_process(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The program, for a cluster."""
    command = [sys.executable, "-m", "raysweep", "lint", *map(str, words)]
    return subprocess.run(
        command,
        input=stdin,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


CODES: dict[str, tuple[dict[str, str], list[str], int, str]] = {
    "nothing is wrong": ({"a.yaml": GOOD}, ["."], 0, "1 object in 1 file: 0 errors, 0 warnings"),
    "a warning": ({"a.yaml": DUBIOUS}, ["."], 0, "1 object in 1 file: 0 errors, 1 warning"),
    "a warning that counts": (
        {"a.yaml": DUBIOUS},
        [".", "--strict"],
        3,
        "1 object in 1 file: 0 errors, 1 warning",
    ),
    "an error": (
        {"a.yaml": WRONG, "b.yaml": GOOD},
        ["."],
        3,
        "2 objects in 2 files: 1 error, 0 warnings",
    ),
    "files that cannot be parsed beside one that is wrong": (
        {"a.yaml": WRONG, "b.yaml": "[", "c.yaml": "{{"},
        ["."],
        2,
        "1 object in 3 files: 3 errors, 0 warnings; 2 files could not be checked",
    ),
    "no file": (
        {},
        ["nowhere.yaml"],
        2,
        "0 objects in 1 file: 1 error, 0 warnings; 1 file could not be checked",
    ),
    "an empty folder": ({}, ["."], 0, "0 objects in 0 files: 0 errors, 0 warnings"),
}


def test_the_exit_code_and_the_last_line(tmp_path: Path) -> None:
    for number, (label, (files, words, code, summary)) in enumerate(CODES.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        done = lint(*words, folder=folder)
        assert (done.exit_code, done.stderr) == (code, f"{summary}\n"), label
        assert bool(done.stdout) == ("0 errors, 0 warnings" not in summary), label


def test_lines_are_as_editors_and_pipelines_read_them(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(WRONG)
    done = lint("jobs.yaml", folder=tmp_path)
    assert done.stdout.startswith(
        "jobs.yaml:6:22: error: RayJob train: annotation raysweep.io/ttl: invalid duration 'soon': "
    )
    assert done.stdout.count("\n") == 1


def test_stdin_is_a_file_too() -> None:
    done = lint_process("-", stdin=WRONG)
    assert done.returncode == 3
    assert done.stdout.startswith("<stdin>:6:22: error: ")


def test_folders_are_read_recursively_and_nothing_twice(tmp_path: Path) -> None:
    for name in (
        "b.yaml",
        "deep/er/a.yml",
        "deep/c.JSON",
        "deep/notes.txt",
        ".git/x.yaml",
        ".hidden.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(WRONG)
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    (tmp_path / "again.yaml").symlink_to("b.yaml")
    (tmp_path / "round").symlink_to(tmp_path)
    done = lint(".", "b.yaml", folder=tmp_path)
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "again.yaml",
        "gone.yaml",
        "deep/c.JSON",
        "deep/er/a.yml",
    ]
    assert "gone.yaml: error: cannot be read: No such file or directory" in done.stdout


def test_files_need_no_cluster_and_load_no_client(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    code = (
        "import sys; from raysweep.__main__ import main\n"
        "try: main.main(['lint', sys.argv[1]], standalone_mode=False)\n"
        "finally: print(sorted({'kopf', 'aiohttp', 'kubernetes_asyncio'} & set(sys.modules)))"
    )
    environment = ENVIRONMENT | {"KUBECONFIG": "/nowhere/config"}
    command = [sys.executable, "-c", code, str(tmp_path / "a.yaml")]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=150
    )
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_file_names_are_printed_without_control_characters(tmp_path: Path) -> None:
    (tmp_path / "\x1b[2J\u202e.yaml").write_text(WRONG)
    (tmp_path / os.fsdecode(b"\xff.yaml")).write_text("[")
    for output in ("text", "json", "yaml"):
        done = lint(tmp_path, "-o", output)
        assert done.exit_code == 2
        assert not re.search("[\x1b\u202e\ud800-\udfff]", done.stdout)


def test_json_and_yaml_have_the_documented_fields(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WRONG + "---\n" + DUBIOUS)
    body = json.loads(lint(tmp_path, "-o", "json").stdout)
    assert yaml.safe_load(lint(tmp_path, "-o", "yaml").stdout) | {"generatedAt": ""} == body | {
        "generatedAt": ""
    }
    items = body.pop("items")
    assert set().union(*map(json_paths, items)) == documented_fields("Lint problems")
    assert (json_paths(body) | {"items"}) - {"summary"} == documented_fields("Lint")
    assert body["summary"] == {"files": 1, "unchecked": 0, "objects": 2, "errors": 1, "warnings": 1}
    assert items[0] == {
        "file": f"{tmp_path}/a.yaml",
        "line": 6,
        "column": 22,
        "severity": "error",
        "rule": "invalid-value",
        "kind": "RayJob",
        "namespace": None,
        "name": "train",
        "place": "annotation raysweep.io/ttl",
        "message": items[0]["message"],
    }


def test_the_page_has_every_rule_with_its_severity_and_description() -> None:
    page = DOCS.read_text()
    for rule in Rule:
        assert f"| `{rule.value}` | {rule.severity} | {rule.description} |" in page


def test_the_examples_of_the_page_are_what_it_says(tmp_path: Path) -> None:
    example = DOCS.read_text().partition("```yaml\n# jobs.yaml\n")[2].partition("```")[0]
    (tmp_path / "jobs.yaml").write_text("# jobs.yaml\n" + example)
    done = lint("jobs.yaml", folder=tmp_path)
    shown = DOCS.read_text().partition("$ raysweep lint jobs.yaml\n")[2].partition("```")[0]
    assert done.stdout + done.stderr == shown


class Api:
    """Lists as an API server gives them; a path that is in `refused` is forbidden."""

    def __init__(self, **lists: list[Body] | int) -> None:
        self.lists = lists

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        answer: Any = self._found(request.path)
        if answer == 404:
            return await object_not_found(request)
        if isinstance(answer, int):
            return status_response(answer, f'{request.path} is refused: User "ann" may not')
        return json_response(
            answer if isinstance(answer, dict) else {"items": answer, "metadata": {}}
        )

    def _found(self, path: str) -> Any:
        if path.endswith("/configmaps/raysweep"):
            return self.lists.get("settings", 404)
        if path == "/apis/raysweep.io/v1alpha1":
            resources = [{"name": "rayjobcleanuppolicies"}] if self.lists.get("serves") else []
            served = {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": "raysweep.io/v1alpha1",
            }
            return served | {"resources": resources}
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
        if path == "/apis/ray.io/v1":
            return 404
        if match := re.fullmatch("/api/v1/namespaces/(.+)", path):
            named = self.lists.get("namespace", self.lists.get("namespaces", 404))
            return (
                named
                if isinstance(named, int)
                else next((entry for entry in named if entry["metadata"]["name"] == match[1]), 404)
            )
        return self.lists.get(path.rpartition("/")[2], 404)


def namespace(name: str, **annotations: str) -> Body:
    return {"metadata": {"name": name, "labels": {"env": name}, "annotations": says(**annotations)}}


def live_policy(name: str, **spec: Any) -> Body:
    return {
        "apiVersion": "raysweep.io/v1alpha1",
        "kind": "RayJobCleanupPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


async def lint_live(
    folder: Path, api: Api, *words: str
) -> tuple[subprocess.CompletedProcess[str], Script]:
    async with serving(api.answer) as script:
        config = write_kubeconfig(folder / "config", script.url)
        return await asyncio.to_thread(
            lint_process, "--live", "--kubeconfig", config, *words
        ), script


ENV = {"matchLabels": {"env": "team-a"}}
TIMES = {"rayJob": {"default": "1d"}}


async def test_live_problems_name_the_object_instead_of_a_position(tmp_path: Path) -> None:
    api = Api(
        rayjobs=[
            rayjob_json(metadata={"annotations": says(ttl="soon")}),
            rayjob_json(metadata={"name": "good"}),
        ],
        namespaces=[namespace("team-a", keep_reason="audit"), namespace("team-b")],
        rayjobcleanuppolicies=[
            live_policy("b", retention=TIMES),
            live_policy("a", retention=TIMES),
            live_policy("c", mode="x"),
        ],
    )
    done, script = await lint_live(tmp_path, api, "-A")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "RayJob team-a/train: error: annotation raysweep.io/ttl: invalid duration 'soon': use "
    )
    assert lines[1:] == [
        "Namespace team-a: warning: annotation raysweep.io/keep-reason: no effect without "
        "raysweep.io/keep-until: set that too, or remove it",
        (
            "RayJobCleanupPolicy c: error: spec.mode: invalid value 'x': it must be "
            "'Enforce' or 'DryRun'"
        ),
        "RayJobCleanupPolicy b: warning: spec.priority: RayJobCleanupPolicy a has the "
        "same priority 0 "
        "and also sets retention.rayJob.default: a takes precedence; give one of them "
        "another priority",
    ]
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "7 objects in all namespaces: 2 errors, 2 warnings"
    assert {asked.method for asked in script.requests} == {"GET"}


async def test_live_policies_overlap_in_existing_namespaces_only(tmp_path: Path) -> None:
    apart = live_policy("b", retention=TIMES, namespaceSelector={"matchLabels": {"tier": "dev"}})
    api = Api(
        rayjobs=[],
        namespaces=[namespace("team-a")],
        rayjobcleanuppolicies=[live_policy("a", retention=TIMES, namespaceSelector=ENV), apart],
    )
    assert (await lint_live(tmp_path, api, "-A"))[0].stdout == ""
    assert (
        "has the same priority 0" in (await lint_live(tmp_path, api, "-n", "team-a"))[0].stdout
    )  # others are not known then


async def test_namespace_and_labels_select_rayjobs(tmp_path: Path) -> None:
    api = Api(rayjobs=[], namespaces=[namespace("team-a")], rayjobcleanuppolicies=[])
    done, script = await lint_live(tmp_path, api, "-l", "team=vision", "-o", "json")
    asked = next(asked for asked in script.requests if asked.path.endswith("/rayjobs"))
    assert (asked.path, asked.query["labelSelector"]) == (
        "/apis/ray.io/v1/namespaces/team-a/rayjobs",
        "team=vision",
    )
    body = json.loads(done.stdout)
    assert (body["server"], body["namespace"], body["selector"]) == (
        script.url,
        "team-a",
        "team=vision",
    )
    assert body["summary"] == {
        "files": None,
        "unchecked": 0,
        "objects": 1,
        "errors": 0,
        "warnings": 0,
    }


REFUSED = [
    pytest.param(
        Api(rayjobs=403, namespaces=[namespace("team-a", ttl="x")], rayjobcleanuppolicies=[]),
        3,
        ["you may not list RayJobs: GET /apis/ray.io/v1/namespaces/team-a/rayjobs: 403 "],
        id="RayJobs",
    ),
    pytest.param(
        Api(rayjobs=[rayjob_json()], namespace=403),
        0,
        ["you may not read Namespace team-a", "there is no ConfigMap raysweep"],
        id="the Namespace",
    ),
    pytest.param(
        Api(rayjobs=[], namespaces=[namespace("team-a")], rayjobcleanuppolicies=403, serves=1),
        0,
        [
            (
                "you may not list RayJobCleanupPolicies: GET "
                "/apis/raysweep.io/v1alpha1/rayjobcleanuppolicies: 403 "
            )
        ],
        id="policies",
    ),
    pytest.param(
        Api(rayjobs=[], namespaces=[], rayjobcleanuppolicies=403),
        0,
        ["Namespace team-a does not exist"],
        id="policies whose CRD is not there, and a namespace that is not",
    ),
    pytest.param(
        Api(namespaces=[namespace("team-a")]),
        0,
        ["http://127.0.0.1:"],
        id="no KubeRay",
    ),
    pytest.param(
        Api(rayjobs=[], namespaces=[namespace("team-a")], settings=403),
        0,
        [],
        id="the operator's settings, where no RayJob is",
    ),
    pytest.param(
        Api(rayjobs=403, namespace=403, rayjobcleanuppolicies=403, serves=1),
        1,
        ["you may not list RayJobs: "],
        id="anything",
    ),
]


@pytest.mark.parametrize(("api", "code", "notes"), REFUSED)
async def test_what_is_forbidden_is_a_note(
    tmp_path: Path, api: Api, code: int, notes: list[str]
) -> None:
    done, _ = await lint_live(tmp_path, api, "-n", "team-a")
    assert done.returncode == code
    printed = [
        line.removeprefix("raysweep: ")
        for line in done.stderr.splitlines()
        if line.startswith("raysweep: ")
    ]
    assert [line.startswith(note) for line, note in zip(printed, notes, strict=True)] == [
        True
    ] * len(notes)


async def test_without_the_right_to_list_namespaces_those_with_rayjobs_are_checked(
    tmp_path: Path,
) -> None:
    jobs = [rayjob_json(metadata={"namespace": name}) for name in ("team-a", "team-b")]
    api = Api(
        rayjobs=jobs, namespaces=403, namespace=[namespace("team-a", ttl="x"), namespace("team-b")]
    )
    done, _ = await lint_live(tmp_path, api, "-A")
    assert "you may not list Namespaces, so only those with RayJobs are checked" in done.stderr
    assert done.stdout.startswith(
        "Namespace team-a: error: annotation raysweep.io/ttl: invalid duration 'x'"
    )
    assert "4 objects in all namespaces: 1 error, 0 warnings" in done.stderr


TRACKED = rayjob_json(metadata={"annotations": {}, "labels": {"app.kubernetes.io/instance": "x"}})


@pytest.mark.parametrize(
    ("settings", "warnings", "noted"),
    [
        pytest.param(
            {"data": {"RAYSWEEP_RECREATED_BY": "app.kubernetes.io/instance"}}, 1, False, id="read"
        ),
        pytest.param(404, 0, True, id="not there"),
        pytest.param(403, 0, True, id="not to be read"),
    ],
)
async def test_the_setting_recreated_by_of_the_operator_applies(
    tmp_path: Path, settings: Body | int, warnings: int, *, noted: bool
) -> None:
    api = Api(rayjobs=[TRACKED], namespaces=[namespace("team-a")], settings=settings)  # type: ignore[arg-type]
    done, _ = await lint_live(tmp_path, api)
    assert f"0 errors, {warnings} warning" in done.stderr
    assert ("only the marks that Raysweep knows by default count" in done.stderr) == noted


def written_by(manager: str, outcome: str) -> Body:
    fields: Body = {"f:metadata": {"f:annotations": {".": {}, "f:raysweep.io/outcome": {}}}}
    entry = {
        "manager": manager,
        "operation": "Update",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return rayjob_json(metadata={"annotations": says(outcome=outcome), "managedFields": [entry]})


@pytest.mark.parametrize(
    ("job", "message"),
    [
        pytest.param(
            written_by("raysweep", "failed 2026-11-22T19:38:36Z"),
            "",
            id="Raysweep wrote the outcome",
        ),
        pytest.param(
            written_by("kubectl-annotate", "failed 2026-11-22T19:38:36Z"),
            "written by 'kubectl-annotate', but only Raysweep may write it",
            id="a person",
        ),
        pytest.param(
            written_by("raysweep", "well"),
            "invalid outcome 'well': remove it, only Raysweep writes this annotation",
            id="it is odd",
        ),
        pytest.param(
            rayjob_json(metadata={"annotations": {}, "managedFields": "x", "labels": 7}),
            "not a mapping",
            id="odd fields",
        ),
    ],
)
async def test_only_raysweep_writes_an_outcome(tmp_path: Path, job: Body, message: str) -> None:
    done, _ = await lint_live(tmp_path, Api(rayjobs=[job], namespaces=[namespace("team-a")]))
    assert done.returncode == (3 if message else 0)
    assert message in done.stdout


async def test_what_a_job_runs_is_not_shown(tmp_path: Path) -> None:
    job = rayjob_json(
        spec={
            "entrypoint": {"metadata": {"raysweep.io/secret": 1}},
            "runtimeEnvYAML": {"metadata": {"raysweep.io/b": 1}},
        }
    )
    done, _ = await lint_live(tmp_path, Api(rayjobs=[job], namespaces=[namespace("team-a")]))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        pytest.param(
            status_response(500, "etcd is on fire"), "500 etcd is on fire", id="a server in trouble"
        ),
        pytest.param(
            json_response("<html>hotel wifi</html>"),
            "the response is not a JSON object",
            id="not Kubernetes at all",
        ),
        pytest.param(
            status_response(401, "Unauthorized"), "401 Unauthorized", id="a token that has expired"
        ),
    ],
)
async def test_a_failure_is_one_sentence_and_exit_code_1(
    tmp_path: Path, answer: web.Response, sentence: str
) -> None:
    async with serving(answer) as script:
        done = await asyncio.to_thread(
            lint_process,
            "--live",
            "--kubeconfig",
            write_kubeconfig(tmp_path / "config", script.url),
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr.splitlines()[-1]


def test_a_policy_from_a_pipe_is_checked_to_the_column() -> None:
    done = lint("-", "-o", "json", stdin=policy_yaml("{limits: {rayJob: {max: soon}}}"))
    (item,) = json.loads(done.stdout)["items"]
    assert (item["line"], item["column"], item["rule"], item["name"]) == (
        4,
        31,
        "invalid-policy",
        "base",
    )
