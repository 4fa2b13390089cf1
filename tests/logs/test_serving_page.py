"""The pages on the serving log say what it holds, and their examples work."""

from __future__ import annotations

import json
import re
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from pydantic import BaseModel
from served import served

from potstill.logs.serving import (
    ServedCall,
    ServedEngine,
    ServedMark,
    ServedSampling,
    served_row,
)
from potstill.logs.serving_file import ServingLog
from potstill.logs.twin_needs import NoTwin, why_no_twins

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = (DOCS / "reference" / "serving-log.md").read_text(encoding="utf-8")
HOW_TO = (DOCS / "how-to" / "serving-log.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return SCHEMA.partition(f"\n{heading}\n")[2].partition("\n#")[0]


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("## A row", ServedCall),
        ("### `sampling`", ServedSampling),
        ("### `engine`", ServedEngine),
        ("### `watermark`", ServedMark),
    ],
)
def test_each_field_stands_on_the_page_as_it_is_described(
    heading: str, model: type[BaseModel]
) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section(heading), re.MULTILINE)
    fields = model.model_fields.items()
    assert rows == [(field.alias or name, field.description) for name, field in fields]


def test_every_reason_stands_on_the_page() -> None:
    assert re.findall(r"^- (.*)$", section("## What twins need"), re.MULTILINE) == list(NoTwin)


def test_the_pages_row_is_one_with_twins() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", SCHEMA, re.DOTALL)
    row = served_row(json.loads(block))
    assert row is not None
    assert not list(why_no_twins(row))


def test_the_pages_proof_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", SCHEMA, re.DOTALL)
    for ago in (1, 0):
        then = datetime.now(UTC) - timedelta(days=ago)
        ServingLog("serving-log", clock=lambda then=then: then).append([served(ago)])
    exec(block, {})


def test_the_how_tos_lines_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", HOW_TO, re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", HOW_TO, re.DOTALL)
    assert len(blocks) == 3
    said = StringIO()
    with redirect_stdout(said):
        for block in blocks[1:]:
            exec(block, {})
    assert said.getvalue() == printed


def test_the_how_tos_callback_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    pytest.importorskip("litellm", reason="needs the extra litellm")
    block = re.findall(r"```python\n(.*?)```", HOW_TO, re.DOTALL)[0]
    made: dict[str, object] = {}
    exec(block, made)
    assert type(made["logger"]).__name__ == "ServingLogger"
