"""Collect as a function: whoever answers, without a run directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fault_server import Behaviour, FaultServer
from opened_models import made_plan, made_prompt, open_models, plan_of
from pipeline_runs import Noted, recipe_values, write_calls
from potstill.collect.stage import (
    GOLD,
    SEVERAL,
    Asking,
    Kept,
    collect_answers,
    decoded_answers,
    past_answers,
)
from potstill.errors import PotstillError
from potstill.exchanges.rows import Mark
from potstill.exchanges.specs import HIDDEN_FP16, TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.logs.reading import Log, read_calls
from potstill.models.conversation import Reply
from potstill.models.load import load
from potstill.models.sampling import Sampling
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Silent
from potstill.recipe import CallsConfig, CollectConfig, EvaluateConfig, PromptsConfig, Recipe
from potstill.terms.gate import Stated, TermsDecision, decide, own_answers
from potstill.terms.licences import Evidence
from potstill.work.plan import PromptPlan
from potstill.work.samplings import Samplings
from potstill.work.stage_records import CollectRecord, DecodedAnswers, GivenAnswers, ServedAnswers
from scoring_server import COUNT, ScoringServer

ALLOWED = decide("nano", (Evidence("mit", "test", "mit"),), Stated())
NAME = "smollm2-nano"


class Told:
    """A run's directory, as far as collecting needs one: remembers what it was told, and when."""

    def __init__(self, store: ExchangeStore, folder: Path) -> None:
        self.authors: list[str] = []
        self.plans: list[PromptPlan] = []
        self.stored_before: list[int] = []
        self._store = store
        self.kept = Kept(
            self._author, self.plans.append, folder / "paid.jsonl", folder / "readings.jsonl"
        )

    def _author(self, identity: str) -> None:
        self.authors.append(identity)
        self.stored_before.append(len(self._store.ids()))


def asking(**fields: Any) -> Asking:
    """Return how short answers are drawn; fields of `collect` and of `Asking` are merged in."""
    own = {name: fields.pop(name) for name in ("all_greedy", "prompts") if name in fields}
    greedy = fields.pop("greedy", False)
    return Asking(
        CollectConfig(**{"max_tokens": 8, "slots": 4, "wave": 1, **fields}),
        EvaluateConfig(greedy=greedy, fidelity_prompts=2),
        own.pop("prompts", PromptsConfig()),
        Samplings(
            Sampling(max_tokens=8, seed=4),
            Sampling(max_tokens=8, seed=4),
            Sampling(temperature=0.0, max_tokens=8, seed=4),
        ),
        temperature=1.0,
        seed=4,
        **own,
    )


def collected(
    recipe: dict[str, Any],
    store: ExchangeStore,
    folder: Path,
    *,
    plan: PromptPlan | None = None,
    log: Log | None = None,
    how: Asking | None = None,
    decision: TermsDecision = ALLOWED,
) -> tuple[CollectRecord, Told, list[str]]:
    """Return what collecting left, what a run was told, and the notes."""
    told, progress = Told(store, folder), Noted()
    opened = open_models(Recipe.model_validate(recipe), store, progress)

    def planned() -> PromptPlan:
        assert plan is not None, "nobody is asked anything"
        return plan

    def logged() -> Log:
        assert log is not None, "there is no log"
        return log

    found = collect_answers(
        opened,
        store,
        decision,
        how or asking(),
        told.kept,
        plan=planned,
        log=logged,
        progress=progress,
    )
    return found, told, progress.notes


def served(server: FaultServer, student: Path, **fields: Any) -> dict[str, Any]:
    """Return a recipe that has a server answer; fields of its endpoint are merged in."""
    values = recipe_values(
        NAME,
        "unused",
        student={"model": str(student)},
        collect={"targets": "none"},
        train={"cross_entropy": 1.0},
    )
    values["shrink"] = {}
    values["teacher"]["endpoint"] = {"url": server.url, "provider": "test", "tries": 1, **fields}
    return values


def test_a_model_at_hand_answers_and_its_states_and_head_are_stored(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    recipe, plan = recipe_values(nano_llama, "unused"), made_plan()
    found, told, notes = collected(recipe, store, tmp_path, plan=plan, how=asking(greedy=True))
    figures = found.figures
    assert isinstance(figures, DecodedAnswers)
    # Six to learn from and two that watch, two of three held out, each of these greedily too.
    assert (figures.exchanges, figures.computed) == (8, 8)
    assert store.stats()["splits"] == {"train": 6, "validation": 2, "held_out": 4}
    assert found.stored.exchanges == found.stored.targets == 12
    rows = store.read()
    (teacher,) = {row.teacher for row in rows}
    assert store.has_head(teacher)
    assert store.target_ids(teacher, HIDDEN_FP16) == store.ids()
    assert sum(row.sampling["temperature"] == 0 for row in rows) == 2
    assert [note.partition(":")[0] for note in notes] == [
        "responses",
        "held-out responses",
        "held-out greedy responses",
    ]
    assert told.authors == []  # who it is was told as it was loaded
    assert found.overlap.held_out == 3 and found.taking(2.0, None).seconds == 2
    assert CollectRecord.from_json(json.dumps(found.as_json()).encode()) == found


def test_what_is_stored_is_not_asked_again(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    teacher, plan = load(str(nano_llama), device="cpu", precision="fp32"), made_plan()
    first = decoded_answers(teacher, plan, asking(samples=2), store, ALLOWED, Silent())
    assert first.figures.computed == 16
    again = decoded_answers(teacher, plan, asking(samples=2), store, ALLOWED, Silent())
    assert (again.figures.exchanges, again.figures.computed) == (16, 0)
    assert again.stored == first.stored


def test_nothing_is_asked_that_the_terms_forbid(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    recipe, refused = recipe_values(nano_llama, "unused"), decide("nano", (), Stated())
    with pytest.raises(PotstillError, match="nano may not be distilled"):
        collected(recipe, store, tmp_path, plan=made_plan(), decision=refused)
    assert not store.ids()


def test_a_server_answers_and_what_it_called_its_model_is_noted(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    with FaultServer(Behaviour(model=NAME)) as server:
        recipe = served(server, nano_llama, top_logprobs=0)
        found, _, _ = collected(recipe, store, tmp_path, plan=made_plan())
        assert isinstance(found.figures, ServedAnswers)
        assert found.figures.exchanges == server.requests == 10
        # A task is scored on greedy answers to every held-out prompt, more than both models read.
        collected(recipe, store, tmp_path, plan=made_plan(), how=asking(all_greedy=True))
        assert server.requests == 13
    assert found.figures.failures == () and found.figures.money is None
    assert found.figures.notes == (f"the server called its model {NAME}",)
    assert store.stats()["splits"] == {"train": 6, "validation": 2, "held_out": 5}


def test_failures_of_a_server_are_kept_and_said(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    behaviour = Behaviour(model=NAME, rate=0.5, faults=("200 with an error",), seed=3)
    with FaultServer(behaviour) as server:
        recipe = served(server, nano_llama)
        found, _, notes = collected(recipe, store, tmp_path, plan=made_plan(train=12))
    figures = found.figures
    assert isinstance(figures, ServedAnswers) and figures.failures
    assert sum(figures.failed.values()) == len(figures.failures) == 16 - figures.exchanges
    assert any(note.startswith("responses: no answer to") for note in notes)


def test_no_held_out_answer_is_paid_where_no_training_answer_came(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    behaviour = Behaviour(model=NAME, rate=1.0, faults=("200 with an error",))
    with FaultServer(behaviour) as server:
        recipe = served(server, nano_llama)
        with pytest.raises(PotstillError, match="no training prompt got one that can be used"):
            collected(recipe, store, tmp_path, plan=made_plan())
        assert server.requests == 8


def test_a_server_that_stops_is_told_of_and_what_came_is_stored(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    with FaultServer(Behaviour(model=NAME)) as server:
        recipe = served(server, nano_llama, budget_tokens=250, max_in_flight=1)
        with pytest.raises(PotstillError, match=r"the budget is used up: \d of 8 responses"):
            collected(recipe, store, tmp_path, plan=made_plan())
    assert 0 < len(store.ids()) < 8


def test_likeliest_tokens_of_a_server_are_kept_and_counted(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    with ScoringServer(TeacherTokens.of(nano_llama), broken=3) as server:
        recipe = served(server, nano_llama, top_logprobs=COUNT, provider="test")
        recipe["collect"] = {"targets": "top-k", "top_k_targets": COUNT}
        recipe["train"]["cross_entropy"] = 0.5
        how = asking(targets="top-k", top_k_targets=COUNT)
        found, _, _ = collected(recipe, store, tmp_path, plan=made_plan(train=9), how=how)
        # Nobody keeps those of held-out answers, and they are not sent.
        assert sum("logprobs" in body for body in server.bodies) == 11
    having = store.target_ids(f"test/{NAME}", TargetSpec("top-k", COUNT))
    assert 0 < len(having) == found.stored.targets < 11
    assert isinstance(found.figures, ServedAnswers)
    said = f"{len(having)} of 11 answers have the server's likeliest tokens; the others have none"
    assert found.figures.notes[-1].startswith(said)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    path = write_calls(tmp_path / "calls.jsonl")
    return read_calls(CallsConfig(path=str(path), source="apache-2.0"))


def past(student: Path, **collect: Any) -> dict[str, Any]:
    """Return a recipe that learns from answers which are there."""
    values = recipe_values("big", "unused", student={"model": str(student)}, collect=collect)
    values["collect"]["targets"], values["train"]["cross_entropy"] = "none", 1.0
    values["shrink"] = {}
    return values


def test_past_calls_are_stored_after_the_run_knows_whose_they_are(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path, log: Log
) -> None:
    recipe = past(nano_llama, calls={"path": "calls.jsonl", "source": "apache-2.0"})
    prompts = PromptsConfig(held_out_count=5, validation_count=4, limit=20)
    found, told, notes = collected(recipe, store, tmp_path, log=log, how=asking(prompts=prompts))
    assert told.stored_before == [0] and len(told.authors) == 1
    (plan,) = told.plans
    assert {row.prompt_id for row in store.read()} == {p.prompt_id for p in plan.prompts}
    assert {row.teacher for row in store.read()} == set(told.authors)
    figures = found.figures
    assert isinstance(figures, GivenAnswers)
    assert figures.exchanges == figures.computed == len(plan.prompts) == found.stored.exchanges
    assert figures.seconds == figures.tokens_per_s == 0
    assert any("beyond prompts.limit" in note for note in notes)
    assert set(figures.notes) <= set(notes)


def test_calls_of_several_models_have_one_name_and_dropped_ones_do_not_count(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    rows = [
        {
            "request": {
                "model": f"model-{number % 2}",
                "messages": [{"role": "user", "content": f"Where is {number} of {number * 7}?"}],
            },
            "response": {
                "choices": [
                    {"message": {"role": "assistant", "content": "There."}, "finish_reason": "stop"}
                ]
            },
        }
        for number in range(30)
    ]
    path = tmp_path / "calls.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    log = read_calls(CallsConfig(path=str(path), source="apache-2.0"))
    told, spoken = Told(store, tmp_path), load(str(nano_llama)).conversation
    how = asking(prompts=PromptsConfig(held_out_count=4, validation_count=3))
    found = past_answers(log, how, store, ALLOWED, spoken, told.kept, Silent())
    assert told.authors == [SEVERAL]
    rows = store.read()
    of_one = len(spoken.reply_ids(rows[0].messages, Reply("There.")))
    assert found.figures.response_tokens == len(rows) * of_one
    # An answer that curation dropped meanwhile is none to learn from.
    store.mark([Mark(rows[0].exchange_id, "curate", False, "empty")])
    again = past_answers(log, how, store, ALLOWED, spoken, told.kept, Silent())
    assert again.figures.exchanges == len(rows) - 1 == again.stored.exchanges - 1


def test_right_answers_are_stored_as_nobodys(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    told_of = [made_prompt(f"Sum of {n} and {n}?", gold=str(2 * n)) for n in range(5)]
    unknown = made_prompt("Sum of nothing?")
    plan = plan_of((*told_of, unknown), (), (made_prompt("Sum?", "held_out", gold="0"),))
    recipe = past(nano_llama, gold=True)
    recipe["task"] = {"kind": "text", "gold": "sum"}
    found, told, _ = collected(recipe, store, tmp_path, plan=plan, decision=own_answers("big"))
    assert told.authors == [GOLD] and told.stored_before == [0] and not told.plans
    rows = store.read()
    assert {row.teacher for row in rows} == {GOLD}
    assert sorted(row.response for row in rows) == ["0", "0", "2", "4", "6", "8"]
    assert found.stored.exchanges == 6
    # Nothing was odd, and nothing is written of it.
    assert "notes" not in found.as_json()["figures"]


def test_rows_without_a_right_answer_leave_nothing_to_learn(
    nano_llama: Path, store: ExchangeStore, tmp_path: Path
) -> None:
    recipe = past(nano_llama, gold=True)
    recipe["task"] = {"kind": "text", "gold": "sum"}
    with pytest.raises(PotstillError, match="there is no training answer: collecting stored none"):
        collected(recipe, store, tmp_path, plan=made_plan(), decision=own_answers("big"))
