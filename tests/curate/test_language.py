"""Languages: what is known, and what is asked for in vain."""

from __future__ import annotations

import sys

import pytest

from potstill.curate import language
from potstill.curate.extras import extra_package
from potstill.curate.language import identified, require_languages
from potstill.errors import PotstillError


def test_dense_scripts_need_fewer_letters() -> None:
    found = identified("今天天气很好，我们一起去公园散步吧。")
    assert found is not None
    assert found.language == "zh"


def test_an_unknown_code_is_refused_by_name() -> None:
    require_languages(["en", "de", "zh"])
    with pytest.raises(PotstillError, match=r"curate\.languages holds english, DE, which"):
        require_languages(["en", "english", "DE"])


def test_a_missing_package_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    language._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(PotstillError, match=r"curate\.languages needs the package py3langid; run"):
        identified("Long enough that its language could be told, were the package here.")
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(PotstillError, match=r"pip install potstill\[curate\]"):
        extra_package("datasketch", "curate.near_duplicates")
