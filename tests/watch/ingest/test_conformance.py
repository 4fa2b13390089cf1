"""The same log through potstill's readers of calls and through Ibis: equal rows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import traffic_logs as logs
from test_forms import mapped
from traffic_logs import request, write_lines

from potstill.logs import LogForm, Record, form_named
from potstill.logs.forms import ReadSettings
from potstill.logs.lines import log_rows
from potstill.logs.rows import SourceRow
from potstill.text.tool_calls import message_text

ROWS = [
    request(0),
    request(1, system="Be very brief.", temperature=0.0, max_tokens=1),
    request(2, prompt="Zwölf — 十二?", response='{"label": "x"}'),
    request(3, prompt='quoted "text" \\ and\nlines\t', model="big/v2"),
]


def by_readers(form: LogForm, path: Path) -> list[dict[str, Any]]:
    """Return what potstill's readers of calls say of a log, in the schema's columns."""
    found = []
    for row in log_rows(str(path)):
        assert isinstance(row, SourceRow) and form.read is not None
        record = form.read(row.values, ReadSettings())
        assert isinstance(record, Record) and not isinstance(record.ask, str)
        account, facts = form.account(row.values), record.facts
        messages = record.ask.messages
        said = {m["role"]: message_text(m) for m in messages}
        at = account.at or facts.created_at
        found.append(
            {
                "account_id": account.user or account.organisation,
                "time": None if at is None else datetime.fromisoformat(at),
                "model": facts.model,
                "prompt_tokens": facts.usage.get("prompt_tokens"),
                "completion_tokens": facts.usage.get("completion_tokens"),
                "temperature": record.ask.sampling["temperature"],
                "max_tokens": record.ask.sampling["max_tokens"],
                "system": said.get("system"),
                "prompt": said.get("user"),
                "response": record.answers[0].response,
                "client": account.address,
                **({} if facts.latency_s is None else {"latency_s": facts.latency_s}),
            }
        )
    return found


@pytest.mark.parametrize(("name", "written"), [("litellm", logs.litellm), ("chat", logs.openai)])
def test_rows_are_those_of_the_readers(
    name: str, written: Any, engine: Any, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "log.jsonl", *map(written, ROWS))
    expected = by_readers(form_named(name), path)
    found = mapped(engine, path)
    assert [{key: row[key] for key in one} for row, one in zip(found, expected, strict=True)] == (
        expected
    )
    assert found[2]["prompt"] == "Zwölf — 十二?"
