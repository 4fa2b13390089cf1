"""What a finished run's evaluation says, from the records and rows that it has, as functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.errors import PotstillError
from potstill.evaluate.cost import ModelShape
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.machine import machine_facts
from potstill.models.precision import resolve_device, resolve_dtype
from potstill.recipe import CallsConfig, EndpointConfig, Recipe
from potstill.runs import report_run
from potstill.runs.cost import Done, PaidAnswers, Shapes, answered_by
from potstill.terms.gate import own_answers
from potstill.work.access import Author, PastCalls, RightAnswers, Server, Weights
from potstill.work.evaluation import Evaluation, Machine
from potstill.work.rundir import RunDir
from potstill.work.stage_records import (
    CollectRecord,
    CurateRecord,
    EvaluateRecord,
    PricedByTime,
    PricedByTokens,
    ShrinkRecord,
    TaskOutcome,
    TrainRecord,
    WorkRecord,
)

# What real runs of two commits wrote.
FOLDER = Path(__file__).parents[1] / "work" / "records"
WRITTEN = {
    f"{path.stem} {kind}": records
    for path in sorted(FOLDER.glob("*.json"))
    for kind, records in json.loads(path.read_text(encoding="utf-8")).items()
    if {"collect", "curate", "shrink", "train", "evaluate"} <= set(records)
}
SHAPE = ModelShape(parameters=40, body=100.0, head=7.0, attention=())
RECIPE = Recipe.model_validate({"name": "told", "teacher": {"model": "nano"}})
CALLS = CallsConfig(path="log.jsonl", source="apache-2.0")
ENDPOINT = EndpointConfig(provider="litellm", url="https://localhost/v1", price_in=1, price_out=2)
PAST = PastCalls("m", CALLS)
AUTHORS: dict[str, Author] = {
    "weights": Weights("nano"),
    "gold": RightAnswers("none"),
    "server": Server("m", ENDPOINT, tells_targets=False),
}


def row(number: int, response: str = "Yes", **more: Any) -> Exchange:
    values: dict[str, Any] = {
        "exchange_id": f"id-{number:03d}",
        "prompt_id": f"prompt-{number}",
        "split": "train",
        "messages": ({"role": "user", "content": f"What are the {number} largest ports of it?"},),
        "response": response,
        "prompt_token_ids": None,
        "response_token_ids": None,
        "tokenizer": None,
        "finish_reason": "stop",
        "teacher": "litellm/m@",
        "sampling": {"temperature": 1.0},
        "sample_index": 0,
        "terms_decision": "allow",
        "source": "test",
        "created_at": "2026-01-01T00:00:00Z",
    }
    return Exchange(**{**values, **more})


def done_from(records: dict[str, Any]) -> Done:
    def read(record: type[WorkRecord]) -> Any:
        return record.from_json(json.dumps(records[record.name]).encode())

    kinds = (CollectRecord, CurateRecord, ShrinkRecord, TrainRecord, EvaluateRecord)
    return Done(*(read(kind) for kind in kinds))


def told(done: Done, author: Author, rows: list[Exchange]) -> Evaluation:
    answers = answered_by(author, rows, done.collected.figures, scorer="litellm/m@")
    cpu = resolve_device("cpu")
    return report_run.evaluation_of(
        done,
        RECIPE,
        rows,
        [
            Prompt(
                "h",
                ({"role": "user", "content": "What are the 3 largest ports of it?"},),
                "held_out",
                "test",
            )
        ],
        answers,
        Shapes(SHAPE, SHAPE),
        machine=Machine(**machine_facts(cpu, resolve_dtype("fp32", cpu))),
        peak_memory=1,
    )


@pytest.mark.parametrize("name", WRITTEN)
def test_what_stages_of_any_version_recorded_becomes_an_evaluation(name: str) -> None:
    records, author = WRITTEN[name], AUTHORS.get(name.partition(" ")[2], PAST)
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    rows = [row(number, usage=usage) for number in range(5)]
    done = done_from(records)
    found = told(done, author, rows)
    content = found.as_json()
    stages = ("collect", "curate", "shrink", "train", "evaluate")
    assert found.seconds == pytest.approx(sum(records[stage]["seconds"] for stage in stages))
    assert content["answers"] == ("gold" if isinstance(author, RightAnswers) else "teacher")
    sections = records["evaluate"]["sections"]
    assert content["held_out"]["prompts"] == sections["held_out"]["prompts"]
    assert content["models"]["student"]["params"] == sections["models"]["student"]["params"]
    assert content["training"]["steps"] == records["train"]["steps"]
    assert content["training"]["seconds"] == records["train"]["seconds"]
    assert content["training"]["left_out"] == (records["train"]["left_out"] or None)
    assert content["curation"]["dropped"] == records["curate"]["dropped"]
    assert content["collection"]["exchanges"] == records["collect"]["figures"]["exchanges"]
    assert (content["shrink"] is None) == (records["shrink"]["blocks"] is None)
    money = content["collection"]["money"]
    assert money == (pytest.approx(5 * 20 / 1e6) if isinstance(author, Server) else None)
    # Curation costs nothing but what a server reads in it.
    read = (records["curate"].get("reading") or {"seconds": 0.0})["seconds"]
    costed = found.seconds - records["curate"]["seconds"] + read
    assert content["cost"]["total"]["seconds"] == pytest.approx(costed)
    # The same words stand in one held-out and one training prompt.
    overlap = content["overlap"]
    assert (overlap["train"], overlap["held_out"], overlap["exact"]) == (5, 1, 1)
    planned = records["collect"]["overlap"]["dropped_from_training"]
    assert overlap["dropped_from_training"] == planned


def test_answers_are_counted_by_length_in_tokens_where_all_are_known() -> None:
    by_ids = [row(0, response_token_ids=(1, 2, 3)), row(1, usage={"completion_tokens": 9})]
    assert report_run.lengths_of(by_ids) == (
        {"0-1": 0, "2": 0, "3-4": 1, "5-8": 0, "9-16": 1},
        "tokens",
    )
    # One that nobody counted, and all are measured in characters.
    assert report_run.lengths_of([*by_ids, row(2, "No.")]) == (
        {"0-1": 0, "2": 0, "3-4": 3},
        "characters",
    )
    assert report_run.lengths_of([]) == ({}, "tokens")
    assert report_run.lengths_of([row(0, "")])[0] == {"0-1": 1}


@pytest.mark.parametrize("priced", [True, False])
def test_answers_without_their_number_of_tokens_are_said(priced: bool) -> None:
    name = next(name for name in WRITTEN if name.endswith("server"))
    done = done_from(WRITTEN[name])
    endpoint = ENDPOINT if priced else ENDPOINT.model_copy(update={"price_in": None})
    author = Server("m", endpoint, tells_targets=False)
    rows = [row(0, usage={"completion_tokens": 5}), row(1)]
    found = told(done, author, rows).collection
    assert found is not None and found.response_tokens is None and found.tokens_per_s is None
    at_most = "; what they cost is put at its most" if priced else ""
    assert found.notes[-1] == f"1 of 2 answers came without their number of tokens{at_most}"


def test_a_cut_is_shown_with_what_was_not_taken() -> None:
    near = {"kl": 0.5, "agreement": 0.25}
    trials = [
        {"blocks": [1], "kl": 0.5, "taken": True},
        {"blocks": [2], "kl": 0.75, "taken": False, "parameters": 9},
    ]
    values: dict[str, Any] = {
        "blocks": [1],
        "kept_tokens": None,
        "channels": [[0, 1, 2], [0, 1, 2]],
        "kv_heads": None,
        "heal": "ridge",
        "refitted": [0],
        "calibration_tokens": 40,
        "plain": near,
        "healed": {"kl": 0.25, "agreement": 0.5},
        "trials": trials,
        "seconds": 1.0,
        "joules": None,
    }
    found = report_run.shrink_section(ShrinkRecord.from_json(json.dumps(values).encode()))
    assert found is not None and found.healed is not None and found.plain is not None
    assert (found.heal, found.healed.kl, found.plain.agreement) == ("ridge", 0.25, 0.25)
    assert found.rejected == [{"blocks": [2], "kl": 0.75, "parameters": 9}]
    assert (found.ffn_channels, found.kv_heads, found.ids_dropped) == (3, None, {})
    values |= {"refitted": []}
    plain = report_run.shrink_section(ShrinkRecord.from_json(json.dumps(values).encode()))
    assert plain is not None and (plain.heal, plain.healed) == ("none", None)


def test_a_student_pays_back_where_both_prices_and_the_bill_are_known() -> None:
    dear = PricedByTokens(
        prompt_tokens=1000, response_tokens=0, prompt_million=2.0, response_million=1.0
    )
    cheap = PricedByTime(seconds_per_call=1.8, machine_hour=2.0)
    both = TaskOutcome.model_construct(prices={"teacher": dear, "student": cheap})
    found = report_run.payback_section(both, 4.0)
    assert found is not None and found.calls == 4000
    assert found.teacher_per_1000_calls == pytest.approx(2.0)
    assert found.student_per_1000_calls == pytest.approx(1.0)
    alone = TaskOutcome.model_construct(prices={"student": cheap})
    assert report_run.payback_section(alone, 4.0) is None
    assert report_run.payback_section(both, None) is None
    assert report_run.payback_section(None, 4.0) is None


def test_who_answered_is_told_apart_from_who_read() -> None:
    terms = own_answers("none")
    weights = report_run.Origin("nano", "blake3:n", "blake3:t", terms, None)
    assert weights.teacher() == {"model": "nano", "identity": "blake3:n"}
    assert weights.teacher(tokenizer=True)["tokenizer"] == "blake3:t"
    assert weights.permitted() == {"terms": terms.facts()}
    reader = report_run.Reader("m", "litellm/m@", terms)
    read = report_run.Origin(None, "past", None, terms, reader)
    assert read.teacher(tokenizer=True) == {"identity": "past"}
    assert read.permitted()["reader"] == {
        "model": "m",
        "identity": "litellm/m@",
        "terms": terms.facts(),
    }
    page = report_run.provenance(read, RECIPE, nobody=False)
    assert list(page) == ["teacher", "terms", "reader", "recipe"]
    assert list(report_run.provenance(weights, RECIPE, nobody=True)) == [
        "answers",
        "terms",
        "recipe",
    ]


def test_a_lost_record_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    with (
        RunDir.open(tmp_path / "run", RECIPE) as run,
        pytest.raises(PotstillError, match=r"what collect recorded in .* run the same command"),
    ):
        report_run.done_of(run)


def test_paid_answers_of_weights_are_those_that_were_decoded() -> None:
    rows = [row(0, prompt_token_ids=(1,), response_token_ids=(2, 3))]
    done = done_from(next(iter(WRITTEN.values())))
    found = answered_by(Weights("nano"), rows, done.collected.figures, scorer="s")
    assert found == PaidAnswers(Weights("nano"), [(1, 2)], 0, 2, None)
