"""Turns a working directory into a package that is named after its content, as Ray's own client does. Nothing is sent here.

Ray unpacks gcs:// packages without removing a top folder, so the files stand at the zip's root
(ray._private.runtime_env.packaging.download_and_unpack_package). Everything here blocks: call it in a thread.
"""

import hashlib
import ntpath
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

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
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


class PackageError(Exception):
    """A working directory that cannot be packed; the text names what, where, and the remedy."""


@dataclass(frozen=True, slots=True)
class Package:
    """A zip on disk, and the name under which the head is to keep it. size in bytes."""

    uri: str
    name: str
    path: Path
    size: int
    files: int


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
    return GitIgnoreSpecPattern(_LAST_STARS.sub(lambda found: f"{found[1]}{'**/' if found[2] else ''}?*{found[3]}", line))


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
            raise PackageError(
                f"--exclude: {quoted(line)} is no pattern; write it as in .gitignore, as '*.bin' or 'data/'"
            ) from None


@dataclass
class _Walk:
    """One pass through a directory."""

    root: Path
    always: _Rules  # the defaults and what was asked for; no ignore file takes it back
    ignore_files: tuple[str, ...]
    ours: frozenset[str]  # real paths of what is being written, which may lie in the directory
    trail: list[Path] = field(default_factory=list)  # real paths of the folders above, to notice loops of links

    def files(self, folder: PurePosixPath = TOP, above: _Rules | None = None) -> Iterator[PurePosixPath]:
        """Every file and every empty folder, relative to the root and in one order everywhere."""
        here = self.root / folder
        real = here.resolve()
        if real in self.trail:
            out = f"--exclude {in_quotes(str(folder))}"
            raise PackageError(f"{here} links to a folder that it stands in; leave it out with {out}")
        self.trail.append(real)
        rules, is_empty = self._rules(folder, above), True
        for path in sorted(folder / entry.name for entry in here.iterdir()):
            is_folder = (self.root / path).is_dir()
            if self._is_ours(path, is_folder=is_folder):
                continue
            is_empty = False  # one whose files are all left out is no empty one, to Ray too
            if self.always.ignores(path, is_folder=is_folder) or (rules and rules.ignores(path, is_folder=is_folder)):
                continue
            if is_folder:
                yield from self.files(path, rules)
            else:
                yield path
        if is_empty and folder.parts:
            yield folder
        self.trail.pop()

    def _is_ours(self, path: PurePosixPath, *, is_folder: bool) -> bool:
        return (is_folder or path.name == _NAME) and os.path.realpath(self.root / path) in self.ours

    def _rules(self, folder: PurePosixPath, above: _Rules | None) -> _Rules | None:
        lines: list[str] = []
        for name in self.ignore_files:
            if (file := self.root / folder / name).is_file():
                lines += file.read_bytes().decode("utf-8-sig", "surrogateescape").split("\n")
        return _Rules(folder, tuple(_patterns(lines)), above) if lines else above


def pack(directory: Path, excludes: Sequence[str], into: Path, *, use_gitignore: bool = True, largest: int = LARGEST) -> Package:
    """The directory as a zip in the folder `into`. excludes: patterns as in .gitignore. Raises PackageError."""
    if not directory.is_dir():
        raise PackageError(f"--working-dir: {quoted(str(directory))} is no directory, no .zip file and no URI")
    ignore_files = IGNORE_FILES if use_gitignore else IGNORE_FILES[1:]
    always = _Rules(TOP, (*_patterns(DEFAULT_EXCLUDES), *_asked(excludes)))
    path = into / _NAME
    walk = _Walk(directory, always, ignore_files, frozenset(map(os.path.realpath, (into, path))))
    try:
        return _written(walk, path, largest)
    except OSError as error:
        if error.filename is None:  # not a file that was opened, but one that was written to or read from
            raise PackageError(f"{directory} cannot be packed into {into}: {error.strerror}; make room, or set TMPDIR") from None
        raise PackageError(f"{error.filename} cannot be read: {error.strerror}; leave it out with --exclude") from None


def _written(walk: _Walk, path: Path, largest: int) -> Package:
    digest, files = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(path, "w") as archive:
            for relative in walk.files():
                files += _add(archive, walk.root, relative, (digest, largest))
        if (size := path.stat().st_size) > largest:
            raise _OverError
    except _OverError:
        raise _too_large(walk, largest) from None
    if not archive.filelist:
        raise PackageError(
            f"--working-dir: nothing is left of {walk.root} after what is ignored; look at .gitignore and --exclude"
        )
    return _named(digest.hexdigest(), path, size, files)


def prepare(working_dir: Path, excludes: Sequence[str], into: Path) -> Package:
    """A directory packed, or a zip as it is, as Ray takes both."""
    if working_dir.suffix == ".zip" and working_dir.is_file():
        return from_zip(working_dir)
    return pack(working_dir, excludes, into, use_gitignore=os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "") != "1")


def from_zip(path: Path, *, largest: int = LARGEST) -> Package:
    """A working directory that is a zip already."""
    try:
        if (size := path.stat().st_size) > largest:
            raise PackageError(
                f"--working-dir: {path} has {size / MIB:.1f} MiB, and Ray's dashboard takes {largest / MIB:g} MiB; {_REMEDY}"
            )
        with zipfile.ZipFile(path) as archive:
            count = sum(not entry.is_dir() for entry in archive.infolist())
        with path.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256")
    except (OSError, zipfile.BadZipFile) as error:
        raise PackageError(f"--working-dir: {path} is no zip file that can be read: {error}") from None
    return _named(digest.hexdigest(), path, size, count)


def is_remote(working_dir: str) -> bool:
    """Whether Ray fetches it itself: a URI, as s3://bucket/code.zip."""
    return bool(_URI.match(working_dir))


class _OverError(Exception):
    """The zip is larger than it may be."""


def _check_name(source: Path, relative: PurePosixPath) -> None:
    """Ray leaves out what Windows would take for another place (unzip_package), and a zip's names are text."""
    name = relative.as_posix()
    if not name.isascii() and name != name.encode("utf-8", "replace").decode():
        raise PackageError(f"{quoted(source)}: its name is no UTF-8; rename it, or leave it out with --exclude")
    if "\\" in name or ntpath.splitdrive(name)[0]:
        raise PackageError(
            f"{quoted(source)}: Ray would not unpack a file of this name (a backslash, or a drive as C:); "
            "rename it, or leave it out with --exclude"
        )


def _add(archive: zipfile.ZipFile, root: Path, relative: PurePosixPath, how: tuple["hashlib._Hash", int]) -> int:
    """One file (1), or an empty folder (0); what goes into the digest goes into the zip. how: that digest, and the limit."""
    source, (digest, largest) = root / relative, how
    _check_name(source, relative)
    about = source.stat()
    is_folder = stat.S_ISDIR(about.st_mode)
    if not is_folder and not stat.S_ISREG(about.st_mode):
        raise PackageError(f"{source} is neither a file nor a folder; leave it out with --exclude {in_quotes(str(relative))}")
    may_run = bool(about.st_mode & stat.S_IXUSR)
    entry = zipfile.ZipInfo(relative.as_posix() + ("/" if is_folder else ""), LONG_AGO)
    entry.external_attr = ((stat.S_IFDIR if is_folder else stat.S_IFREG) | (0o755 if may_run else 0o644)) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    digest.update(f"{len(entry.filename)}:{entry.filename}:{may_run:d}:".encode())
    if is_folder:
        archive.writestr(entry, b"")
        return 0
    content = hashlib.sha256()
    with source.open("rb") as data, archive.open(entry, "w", force_zip64=about.st_size >= 2**31) as there:
        while chunk := data.read(_CHUNK):
            content.update(chunk)
            there.write(chunk)
            if archive.fp and archive.fp.tell() > largest:
                raise _OverError
    digest.update(content.digest())
    return 1


_REMEDY = "leave out what the job does not need (.gitignore, .rayignore, --exclude), or name a URI, as s3://bucket/code.zip"


def _too_large(walk: _Walk, largest: int) -> PackageError:
    """Names the largest of what stands at the top, as it lies on disk."""
    sizes: Counter[str] = Counter()
    walk.trail.clear()
    for relative in walk.files():
        sizes[relative.parts[0]] += (walk.root / relative).stat().st_size
    shown = ", ".join(f"{name} {size / MIB:.1f} MiB" for name, size in sizes.most_common(5))
    return PackageError(
        f"--working-dir: {walk.root} has {sizes.total() / MIB:.1f} MiB, and packed more than the {largest / MIB:g} MiB that "
        f"Ray's dashboard takes; the largest in it: {shown}; {_REMEDY}"
    )


def _named(digest: str, path: Path, size: int, files: int) -> Package:
    name = f"_ray_pkg_{digest[:32]}.zip"
    return Package(f"gcs://{name}", name, path, size, files)
