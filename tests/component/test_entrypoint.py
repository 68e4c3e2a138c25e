"""The words after `--` in the shell of a Ray head, which replaces only variables (C27)."""

import shlex
import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.submission.entrypoint import entrypoint_of

HEAD_VARIABLES = {
    "DATA_DIR": "/data",
    "BLANKS": "two  words",
    "GLOB": "*",
    "COMMAND": "$(touch owned)",
    "PATH": "/usr/bin:/bin",
}
SHELLS = ("/bin/sh", "/bin/bash")
ARGUMENTS = {
    "$DATA_DIR/x": "/data/x",
    "${DATA_DIR}/x": "/data/x",
    "--out=$DATA_DIR": "--out=/data",
    "$DATA_DIR$DATA_DIR": "/data/data",
    "a $DATA_DIR b": "a /data b",
    "$BLANKS": "two  words",
    "$GLOB": "*",
    "$COMMAND": "$(touch owned)",
    "$NOT_SET": "",
    "${NOT_SET:-/tmp/a b}": "/tmp/a b",
    r"\$DATA_DIR": "$DATA_DIR",
    r"\\$DATA_DIR": r"\$DATA_DIR",
    "a b": "a b",
    "a;touch owned": "a;touch owned",
    "a|b&c>owned": "a|b&c>owned",
    "$DATA_DIR;touch owned": "/data;touch owned",
    "*": "*",
    "~": "~",
    "`touch owned`$DATA_DIR": "`touch owned`/data",
    "$(touch owned)$DATA_DIR": "$(touch owned)/data",
    "${NOT_SET:-$(touch owned)}": "${NOT_SET:-$(touch owned)}",
    'it\'s "$DATA_DIR"': 'it\'s "/data"',
    "{print $1}": "{print $1}",
    "$$ $? $! $# $": "$$ $? $! $# $",
    "a\nb $DATA_DIR": "a\nb /data",
    "": "",
    "caf\xe9 \u202e$DATA_DIR": "caf\xe9 \u202e/data",
}
"""The argument that a program receives for each word."""


def run(line: str, folder: Path, shell: str = "/bin/sh") -> str:
    """Runs a command line like a head: Popen(entrypoint, shell=True)."""
    return subprocess.run(
        line,
        shell=True,
        executable=shell,
        env=HEAD_VARIABLES,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def test_each_word_becomes_one_argument(tmp_path: Path) -> None:
    for shell in SHELLS:
        for word, argument in ARGUMENTS.items():
            line = entrypoint_of(["printf", r"%s\0", word, "next"])
            arguments = run(line, tmp_path, shell).split("\0")[:-1]
            assert arguments == [argument, "next"], (word, shell)
            assert not (tmp_path / "owned").exists(), (word, shell)


def test_a_variable_before_the_command_is_set(tmp_path: Path) -> None:
    line = entrypoint_of(["OUT=$DATA_DIR", "sh", "-c", r"echo \$OUT"])
    assert run(line, tmp_path) == "/data\n"


def test_a_single_word_is_a_shell_line() -> None:
    assert entrypoint_of([]) == ""
    for line in ("python a.py && python b.py", "echo $DATA_DIR; echo `date`"):
        assert entrypoint_of([line]) == line


@given(
    st.lists(
        st.text(st.characters(exclude_characters="$\0", exclude_categories=["Cs"])), min_size=2
    )
)
def test_words_without_a_variable_are_joined_like_in_ray(words: list[str]) -> None:
    assert entrypoint_of(words) == shlex.join(words)


@given(st.lists(st.text("ab $\\'\"`(){};*", max_size=12), min_size=2))
@settings(max_examples=50, deadline=None)
def test_a_program_receives_words_without_a_variable_unchanged(words: list[str]) -> None:
    for start in ("a", "b", "{"):
        words = [word.replace(f"${start}", f"$ {start}") for word in words]
    done = subprocess.run(
        ["/bin/sh", "-c", entrypoint_of(["printf", r"%s\0", *words])],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.decode().split("\0")[:-1] == words
