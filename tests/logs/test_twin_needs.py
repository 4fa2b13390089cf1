"""Which rows of a serving log can have twins, and the refusal where none can."""

from __future__ import annotations

import json
from typing import Any

import pytest
from served import served

from potstill.errors import PotstillError
from potstill.logs.twin_needs import NoTwin, TwinTally, require_twins, why_no_twins, with_twins

SAMPLING = json.loads(served().line())["sampling"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sampling": {**SAMPLING, "temperature": None}}, NoTwin.NO_TEMPERATURE),
        ({"sampling": {**SAMPLING, "temperature": 0}}, NoTwin.GREEDY),
        ({"sampling": {**SAMPLING, "top_k": None}}, NoTwin.SAMPLING_OPEN),
        ({"sampling": {**SAMPLING, "top_p": None}}, NoTwin.SAMPLING_OPEN),
        ({"sampling": {**SAMPLING, "max_tokens": None}}, NoTwin.SAMPLING_OPEN),
        ({"sampling": {**SAMPLING, "others": ["stop"]}}, NoTwin.OTHER_SAMPLING),
        ({"sampling": {**SAMPLING, "n": 2}}, NoTwin.SEVERAL),
        ({"watermark": {"key_id": "k", "scheme": "gumbel"}}, NoTwin.GUMBEL),
        ({"watermark": {"key_id": "k", "scheme": "vllm-sbw"}}, NoTwin.OTHER_MARK),
        ({"watermark": None}, NoTwin.MARK_OPEN),
        ({"cached": True}, NoTwin.CACHED),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            NoTwin.MEDIA,
        ),
        ({"tools": "[]"}, NoTwin.TOOLS),
        ({"tool_calls": "[]"}, NoTwin.TOOLS),
        ({"finish_reason": "content_filter"}, NoTwin.ENDING),
        ({"finish_reason": None}, NoTwin.ENDING),
        ({"prompt_token_ids": None}, NoTwin.NO_PROMPT_IDS),
        ({"response_token_ids": []}, NoTwin.NO_RESPONSE_IDS),
        ({"snapshot": None}, NoTwin.NO_SNAPSHOT),
        ({"engine": None}, NoTwin.NO_ENGINE),
        ({"dtype": None}, NoTwin.NO_DTYPE),
        ({"tokenizer": None}, NoTwin.NO_TOKENIZER),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b"},
                    {"role": "user", "content": "c"},
                ],
                "turn": 2,
            },
            NoTwin.FOLLOW_UP,
        ),
    ],
)
def test_each_lack_is_named(change: dict[str, Any], reason: NoTwin) -> None:
    assert list(why_no_twins(served(**change))) == [reason]


def test_every_reason_of_a_row_has_a_case_above() -> None:
    (mark,) = (m for m in test_each_lack_is_named.pytestmark if m.name == "parametrize")
    tried = {reason for _, reason in mark.args[1]}
    assert set(NoTwin) - tried == {NoTwin.NO_ROW, NoTwin.SAME_PROMPT}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"watermark": {"key_id": "k", "scheme": "green"}},
        {"finish_reason": "length"},
        {"sampling": {**SAMPLING, "seed": None}},
        {"template": None, "account": "someone"},
    ],
)
def test_a_whole_row_has_twins(change: dict[str, Any]) -> None:
    assert not list(why_no_twins(served(**change)))


def test_a_prompt_counts_once_and_the_rest_is_counted() -> None:
    tally = TwinTally()
    rows = [
        (served(0), "a"),
        (served(0, request_id="again", response="other"), "b"),
        (NoTwin.NO_ROW, "c"),
        (served(1, snapshot=None, dtype=None), "d"),
        (served(2), "e"),
    ]
    assert [row.request_id for row in with_twins(rows, tally)] == ["r0", "r2"]
    assert (tally.rows, tally.usable) == (5, 2)
    assert tally.left_out == {NoTwin.SAME_PROMPT: 1, NoTwin.NO_ROW: 1, NoTwin.NO_SNAPSHOT: 1}
    assert tally.unsaid == {NoTwin.NO_SNAPSHOT: 1, NoTwin.NO_DTYPE: 1}
    assert tally.words() == (
        "1 no row of a serving log, 1 no snapshot, 1 a prompt that an earlier row has"
    )


def test_a_log_without_what_twins_need_is_refused_by_what_is_missing() -> None:
    tally = TwinTally()
    lacking = served(0, response_token_ids=None, snapshot=None)
    assert not list(with_twins([(lacking, "a"), (served(1, turn=1, snapshot=None), "b")], tally))
    with pytest.raises(PotstillError) as caught:
        require_twins(tally, "log")
    assert str(caught.value) == (
        "0 of the 2 rows of the serving log log can have twins, and 1 are needed: 1 no "
        "response_token_ids, 1 no snapshot; have it say what it leaves out (no snapshot, no "
        "response_token_ids)"
    )


def test_a_log_of_nothing_is_refused() -> None:
    with pytest.raises(PotstillError, match="holds no rows; give one of what was served"):
        require_twins(TwinTally(), "log")


def test_enough_is_enough() -> None:
    tally = TwinTally()
    assert len(list(with_twins([(served(i), "") for i in range(3)], tally))) == 3
    require_twins(tally, "log", 3)
    with pytest.raises(PotstillError, match=r"3 of the 3 rows .* 4 are needed.*more first turns"):
        require_twins(tally, "log", 4)
