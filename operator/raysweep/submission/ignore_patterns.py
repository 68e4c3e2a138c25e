"""Patterns of .gitignore, .rayignore and --exclude, for a walk from folder to folder. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

_TRAILING_STARS = re.compile(r"(^!?|/)\*(\*?)(/?)\s*$")


@dataclass(frozen=True, slots=True)
class IgnorePatterns:
    """The patterns of one folder, and those of the folders above it.

    The deepest folder with a matching pattern decides, by its last match.
    """

    folder: PurePosixPath
    patterns: tuple[GitIgnoreSpecPattern, ...]
    parent: "IgnorePatterns | None" = None

    def ignores(self, path: PurePosixPath, *, is_folder: bool) -> bool:
        """Whether the path itself is ignored. Check the folders above it first."""
        relative = path.relative_to(self.folder).as_posix()
        if is_folder:
            relative += "/"
        for pattern in reversed(self.patterns):
            if pattern.regex and pattern.regex.fullmatch(relative):
                return bool(pattern.include)
        if self.parent is None:
            return False
        return self.parent.ignores(path, is_folder=is_folder)


def parse_pattern(line: str) -> GitIgnoreSpecPattern:
    """Parses a line so that its regex, matched in full, decides about one path as git does.

    pathspec matches files, and applies the pattern of a folder to everything below it. So it
    loses folders that git includes again (`*`, `!*/`, `!*.py`). A walk asks about each folder
    first, as git does. pathspec has special regexes for stars at the end, so they are expanded.
    Raises GitIgnorePatternError.
    """
    return GitIgnoreSpecPattern(_TRAILING_STARS.sub(_expand_stars, line))


def parse_ignore_file(lines: Iterable[str]) -> Iterator[GitIgnoreSpecPattern]:
    """Parses the lines of an ignore file. Like git, it skips an invalid pattern."""
    for line in lines:
        try:
            yield parse_pattern(line)
        except GitIgnorePatternError:
            continue


def _expand_stars(match: re.Match[str]) -> str:
    prefix, second_star, slash = match.groups()
    any_folder = "**/" if second_star else ""
    return f"{prefix}{any_folder}?*{slash}"
