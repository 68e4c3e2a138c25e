"""The command line that a Ray head runs, from the words after `--`. Pure.

The head hands it to `sh -c` (ray.dashboard.modules.job.job_supervisor). `ray job submit` joins the
words with subprocess.list2cmdline up to Ray 2.55, which leaves much of a word to that shell, and
with shlex.join from Ray 2.56 on, which leaves nothing. Here it replaces variables and nothing else.
"""

import re
import shlex
from collections.abc import Sequence

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_OTHERWISE = r""":?[-=+?][^{}`$"'\\]*"""
_VARIABLE = re.compile(rf"(?P<kept>\\)?(?P<text>\${_NAME}|\$\{{{_NAME}({_OTHERWISE})?\}})")
_ASSIGNED = re.compile(r"[\w-]+=", re.ASCII)
_SPECIAL_IN_QUOTES = re.compile(r'([\\"`$])')


def entrypoint_of(words: Sequence[str]) -> str:
    r"""One word is a shell line as it is. Of several each stays one word, its variables replaced.

    A variable is $NAME, ${NAME}, ${NAME:-default} and the like; \$NAME is the text $NAME.
    """
    return words[0] if len(words) == 1 else " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if not _VARIABLE.search(word):
        return shlex.quote(word)
    assigned = _ASSIGNED.match(word)  # NAME="$VALUE" before the command still sets a variable
    parts, end = [], assigned.end() if assigned else 0
    for found in _VARIABLE.finditer(word):
        parts.append(_literal(word[end : found.start()]))
        parts.append(_literal(found["text"]) if found["kept"] else found["text"])
        end = found.end()
    return f'{assigned[0] if assigned else ""}"{"".join(parts)}{_literal(word[end:])}"'


def _literal(text: str) -> str:
    return _SPECIAL_IN_QUOTES.sub(r"\\\1", text)
