"""What was served, by a serving log or by a run's exchanges, as one kind of row."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from served import served

from learnt_stores import written
from opened_models import made_prompt
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.logs.serving import configuration_of
from potstill.logs.serving_file import ServingLog
from potstill.logs.twin_needs import NoTwin
from potstill.trace.served import (
    new_salt,
    read_served_log,
    row_of_exchange,
    salted_answer,
    salted_prompt,
    served_exchanges,
)

DRAWN = {
    "prompt_token_ids": (1, 2),
    "response_token_ids": (3, 4),
    "tokenizer": "blake3:t",
    "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 8, "seed": 0},
}


def store_of(root: Path, *exchanges: object) -> Path:
    store = ExchangeStore(root)
    store.append(exchanges)  # type: ignore[arg-type]
    store.compact()
    store.close()
    return root


def test_a_serving_log_gives_the_rows_of_its_most_frequent_way(tmp_path: Path) -> None:
    rows = [served(i) for i in range(5)] + [served(9, snapshot="older"), served(10, snapshot=None)]
    ServingLog(tmp_path).append(rows)
    log = read_served_log(str(tmp_path))
    assert [row.request_id for row in log.rows] == ["r0", "r1", "r2", "r3", "r4"]
    assert log.other_ways == 1
    assert log.tally.left_out == {NoTwin.NO_SNAPSHOT: 1}
    assert len(read_served_log(str(tmp_path), limit=2).rows) == 2
    older = configuration_of(rows[5])
    assert [r.request_id for r in read_served_log(str(tmp_path), configuration=older).rows] == [
        "r9"
    ]
    with pytest.raises(PotstillError, match=r"1 rows of .* were drawn in the way .*\(5 rows\)"):
        read_served_log(str(tmp_path), configuration=older, needed=2)
    with pytest.raises(PotstillError, match=r"6 of the 7 rows .* 7 are needed: 1 no snapshot"):
        read_served_log(str(tmp_path), needed=7)


def test_a_runs_exchanges_are_rows(tmp_path: Path) -> None:
    train = [written(made_prompt(f"Prompt {i}"), f"Answer {i}", **DRAWN) for i in range(3)]
    others = [
        written(made_prompt("held", "held_out"), "x", **DRAWN),
        written(made_prompt("greedy"), "x", **DRAWN | {"sampling": {"temperature": 0.0}}),
        written(made_prompt("gold"), "x"),
        written(made_prompt("marked"), "x", **DRAWN, watermark_key_id="blake3:m"),
    ]
    root = store_of(tmp_path / "run", *train, *others)
    log = read_served_log(str(root))
    assert {row.response for row in log.rows} == {"Answer 0", "Answer 1", "Answer 2"}
    assert sum(log.tally.left_out.values()) == 3
    assert log.tally.left_out[NoTwin.OTHER_MARK] == 1
    held = read_served_log(str(root), split="held_out")
    assert [row.response for row in held.rows] == ["x"]
    (row, *_) = log.rows
    assert (row.snapshot, row.dtype, row.engine and row.engine.name) == (
        "past",
        "float32",
        "potstill",
    )


def test_how_an_exchange_was_asked_is_told_from_what_it_is_spoken_to() -> None:
    sampling = {**DRAWN["sampling"], "date": "2026-01-01", "extra": {"presence_penalty": 1}}  # type: ignore[dict-item]
    row = row_of_exchange(written(made_prompt("a"), "b", **DRAWN | {"sampling": sampling}), {})
    assert row.sampling.others == ("presence_penalty",)
    marked = written(made_prompt("a"), "b", **DRAWN, watermark_key_id="m")
    assert row_of_exchange(marked, {"m": "green"}).watermark.scheme == "green"  # type: ignore[union-attr]


def test_plans_name_answers_by_salted_digests() -> None:
    rows = [served(0), served(1)]
    salt = new_salt()
    first, second = served_exchanges(rows, 4, salt)
    assert (first.twins, len({first.prompt, first.served, second.prompt, second.served})) == (4, 4)
    assert first.served == salted_answer(salt, (1, 2, 3), (4, 5, 6))
    assert first.prompt == salted_prompt(salt, (1, 2, 3))
    assert served_exchanges(rows, 4, new_salt())[0].served != first.served
    with pytest.raises(PotstillError, match="has no token ids"):
        served_exchanges([served(0, response_token_ids=None)], 1, salt)


def test_it_is_read_without_torch() -> None:
    code = "import sys, potstill.trace.served; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
