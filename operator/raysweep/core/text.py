"""Makes foreign text safe to show in an Event, a log, a terminal or a shell.

Foreign text is what tenants, heads and annotations contain.
"""

import re
import shlex
import unicodedata

LONGEST_QUOTE = 200
CONTROLS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of invisible characters that control a terminal, or reorder or break text."""
_UNUSUAL = re.compile(r"[^ -~]")


def quoted(text: object) -> str:
    """The text in quotes, without control characters, cut to 200 characters."""
    return f"'{plain(text)}'"


def plain(text: object) -> str:
    """The text without control characters, cut to 200 characters."""
    clean = "".join(" " if is_control(c) else c for c in str(text)[:2000])
    return clean if len(clean) <= LONGEST_QUOTE else clean[: LONGEST_QUOTE - 1] + "…"


def is_control(character: str) -> bool:
    """Whether a terminal may act on the character instead of showing it."""
    return unicodedata.category(character) in CONTROLS


def escaped(text: str, keep: str = "") -> str:
    r"""The whole text with each control character but those in `keep` as `\x1b` or `\u202e`."""

    def escape(match: re.Match[str]) -> str:
        return match[0] if match[0] in keep else _escape(match[0])

    return _UNUSUAL.sub(escape, text)


def _escape(character: str) -> str:
    if not is_control(character):
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def command_line(*words: str) -> str:
    """A line for a shell that runs exactly these words. It is safe to show and to paste."""
    return " ".join(map(_shell_word, words))


def in_quotes(word: str) -> str:
    """A word for a shell, in quotes even if it needs none."""
    shell_word = _shell_word(word)
    return f"'{word}'" if shell_word == word else shell_word


def _shell_word(word: str) -> str:
    """Characters that cannot be shown become octal escapes in $'...'.

    POSIX.1-2024 has that form; bash, zsh and ksh have read it for long.
    """
    if word.isprintable():
        return shlex.quote(word)
    raw = word.encode("utf-8", "surrogateescape")
    shown = (chr(byte) if _needs_no_escape(byte) else f"\\{byte:03o}" for byte in raw)
    return "$'" + "".join(shown) + "'"


def _needs_no_escape(byte: int) -> bool:
    return 0x20 <= byte < 0x7F and byte not in b"\\'"
