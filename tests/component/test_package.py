"""A working directory as a package: named after its content, without what is ignored, as Ray itself would unpack it."""

import logging
import os
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
    subprocess.run(["git", "init", "-q", str(source)], check=True)
    listed = subprocess.run(
        ["git", "-C", str(source), "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True, text=True
    )
    assert {name for name in names_in(packed(source)) if not name.endswith("/")} == set(listed.stdout.split())


def test_what_ray_leaves_out_by_itself_and_what_is_asked_for_is_left_out(tmp_path: Path) -> None:
    tree = TREE | {".git/config": "", "pkg/__pycache__/m.pyc": "", ".venv/x": "", ".rayignore": "*.sh\n"}
    found = names_in(packed(planted(tmp_path / "source", tree), "data/", "model.py"))
    assert found == {"train.py", "pkg/__init__.py", ".rayignore"}


def test_too_large_names_the_largest(source: Path) -> None:
    (source / "data" / "big.bin").write_bytes(os.urandom(3 * 2**20))
    with pytest.raises(PackageError, match=r"more than the 1 MiB .* the largest in it: data 3\.0 MiB.*--exclude"):
        packed(source)


@pytest.mark.parametrize(
    ("tree", "excludes", "said"),
    [
        pytest.param({"a.py": ""}, ("*",), "nothing is left", id="everything is ignored"),
        pytest.param({}, (), "no directory", id="not there"),
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
