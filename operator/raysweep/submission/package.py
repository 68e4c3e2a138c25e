"""Packs a working directory into a zip that is named after its content, as Ray's own client does.

Ray unpacks gcs:// packages without removing a top folder, so the files are at the root of the zip
(ray._private.runtime_env.packaging.download_and_unpack_package). Everything here blocks: call it
in a thread.
"""

import hashlib
import ntpath
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from raysweep.core.text import quoted
from raysweep.submission.directory_walk import PACKAGE_NAME, TOP, DirectoryWalk
from raysweep.submission.ignore_patterns import IgnorePatterns, parse_ignore_file, parse_pattern

LARGEST = 100 * 2**20
"""Ray's dashboard accepts no larger body (ray_constants.DASHBOARD_CLIENT_MAX_SIZE)."""
DEFAULT_EXCLUDES = (".git", ".venv", "venv", "__pycache__")
"""What Ray itself excludes (ray_constants.RAY_RUNTIME_ENV_DEFAULT_EXCLUDES)."""
IGNORE_FILES = (".gitignore", ".rayignore")
MIB = 2**20
CHUNK = 2**20
OLDEST_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time of a zip. Every file has it, so that the package depends only on content."""
MOST_PROBLEMS = 20
MOST_LEFT_OUT_SHOWN = 5
MOST_SIZES_SHOWN = 5

_SIZE_HINT = (
    "exclude what the job does not need (.gitignore, .rayignore, --exclude), or use a URI such as "
    "s3://bucket/code.zip"
)


class PackageError(Exception):
    """A working directory that cannot be packed. Each problem names place and remedy."""

    def __init__(self, *problems: str) -> None:
        more = len(problems) - MOST_PROBLEMS
        rest = [f"and {more} more like these"] if more > 0 else []
        self.problems = (*problems[:MOST_PROBLEMS], *rest)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Package:
    """A zip on disk, and its name on the head.

    size: in bytes. left_out: what a zip cannot hold, such as a socket or a dangling link. Ray
    leaves it out too.
    """

    uri: str
    name: str
    path: Path
    size: int
    files: int
    left_out: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """A sentence about what was left out; "" if nothing was."""
        if not self.left_out:
            return ""
        shown = ", ".join(self.left_out[:MOST_LEFT_OUT_SHOWN])
        if len(self.left_out) > MOST_LEFT_OUT_SHOWN:
            shown += ", ..."
        return f"not uploaded, as with Ray's client ({len(self.left_out)}): {shown}"


def prepare(
    working_dir: Path, excludes: Sequence[str], into: Path, place: str = "--working-dir"
) -> Package:
    """Packs a directory, or uses a zip as it is, like Ray. Raises PackageError.

    place: where the working directory was set.
    """
    if working_dir.suffix == ".zip" and working_dir.is_file():
        return from_zip(working_dir, place=place)
    use_gitignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "") != "1"
    return pack(working_dir, excludes, into, place=place, use_gitignore=use_gitignore)


def pack(
    directory: Path,
    excludes: Sequence[str],
    into: Path,
    *,
    place: str = "--working-dir",
    use_gitignore: bool = True,
    largest: int = LARGEST,
) -> Package:
    """Writes the directory as a zip into the folder `into`. Raises PackageError.

    excludes: patterns as in .gitignore. place: where the directory was set.
    """
    if not directory.is_dir():
        shown = quoted(str(directory))
        raise PackageError(f"{place}: {shown} is not a directory, a .zip file or a URI")
    ignore_files = IGNORE_FILES if use_gitignore else IGNORE_FILES[1:]
    patterns = (*parse_ignore_file(DEFAULT_EXCLUDES), *_parse_excludes(excludes))
    path = into / PACKAGE_NAME
    own_paths = frozenset(map(os.path.realpath, (into, path)))
    walk = DirectoryWalk(directory, IgnorePatterns(TOP, patterns), ignore_files, own_paths)
    try:
        return _write(walk, path, place, largest)
    except OSError as error:  # the walk collects read errors, so this is a write error
        message = f"{directory} cannot be packed into {into}: {error.strerror}"
        raise PackageError(f"{message}: free some space, or set TMPDIR") from None


def from_zip(path: Path, *, place: str = "--working-dir", largest: int = LARGEST) -> Package:
    """Uses a zip as the working directory. Raises PackageError."""
    try:
        size = path.stat().st_size
        if size > largest:
            limit = f"{largest / MIB:g} MiB that Ray's dashboard accepts"
            message = f"{path} has {size / MIB:.1f} MiB, more than the {limit}"
            raise PackageError(f"{place}: {message}: {_SIZE_HINT}")
        with zipfile.ZipFile(path) as archive:
            count = sum(not entry.is_dir() for entry in archive.infolist())
        with path.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256")
    except (OSError, zipfile.BadZipFile) as error:
        raise PackageError(f"{place}: {path} cannot be read as a zip file: {error}") from None
    return _package(digest.hexdigest(), path, size, count)


def _parse_excludes(excludes: Sequence[str]) -> Iterator[GitIgnoreSpecPattern]:
    for line in excludes:
        try:
            yield parse_pattern(line)
        except GitIgnorePatternError:
            hint = "write it as in .gitignore, such as '*.bin' or 'data/'"
            raise PackageError(f"--exclude: invalid pattern {quoted(line)}: {hint}") from None


def _write(walk: DirectoryWalk, path: Path, place: str, largest: int) -> Package:
    with zipfile.ZipFile(path, "w") as archive:
        writer = _Writer(archive, walk, largest)
        for relative in walk.paths():
            writer.add(relative)
    size = path.stat().st_size
    problems = list(walk.problems)
    if writer.is_too_large or size > largest:
        problems.append(_too_large(walk, place, largest))
    if problems:
        raise PackageError(*problems)
    if not archive.filelist:
        message = f"every file of {walk.root} is ignored"
        raise PackageError(f"{place}: {message}: check .gitignore and --exclude")
    package = _package(writer.digest.hexdigest(), path, size, writer.files)
    return replace(package, left_out=tuple(walk.left_out))


def _package(digest: str, path: Path, size: int, files: int) -> Package:
    name = f"_ray_pkg_{digest[:32]}.zip"
    return Package(f"gcs://{name}", name, path, size, files)


def _too_large(walk: DirectoryWalk, place: str, largest: int) -> str:
    """The problem of a package that is too large, with its largest files and folders."""
    sizes = walk.sizes.most_common(MOST_SIZES_SHOWN)
    shown = ", ".join(f"{name} {size / MIB:.1f} MiB" for name, size in sizes)
    total = f"{walk.root} has {walk.sizes.total() / MIB:.1f} MiB"
    limit = f"packed, more than the {largest / MIB:g} MiB that Ray's dashboard accepts"
    return f"{place}: {total}, and {limit}. Largest entries: {shown}. To fix it, {_SIZE_HINT}"


def _name_problem(source: Path, relative: PurePosixPath) -> str | None:
    """The problem of a name that would get lost, if it has one.

    Names in a zip are text. Ray does not unpack what Windows could treat as another place
    (unzip_package).
    """
    name = relative.as_posix()
    hint = "rename it, or exclude it with --exclude"
    if not name.isascii() and name != name.encode("utf-8", "replace").decode():
        return f"{quoted(source)}: its name is not valid UTF-8: {hint}"
    if "\\" in name or ntpath.splitdrive(name)[0]:
        cause = "Ray does not unpack a file with a backslash or a drive (C:) in its name"
        return f"{quoted(source)}: {cause}: {hint}"
    return None


@dataclass
class _Writer:
    """Writes files into the zip until it is too large, and hashes what it writes."""

    archive: zipfile.ZipFile
    walk: DirectoryWalk
    largest: int
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    files: int = 0
    is_too_large: bool = False

    def add(self, relative: PurePosixPath) -> None:
        """Adds a file or an empty folder. If the zip is too large, it only checks it."""
        source = self.walk.root / relative
        if problem := _name_problem(source, relative):
            self.walk.problems.append(problem)
            return
        try:
            status = source.stat()
            data = None if stat.S_ISDIR(status.st_mode) else source.open("rb")
        except OSError as error:
            self.walk.add_unreadable(relative, error)
            return
        entry = _entry(relative, status)
        if data is None:
            self._hash_entry(entry, status)
            self.archive.writestr(entry, b"")
            return
        with data:
            if not self.is_too_large:
                self._hash_entry(entry, status)
                self._copy(data, entry, status.st_size)

    def _hash_entry(self, entry: zipfile.ZipInfo, status: os.stat_result) -> None:
        name = entry.filename
        self.digest.update(f"{len(name)}:{name}:{_is_executable(status):d}:".encode())

    def _copy(self, data: BinaryIO, entry: zipfile.ZipInfo, size: int) -> None:
        content = hashlib.sha256()
        with self.archive.open(entry, "w", force_zip64=size >= 2**31) as target:
            while chunk := data.read(CHUNK):
                content.update(chunk)
                target.write(chunk)
                if self.archive.fp and self.archive.fp.tell() > self.largest:
                    self.is_too_large = True
                    return
        self.digest.update(content.digest())
        self.files += 1


def _entry(relative: PurePosixPath, status: os.stat_result) -> zipfile.ZipInfo:
    is_folder = stat.S_ISDIR(status.st_mode)
    name = relative.as_posix()
    entry = zipfile.ZipInfo(f"{name}/" if is_folder else name, OLDEST_TIME)
    kind = stat.S_IFDIR if is_folder else stat.S_IFREG
    permissions = 0o755 if _is_executable(status) else 0o644
    entry.external_attr = (kind | permissions) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _is_executable(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_IXUSR)
