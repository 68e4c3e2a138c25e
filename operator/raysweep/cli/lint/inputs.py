"""Files, folders and stdin to texts that may hold manifests. What stands in them is not looked at here."""

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from raysweep.cli.lint.yaml_positions import Position

LARGEST = 4 * 2**20
"""Bytes of one file. An object has at most 1.5 MiB in the cluster (etcd's limit)."""
SUFFIXES = frozenset({".yaml", ".yml", ".json"})
STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A text and the name of its file; where it could not be read, why not, and how far it could."""

    name: str
    text: str = ""
    problem: str = ""
    at: Position | None = None


def manifests(given: Iterable[Path]) -> Iterator[Manifest]:
    """Everything in the order in which it was given, nothing twice; what is in a folder, by name."""
    seen: set[object] = set()
    for path in given:
        for one in _within(path):
            where = one if isinstance(one, Manifest) or one == STDIN else os.path.realpath(one)
            if where in seen:
                continue
            seen.add(where)
            yield one if isinstance(one, Manifest) else _read(one)


def _within(path: Path) -> Iterator[Path | Manifest]:
    """The path itself, or the manifests in that folder and the folders in it; hidden ones and links to folders are left out."""
    if path == STDIN or not path.is_dir():
        yield path
        return
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(path, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found = (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        yield from (
            file
            for file in found
            if file.suffix.lower() in SUFFIXES and (file.is_file() or not file.exists())
        )
    for error in unreadable:
        yield Manifest(str(error.filename), problem=f"cannot be read: {error.strerror}")


def _read(path: Path) -> Manifest:
    name = "<stdin>" if path == STDIN else str(path)
    try:
        raw = sys.stdin.buffer.read(LARGEST + 1) if path == STDIN else _bytes(path)
    except OSError as error:
        return Manifest(name, problem=f"cannot be read: {error.strerror}")
    if len(raw) > LARGEST:
        return Manifest(
            name,
            problem=f"has more than {LARGEST // 2**20} MiB; split it, or check what is in the cluster with --live",
        )
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        return Manifest(name, raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        before = raw[raw.rfind(b"\n", 0, error.start) + 1 : error.start]
        at = Position(line, len(before.decode()) + 1)
        return Manifest(name, problem=f"is no UTF-8: byte 0x{raw[error.start]:02x}", at=at)


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST + 1)
