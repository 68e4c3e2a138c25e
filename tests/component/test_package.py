"""A working directory as a package: named after its content, without what is ignored, as Ray itself would unpack it."""

import logging
import os
import random
import subprocess
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import unzip_package

from raysweep.submission.package import Package, PackageError, from_zip, is_remote, pack, prepare

TREE = {"train.py": "print(1)", "pkg/__init__.py": "", "pkg/model.py": "x = 1", "data/big.bin": "0" * 1000, "run.sh": "true"}


def planted(folder: Path, tree: dict[str, str]) -> Path:
    for name, text in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def packed(folder: Path, *excludes: str, into: Path | None = None, largest: int = 2**20) -> Package:
    there = into or folder.parent / "packed"
    there.mkdir(exist_ok=True)
    return pack(folder, excludes, there, largest=largest)


def names_in(package: Package) -> set[str]:
    with zipfile.ZipFile(package.path) as archive:
        return set(archive.namelist())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return planted(tmp_path / "source", TREE)


def test_the_same_content_has_the_same_name_anywhere_and_at_any_time(source: Path, tmp_path: Path) -> None:
    copy = planted(tmp_path / "elsewhere" / "copy", dict(reversed(TREE.items())))
    os.utime(copy / "train.py", (0, 0))
    first, second = packed(source), packed(copy, into=tmp_path)
    assert first.uri == second.uri == f"gcs://{first.name}"
    assert first.path.read_bytes() == second.path.read_bytes()


@pytest.mark.parametrize("change", ["content", "name", "may run", "one more"])
def test_another_content_has_another_name(source: Path, change: str) -> None:
    before = packed(source).name
    match change:
        case "content":
            (source / "train.py").write_text("print(2)")
        case "name":
            (source / "train.py").rename(source / "main.py")
        case "may run":
            (source / "run.sh").chmod(0o755)
        case _:
            (source / "empty").mkdir()
    assert packed(source).name != before


def test_ray_unpacks_it_to_the_same_tree(source: Path, tmp_path: Path) -> None:
    (source / "run.sh").chmod(0o755)
    (source / "empty").mkdir()
    (source / "link.py").symlink_to("train.py")
    package, there = packed(source), tmp_path / "there"
    unzip_package(str(package.path), str(there), remove_top_level_directory=False, unlink_zip=False, logger=logging.getLogger())

    found = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert found == {*TREE, "link.py"}
    assert (there / "link.py").read_text() == "print(1)"
    assert os.access(there / "run.sh", os.X_OK)
    assert (there / "empty").is_dir()


def test_gitignore_is_heeded_as_git_does(tmp_path: Path) -> None:
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
    source = planted(tmp_path / "source", tree)
    assert files_in(packed(source)) == listed_by_git(source)


def files_in(package: Package) -> set[str]:
    return {name for name in names_in(package) if not name.endswith("/")}


def listed_by_git(folder: Path) -> set[str]:
    alone = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "XDG_CONFIG_HOME": str(folder / ".none"),
    }
    subprocess.run(["git", "init", "-q", str(folder)], check=True, env=alone)
    listing = ["git", "-C", str(folder), "ls-files", "-zco", "--exclude-standard"]
    found = subprocess.run(listing, check=True, capture_output=True, text=True, env=alone)
    return set(filter(None, found.stdout.split("\0")))


FOLDERS = ("a", "b", "ab", "c d", "build")
FILES = ("x.o", "y.py", "a.tmp", "b", "ab")
LINES = (
    *(
        "*",
        "!*/",
        "!*.py",
        "*.o",
        "!x.o",
        "*.tmp",
        "build/",
        "!build/",
        "build",
        "!build",
        "/a",
        "/b/",
        "!/b",
        "a/*",
        "!a/b",
        "a*",
    ),
    *(
        "**/b",
        "a/**",
        "!a/**/",
        "a/**/b",
        "**/build/*",
        "/build/x.o",
        "/*",
        "**",
        "**/",
        "/**",
        "[ab]",
        "!ab",
        "?",
        "c\\ d",
        "#a",
    ),
    *("", "!", "a\\", "[", "*.py  ", "y.py\r"),
)


def grown(chance: random.Random, folder: Path, depth: int = 0) -> Path:
    """A random tree, four folders deep at most, with ignore files here and there."""
    folder.mkdir(parents=True)
    for name in chance.sample(FOLDERS, 2 if depth < 3 else 0):
        grown(chance, folder / name, depth + 1)
    for name in chance.sample(FILES, 3):
        if not (folder / name).exists():
            (folder / name).write_text("1")
    if depth == 0 or chance.random() < 0.3:
        (folder / ".gitignore").write_bytes("\n".join(chance.choices(LINES, k=4)).encode())
    return folder


@pytest.mark.parametrize("seed", range(40))
def test_in_any_tree_what_git_ignores_is_left_out_and_nothing_else(tmp_path: Path, seed: int) -> None:
    source = grown(random.Random(seed), tmp_path / "source")
    with (source / ".gitignore").open("ab") as lines:
        lines.write(b"\n!/kept\n")
    (source / "kept").write_text("so that there is something")
    assert files_in(packed(source)) == listed_by_git(source)


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        pytest.param("*\n!*/\n!*.py\n", {"train.py", "pkg/__init__.py", "pkg/model.py"}, id="only these, in any folder"),
        pytest.param("/*\n!/pkg\n", {"pkg/__init__.py", "pkg/model.py"}, id="only this folder"),
        pytest.param(
            "pkg/**\ndata/**\n!pkg/model.py\n", {".gitignore", "pkg/model.py", "run.sh", "train.py"}, id="all in it but one"
        ),
        pytest.param(
            "pkg/\ndata/\n!pkg/model.py\n", {".gitignore", "run.sh", "train.py"}, id="nothing comes back from a folder left out"
        ),
        pytest.param("\ufeffpkg\r\ndata\r\n", {".gitignore", "run.sh", "train.py"}, id="written on Windows"),
    ],
)
def test_what_comes_back_after_being_ignored(source: Path, lines: str, kept: set[str]) -> None:
    (source / ".gitignore").write_bytes(lines.encode())
    assert names_in(packed(source)) == kept == listed_by_git(source)


def test_gitignore_can_be_left_unheeded_and_rayignore_not(source: Path, tmp_path: Path) -> None:
    (source / ".gitignore").write_text("*.py\n")
    (source / ".rayignore").write_text("*.sh\n!train.py\n")
    assert names_in(packed(source)) == {".gitignore", ".rayignore", "data/big.bin", "train.py"}
    unheeded = pack(source, (), tmp_path, use_gitignore=False)
    assert names_in(unheeded) == {".gitignore", ".rayignore", "data/big.bin", *(name for name in TREE if name.endswith(".py"))}


def test_a_folder_whose_files_are_all_left_out_is_no_empty_folder(source: Path) -> None:
    (source / "empty").mkdir()
    package = packed(source, "*.bin")
    assert (names_in(package), package.files) == ({"empty/", *TREE} - {"data/big.bin"}, len(TREE) - 1)


def test_what_is_being_written_is_no_part_of_it(source: Path, tmp_path: Path) -> None:
    elsewhere = packed(source)
    for into in (source, source / "pkg" / "packed"):
        package = packed(source, into=into)
        assert (package.name, names_in(package)) == (elsewhere.name, set(TREE))
        package.path.unlink()


def test_what_changes_while_it_is_read_is_named_after_what_was_written(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "changing").symlink_to("/proc/sys/kernel/random/uuid")  # another content at each reading
    (tmp_path / "other").mkdir()
    first, second = packed(source), packed(source, into=tmp_path / "other")
    assert first.name != second.name
    for package in (first, second):
        there = tmp_path / package.name
        with zipfile.ZipFile(package.path) as archive:
            archive.extractall(there)
        assert packed(there, into=tmp_path).name == package.name


def test_what_ray_leaves_out_by_itself_and_what_is_asked_for_is_left_out(tmp_path: Path) -> None:
    tree = TREE | {".git/config": "", "pkg/__pycache__/m.pyc": "", ".venv/x": "", ".rayignore": "*.sh\n"}
    found = names_in(packed(planted(tmp_path / "source", tree), "data/", "model.py"))
    assert found == {"train.py", "pkg/__init__.py", ".rayignore"}


def test_too_large_names_the_largest(source: Path) -> None:
    (source / "data" / "big.bin").write_bytes(os.urandom(3 * 2**20))
    with pytest.raises(PackageError, match=r"has 3\.0 MiB.* more than the 1 MiB .* the largest in it: data 3\.0 MiB.*--exclude"):
        packed(source)


@pytest.mark.parametrize(
    ("tree", "excludes", "said"),
    [
        pytest.param({"a.py": ""}, ("*",), "nothing is left", id="everything is ignored"),
        pytest.param({"a/b.py": ""}, ("*.py",), "nothing is left", id="a folder is left without a file"),
        pytest.param({}, (), "no directory", id="not there"),
        pytest.param({"a.py": ""}, ("!",), "--exclude: '!' is no pattern", id="a pattern that is none"),
    ],
)
def test_nothing_to_pack(tmp_path: Path, tree: dict[str, str], excludes: tuple[str, ...], said: str) -> None:
    with pytest.raises(PackageError, match=said):
        packed(planted(tmp_path / "source", tree), *excludes)


def test_what_cannot_be_packed_is_named(source: Path) -> None:
    (source / "gone").symlink_to("nowhere")
    with pytest.raises(PackageError, match=r"gone cannot be read.*--exclude"):
        packed(source)
    (source / "gone").unlink()
    os.mkfifo(source / "pipe")
    with pytest.raises(PackageError, match=r"pipe is neither a file nor a folder.*--exclude 'pipe'"):
        packed(source)
    (source / "pipe").unlink()
    (source / "pkg" / "round").symlink_to(source)
    with pytest.raises(PackageError, match="links to a folder that it stands in"):
        packed(source)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param(b"a\\b", "Ray would not unpack", id="a backslash"),
        pytest.param(b"c:x", "Ray would not unpack", id="a drive"),
        pytest.param(b"\xff.py", "is no UTF-8", id="no text"),
    ],
)
def test_a_name_that_would_be_lost_on_the_way_is_refused(source: Path, name: bytes, said: str) -> None:
    Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_text("")
    with pytest.raises(PackageError, match=said):
        packed(source)
    assert names_in(packed(source, "*[:\\\\]*", "*\udcff*")) == set(TREE)


def test_a_package_of_exactly_the_largest_size_is_taken(source: Path) -> None:
    package = packed(source)
    assert packed(source, largest=package.size).size == package.size == from_zip(package.path, largest=package.size).size
    with pytest.raises(PackageError, match="more than the"):
        packed(source, largest=package.size - 1)
    with pytest.raises(PackageError, match=r"Ray's dashboard takes .*--exclude"):
        from_zip(package.path, largest=package.size - 1)


def test_what_is_too_large_and_cannot_be_read_is_said_in_a_sentence_too(source: Path) -> None:
    (source / "data" / "big.bin").write_bytes(os.urandom(2 * 2**20))
    (source / "zz").symlink_to("nowhere")
    with pytest.raises(PackageError, match=r"zz cannot be read.*--exclude"):
        packed(source)


def test_a_folder_behind_a_link_is_packed(source: Path, tmp_path: Path) -> None:
    planted(tmp_path / "shared", {"util.py": "y = 2"})
    (source / "shared").symlink_to(tmp_path / "shared")
    assert names_in(packed(source)) == {*TREE, "shared/util.py"}


def test_a_zip_is_taken_as_it_is(source: Path, tmp_path: Path) -> None:
    package = packed(source)
    given = package.path.rename(tmp_path / "given.zip")
    taken = prepare(given, (), tmp_path)
    assert (taken.path, taken.files) == (given, len(TREE))
    assert from_zip(given).name == taken.name
    given.write_text("no zip")
    with pytest.raises(PackageError, match="no zip file"):
        prepare(given, (), tmp_path)


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("s3://bucket/code.zip", True),
        ("https://host/code.zip", True),
        ("gcs://_ray_pkg_1.zip", True),
        (".", False),
        ("C:\\x", False),
    ],
)
def test_what_ray_fetches_itself(text: str, remote: bool) -> None:
    assert is_remote(text) is remote
