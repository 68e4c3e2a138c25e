"""Ignored files of a working directory, compared with git."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from raysweep.submission.package import Package, pack
from tests.support.file_trees import TREE, entries_of, packed, write_tree

FOLDERS = ("a", "b", "ab", "c d", "build")
FILES = ("x.o", "y.py", "a.tmp", "b", "ab")
LINES = (
    *("*", "!*/", "!*.py", "*.o", "!x.o", "*.tmp", "build/", "!build/", "build", "!build"),
    *("/a", "/b/", "!/b", "a/*", "!a/b", "a*", "**/b", "a/**", "!a/**/", "a/**/b", "**/build/*"),
    *("/build/x.o", "/*", "**", "**/", "/**", "[ab]", "!ab", "?", "c\\ d", "#a", "", "!"),
    *("a\\", "[", "*.py  ", "y.py\r"),
)


def files_of(package: Package) -> set[str]:
    return {name for name in entries_of(package) if not name.endswith("/")}


def files_of_git(folder: Path) -> set[str]:
    """The files that git does not ignore, whatever the user's own configuration."""
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "XDG_CONFIG_HOME": str(folder / ".none"),
    }
    subprocess.run(["git", "init", "-q", str(folder)], check=True, env=environment)
    command = ["git", "-C", str(folder), "ls-files", "-zco", "--exclude-standard"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return set(filter(None, done.stdout.split("\0")))


def random_tree(rng: random.Random, folder: Path, depth: int = 0) -> Path:
    """A tree of up to four levels, with ignore files in some folders."""
    folder.mkdir(parents=True)
    for name in rng.sample(FOLDERS, 2 if depth < 3 else 0):
        random_tree(rng, folder / name, depth + 1)
    for name in rng.sample(FILES, 3):
        if not (folder / name).exists():
            (folder / name).write_text("1")
    if depth == 0 or rng.random() < 0.3:
        (folder / ".gitignore").write_bytes("\n".join(rng.choices(LINES, k=4)).encode())
    return folder


def test_gitignore_has_the_effect_that_it_has_in_git(tmp_path: Path) -> None:
    tree = TREE | {
        ".gitignore": "*.bin\nbuild/\n/only-here.txt\n!keep.bin\nlogs\n",
        "keep.bin": "1",
        "build/keep.bin": "1",
        "only-here.txt": "1",
        "pkg/only-here.txt": "1",
        "pkg/.gitignore": "*.tmp\n!big.bin\n",
        "pkg/a.tmp": "1",
        "pkg/big.bin": "1",
        "pkg/logs/x": "1",
        "a.tmp": "1",
    }
    source = write_tree(tmp_path / "source", tree)
    assert files_of(packed(source)) == files_of_git(source)


def test_in_any_tree_exactly_the_files_that_git_ignores_are_left_out(tmp_path: Path) -> None:
    for seed in range(40):
        source = random_tree(random.Random(seed), tmp_path / str(seed) / "source")
        with (source / ".gitignore").open("ab") as lines:
            lines.write(b"\n!/kept\n")
        (source / "kept").write_text("a package needs at least one file")
        assert files_of(packed(source)) == files_of_git(source), seed


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        pytest.param(
            "*\n!*/\n!*.py\n", {"train.py", "pkg/__init__.py", "pkg/model.py"}, id="some files"
        ),
        pytest.param("/*\n!/pkg\n", {"pkg/__init__.py", "pkg/model.py"}, id="one folder"),
        pytest.param(
            "pkg/**\ndata/**\n!pkg/model.py\n",
            {".gitignore", "pkg/model.py", "run.sh", "train.py"},
            id="one file of a folder",
        ),
        pytest.param(
            "pkg/\ndata/\n!pkg/model.py\n",
            {".gitignore", "run.sh", "train.py"},
            id="no file of an ignored folder",
        ),
        pytest.param(
            "\ufeffpkg\r\ndata\r\n", {".gitignore", "run.sh", "train.py"}, id="written on Windows"
        ),
    ],
)
def test_files_that_are_included_again(tmp_path: Path, lines: str, kept: set[str]) -> None:
    source = write_tree(tmp_path / "source", TREE)
    (source / ".gitignore").write_bytes(lines.encode())
    assert entries_of(packed(source)) == kept == files_of_git(source)


def test_gitignore_can_be_disabled_and_rayignore_cannot(tmp_path: Path) -> None:
    ignore_files = {".gitignore": "*.py\n", ".rayignore": "*.sh\n!train.py\n"}
    source = write_tree(tmp_path / "source", TREE | ignore_files)
    both = {".gitignore", ".rayignore", "data/big.bin", "train.py"}
    assert entries_of(packed(source)) == both
    without_gitignore = pack(source, (), tmp_path, use_gitignore=False)
    assert entries_of(without_gitignore) == both | {"pkg/__init__.py", "pkg/model.py"}


def test_default_and_requested_excludes(tmp_path: Path) -> None:
    tree = TREE | {
        ".git/config": "",
        "pkg/__pycache__/m.pyc": "",
        ".venv/x": "",
        ".rayignore": "*.sh\n",
    }
    package = packed(write_tree(tmp_path / "source", tree), "data/", "model.py")
    assert entries_of(package) == {"train.py", "pkg/__init__.py", ".rayignore"}
