"""No foreign text controls a terminal (H21): every command, with a hostile cluster and head."""

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raysweep.cli.common import terminal
from raysweep.controller.log_format import JsonLines, TextLines
from tests.support.builders import Body, rayjob_json
from tests.support.cli import ENVIRONMENT
from tests.support.hostile_cluster import COLORED, LOG, HostileCluster, connected
from tests.support.terminal import HOSTILE, OWNED, TerminalOutput, run_at_terminal


async def run_at_own_terminal(*words: str) -> TerminalOutput:
    return await run_at_terminal([sys.executable, "-m", "raysweep", *words], ENVIRONMENT)


def is_clean(shown: TerminalOutput) -> bool:
    return shown.without_drawing.controls() == set()


COMMANDS = [
    ["plan", "--all", "-o", "wide"],
    ["plan", "-A", "--all", "--ask", "-o", "wide"],
    ["why", "train"],
    ["why", "gone"],
    ["why", "train", "-o", "json"],
    ["why", "train", "-o", "yaml"],
    ["keep", "train", "3d", "--reason", HOSTILE.replace("\x00", "")],
    ["sweep", "train", "--dry-run", "-o", "wide"],
    ["lint", "--live"],
    ["stop", "train", "--no-wait"],
    ["logs", "train", "-o", "json"],
    ["submit", "--name", "train", "--", "true"],
    ["submit", "--name", "train", "--dry-run", "--", "echo", HOSTILE.replace("\x00", "")],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("refuses", [False, True], ids=["answers", "refusals"])
async def test_h21_no_command_lets_the_cluster_control_the_terminal(
    tmp_path: Path, words: list[str], refuses: bool
) -> None:
    async with connected(HostileCluster(refuses=refuses), tmp_path) as (_, way):
        at = words.index("--") if "--" in words else len(words)
        shown = await run_at_own_terminal(*words[:at], *way, *words[at:])
    assert shown.raw
    assert is_clean(shown), shown
    assert b"Traceback" not in shown.raw


ENDED = {"status": "SUCCEEDED"}
HEADS = [
    (["stop", "train", "--no-wait"], {"status": HOSTILE}),
    (["stop", "train", "--no-wait"], {"submission_id": HOSTILE, "entrypoint": HOSTILE}),
    (["stop", "train"], {"submission_id": HOSTILE, "message": HOSTILE} | ENDED),
    (["logs", "train"], {"submission_id": HOSTILE} | ENDED),
    (["logs", "-f", "train"], {"submission_id": HOSTILE, "message": HOSTILE} | ENDED),
    (["logs", "train"], {"type": HOSTILE}),
]


@pytest.mark.parametrize(
    ("words", "entry"), [pytest.param(*row, id=f"{row[0]} {sorted(row[1])}") for row in HEADS]
)
async def test_h21_no_answer_of_a_head_controls_the_terminal(
    tmp_path: Path, words: list[str], entry: Body
) -> None:
    async with connected(HostileCluster(entry=entry), tmp_path) as (_, way):
        shown = await run_at_own_terminal(*words, *way)
    assert shown.raw
    assert shown.without_drawing.controls() == set(), shown


@pytest.mark.parametrize("words", [["logs", "train"], ["logs", "-f", "train"]], ids=" ".join)
async def test_h21_a_log_keeps_colors_and_progress_bars_and_other_controls_are_escaped(
    tmp_path: Path, words: list[str]
) -> None:
    async with connected(HostileCluster(entry=ENDED), tmp_path) as (_, way):
        shown = await run_at_own_terminal(*words, *way)
    escapes = r"before \x1b]0;owned\x07\x1b[2J\x9b2J\u202egpj.exe\u2066\x08\x7f\x00 after"
    assert shown.raw.startswith(escapes.encode() + b"\n\\x9b2J and \\xff\n" + COLORED)


async def test_h21_a_pipe_gets_the_log_unchanged(tmp_path: Path) -> None:
    async with connected(HostileCluster(entry=ENDED), tmp_path) as (_, way):
        command = [sys.executable, "-m", "raysweep", "logs", "train", *way]
        done = await asyncio.to_thread(
            subprocess.run, command, env=ENVIRONMENT, capture_output=True, check=True, timeout=150
        )
    assert done.stdout == LOG


PIECES = [
    ("a color in two pieces", [b"\x1b[3", b"1mred"], "\x1b[31mred"),
    ("a letter in two pieces", [b"\xc3", b"\xa9"], "é"),
    ("C1 as UTF-8 in two pieces", [b"\xc2", b"\x9b2J"], r"\x9b2J"),
    ("an escape at the end", [b"done\x1b"], r"done\x1b"),
    ("an endless color", [b"\x1b[" + b"1" * 65 + b"m"], r"\x1b[" + "1" * 65 + "m"),
    ("half a letter at the end", [b"caf\xc3"], r"caf\xc3"),
    ("cursor movement", [b"\x1b[1A\x1b[2K"], r"\x1b[1A\x1b[2K"),
    ("joined emoji", ["👩\u200d👧".encode()], "👩\u200d👧"),
]


def test_a_log_in_pieces() -> None:
    for name, pieces, text in PIECES:
        log = terminal._Log()
        shown = "".join(map(log.next, pieces)) + log.end()
        assert shown.removesuffix(terminal.RESET) == text, name


def test_an_open_color_ends_with_the_log() -> None:
    log = terminal._Log()
    assert log.next(b"\x1b[31mred") + log.end() == "\x1b[31mred\x1b[0m"


def _record(**fields: Any) -> logging.LogRecord:
    record = logging.LogRecord("raysweep", logging.INFO, "", 0, "kept %s", (HOSTILE,), None)
    record.fields = fields
    return record


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()], ids=["JSON", "text"])
def test_h21_a_log_line_of_the_operator_has_no_control_characters(
    formatter: logging.Formatter,
) -> None:
    line = formatter.format(_record(message=HOSTILE))
    assert TerminalOutput(0, line.encode()).controls(but="") == set()


def test_h21_a_json_log_line_preserves_the_text() -> None:
    line = json.loads(JsonLines().format(_record(message=HOSTILE)))
    assert (line["msg"], line["message"]) == (f"kept {HOSTILE}", HOSTILE)


def test_h21_foreign_text_cannot_forge_a_log_line() -> None:
    record = logging.LogRecord(
        "raysweep", logging.INFO, "", 0, "kept a\n12:00:00 info    deleted b", (), None
    )
    assert "\n" not in TextLines().format(record)


async def test_h21_invalid_settings_do_not_control_the_terminal() -> None:
    shown = await run_at_own_terminal("run", "--mode", OWNED, "--head-proxy", OWNED)
    assert shown.code == 2
    assert is_clean(shown)


USAGE = [
    ["why", OWNED],
    ["plan", OWNED],
    [OWNED],
    ["plan", "-n", OWNED],
    ["lint", OWNED],
    ["plan", "--kubeconfig", OWNED],
]


@pytest.mark.parametrize("words", USAGE, ids=lambda words: words[0].strip(OWNED) or "a command")
async def test_h21_arguments_do_not_control_the_terminal(words: list[str]) -> None:
    assert is_clean(await run_at_own_terminal(*words))


@pytest.mark.parametrize(
    "key", ["raysweep.io/ttl", f"raysweep.io/{HOSTILE}"], ids=["a value", "a key"]
)
async def test_h21_a_checked_file_does_not_control_the_terminal(tmp_path: Path, key: str) -> None:
    body = rayjob_json(metadata={"name": HOSTILE, "annotations": {key: HOSTILE}})
    file = tmp_path / "\x1b[2Jjob.json"
    file.write_text(json.dumps(body))
    shown = await run_at_own_terminal("lint", str(file))
    assert shown.code == 3
    assert is_clean(shown)
