"""Files, folders and stdin as texts that may hold manifests."""

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from raysweep.cli.lint.yaml_positions import Position

LARGEST = 4 * 2**20
"""Bytes of one file. An object in the cluster has at most 1.5 MiB, the limit of etcd."""
SUFFIXES = frozenset({".yaml", ".yml", ".json"})
STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The text of a file, or the problem that prevents reading it, and its position if known."""

    name: str
    text: str = ""
    problem: str = ""
    position: Position | None = None


def manifests(paths: Iterable[Path]) -> Iterator[Manifest]:
    """The manifests at these paths in their order, each only once. Folders are read by name."""
    read: set[object] = set()
    for path in paths:
        for entry in _entries(path):
            identity = entry
            if isinstance(entry, Path) and entry != STDIN:
                identity = Path(os.path.realpath(entry))
            if identity in read:
                continue
            read.add(identity)
            yield entry if isinstance(entry, Manifest) else _read(entry)


def _entries(path: Path) -> Iterator[Path | Manifest]:
    """The path itself, or the manifests in that folder and the folders in it.

    Hidden files and links to folders are left out.
    """
    if path == STDIN or not path.is_dir():
        yield path
        return
    errors: list[OSError] = []
    for folder, folders, files in os.walk(path, onerror=errors.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            file = Path(folder, name)
            is_manifest = not name.startswith(".") and file.suffix.lower() in SUFFIXES
            is_special = file.exists() and not file.is_file()
            if is_manifest and not is_special:
                yield file
    for error in errors:
        yield Manifest(str(error.filename), problem=f"cannot be read: {error.strerror}")


def _read(path: Path) -> Manifest:
    name = "<stdin>" if path == STDIN else str(path)
    try:
        raw = sys.stdin.buffer.read(LARGEST + 1) if path == STDIN else _bytes(path)
    except OSError as error:
        return Manifest(name, problem=f"cannot be read: {error.strerror}")
    if len(raw) > LARGEST:
        limit = f"larger than {LARGEST // 2**20} MiB"
        return Manifest(name, problem=f"{limit}: split it, or check the cluster with --live")
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        return Manifest(name, raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        before = raw[raw.rfind(b"\n", 0, error.start) + 1 : error.start]
        position = Position(line, len(before.decode()) + 1)
        problem = f"not UTF-8: byte 0x{raw[error.start]:02x}"
        return Manifest(name, problem=problem, position=position)


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST + 1)
