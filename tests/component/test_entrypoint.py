"""The words after `--`, as the shell of a Ray head takes them: variables are replaced, and nothing else is."""

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.submission.entrypoint import entrypoint_of

HEAD = {
    "DATA_DIR": "/data",
    "BLANKS": "two  words",
    "GLOB": "*",
    "COMMAND": "$(touch owned)",
    "PATH": "/usr/bin:/bin",
}


def run(words: list[str], folder: Path, shell: str = "/bin/sh") -> list[str]:
    """What a program is called with, if a head runs this command line: Popen(entrypoint, shell=True)."""
    line = entrypoint_of(["printf", r"%s\0", *words])
    done = subprocess.run(
        line,
        shell=True,
        executable=shell,
        env=HEAD,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert not (folder / "owned").exists(), line
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize(
    ("word", "argument"),
    [
        pytest.param("$DATA_DIR/x", "/data/x", id="a variable"),
        pytest.param("${DATA_DIR}/x", "/data/x", id="a variable in braces"),
        pytest.param("--out=$DATA_DIR", "--out=/data", id="a variable in a flag"),
        pytest.param("$DATA_DIR$DATA_DIR", "/data/data", id="two variables"),
        pytest.param("a $DATA_DIR b", "a /data b", id="a variable between blanks"),
        pytest.param("$BLANKS", "two  words", id="blanks in a variable stay in one word"),
        pytest.param("$GLOB", "*", id="a pattern in a variable stays a pattern"),
        pytest.param("$COMMAND", "$(touch owned)", id="a command in a variable is not run"),
        pytest.param("$NOT_SET", "", id="a variable that is not set is empty"),
        pytest.param("${NOT_SET:-/tmp/a b}", "/tmp/a b", id="a default"),
        pytest.param(r"\$DATA_DIR", "$DATA_DIR", id="a variable behind a backslash stays"),
        pytest.param(r"\\$DATA_DIR", r"\$DATA_DIR", id="of two backslashes one stays"),
        pytest.param("a b", "a b", id="blanks stay"),
        pytest.param("a;touch owned", "a;touch owned", id="a semicolon stays"),
        pytest.param("a|b&c>owned", "a|b&c>owned", id="operators stay"),
        pytest.param(
            "$DATA_DIR;touch owned", "/data;touch owned", id="a semicolon beside a variable stays"
        ),
        pytest.param("*", "*", id="a star stays"),
        pytest.param("~", "~", id="a tilde stays"),
        pytest.param("`touch owned`$DATA_DIR", "`touch owned`/data", id="backticks stay"),
        pytest.param(
            "$(touch owned)$DATA_DIR", "$(touch owned)/data", id="a command substitution stays"
        ),
        pytest.param(
            "${NOT_SET:-$(touch owned)}",
            "${NOT_SET:-$(touch owned)}",
            id="a command as default stays",
        ),
        pytest.param('it\'s "$DATA_DIR"', 'it\'s "/data"', id="quotes stay"),
        pytest.param("{print $1}", "{print $1}", id="a positional parameter stays"),
        pytest.param("$$ $? $! $# $", "$$ $? $! $# $", id="special parameters stay"),
        pytest.param("a\nb $DATA_DIR", "a\nb /data", id="a line break stays"),
        pytest.param("", "", id="an empty word stays"),
        pytest.param("caf\xe9 \u202e$DATA_DIR", "caf\xe9 \u202e/data", id="other scripts stay"),
    ],
)
def test_c27_a_word_as_the_shell_of_a_head_takes_it(
    word: str, argument: str, tmp_path: Path, shell: str
) -> None:
    assert run([word, "next"], tmp_path, shell) == [argument, "next"]


def test_c27_a_variable_before_the_command_is_set_for_it(tmp_path: Path) -> None:
    line = entrypoint_of(["OUT=$DATA_DIR", "sh", "-c", r"echo \$OUT"])
    done = subprocess.run(
        line,
        shell=True,
        env=HEAD,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "/data\n"


@pytest.mark.parametrize("line", ["", "python a.py && python b.py", "echo $DATA_DIR; echo `date`"])
def test_c27_one_word_is_a_shell_line_as_it_is(line: str) -> None:
    assert entrypoint_of([line] if line else []) == line


@given(
    st.lists(
        st.text(st.characters(exclude_characters="$\0", exclude_categories=["Cs"])), min_size=2
    )
)
def test_c27_without_a_variable_words_are_joined_as_ray_joins_them(words: list[str]) -> None:
    assert entrypoint_of(words) == shlex.join(words)


@given(
    st.lists(
        st.text("ab $\\'\"`(){};*", max_size=12).filter(
            lambda word: "$a" not in word and "${" not in word
        ),
        min_size=2,
    )
)
@settings(max_examples=50, deadline=None)
def test_c27_a_word_without_a_variable_is_what_the_program_gets(words: list[str]) -> None:
    words = [word.replace("$b", "$ b") for word in words]
    done = subprocess.run(
        ["/bin/sh", "-c", entrypoint_of(["printf", r"%s\0", *words])],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.decode().split("\0")[:-1] == words
