"""Text of others within Markdown."""

from __future__ import annotations

import pytest

from potstill.text.markdown import plain


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\n# b", r"a \# b"),
        ("- a", r"\- a"),
        ("1. a", r"1\. a"),
        ("2026-12 at 1.5", "2026-12 at 1.5"),
        ("<b>", r"\<b\>"),
        ("`x`", r"\`x\`"),
        ("a\x07\ud800b", "a\ufffd\ufffdb"),
    ],
)
def test_text_is_escaped_where_it_would_be_markup(text: str, escaped: str) -> None:
    assert plain(text) == escaped
