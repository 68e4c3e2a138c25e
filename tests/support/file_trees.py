"""File trees for tests of a working directory, and the files of a package."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

from raysweep.submission.package import Package, pack

TREE = {
    "train.py": "print(1)",
    "pkg/__init__.py": "",
    "pkg/model.py": "x = 1",
    "data/big.bin": "0" * 1000,
    "run.sh": "true",
}


def write_tree(folder: Path, tree: Mapping[str, str]) -> Path:
    """Writes files with these texts. Returns the folder."""
    for name, text in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def packed(folder: Path, *excludes: str, into: Path | None = None, largest: int = 2**20) -> Package:
    """Packs a folder into the given one, or into a folder beside it."""
    target = into or folder.parent / "packed"
    target.mkdir(exist_ok=True)
    return pack(folder, excludes, target, largest=largest)


def entries_of(package: Package) -> set[str]:
    """The names in a package. Those of empty folders end with a slash."""
    with zipfile.ZipFile(package.path) as archive:
        return set(archive.namelist())
