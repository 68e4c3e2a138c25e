"""Lists the files of a working directory as Ray does: without ignored files, sockets and devices.

Everything here blocks: call it in a thread.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from raysweep.core.text import in_quotes, quoted
from raysweep.submission.ignore_patterns import IgnorePatterns, parse_ignore_file

TOP = PurePosixPath()
PACKAGE_NAME = "package.zip"

_DANGLING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""The errors of a link without a target. Ray uses pathlib.Path.is_file, which is False then."""
_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a fifo",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass
class DirectoryWalk:
    """One pass through a directory. A problem does not end it, but is collected.

    excluded: the default patterns and those of --exclude. No ignore file includes them again.
    own_paths: real paths of the package that is being written, which may lie in the directory.
    sizes: bytes on disk by the first part of the path.
    """

    root: Path
    excluded: IgnorePatterns
    ignore_files: tuple[str, ...]
    own_paths: frozenset[str]
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    _open_folders: list[Path] = field(default_factory=list)

    def paths(
        self, folder: PurePosixPath = TOP, parent: IgnorePatterns | None = None
    ) -> Iterator[PurePosixPath]:
        """Yields every file and every empty folder, relative to the root, always in one order."""
        directory = self.root / folder
        try:
            real_path = directory.resolve()
            patterns = self._patterns(folder, parent)
            entries = sorted(folder / entry.name for entry in directory.iterdir())
        except OSError as error:
            self.add_unreadable(folder, error)
            return
        if real_path in self._open_folders:
            message = f"{directory} links to a folder that contains it"
            self.problems.append(f"{message}: {_exclude_hint(folder)}")
            return
        self._open_folders.append(real_path)
        is_empty = True
        for path in entries:
            status = _status(self.root / path)
            is_folder = isinstance(status, os.stat_result) and stat.S_ISDIR(status.st_mode)
            if self._is_own(path, is_folder=is_folder):
                continue
            is_empty = False  # to Ray, a folder is not empty if all its files are ignored
            if self._is_ignored(path, patterns, is_folder=is_folder):
                continue
            if is_folder:
                yield from self.paths(path, patterns)
            elif self._is_packed(path, status):
                yield path
        if is_empty and folder.parts:
            yield folder
        self._open_folders.pop()

    def add_unreadable(self, path: PurePosixPath, error: OSError) -> None:
        """Collects the problem that a path cannot be read."""
        message = f"{self.root / path} cannot be read: {error.strerror}"
        self.problems.append(f"{message}: {_exclude_hint(path)}")

    def _is_ignored(
        self, path: PurePosixPath, patterns: IgnorePatterns | None, *, is_folder: bool
    ) -> bool:
        if self.excluded.ignores(path, is_folder=is_folder):
            return True
        return patterns is not None and patterns.ignores(path, is_folder=is_folder)

    def _is_packed(self, path: PurePosixPath, status: os.stat_result | OSError) -> bool:
        """Whether the path is a file to pack. Ray packs files and folders, and nothing else."""
        if isinstance(status, OSError):
            if status.errno in _DANGLING:
                self.left_out.append(f"{quoted(path)} (dangling link)")
            else:
                self.add_unreadable(path, status)
            return False
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a file")
            self.left_out.append(f"{quoted(path)} ({kind})")
            return False
        self.sizes[path.parts[0]] += status.st_size
        return True

    def _is_own(self, path: PurePosixPath, *, is_folder: bool) -> bool:
        """Whether the path is the package itself or its folder. Resolves few paths: it is slow."""
        is_candidate = is_folder or path.name == PACKAGE_NAME
        return is_candidate and os.path.realpath(self.root / path) in self.own_paths

    def _patterns(
        self, folder: PurePosixPath, parent: IgnorePatterns | None
    ) -> IgnorePatterns | None:
        lines: list[str] = []
        for name in self.ignore_files:
            file = self.root / folder / name
            if file.is_file():
                lines += file.read_bytes().decode("utf-8-sig", "surrogateescape").split("\n")
        if not lines:
            return parent
        return IgnorePatterns(folder, tuple(parse_ignore_file(lines)), parent)


def _status(path: Path) -> os.stat_result | OSError:
    try:
        return path.stat()
    except OSError as error:
        return error


def _exclude_hint(path: PurePosixPath) -> str:
    if not path.parts:
        return "change its permissions"
    return f"exclude it with --exclude {in_quotes(str(path))}"
