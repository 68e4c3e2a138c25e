"""What tests of the command line share: its environment, kubeconfig files and documented fields."""

import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

from raysweep.core.text import CONTROLS

JSON_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "json.md"
PROGRAM = (sys.executable, "-m", "raysweep")
ENVIRONMENT = {
    key: value for key, value in os.environ.items() if not key.startswith("RAYSWEEP_")
} | {"COLUMNS": "200"}
"""Without settings of the machine, and wide enough that help texts do not wrap."""
AT_TERMINAL = {
    key: value for key, value in ENVIRONMENT.items() if key not in ("COLUMNS", "NO_COLOR")
} | {"TERM": "xterm"}
"""Without settings that override the width and the colors of a terminal."""
HOSTILE_TEXT = "\x1b]0;owned\x07\x1b[2J\u202e\r\nteam-b  root  \u2028\ud800"
"""Control characters that set a title, clear the screen, reorder text and break lines."""


def run_raysweep(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end, without a terminal."""
    return subprocess.run(
        [*PROGRAM, *words],
        env=ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


def write_kubeconfig(path: Path, server: str, namespace: str = "team-a") -> str:
    """Writes a kubeconfig file with a token for this server."""
    context = {"cluster": "test", "user": "test", "namespace": namespace}
    body = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": context}],
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {"token": "abc"}}],
    }
    path.write_text(json.dumps(body))
    return str(path)


def control_characters(*texts: str) -> set[str]:
    """The characters that control a terminal, besides line feeds."""
    characters = {character for text in texts for character in text if character != "\n"}
    return {character for character in characters if unicodedata.category(character) in CONTROLS}


def json_paths(body: object, prefix: str = "") -> set[str]:
    """The path of every field, such as `deletes[].kind`."""
    if isinstance(body, dict):
        paths = {f"{prefix}{key}" for key in body}
        return paths.union(*(json_paths(value, f"{prefix}{key}.") for key, value in body.items()))
    if isinstance(body, list):
        items = (json_paths(item, f"{prefix.removesuffix('.')}[].") for item in body)
        return set().union(*items)
    return set()


def documented_fields(section: str) -> set[str]:
    """The fields in the table of this section of docs/reference/json.md."""
    table = JSON_PAGE.read_text().partition(f"### {section}\n")[2].partition("\n### ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {field for cell in cells for field in re.findall(r"`([^`]+)`", cell)}
