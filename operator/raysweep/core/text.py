"""Foreign text made safe to show: what tenants, heads and annotations say, before it reaches an event, log or terminal."""

import unicodedata

LONGEST_QUOTE = 200


def quoted(text: object) -> str:
    """In quotes, without control characters, cut to 200 characters."""
    return f"'{plain(text)}'"


def plain(text: object) -> str:
    """Without control characters (and the invisible ones that reorder text), cut to 200 characters."""
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in str(text)[:2000])
    return clean if len(clean) <= LONGEST_QUOTE else clean[: LONGEST_QUOTE - 1] + "…"
