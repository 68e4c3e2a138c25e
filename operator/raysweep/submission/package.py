"""Turns a working directory into a package that is named after its content, as Ray's own client does. Nothing is sent here.

Ray unpacks gcs:// packages without removing a top folder, so the files stand at the zip's root
(ray._private.runtime_env.packaging.download_and_unpack_package). Everything here blocks: call it in a thread.
"""

import errno
import hashlib
import ntpath
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from raysweep.core.text import in_quotes, quoted

LARGEST = 100 * 2**20
"""Ray's dashboard takes no larger body (ray._private.ray_constants.DASHBOARD_CLIENT_MAX_SIZE)."""
DEFAULT_EXCLUDES = (".git", ".venv", "venv", "__pycache__")
"""What Ray itself leaves out (ray._private.ray_constants.RAY_RUNTIME_ENV_DEFAULT_EXCLUDES)."""
TOP = PurePosixPath()
IGNORE_FILES = (".gitignore", ".rayignore")
MIB = 2**20
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold; the same for every file, so that the package depends on the content alone."""
_CHUNK = 2**20
_NAME = "package.zip"
_LAST_STARS = re.compile(r"(^!?|/)\*(\*?)(/?)\s*$")
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Of a link: it leads nowhere. pathlib.Path.is_file, by which Ray chooses, is False then."""
_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a fifo",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
MOST_TOLD = 20
_TOLD_OF_LEFT_OUT = 5


class PackageError(Exception):
    """A working directory that cannot be packed; each problem names what, where, and the remedy."""

    def __init__(self, *problems: str) -> None:
        more = len(problems) - MOST_TOLD
        rest = [f"and {more} more like these"] if more > 0 else []
        self.problems = (*problems[:MOST_TOLD], *rest)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Package:
    """A zip on disk, and the name under which the head is to keep it. size in bytes.

    left_out: what no zip can hold, as a socket or a link that leads nowhere; Ray leaves it out too.
    """

    uri: str
    name: str
    path: Path
    size: int
    files: int
    left_out: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """A sentence on what was left out, "" if nothing was."""
        if not self.left_out:
            return ""
        shown = ", ".join(self.left_out[:_TOLD_OF_LEFT_OUT])
        more = ", ..." if len(self.left_out) > _TOLD_OF_LEFT_OUT else ""
        count = f"{len(self.left_out)} of the working directory not uploaded"
        return f"{count}, as in Ray: {shown}{more}"


@dataclass(frozen=True, slots=True)
class _Rules:
    """The patterns of one folder's ignore files, and of the folders above it; the deepest that says something counts."""

    folder: PurePosixPath
    patterns: tuple[GitIgnoreSpecPattern, ...]
    above: "_Rules | None" = None

    def ignores(self, path: PurePosixPath, *, is_folder: bool) -> bool:
        """Whether the last pattern that matches this very path leaves it out. Folders above it were asked for before."""
        relative = path.relative_to(self.folder).as_posix() + ("/" if is_folder else "")
        for pattern in reversed(self.patterns):
            if pattern.regex and pattern.regex.fullmatch(relative):
                return bool(pattern.include)
        return self.above.ignores(path, is_folder=is_folder) if self.above else False


def _pattern(line: str) -> GitIgnoreSpecPattern:
    """A line whose regex, matched in full, says of one path what git says of it. Raises GitIgnorePatternError.

    pathspec is asked about files, and a folder's pattern counts for what is below, which loses folders (`*`, `!*/`, `!*.py`).
    A walk asks about each folder first, as git does. Stars at the end have a regex of their own there, so they are spelt out.
    """
    return GitIgnoreSpecPattern(
        _LAST_STARS.sub(lambda found: f"{found[1]}{'**/' if found[2] else ''}?*{found[3]}", line)
    )


def _patterns(lines: Iterable[str]) -> Iterator[GitIgnoreSpecPattern]:
    for line in lines:
        try:
            yield _pattern(line)
        except GitIgnorePatternError:
            continue  # one that matches nothing, to git too


def _asked(excludes: Sequence[str]) -> Iterator[GitIgnoreSpecPattern]:
    for line in excludes:
        try:
            yield _pattern(line)
        except GitIgnorePatternError:
            hint = "write it as in .gitignore, as '*.bin' or 'data/'"
            raise PackageError(f"{quoted(line)} is not a pattern to exclude; {hint}") from None


@dataclass
class _Walk:
    """One pass through a directory. What is wrong does not end it: it is collected."""

    root: Path
    always: _Rules  # the defaults and what was asked for; no ignore file takes it back
    ignore_files: tuple[str, ...]
    ours: frozenset[str]  # real paths of what is being written, which may lie in the directory
    trail: list[Path] = field(
        default_factory=list
    )  # real paths of the folders above, to notice loops of links
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)  # on disk, of what stands at the top

    def files(
        self, folder: PurePosixPath = TOP, above: _Rules | None = None
    ) -> Iterator[PurePosixPath]:
        """Every file and every empty folder, relative to the root and in one order everywhere."""
        here = self.root / folder
        try:
            real = here.resolve()
            if real in self.trail:
                loop = f"{here} links to a folder that it stands in"
                self.problems.append(f"{loop}; {_without(folder)}")
                return
            rules = self._rules(folder, above)
            entries = sorted(folder / entry.name for entry in here.iterdir())
        except OSError as error:
            self.cannot_read(folder, error)
            return
        self.trail.append(real)
        is_empty = True
        for path in entries:
            found = _found(self.root / path)
            is_folder = isinstance(found, os.stat_result) and stat.S_ISDIR(found.st_mode)
            if self._is_ours(path, is_folder=is_folder):
                continue
            is_empty = False  # one whose files are all left out is no empty one, to Ray too
            if self.always.ignores(path, is_folder=is_folder) or (
                rules and rules.ignores(path, is_folder=is_folder)
            ):
                continue
            if is_folder:
                yield from self.files(path, rules)
            elif self._is_file(path, found):
                yield path
        if is_empty and folder.parts:
            yield folder
        self.trail.pop()

    def cannot_read(self, path: PurePosixPath, error: OSError) -> None:
        """Collects it; the walk goes on."""
        message = f"{self.root / path} cannot be read: {error.strerror}"
        self.problems.append(f"{message}; {_without(path)}")

    def _is_file(self, path: PurePosixPath, found: os.stat_result | OSError) -> bool:
        """Whether it goes into the package. Ray packs files and folders, and nothing else."""
        if isinstance(found, OSError):
            if found.errno in _NOT_THERE:
                self.left_out.append(f"{quoted(path)} (leads nowhere)")
            else:
                self.cannot_read(path, found)
            return False
        if not stat.S_ISREG(found.st_mode):
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "not a file")
            self.left_out.append(f"{quoted(path)} ({kind})")
            return False
        self.sizes[path.parts[0]] += found.st_size
        return True

    def _is_ours(self, path: PurePosixPath, *, is_folder: bool) -> bool:
        return (is_folder or path.name == _NAME) and os.path.realpath(self.root / path) in self.ours

    def _rules(self, folder: PurePosixPath, above: _Rules | None) -> _Rules | None:
        lines: list[str] = []
        for name in self.ignore_files:
            if (file := self.root / folder / name).is_file():
                lines += file.read_bytes().decode("utf-8-sig", "surrogateescape").split("\n")
        return _Rules(folder, tuple(_patterns(lines)), above) if lines else above


def _found(path: Path) -> os.stat_result | OSError:
    try:
        return path.stat()
    except OSError as error:
        return error


def _without(path: PurePosixPath) -> str:
    if not path.parts:
        return "change its permissions"
    return f"leave it out with --exclude {in_quotes(str(path))}"


def prepare(
    working_dir: Path,
    excludes: Sequence[str],
    into: Path,
    place: str = "--working-dir",
) -> Package:
    """A directory packed, or a zip as it is, as Ray takes both. Raises PackageError.

    place: where it was given.
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
    """The directory as a zip in the folder `into`. Raises PackageError with every problem.

    excludes: patterns as in .gitignore; place: where the directory was given.
    """
    if not directory.is_dir():
        shown = quoted(str(directory))
        raise PackageError(f"{place}: {shown} is not a directory, a .zip file or a URI")
    ignore_files = IGNORE_FILES if use_gitignore else IGNORE_FILES[1:]
    always = _Rules(TOP, (*_patterns(DEFAULT_EXCLUDES), *_asked(excludes)))
    path = into / _NAME
    walk = _Walk(directory, always, ignore_files, frozenset(map(os.path.realpath, (into, path))))
    try:
        return _written(walk, path, place, largest)
    except OSError as error:  # what cannot be read was collected, so it is what was written to
        message = f"{directory} cannot be packed into {into}: {error.strerror}"
        raise PackageError(f"{message}; make room, or set TMPDIR") from None


def _written(walk: _Walk, path: Path, place: str, largest: int) -> Package:
    with zipfile.ZipFile(path, "w") as archive:
        writer = _Writer(archive, walk, largest)
        for relative in walk.files():
            writer.add(relative)
    size = path.stat().st_size
    problems = list(walk.problems)
    if writer.is_over or size > largest:
        problems.append(_too_large(walk, place, largest))
    if problems:
        raise PackageError(*problems)
    if not archive.filelist:
        message = f"nothing is left of {walk.root} after what is ignored"
        raise PackageError(f"{place}: {message}; look at .gitignore and --exclude")
    package = _named(writer.digest.hexdigest(), path, size, writer.files)
    return replace(package, left_out=tuple(walk.left_out))


def from_zip(path: Path, *, place: str = "--working-dir", largest: int = LARGEST) -> Package:
    """A working directory that is a zip already."""
    try:
        if (size := path.stat().st_size) > largest:
            limit = f"Ray's dashboard takes {largest / MIB:g} MiB"
            raise PackageError(f"{place}: {path} has {size / MIB:.1f} MiB, and {limit}; {_REMEDY}")
        with zipfile.ZipFile(path) as archive:
            count = sum(not entry.is_dir() for entry in archive.infolist())
        with path.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256")
    except (OSError, zipfile.BadZipFile) as error:
        raise PackageError(f"{place}: {path} is no zip file that can be read: {error}") from None
    return _named(digest.hexdigest(), path, size, count)


def _name_problem(source: Path, relative: PurePosixPath) -> str:
    """Ray leaves out what Windows would take for another place (unzip_package), and a zip's names are text."""
    name = relative.as_posix()
    if not name.isascii() and name != name.encode("utf-8", "replace").decode():
        return f"{quoted(source)}: its name is no UTF-8; rename it, or leave it out with --exclude"
    if "\\" in name or ntpath.splitdrive(name)[0]:
        return (
            f"{quoted(source)}: Ray would not unpack a file of this name (a backslash, or a drive as C:); "
            "rename it, or leave it out with --exclude"
        )
    return ""


@dataclass
class _Writer:
    """Writes files into the zip until it is too large; the digest is of what it writes."""

    archive: zipfile.ZipFile
    walk: _Walk
    largest: int
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    files: int = 0
    is_over: bool = False

    def add(self, relative: PurePosixPath) -> None:
        """A file or an empty folder; only its problems, if the zip is too large already."""
        source = self.walk.root / relative
        if problem := _name_problem(source, relative):
            self.walk.problems.append(problem)
            return
        try:
            about = source.stat()
            is_folder = stat.S_ISDIR(about.st_mode)
            data = None if is_folder else source.open("rb")
        except OSError as error:
            self.walk.cannot_read(relative, error)
            return
        entry = _entry(relative, about)
        if data is None:
            self._record(entry, about)
            self.archive.writestr(entry, b"")
            return
        with data:
            if not self.is_over:
                self._record(entry, about)
                self._copy(data, entry, about.st_size)

    def _record(self, entry: zipfile.ZipInfo, about: os.stat_result) -> None:
        self.digest.update(f"{len(entry.filename)}:{entry.filename}:{_may_run(about):d}:".encode())

    def _copy(self, data: BinaryIO, entry: zipfile.ZipInfo, size: int) -> None:
        content = hashlib.sha256()
        with self.archive.open(entry, "w", force_zip64=size >= 2**31) as there:
            while chunk := data.read(_CHUNK):
                content.update(chunk)
                there.write(chunk)
                if self.archive.fp and self.archive.fp.tell() > self.largest:
                    self.is_over = True
                    return
        self.digest.update(content.digest())
        self.files += 1


def _entry(relative: PurePosixPath, about: os.stat_result) -> zipfile.ZipInfo:
    is_folder = stat.S_ISDIR(about.st_mode)
    entry = zipfile.ZipInfo(relative.as_posix() + ("/" if is_folder else ""), LONG_AGO)
    kind, mode = stat.S_IFDIR if is_folder else stat.S_IFREG, 0o755 if _may_run(about) else 0o644
    entry.external_attr = (kind | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _may_run(about: os.stat_result) -> bool:
    return bool(about.st_mode & stat.S_IXUSR)


_REMEDY = "leave out what the job does not need (.gitignore, .rayignore, --exclude), or name a URI, as s3://bucket/code.zip"


def _too_large(walk: _Walk, place: str, largest: int) -> str:
    """Names the largest of what stands at the top."""
    shown = ", ".join(f"{name} {size / MIB:.1f} MiB" for name, size in walk.sizes.most_common(5))
    size = f"{walk.root} has {walk.sizes.total() / MIB:.1f} MiB"
    limit = f"packed more than the {largest / MIB:g} MiB that Ray's dashboard takes"
    return f"{place}: {size}, and {limit}; the largest in it: {shown}; {_REMEDY}"


def _named(digest: str, path: Path, size: int, files: int) -> Package:
    name = f"_ray_pkg_{digest[:32]}.zip"
    return Package(f"gcs://{name}", name, path, size, files)
