"""Control characters of heads and annotations do not reach a terminal."""

import os
from collections.abc import Mapping

import pytest
from aiohttp import web

from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.person import BIN
from tests.support.scripted_api import json_response, serving
from tests.support.terminal import HOSTILE, OWNED, run_at_terminal
from tests.support.workbench import Lab

COLORED = "\x1b[31mloss\x1b[0m 0.3\n"
HELD = HOSTILE.replace("\x00", "")
"""Without NUL, which no command line can write."""
ENTRY = {
    "type": "SUBMISSION",
    "submission_id": OWNED,
    "status": "SUCCEEDED",
    "driver_node_id": "abc123",
    "message": HOSTILE,
}


async def _hostile(request: web.BaseRequest) -> web.StreamResponse:
    path = request.path
    if path.startswith("/api/v0/logs/"):
        return web.Response(body=f"{COLORED}{HOSTILE}\n".encode())
    if path.startswith("/api/v0/"):
        return web.Response(status=500, body=HOSTILE.encode())
    if path.endswith("/stop"):
        return json_response({"stopped": False})
    return json_response([ENTRY] if path == "/api/jobs/" else ENTRY)


def _environment(cluster: Cluster) -> Mapping[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAYSWEEP_")}
    path = os.pathsep.join(
        (str(BIN), str(cluster.kubectl.parent), os.environ.get("PATH", os.defpath))
    )
    return clean | {"KUBECONFIG": str(cluster.kubeconfig), "PATH": path}


@pytest.mark.parametrize(
    ("words", "shows"),
    [
        (("stop", "train", "--no-wait"), r"\x1b]0;owned\x07"),
        (("logs", "train"), r"\x1b]0;owned\x07"),
        (("logs", "-f", "train"), r"\x1b]0;owned\x07"),
    ],
    ids=["stop", "logs", "logs -f"],
)
async def test_control_characters_of_a_head_do_not_reach_the_terminal(
    cluster: Cluster, head: Head, words: tuple[str, ...], shows: str
) -> None:
    lab = await Lab.open(cluster, head)
    await lab.create_finished("train", status={"jobId": ""}, head_status=None)
    async with serving(_hostile) as script:
        way = ("-n", lab.namespace, "--address", script.url)
        shown = await run_at_terminal(
            [str(cluster.kubectl), "raysweep", *words, *way], _environment(cluster)
        )
    await lab.delete_all()

    assert shown.code == 0, shown
    assert "\x1b" not in shown.text.replace("\x1b[31m", "").replace("\x1b[0m", ""), shown
    assert shown.controls(but="\n\t\x1b") == set(), shown
    if "logs" in words:
        assert COLORED in shown.text
        assert shows in shown.text


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--all", "-o", "wide"),
        ("why", "train"),
        ("keep", "train", "--clear"),
        ("lint", "--live"),
    ],
)
async def test_control_characters_of_annotations_do_not_reach_the_terminal(
    cluster: Cluster, head: Head, words: tuple[str, ...]
) -> None:
    lab = await Lab.open(cluster, head, annotations={"raysweep.io/keep-reason": HELD})
    odd = {
        "raysweep.io/ttl": HELD,
        "raysweep.io/keep-until": "2199-01-01T00:00:00Z",
        "raysweep.io/keep-reason": HELD,
    }
    await lab.create_finished("train", annotations=odd, head_status=None, status={"message": HELD})
    shown = await run_at_terminal(
        [str(cluster.kubectl), "raysweep", *words, "-n", lab.namespace], _environment(cluster)
    )
    await lab.delete_all()

    assert shown.raw
    assert shown.controls() == set(), shown
