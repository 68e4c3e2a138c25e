"""Foreign text made safe to show: what tenants, heads and annotations say, before it reaches an event, log, terminal or shell."""

import re
import shlex
import unicodedata

LONGEST_QUOTE = 200
CONTROLS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that control a terminal, reorder text or break lines; they show nothing themselves."""
_UNUSUAL = re.compile(r"[^ -~]")


def quoted(text: object) -> str:
    """In quotes, without control characters, cut to 200 characters."""
    return f"'{plain(text)}'"


def plain(text: object) -> str:
    """Without control characters (and the invisible ones that reorder text), cut to 200 characters."""
    clean = "".join(" " if is_control(c) else c for c in str(text)[:2000])
    return clean if len(clean) <= LONGEST_QUOTE else clean[: LONGEST_QUOTE - 1] + "…"


def is_control(character: str) -> bool:
    """Whether a terminal may do something else with it than show it."""
    return unicodedata.category(character) in CONTROLS


def escaped(text: str, keep: str = "") -> str:
    r"""The whole text, each control character but those in `keep` written out, as `\x1b` or `\u202e`."""
    return _UNUSUAL.sub(lambda found: _escape(found[0]) if found[0] not in keep else found[0], text)


def _escape(character: str) -> str:
    if not is_control(character):
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def command_line(*words: str) -> str:
    """One line for a shell that runs exactly these words, whatever they hold. It can be shown and pasted."""
    return " ".join(map(_shell_word, words))


def in_quotes(word: str) -> str:
    """One word for a shell, in quotes also if it needs none."""
    found = _shell_word(word)
    return f"'{word}'" if found == word else found


def _shell_word(word: str) -> str:
    """Characters that cannot be shown stand as octal escapes in $'...' (POSIX.1-2024; bash, zsh and ksh have had it for long)."""
    if word.isprintable():
        return shlex.quote(word)
    raw = word.encode("utf-8", "surrogateescape")
    return "$'" + "".join(chr(byte) if _is_itself(byte) else f"\\{byte:03o}" for byte in raw) + "'"


def _is_itself(byte: int) -> bool:
    return 0x20 <= byte < 0x7F and byte not in b"\\'"
