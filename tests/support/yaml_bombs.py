"""Small YAML texts that expand to huge values or nest too deeply."""

from itertools import pairwise

_LETTERS = list(pairwise("abcdefghijk"))


def _expand(template: str) -> str:
    """Lines in which each anchor holds the one before nine times."""
    lines = []
    for previous, letter in _LETTERS:
        aliases = ", ".join([f"*{previous}"] * 9)
        lines.append(template.format(letter=letter, aliases=aliases))
    return "".join(lines)


BOMBS = {
    "lists": "a: &a [x, x]\n" + _expand("{letter}: &{letter} [{aliases}]\n"),
    "merges": "a: &a {x: 1}\n" + _expand("{letter}: &{letter} {{<<: [{aliases}]}}\n"),
    "an alias in itself": "a: &a {b: *a}",
    "nested lists": "[" * 20_000,
    "nested mappings": "{a: " * 20_000,
    "nested items": "- " * 20_000,
    "nested keys": "? " * 20_000,
}
ERROR = r"nodes, aliases included|nested too deeply"
"""Matches the error of each."""
