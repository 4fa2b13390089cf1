"""What a run's stages cost depends on what they did with the teacher's head."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.evaluate.cost import ModelShape, stage_cost
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.usage import TargetUsage
from potstill.recipe import CallsConfig, CollectConfig, CostConfig, EndpointConfig, TrainConfig
from potstill.runs import cost as run_costs
from potstill.runs.cost import PaidAnswers, Shapes, Work
from potstill.runs.trained_part import training_section
from potstill.work.access import Author, PastCalls, RightAnswers, Server, Weights
from potstill.work.stage_records import (
    CollectRecord,
    CurateRecord,
    GivenAnswers,
    OwnTextLearnt,
    OwnTextRead,
    ReadAnswers,
    ShrinkRecord,
    TrainRecord,
)
from potstill.work.target_specs import training_spec

SHAPE = ModelShape(parameters=1, body=100.0, head=7.0, attention=())
SHAPES = Shapes(SHAPE, SHAPE)
PRICES = CostConfig(machine_hour=3.6)
WEIGHTS = Weights("nano")
PAST = PastCalls("m", CallsConfig(path="log.jsonl", source="apache-2.0"))
FIGURES = GivenAnswers(
    exchanges=2, computed=2, response_tokens=11, seconds=0.0, tokens_per_s=0.0, notes=()
)


def server(**prices: float) -> Server:
    values: dict[str, Any] = {"provider": "litellm", "url": "https://localhost/v1", **prices}
    return Server("m", EndpointConfig(**values), tells_targets=False)


def row(
    number: int,
    *,
    split: str = "train",
    ids: bool = True,
    usage: dict[str, int] | None = None,
    teacher: str = "m",
) -> Exchange:
    values: dict[str, Any] = {
        "exchange_id": f"id-{number}",
        "prompt_id": f"prompt-{number}",
        "split": split,
        "messages": ({"role": "user", "content": "Hi"},),
        "response": "Yes",
        "prompt_token_ids": (1, 2) if ids else None,
        "response_token_ids": (3,) * (number + 1) if ids else None,
        "tokenizer": "t" if ids else None,
        "finish_reason": "stop",
        "teacher": teacher,
        "sampling": {"temperature": 1.0},
        "sample_index": 0,
        "terms_decision": "allow",
        "source": "test",
        "created_at": "2026-01-01T00:00:00Z",
        "usage": usage or {},
    }
    return Exchange(**values)


def trained(**values: Any) -> TrainRecord:
    figures = {"steps": 1, "response_tokens": 8, "seconds": 1.0, "tokens_per_s": 15.0}
    figures |= {"first_loss": 1.0, "last_loss": 1.0, "left_out": 0, "joules": None}
    figures |= {"lengths": [[3, 2], [4, 6]], "tokens": 15, "scored_again": 0}
    return TrainRecord.model_validate({**figures, **values})


def collected(**values: Any) -> CollectRecord:
    overlap = {"held_out": 1, "train": 2, "exact": 0, "near": 0, "dropped_from_training": 0}
    plan = {**overlap, "method": "words", "threshold": 0.5}
    stored = {"exchanges": 2, "targets": 0}
    record = {"figures": FIGURES, "overlap": plan, "stored": stored, "seconds": 10.0}
    return CollectRecord.model_validate({**record, "joules": None, **values})


def curated(reading: ReadAnswers | None = None) -> CurateRecord:
    counts = {"rows": 2, "kept": 2, "train": 2, "train_kept": 2, "dropped": {}, "alone": {}}
    rest = {"examples": {}, "verified": None, "judge": None, "notes": ()}
    given = {} if reading is None else {"reading": reading}
    return CurateRecord.model_validate({**counts, **rest, **given, "seconds": 1.0, "joules": None})


def spec_of(targets: str) -> TargetSpec | None:
    return training_spec(CollectConfig(targets=targets), 1.0)  # type: ignore[arg-type]


def training(targets: str, shapes: Shapes = SHAPES, **train: Any) -> float:
    config = TrainConfig(**train)
    return run_costs.training_work(shapes, trained(), config, spec_of(targets)).flops


def answered(author: Author, rows: list[Exchange], *usage: TargetUsage) -> PaidAnswers:
    return run_costs.answered_by(author, rows, FIGURES, usage, scorer="m")


@pytest.mark.parametrize(("targets", "spec"), [("sampled", "sampled-50"), ("top-k", "top-k-8")])
def test_targets_that_are_formed_while_collecting_need_no_head_in_training(
    targets: str, spec: str
) -> None:
    assert training("hidden") - training(targets) == pytest.approx(8 * SHAPE.head)
    states = TargetUsage("hidden-fp16", 1, 5, 0, 0)
    hidden = answered(WEIGHTS, [row(0)], states)
    formed = answered(WEIGHTS, [row(0)], states, TargetUsage(spec, 2, 8, 0, 0))
    added = run_costs.decoding_work(SHAPE, formed).flops
    added -= run_costs.decoding_work(SHAPE, hidden).flops
    assert added == pytest.approx(8 * SHAPE.head)


def test_text_alone_needs_no_teacher() -> None:
    both, text = training("hidden"), training("hidden", cross_entropy=1.0)
    assert both - text == pytest.approx(8 * SHAPE.head)


def test_rows_that_are_scored_again_pass_the_teacher_s_body() -> None:
    config = TrainConfig()
    once = run_costs.training_work(SHAPES, trained(scored_again=1), config, spec_of("hidden"))
    assert once.tokens == 15
    # One of two rows: half of what both take.
    assert once.flops - training("hidden") == pytest.approx(15 * SHAPE.body / 2)


def test_states_between_blocks_have_the_teacher_read_what_is_learnt_once_more() -> None:
    states = {"pairs": [[0, 1]], "last": True, "projection_weights": 0}
    found = trained(hidden_matching=states, first_hidden=1.0, last_hidden=0.5)
    flops = run_costs.training_work(SHAPES, found, TrainConfig(), spec_of("hidden")).flops
    assert flops - training("hidden") == pytest.approx(15 * SHAPE.body)
    stored = trained(hidden_matching={**states, "pairs": []}, first_hidden=1.0, last_hidden=0.5)
    same = run_costs.training_work(SHAPES, stored, TrainConfig(), spec_of("hidden")).flops
    assert same == training("hidden")
    shown = training_section(found).hidden_matching
    assert shown is not None and (shown.first, shown.final, shown.pairs) == (1.0, 0.5, [(0, 1)])
    assert training_section(trained()).hidden_matching is None


def test_adapters_spare_the_gradients_of_the_student_s_weights() -> None:
    tokens, positions, weights = 15, 8, 3
    spared = tokens * SHAPE.body + positions * SHAPE.head
    adapted = training("hidden", Shapes(SHAPE, SHAPE, weights), cross_entropy=1.0)
    whole = training("hidden", cross_entropy=1.0)
    assert whole - adapted == pytest.approx(spared - tokens * 3 * 2 * weights)


def test_a_search_of_cuts_is_counted_with_its_trials() -> None:
    uncut = ShrinkRecord(blocks=None, seconds=1.0, joules=None)
    assert run_costs.shrink_work(SHAPE, uncut, 50) == Work(0.0, 0)
    tried = {"blocks": (1,), "kl": 0.5, "taken": True}
    near = {"kl": 0.5, "agreement": 0.5}
    cut = ShrinkRecord.model_validate(
        {
            **{"blocks": (1,), "kept_tokens": None, "channels": None, "kv_heads": None},
            **{"heal": "none", "refitted": (), "calibration_tokens": 40, "trials": (tried, tried)},
            **{"plain": near, "healed": near, "seconds": 1.0, "joules": None},
        }
    )
    assert run_costs.shrink_work(SHAPE, cut, 50) == Work((80 + 200) * SHAPE.body, 40)


def test_students_are_read_as_the_trained_one_and_the_teacher_as_itself() -> None:
    large = ModelShape(parameters=2, body=1000.0, head=70.0, attention=())
    read = {"teacher": ((1, 1),), "student": ((2, 1), (1, 2))}
    found = run_costs.evaluation_work(Shapes(large, SHAPE), read)
    assert found == Work(2 * 1000.0 + 70.0 + 6 * 100.0 + 3 * 7.0, 4)


def test_tokens_are_counted_as_far_as_whoever_answered_gives_them() -> None:
    rows = [row(0), row(1), row(2, split="held_out")]
    assert run_costs.written_tokens(WEIGHTS, rows, FIGURES) == 3
    assert run_costs.written_tokens(PAST, rows, FIGURES) == 11
    assert run_costs.written_tokens(RightAnswers("none"), rows, FIGURES) == 11
    told = [row(0, ids=False, usage={"completion_tokens": 4}), row(1, ids=False)]
    assert run_costs.written_tokens(server(), told[:1], FIGURES) == 4
    assert run_costs.written_tokens(server(), told, FIGURES) is None


def test_a_server_charges_for_its_own_answers_alone() -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 2_000_000}
    rows = [row(0, ids=False, usage=usage), row(1, ids=False, usage=usage, teacher="another")]
    assert answered(server(price_in=1.0, price_out=2.0), rows).charged == pytest.approx(5.0)
    assert answered(server(), rows).charged is None
    assert answered(PAST, rows).charged is None


def test_a_server_s_bill_is_added_to_the_machine_s_time() -> None:
    rows = [row(0, ids=False, usage={"prompt_tokens": 1_000_000, "completion_tokens": 0})]
    paid = answered(server(price_in=1.0, price_out=2.0), rows)
    found = run_costs.collection_cost(collected(), curated(), SHAPES, paid, PRICES)
    assert (found.flops, found.tokens, found.seconds) == (0.0, 0, 10.0)
    assert found.money == pytest.approx(1.0 + 0.01)
    unknown = answered(server(), rows)
    found = run_costs.collection_cost(collected(), curated(), SHAPES, unknown, PRICES)
    assert found.money is None


@pytest.mark.parametrize("money", [0.25, None])
def test_answers_that_a_server_only_read_cost_what_reading_did(money: float | None) -> None:
    reading = ReadAnswers(
        texts=1,
        scored=1,
        without_targets={},
        prompt_tokens=3,
        response_tokens=1,
        money=money,
        seconds=20.0,
        note="read",
    )
    paid = answered(PAST, [row(0, ids=False)])
    found = run_costs.collection_cost(collected(), curated(reading), SHAPES, paid, PRICES)
    assert (found.tokens, found.seconds) == (11, 30.0)
    assert found.money == (None if money is None else pytest.approx(0.25 + 0.03))


@pytest.mark.parametrize("money", [0.25, None])
def test_own_text_that_a_server_reads_costs_what_it_charges(money: float | None) -> None:
    served = OwnTextRead(likeliest=8, texts=2, prompt_tokens=15, response_tokens=2, money=money)
    own = OwnTextLearnt(
        steps=1,
        stored_steps=0,
        cut=0,
        repeated=0,
        overlap_first=1.0,
        overlap_last=1.0,
        slots_busy=1.0,
        writing_s=1.0,
        scoring_s=1.0,
        lengths=((3, 2), (4, 6)),
    )
    work = Work(0.0, 15)
    alone = run_costs.training_cost(trained(on_policy=own), work, PRICES)
    assert alone.money == pytest.approx(0.001)
    record = trained(on_policy=own.model_copy(update={"served": served}))
    found = run_costs.training_cost(record, work, PRICES)
    assert found.money == (None if money is None else pytest.approx(0.251))
    # The server's own arithmetic is nobody's here.
    here = run_costs.own_text_flops(SHAPES, trained(on_policy=own))
    there = run_costs.own_text_flops(SHAPES, record)
    assert here - there == 15 * SHAPE.body


def test_what_weights_answer_is_counted_in_operations() -> None:
    rows = [row(0), row(1, split="held_out")]
    found = run_costs.collection_cost(
        collected(), curated(), SHAPES, answered(WEIGHTS, rows), PRICES
    )
    # Of each response all tokens but the last are fed, and each asks the head.
    assert found.flops == (2 + 3) * SHAPE.body + 3 * SHAPE.head
    assert found.tokens == 3 and found.money == pytest.approx(0.01)


def test_what_a_student_began_as_has_its_own_size_only_where_it_was_cut() -> None:
    uncut = ShrinkRecord(blocks=None, seconds=1.0, joules=None)
    assert run_costs.parent_of(None, SHAPE, uncut, 5) is None
    found = run_costs.parent_of("small", SHAPE, uncut, 5)
    assert found is not None and (found.model, found.parameters) == ("small", 5)
    cut = ShrinkRecord.model_construct(blocks=(1,))
    found = run_costs.parent_of("small", SHAPE, cut, 5)
    assert found is not None and found.parameters == SHAPE.parameters
    assert stage_cost(1.0, 1, 3600, PRICES).money == pytest.approx(3.6)
