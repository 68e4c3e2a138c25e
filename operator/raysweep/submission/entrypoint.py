"""The command line that a Ray head runs, built from the words after `--`. Pure.

The head passes it to `sh -c` (ray.dashboard.modules.job.job_supervisor). Up to Ray 2.55,
`ray job submit` joins the words with subprocess.list2cmdline, which leaves much of a word to that
shell. From Ray 2.56 it uses shlex.join, which leaves nothing. Here only variables are replaced.
"""

import re
import shlex
from collections.abc import Sequence

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_DEFAULT = r""":?[-=+?][^{}`$"'\\]*"""
_VARIABLE = re.compile(rf"(?P<escape>\\)?(?P<text>\${_NAME}|\$\{{{_NAME}({_DEFAULT})?\}})")
_ASSIGNMENT = re.compile(r"[\w-]+=", re.ASCII)
_SPECIAL_IN_QUOTES = re.compile(r'([\\"`$])')


def entrypoint_of(words: Sequence[str]) -> str:
    r"""Returns a single word as a shell line. Of several words, each remains one argument.

    Variables in them are replaced: $NAME, ${NAME}, ${NAME:-default} and the like. \$NAME is the
    text $NAME.
    """
    return words[0] if len(words) == 1 else " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if not _VARIABLE.search(word):
        return shlex.quote(word)
    # The name stays outside the quotes: NAME="$VALUE" before a command still sets a variable.
    assignment = _ASSIGNMENT.match(word)
    name = assignment[0] if assignment else ""
    parts, end = [], len(name)
    for variable in _VARIABLE.finditer(word):
        parts.append(_literal(word[end : variable.start()]))
        text = variable["text"]
        parts.append(_literal(text) if variable["escape"] else text)
        end = variable.end()
    parts.append(_literal(word[end:]))
    return f'{name}"{"".join(parts)}"'


def _literal(text: str) -> str:
    return _SPECIAL_IN_QUOTES.sub(r"\\\1", text)
