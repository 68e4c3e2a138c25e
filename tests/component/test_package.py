"""A working directory as a package: named after its content, and packed like Ray's client."""

import logging
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import create_package, unzip_package

from raysweep.submission.package import PackageError, from_zip, prepare
from tests.support.file_trees import TREE, entries_of, packed, write_tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "source", TREE)


def test_the_same_content_has_the_same_name(source: Path, tmp_path: Path) -> None:
    copy = write_tree(tmp_path / "elsewhere" / "copy", dict(reversed(TREE.items())))
    os.utime(copy / "train.py", (0, 0))
    first, second = packed(source), packed(copy, into=tmp_path)
    assert first.uri == second.uri == f"gcs://{first.name}"
    assert first.path.read_bytes() == second.path.read_bytes()


@pytest.mark.parametrize("change", ["content", "name", "executable", "new folder"])
def test_another_content_has_another_name(source: Path, change: str) -> None:
    before = packed(source).name
    match change:
        case "content":
            (source / "train.py").write_text("print(2)")
        case "name":
            (source / "train.py").rename(source / "main.py")
        case "executable":
            (source / "run.sh").chmod(0o755)
        case _:
            (source / "empty").mkdir()
    assert packed(source).name != before


def test_ray_unpacks_it_to_the_same_tree(source: Path, tmp_path: Path) -> None:
    (source / "run.sh").chmod(0o755)
    (source / "empty").mkdir()
    (source / "link.py").symlink_to("train.py")
    package, target = packed(source), tmp_path / "target"
    unzip_package(
        str(package.path),
        str(target),
        remove_top_level_directory=False,
        unlink_zip=False,
        logger=logging.getLogger(),
    )
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert files == {*TREE, "link.py"}
    assert (target / "link.py").read_text() == "print(1)"
    assert os.access(target / "run.sh", os.X_OK)
    assert (target / "empty").is_dir()


def test_a_folder_with_only_excluded_files_is_not_an_empty_folder(source: Path) -> None:
    (source / "empty").mkdir()
    package = packed(source, "*.bin")
    assert entries_of(package) == {"empty/", *TREE} - {"data/big.bin"}
    assert package.files == len(TREE) - 1


def test_the_package_does_not_contain_itself(source: Path) -> None:
    elsewhere = packed(source)
    for into in (source, source / "pkg" / "packed"):
        package = packed(source, into=into)
        assert (package.name, entries_of(package)) == (elsewhere.name, set(TREE))
        package.path.unlink()


def test_a_file_that_changes_is_named_after_what_was_written(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    # Each read of this file returns another content.
    (source / "changing").symlink_to("/proc/sys/kernel/random/uuid")
    first, second = packed(source), packed(source, into=tmp_path / "other")
    assert first.name != second.name
    for package in (first, second):
        unpacked = tmp_path / package.name
        with zipfile.ZipFile(package.path) as archive:
            archive.extractall(unpacked)
        assert packed(unpacked, into=tmp_path).name == package.name


def test_a_package_that_is_too_large_names_its_largest_entries(source: Path) -> None:
    (source / "data" / "big.bin").write_bytes(os.urandom(3 * 2**20))
    with pytest.raises(PackageError, match=r"3\.0 MiB.* 1 MiB .* data 3\.0 MiB.*--exclude"):
        packed(source)


def test_a_directory_without_files_to_pack_is_refused(tmp_path: Path) -> None:
    for number, (tree, exclude, problem) in enumerate(
        (
            ({"a.py": ""}, "*", "every file of .* is ignored"),
            ({"a/b.py": ""}, "*.py", "every file of .* is ignored"),
            ({}, "x", "is not a directory"),
            ({"a.py": ""}, "!", "invalid pattern '!'"),
        )
    ):
        source = write_tree(tmp_path / str(number) / "source", tree)
        source.parent.mkdir(exist_ok=True)
        with pytest.raises(PackageError, match=problem):
            packed(source, exclude)


def test_a_loop_of_links_is_refused(source: Path) -> None:
    (source / "pkg" / "round").symlink_to(source)
    with pytest.raises(PackageError, match="links to a folder that contains it"):
        packed(source)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param(b"a\\b", "Ray does not unpack", id="a backslash"),
        pytest.param(b"c:x", "Ray does not unpack", id="a drive"),
        pytest.param(b"\xff.py", "not valid UTF-8", id="no text"),
    ],
)
def test_a_name_that_would_get_lost_is_refused(source: Path, name: bytes, problem: str) -> None:
    Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_text("")
    with pytest.raises(PackageError, match=problem):
        packed(source)
    assert entries_of(packed(source, "*[:\\\\]*", "*\udcff*")) == set(TREE)


def test_a_package_of_the_largest_size_is_accepted(source: Path) -> None:
    package = packed(source)
    assert packed(source, largest=package.size).size == package.size
    assert from_zip(package.path, largest=package.size).size == package.size
    with pytest.raises(PackageError, match=r"Ray's dashboard accepts.*--exclude"):
        packed(source, largest=package.size - 1)
    with pytest.raises(PackageError, match=r"Ray's dashboard accepts.*--exclude"):
        from_zip(package.path, largest=package.size - 1)


def test_a_folder_behind_a_link_is_packed(source: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "shared", {"util.py": "y = 2"})
    (source / "shared").symlink_to(tmp_path / "shared")
    assert entries_of(packed(source)) == {*TREE, "shared/util.py"}


def test_a_zip_is_used_without_a_change(source: Path, tmp_path: Path) -> None:
    archive = packed(source).path.rename(tmp_path / "code.zip")
    package = prepare(archive, (), tmp_path)
    assert (package.path, package.files) == (archive, len(TREE))
    assert from_zip(archive).name == package.name
    archive.write_text("no zip")
    with pytest.raises(PackageError, match="cannot be read as a zip file"):
        prepare(archive, (), tmp_path)


def add_odd_files(folder: Path) -> socket.socket:
    """Adds what editors, git and Docker leave in a working directory. The socket is open."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / ".git-fsmonitor"))
    os.mkfifo(folder / "pipe")
    (folder / ".#train.py").symlink_to("user@host.1234:1700000000")
    (folder / "itself").symlink_to("itself")
    (folder / "null").symlink_to("/dev/null")
    return listening


def test_c16_only_files_and_folders_are_packed_like_in_ray(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "s", TREE)
    with add_odd_files(source):
        package = packed(source)
        ray_package = tmp_path / "ray.zip"
        create_package(str(source), ray_package, include_gitignore=True, excludes=[])
    with zipfile.ZipFile(ray_package) as archive:
        assert entries_of(package) == set(archive.namelist()) == set(TREE)
    assert package.name == packed(write_tree(tmp_path / "clean", TREE), into=tmp_path).name
    assert package.left_out == (
        "'.#train.py' (dangling link)",
        "'.git-fsmonitor' (a socket)",
        "'itself' (dangling link)",
        "'null' (a device)",
        "'pipe' (a fifo)",
    )


def test_c16_the_note_names_five_files(source: Path) -> None:
    for number in range(9):
        (source / f"link{number}").symlink_to("nowhere")
    note = packed(source).note
    assert "(9)" in note
    assert note.endswith("'link4' (dangling link), ...")


def test_c16_a_folder_with_only_a_fifo_is_not_an_empty_folder(source: Path) -> None:
    (source / "run").mkdir()
    os.mkfifo(source / "run" / "pipe")
    assert entries_of(packed(source)) == set(TREE)


def test_c16_ignored_files_are_not_in_the_note(source: Path) -> None:
    (source / ".gitignore").write_text("pipe\n")
    os.mkfifo(source / "pipe")
    assert packed(source).note == ""


def test_c16_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    names = ("a.py", "big.bin", "c:x", "locked/x", "secret", "z/\\")
    source = write_tree(tmp_path / "s", dict.fromkeys(names, ""))
    (source / "big.bin").write_bytes(os.urandom(2 * 2**20))
    (source / "round").symlink_to(source)
    (source / "dangling").symlink_to("nowhere")
    *problems, size_problem = problems_for_an_ordinary_user(source)
    paths = [problem.split(str(source))[-1] for problem in problems]
    for path, name in zip(paths, ("c:x", "locked", "round", "secret", "z/\\"), strict=True):
        assert path.startswith(f"/{name}")
    assert "big.bin 2.0 MiB" in size_problem
    assert all("--exclude" in problem for problem in (*problems, size_problem))


def problems_for_an_ordinary_user(source: Path) -> list[str]:
    """Packs without the right to read everything. Root has it, so a process gives it up first."""
    code = (
        "import pathlib, sys; from raysweep.submission.package import PackageError, pack\n"
        "try: pack(pathlib.Path(sys.argv[1]), (), pathlib.Path(sys.argv[2]), largest=2**20)\n"
        "except PackageError as error: print('\\0'.join(error.problems), end='')\n"
    )
    command = [sys.executable, "-c", code, str(source), str(source.parent)]
    if os.getuid() == 0:
        rights = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", *command]
    locked = (source / "locked", source / "secret")
    for path in locked:
        path.chmod(0)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    finally:
        for path in locked:
            path.chmod(0o700)
    return done.stdout.split("\0")


def test_c16_many_problems_are_counted(source: Path) -> None:
    for number in range(30):
        (source / f"{number:02}\\").write_text("")
    with pytest.raises(PackageError) as caught:
        packed(source)
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == "and 10 more like these"


def test_c16_an_error_names_the_place_of_the_folder(tmp_path: Path) -> None:
    place = "--runtime-env env.yaml: working_dir"
    with pytest.raises(PackageError, match=rf"^{place}: '.*nowhere' is not a directory"):
        prepare(tmp_path / "nowhere", (), tmp_path, place)
