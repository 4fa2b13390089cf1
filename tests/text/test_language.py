"""Languages: what is known, and what is asked for in vain."""

from __future__ import annotations

import sys

import pytest

from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.text.language import identified, known_languages

LONG = "Long enough that its language could be told, were the package here."


def test_dense_scripts_need_fewer_letters() -> None:
    found = identified("今天天气很好，我们一起去公园散步吧。")
    assert found is not None
    assert found.language == "zh"


def test_what_is_no_language_is_none_of_the_known() -> None:
    assert {"en", "de", "zh"} <= known_languages()
    assert "zxx" not in known_languages()


def test_a_missing_package_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(PotstillError, match=r"curate\.languages needs the package py3langid; run"):
        identified(LONG, needed_by="curate.languages")
    with pytest.raises(
        PotstillError, match=r"^telling languages apart needs the package py3langid"
    ):
        known_languages()
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(PotstillError, match=r"pip install potstill\[curate\]"):
        extra_package("datasketch", "curate.near_duplicates")
