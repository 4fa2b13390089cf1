"""Calls as exchanges and as prompts: ids and splits by content alone, nothing lost unsaid."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from potstill.collect.calls import exchanges_from_calls
from potstill.errors import PotstillError
from potstill.exchanges.exchange import exchange_id_of
from potstill.exchanges.store import ExchangeStore
from potstill.logs import Reason, read_calls
from potstill.recipe import CallsConfig, PromptsConfig
from potstill.terms import Stated, decide
from potstill.terms.calls import evidence_of_calls
from potstill.text.turns import prompt_id_of

FILES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = [f"{a}{b}" for a in "kmnprst" for b in "aeiou"]


def pair(prompt: str, response: str, **more) -> dict:
    """Return a logged request and response; `more` goes into the response's body."""
    finish = more.pop("finish", "stop")
    message = {"role": "assistant", "content": response}
    body = {"choices": [{"message": message, "finish_reason": finish}], **more}
    request = {"model": "big", "messages": [{"role": "user", "content": prompt}]}
    return {"request": request, "response": body}


def some(count: int = 6) -> list[dict]:
    return [pair(f"{w} {w}x {w}y", f"To {w}.") for w in WORDS[:count]]


def test_several_answers_are_numbered_and_exact_repeats_count_once(write, take) -> None:
    again = [pair("aa aax aay", text) for text in ("One.", "Two.", "Two.", "Three.", "One.")]
    path = write("log.jsonl", *some(), *again)
    calls = take(path)
    rows = [e for e in calls.exchanges if e.messages[-1]["content"].startswith("aa")]
    assert {e.response for e in rows} == {"One.", "Two.", "Three."}
    assert sorted(e.sample_index for e in rows) == [0, 1, 2]
    assert len({e.split for e in rows}) == 1
    assert calls.report.repeats == 2
    assert "2 exact repeats count once" in calls.report.notes()
    for e in calls.exchanges:
        assert e.prompt_id == prompt_id_of(e.messages)
        key = exchange_id_of(e.teacher, e.messages, e.sampling, e.sample_index)
        assert e.exchange_id == key


def test_of_a_repeat_the_earliest_that_says_how_it_ended_stands(write, take) -> None:
    rows = [
        pair("aa aax aay", "One.", created=200),
        pair("aa aax aay", "One.", created=100, finish=None),
        pair("aa aax aay", "One.", created=300, finish="length"),
    ]
    for order in (rows, rows[::-1]):
        calls = take(write("log.jsonl", *some(), *order))
        (row,) = [e for e in calls.exchanges if e.messages[-1]["content"].startswith("aa")]
        assert row.created_at == "1970-01-01T00:03:20.000+00:00"
        assert row.finish_reason == "stop"


@FILES
@given(
    st.lists(
        st.tuples(
            st.sampled_from(WORDS[:9]), st.sampled_from("abc"), st.sampled_from([None, 7, 8])
        ),
        min_size=1,
        max_size=25,
    ),
    st.randoms(use_true_random=False),
    st.lists(st.sampled_from(["{", "[]", '{"x": 1}', "\x00"]), max_size=4),
)
def test_the_order_of_lines_never_matters(write, take, drawn, shuffler, garbage) -> None:
    rows = some(12) + [pair(f"{w} {w}x {w}y", text, created=at) for w, text, at in drawn]
    first = take(write("a.jsonl", *rows), counts=(2, 2))
    mixed = [*rows, *garbage]
    shuffler.shuffle(mixed)
    # A first readable row is all that the form is told from.
    second = take(write("a.jsonl", *mixed), counts=(2, 2), form="chat")
    assert first.exchanges == second.exchanges
    assert first.plan == second.plan
    assert first.report.repeats == second.report.repeats
    assert sum(second.report.left_out.values()) == len(garbage)


def test_the_order_and_number_of_files_never_matters(write, take) -> None:
    rows = some(20)
    whole = take(write("a.jsonl", *rows))
    random.Random(0).shuffle(rows)
    parts = (write("b.jsonl", *rows[:7]), write("c.jsonl", *rows[5:]))
    for paths in (parts, parts[::-1]):
        split = take(*paths)
        assert {e.exchange_id: e.split for e in split.exchanges} == {
            e.exchange_id: e.split for e in whole.exchanges
        }
    assert {e.source for e in take(*parts).exchanges} == {"calls:b.jsonl", "calls:c.jsonl"}
    assert take(*parts) == take(*parts[::-1])


def test_splits_hold_whole_prompts_and_no_neighbour_of_a_held_out_one(write, take) -> None:
    rows = some(30) + [pair(f"{w} {w}x {w}y!", "Again.") for w in WORDS[:30]]
    calls = take(write("log.jsonl", *rows), counts=(5, 3))
    of = {
        split: [e for e in calls.exchanges if e.split == split] for split in ("train", "held_out")
    }
    words = {s: {e.messages[-1]["content"].strip("!") for e in rows} for s, rows in of.items()}
    assert not words["train"] & words["held_out"]
    left_out = calls.report.left_out["resembling a held-out prompt, or beyond prompts.limit"]
    assert left_out == 60 - len(calls.exchanges) > 0


def test_what_the_log_says_is_kept_and_what_it_does_not_is_said(write, take) -> None:
    known = pair(
        "known known1 known2",
        "Yes.",
        model="big-1",
        created=1_760_000_000,
        system_fingerprint="fp",
        usage={"prompt_tokens": 3, "completion_tokens": 1},
        finish="length",
    )
    calls = take(write("log.jsonl", known, *some(4), pair("odd odd1 odd2", "Hm.", finish="weird")))
    row = next(e for e in calls.exchanges if e.response == "Yes.")
    assert (row.finish_reason, row.returned_model, row.system_fingerprint) == (
        "length",
        "big-1",
        "fp",
    )
    assert row.usage == {"prompt_tokens": 3, "completion_tokens": 1}
    assert row.teacher.startswith("calls/big@")
    assert (row.prompt_token_ids, row.response_token_ids, row.tokenizer) == (None, None, None)
    assert row.sampling["temperature"] is None
    assert row.terms_decision.startswith("allow: apache-2.0")
    report = calls.report
    assert report.missing["created_at"] == report.missing["usage"] == 4
    assert report.missing["sampling.temperature"] == report.missing["latency_s"] == 5
    assert "model" not in report.missing
    assert report.finish_reasons == {"whole": 4, "cut off": 1}
    assert report.left_out == {str(Reason.END_UNKNOWN): 1}
    assert "weird" not in json.dumps(report.record())


def test_calls_of_several_models_are_several_teachers_unless_one_is_chosen(write, take) -> None:
    other = [{**row, "request": {**row["request"], "model": "Other Model!"}} for row in some(5)]
    path = write("log.jsonl", *some(5), *other)
    assert len({e.teacher for e in take(path).exchanges}) == 2
    chosen = take(path, model="big")
    assert {e.teacher for e in chosen.exchanges} == {
        e.teacher for e in take(write("big.jsonl", *some(5))).exchanges
    }
    assert chosen.report.left_out == {"another model": 5}
    assert chosen.report.models == {"Other-Model": 5, "big": 5}
    models = r"10 another model .*\. Its models are: Other-Model, big"
    with pytest.raises(PotstillError, match=models):
        take(path, model="small")


def test_prompts_alone_need_no_answer_and_no_terms(write, take) -> None:
    unanswered = {"messages": [{"role": "user", "content": "open open1 open2"}]}
    calls = take(write("log.jsonl", *some(4), *some(2), unanswered), use="prompts", source=None)
    assert len(calls.plan.prompts) == 5
    assert not calls.exchanges
    assert (calls.report.used, calls.report.repeats, calls.report.left_out) == (5, 2, {})
    assert {p.source for p in calls.plan.prompts} == {"calls:log.jsonl"}


def test_calls_that_are_too_long_are_left_out_without_changing_who_answered(write, take) -> None:
    rows = [*some(4), pair("long long1 long2", "x" * 500)]
    path = write("log.jsonl", *rows)
    short = take(path, max_characters=100)
    assert short.report.left_out == {"too long": 1}
    assert {e.teacher for e in short.exchanges} == {e.teacher for e in take(path).exchanges}
    prompts = take(path, max_characters=10, use="prompts")
    assert prompts.report.left_out == {"too long": 1}


def test_held_out_prompts_may_come_from_elsewhere(write, tmp_path) -> None:
    other = write("held.jsonl", {"prompt": "zz zzx zzy"}, {"prompt": WORDS[0] + " x y"})
    log = read_calls(CallsConfig(path=write("log.jsonl", *some(6)), source="mit"))
    decision = decide("x", evidence_of_calls("mit", log.models), Stated())
    prompts = PromptsConfig(held_out=other, held_out_count=2, validation_count=1)
    calls = exchanges_from_calls(log, prompts, decision, seed=0)
    assert [p.source for p in calls.plan.held_out] == ["file:held.jsonl"] * 2
    assert calls.unanswered == calls.plan.held_out
    assert len(calls.exchanges) == 6


def test_exchanges_go_through_the_store(write, take, tmp_path: Path) -> None:
    calls = take(write("log.jsonl", *some(8), *(pair("aa aax aay", t) for t in "uvw")))
    store = ExchangeStore(tmp_path / "run")
    store.append(list(calls.exchanges))
    store.compact()
    assert tuple(store.read()) == calls.exchanges


def test_without_terms_nothing_is_taken_and_the_way_out_is_named(write, take, tmp_path) -> None:
    path = write("log.jsonl", *some(4))
    with pytest.raises(PotstillError) as caught:
        take(path, source=None)
    message = str(caught.value)
    assert "no terms (models: big)" in message
    assert "collect.calls.source" in message
    assert "collect.calls.terms.authorisation" in message
    with pytest.raises(PotstillError, match="may not be distilled yet"):
        take(path, source="llama3")
    letter = tmp_path / "letter.txt"
    letter.write_text("Yes, you may.")
    log = read_calls(CallsConfig(path=path))
    terms = Stated(authorisation=str(letter))
    decision = decide("x", evidence_of_calls(None, log.models), terms)
    prompts = PromptsConfig(held_out_count=1, validation_count=1)
    rows = exchanges_from_calls(log, prompts, decision, seed=0).exchanges
    assert "authorisation blake3:" in rows[0].terms_decision


def test_a_log_without_a_usable_call_says_why(write, take) -> None:
    redacted = pair("private words", "redacted-by-litellm")
    failed = {**redacted, "response": {"error": {"message": "private"}}}
    with pytest.raises(PotstillError) as caught:
        take(write("log.jsonl", redacted, redacted, failed, "private"))
    words = (
        "has no call that can be used, read as chat; left out: 2 redacted (log.jsonl, line 1), "
        "1 error (log.jsonl, line 3), 1 unreadable (log.jsonl, line 4)"
    )
    assert words in str(caught.value)
    assert "private" not in str(caught.value)


KEYS = [
    "role",
    "content",
    "messages",
    "request",
    "response",
    "choices",
    "message",
    "body",
    "model",
    "tools",
    "usage",
    "text",
    "finish_reason",
    "tool_calls",
    "function_call",
    "refusal",
    "type",
    "custom_id",
    "error",
    "created",
    "proxy_server_request",
    "call_type",
    "status",
    "startTime",
    "endTime",
    "spend",
    "prompt",
    "temperature",
    "system_fingerprint",
    "reasoning_content",
    "model_parameters",
    "completion_tokens_details",
    "conversations",
    "from",
    "value",
    "instruction",
    "instructions",
    "input",
    "output",
    "completion",
    "system",
    "result",
    "params",
    "stop_reason",
    "incomplete_details",
    "thinking",
    "call_id",
    "name",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        [
            "user",
            "assistant",
            "text",
            "tool_use",
            "tool_result",
            "message",
            "reasoning",
            "{}",
            '[{"role":"user"}]',
            "\ud800",
            "\0",
        ]
    )
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=20,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8), max_size=5)


@settings(FILES, max_examples=150)
@given(
    ROWS, st.sampled_from(["chat", "batch", "litellm", "table", "sharegpt", "alpaca", "completion"])
)
def test_rows_of_any_shape_never_crash_and_are_counted(write, take, rows, form) -> None:
    good = {
        "chat": some(5),
        "litellm": [
            {"messages": r["request"]["messages"], "response": r["response"]} for r in some(5)
        ],
        "sharegpt": [
            {"conversations": [{"from": "human", "value": w}, {"from": "gpt", "value": "Yes."}]}
            for w in WORDS[:5]
        ],
        "alpaca": [{"instruction": w, "output": "Yes."} for w in WORDS[:5]],
        "completion": [{"prompt": w, "completion": "Yes."} for w in WORDS[:5]],
        "table": [{"prompt": f"{w} {w}x {w}y", "response": "Yes."} for w in WORDS[:5]],
        "batch": [
            part
            for i, r in enumerate(some(5))
            for part in (
                {"custom_id": f"id-{i}", "body": r["request"]},
                {"custom_id": f"id-{i}", "response": {"body": r["response"]}},
            )
        ],
    }[form]
    calls = take(write("log.jsonl", *good, *rows), form=form)
    report = calls.report
    assert len(calls.exchanges) >= 3
    assert report.used == len(calls.exchanges)
    json.dumps([report.record(), report.notes()], allow_nan=False)
    for exchange in calls.exchanges:
        exchange.response.encode()
