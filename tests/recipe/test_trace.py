"""The settings of a trace: a page of every field, faults with line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.recipe import trace_docs
from potstill.recipe.docs import rows
from potstill.recipe.io import read_trace
from potstill.recipe.trace import TraceConfig

WHOLE = """name: x
chain: c.jsonl
teacher:
  name: ours
  model: m
suspect:
  name: theirs
  model: n
watermark:
  key: k
  epoch: 2026-12
tests:
  watermark_reading:
    texts: t
"""


def written(tmp_path: Path, text: str) -> TraceConfig:
    (tmp_path / "trace.yaml").write_text(text)
    return read_trace(tmp_path / "trace.yaml")


def test_the_reference_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "trace.md"
    assert page.read_text(encoding="utf-8") == trace_docs.page(), "run: make docs"


def test_every_field_is_described() -> None:
    assert all(row.kind and row.description for row in rows(TraceConfig))


def test_settings_are_read_as_recipes_are(tmp_path: Path) -> None:
    config = written(tmp_path, WHOLE)
    assert config.tests.named == ("watermark_reading",)
    assert config.watermark is not None and config.watermark.epoch == "2026-12"
    assert config.watermark.gamma == 0.5
    assert config.alpha == 1e-4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("texts: t", "text: t", "line 14: unknown key tests.watermark_reading.text"),
        ("name: theirs", "name: 5", "line 7: suspect.name must be text, but 5 was given"),
        ("chain: c.jsonl\n", "", "chain is missing"),
        ("tests:", "test:", "unknown key test; did you mean tests?"),
        ("model: m", "revision: m", "teacher.model or teacher.identity"),
        ("texts: t", "texts: t\n    positions: 0", "positions must be at least 1"),
    ],
)
def test_a_fault_is_said_with_its_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(PotstillError) as caught:
        written(tmp_path, WHOLE.replace(old, new, 1))
    assert said in str(caught.value)


def test_a_key_in_an_address_is_refused_and_not_quoted(tmp_path: Path) -> None:
    server = "model: n\n  endpoint:\n    url: http://me:secret@host/v1\n    provider: p"
    with pytest.raises(PotstillError) as caught:
        written(tmp_path, WHOLE.replace("model: n", server, 1))
    assert "secret" not in str(caught.value)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"the trace .* does not exist"):
        read_trace(tmp_path / "none.yaml")
