"""Foreign text is made safe to show."""

from raysweep.core.text import plain, quoted


def test_quoted() -> None:
    rows: tuple[tuple[object, str], ...] = (
        ("train", "'train'"),
        ("a\nb\tc\x00d\x1b[31m", "'a b c d [31m'"),  # no line is forged
        ("safe\u202egpj.exe", "'safe gpj.exe'"),  # no text is reordered
        ("a\u2028b\u2029c", "'a b c'"),  # line breaks of Unicode
        ("half\ud800", "'half '"),  # half a surrogate pair, which cannot be encoded
        ("naïve 訓練", "'naïve 訓練'"),
        ("x" * 200, f"'{'x' * 200}'"),
        ("x" * 201, f"'{'x' * 199}…'"),
        ("x" * 10**7, f"'{'x' * 199}…'"),
        (None, "'None'"),
    )
    for text, shown in rows:
        assert quoted(text) == shown, shown


def test_plain_has_no_quotes() -> None:
    assert plain("a\nb") == "a b"
