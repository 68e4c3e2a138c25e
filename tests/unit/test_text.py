"""Foreign text made safe to show."""

import pytest

from raysweep.core.text import plain, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("train", "'train'", id="plain text is only quoted"),
        pytest.param(
            "a\nb\tc\x00d\x1b[31m",
            "'a b c d [31m'",
            id="control characters become blanks, so no line is forged",
        ),
        pytest.param(
            "safe\u202egpj.exe", "'safe gpj.exe'", id="characters that reorder text become blanks"
        ),
        pytest.param("a\u2028b\u2029c", "'a b c'", id="Unicode's own line breaks too"),
        pytest.param("half\ud800", "'half '", id="half a surrogate pair, which no encoder takes"),
        pytest.param("naïve 訓練", "'naïve 訓練'", id="letters of every script stay"),
        pytest.param("x" * 200, f"'{'x' * 200}'", id="200 characters are shown whole"),
        pytest.param("x" * 201, f"'{'x' * 199}…'", id="201 are cut"),
        pytest.param("x" * 10**7, f"'{'x' * 199}…'", id="and so are ten million"),
        pytest.param(None, "'None'", id="what is no text at all"),
    ],
)
def test_foreign_text_is_quoted(text: object, shown: str) -> None:
    assert quoted(text) == shown


def test_plain_is_the_same_without_quotes() -> None:
    assert plain("a\nb") == "a b"
