"""A working directory as a package: named after its content, and packed like Ray's client."""

import logging
import os
import random
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import create_package, unzip_package

from raysweep.submission.package import Package, PackageError, from_zip, pack, prepare

TREE = {
    "train.py": "print(1)",
    "pkg/__init__.py": "",
    "pkg/model.py": "x = 1",
    "data/big.bin": "0" * 1000,
    "run.sh": "true",
}


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


def test_the_same_content_has_the_same_name_anywhere_and_at_any_time(
    source: Path, tmp_path: Path
) -> None:
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
    unzip_package(
        str(package.path),
        str(there),
        remove_top_level_directory=False,
        unlink_zip=False,
        logger=logging.getLogger(),
    )

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
LINES = [
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
    "#a",
    "!",
    "a\\",
    "[",
]
LINES += ["c\\ d", "", "*.py  ", "y.py\r"]


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
def test_in_any_tree_what_git_ignores_is_left_out_and_nothing_else(
    tmp_path: Path, seed: int
) -> None:
    source = grown(random.Random(seed), tmp_path / "source")
    with (source / ".gitignore").open("ab") as lines:
        lines.write(b"\n!/kept\n")
    (source / "kept").write_text("so that there is something")
    assert files_in(packed(source)) == listed_by_git(source)


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        pytest.param(
            "*\n!*/\n!*.py\n",
            {"train.py", "pkg/__init__.py", "pkg/model.py"},
            id="only these, in any folder",
        ),
        pytest.param("/*\n!/pkg\n", {"pkg/__init__.py", "pkg/model.py"}, id="only this folder"),
        pytest.param(
            "pkg/**\ndata/**\n!pkg/model.py\n",
            {".gitignore", "pkg/model.py", "run.sh", "train.py"},
            id="all in it but one",
        ),
        pytest.param(
            "pkg/\ndata/\n!pkg/model.py\n",
            {".gitignore", "run.sh", "train.py"},
            id="nothing comes back from a folder left out",
        ),
        pytest.param(
            "\ufeffpkg\r\ndata\r\n", {".gitignore", "run.sh", "train.py"}, id="written on Windows"
        ),
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
    assert names_in(unheeded) == {
        ".gitignore",
        ".rayignore",
        "data/big.bin",
        *(name for name in TREE if name.endswith(".py")),
    }


def test_a_folder_whose_files_are_all_left_out_is_no_empty_folder(source: Path) -> None:
    (source / "empty").mkdir()
    package = packed(source, "*.bin")
    assert (names_in(package), package.files) == (
        {"empty/", *TREE} - {"data/big.bin"},
        len(TREE) - 1,
    )


def test_what_is_being_written_is_no_part_of_it(source: Path, tmp_path: Path) -> None:
    elsewhere = packed(source)
    for into in (source, source / "pkg" / "packed"):
        package = packed(source, into=into)
        assert (package.name, names_in(package)) == (elsewhere.name, set(TREE))
        package.path.unlink()


def test_what_changes_while_it_is_read_is_named_after_what_was_written(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "changing").symlink_to(
        "/proc/sys/kernel/random/uuid"
    )  # another content at each reading
    (tmp_path / "other").mkdir()
    first, second = packed(source), packed(source, into=tmp_path / "other")
    assert first.name != second.name
    for package in (first, second):
        there = tmp_path / package.name
        with zipfile.ZipFile(package.path) as archive:
            archive.extractall(there)
        assert packed(there, into=tmp_path).name == package.name


def test_what_ray_leaves_out_by_itself_and_what_is_asked_for_is_left_out(tmp_path: Path) -> None:
    tree = TREE | {
        ".git/config": "",
        "pkg/__pycache__/m.pyc": "",
        ".venv/x": "",
        ".rayignore": "*.sh\n",
    }
    found = names_in(packed(planted(tmp_path / "source", tree), "data/", "model.py"))
    assert found == {"train.py", "pkg/__init__.py", ".rayignore"}


def test_too_large_names_the_largest(source: Path) -> None:
    (source / "data" / "big.bin").write_bytes(os.urandom(3 * 2**20))
    with pytest.raises(
        PackageError,
        match=r"3\.0 MiB.* 1 MiB .* data 3\.0 MiB.*--exclude",
    ):
        packed(source)


@pytest.mark.parametrize(
    ("tree", "excludes", "said"),
    [
        pytest.param(
            {"a.py": ""}, ("*",), "every file of .* is ignored", id="everything is ignored"
        ),
        pytest.param(
            {"a/b.py": ""},
            ("*.py",),
            "every file of .* is ignored",
            id="a folder is left without a file",
        ),
        pytest.param({}, (), "is not a directory", id="not there"),
        pytest.param({"a.py": ""}, ("!",), "invalid pattern '!'", id="a pattern that is none"),
    ],
)
def test_nothing_to_pack(
    tmp_path: Path, tree: dict[str, str], excludes: tuple[str, ...], said: str
) -> None:
    with pytest.raises(PackageError, match=said):
        packed(planted(tmp_path / "source", tree), *excludes)


def test_a_loop_of_links_is_named(source: Path) -> None:
    (source / "pkg" / "round").symlink_to(source)
    with pytest.raises(PackageError, match="links to a folder that contains it"):
        packed(source)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param(b"a\\b", "Ray does not unpack", id="a backslash"),
        pytest.param(b"c:x", "Ray does not unpack", id="a drive"),
        pytest.param(b"\xff.py", "not valid UTF-8", id="no text"),
    ],
)
def test_a_name_that_would_be_lost_on_the_way_is_refused(
    source: Path, name: bytes, said: str
) -> None:
    Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_text("")
    with pytest.raises(PackageError, match=said):
        packed(source)
    assert names_in(packed(source, "*[:\\\\]*", "*\udcff*")) == set(TREE)


def test_a_package_of_exactly_the_largest_size_is_taken(source: Path) -> None:
    package = packed(source)
    assert (
        packed(source, largest=package.size).size
        == package.size
        == from_zip(package.path, largest=package.size).size
    )
    with pytest.raises(PackageError, match="more than the 0"):
        packed(source, largest=package.size - 1)
    with pytest.raises(PackageError, match=r"Ray's dashboard accepts: .*--exclude"):
        from_zip(package.path, largest=package.size - 1)


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
    with pytest.raises(PackageError, match="cannot be read as a zip file"):
        prepare(given, (), tmp_path)


def odd_files(folder: Path) -> socket.socket:
    """Files that editors, git and Docker leave in a working directory. The socket is open."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / ".git-fsmonitor"))
    os.mkfifo(folder / "pipe")
    (folder / ".#train.py").symlink_to("user@host.1234:1700000000")
    (folder / "itself").symlink_to("itself")
    (folder / "null").symlink_to("/dev/null")
    return listening


def test_c16_what_is_neither_a_file_nor_a_folder_is_left_out_as_ray_leaves_it_out(
    tmp_path: Path,
) -> None:
    source = planted(tmp_path / "s", TREE)
    with odd_files(source):
        package = packed(source)
        by_ray = tmp_path / "by_ray.zip"
        create_package(str(source), by_ray, include_gitignore=True, excludes=[])
    with zipfile.ZipFile(by_ray) as archive:
        assert names_in(package) == set(archive.namelist()) == set(TREE)
    assert package.name == packed(planted(tmp_path / "clean", TREE), into=tmp_path).name
    assert package.note == (
        "not uploaded, as with Ray's client (5): '.#train.py' (dangling link), "
        "'.git-fsmonitor' (a socket), 'itself' (dangling link), 'null' (a device), 'pipe' (a fifo)"
    )


def test_c16_the_note_names_the_first_few(tmp_path: Path) -> None:
    source = planted(tmp_path / "s", TREE)
    for number in range(9):
        (source / f"link{number}").symlink_to("nowhere")
    note = packed(source).note
    assert "(9)" in note
    assert note.endswith("'link4' (dangling link), ...")


def test_c16_a_folder_with_nothing_but_a_socket_is_no_empty_folder_as_in_ray(
    tmp_path: Path,
) -> None:
    source = planted(tmp_path / "s", TREE)
    (source / "run").mkdir()
    os.mkfifo(source / "run" / "pipe")
    assert names_in(packed(source)) == set(TREE)


def test_c16_what_is_ignored_is_not_worth_a_note(source: Path) -> None:
    (source / ".gitignore").write_text("pipe\n")
    os.mkfifo(source / "pipe")
    assert packed(source).note == ""


def test_c16_every_problem_is_told_at_once(tmp_path: Path) -> None:
    source = planted(
        tmp_path / "s",
        {"a.py": "", "big.bin": "", "c:x": "", "locked/x": "", "secret": "", "z/\\": ""},
    )
    (source / "big.bin").write_bytes(os.urandom(2 * 2**20))
    (source / "round").symlink_to(source)
    (source / "gone").symlink_to("nowhere")
    problems = problems_for_an_ordinary_user(source)
    assert [
        problem.split(str(source))[-1].partition(":")[0].partition(" ")[0].strip("'")
        for problem in problems[:-1]
    ] == [
        "/c",
        "/locked",
        "/round",
        "/secret",
        "/z/\\",
    ]
    assert "big.bin 2.0 MiB" in problems[-1]
    assert all("--exclude" in problem for problem in problems)


def problems_for_an_ordinary_user(source: Path) -> list[str]:
    """Packs without the right to read everything. Root has it, so a process gives it up first."""
    code = (
        "import pathlib, sys; from raysweep.submission.package import PackageError, pack\n"
        "try: pack(pathlib.Path(sys.argv[1]), (), pathlib.Path(sys.argv[2]), largest=2**20)\n"
        "except PackageError as error: print('\\0'.join(error.problems), end='')\n"
    )
    rights = "-dac_override,-dac_read_search"
    less = (
        ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if os.getuid() == 0 else []
    )
    for path in (source / "locked", source / "secret"):
        path.chmod(0)
    into = source.parent / "into"
    into.mkdir()
    command = [*less, sys.executable, "-c", code, str(source), str(into)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    finally:
        for path in (source / "locked", source / "secret"):
            path.chmod(0o700)
    return done.stdout.split("\0")


def test_c16_many_problems_are_counted(source: Path) -> None:
    for number in range(30):
        (source / f"{number:02}\\").write_text("")
    with pytest.raises(PackageError) as refused:
        packed(source)
    assert len(refused.value.problems) == 21
    assert refused.value.problems[-1] == "and 10 more like these"


def test_c16_an_error_names_where_the_folder_was_given(tmp_path: Path) -> None:
    with pytest.raises(
        PackageError, match=r"^--runtime-env env.yaml: working_dir: '.*nowhere' is not a directory"
    ):
        prepare(tmp_path / "nowhere", (), tmp_path, "--runtime-env env.yaml: working_dir")
