"""What a run composes for its stages, of its recipe and its directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from learnt_stores import PLAN, written
from pipeline_runs import recipe_values
from potstill.errors import PotstillError
from potstill.models.load import load
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.runs import parts as parts_module
from potstill.runs.parts import Parts
from potstill.terms.gate import Stated
from potstill.terms.licences import Evidence
from potstill.work.records import Checked, Precision, Teacher, Unasked
from potstill.work.rundir import RunDir
from potstill.work.spoken import spoken_since

ENDPOINT = {"url": "http://127.0.0.1:9/v1", "provider": "local"}


def recipe_of(teacher: Path | str, **sections: Any) -> Recipe:
    return Recipe.model_validate(recipe_values(teacher, "rows.jsonl", **sections))


def text_recipe(directory: Path | str, *, asks: bool = True, **sections: Any) -> Recipe:
    """Return a recipe that learns text: a server's that is asked, or past calls'."""
    values = recipe_values("m", "rows.jsonl", **sections)
    if asks:
        values["teacher"]["endpoint"] = ENDPOINT
    values["collect"]["targets"] = "none"
    values["train"]["cross_entropy"] = 1
    values["student"] = {"model": str(directory)}
    return Recipe.model_validate(values)


@contextmanager
def parts_of(root: Path, recipe: Recipe) -> Iterator[Parts]:
    with RunDir.open(root, recipe) as run:
        spoken_since(run)
        parts = Parts(run, recipe, Silent())
        run.finish(PLAN.kept())
        yield parts
        parts.store.close()


def test_precision_is_measured_once_and_kept(tmp_path: Path) -> None:
    with parts_of(tmp_path, recipe_of("m", precision="auto")) as parts:
        parts.run.finish(Precision(precision="bf16"))
        assert parts.compute.dtype == torch.bfloat16
    with parts_of(tmp_path / "other", recipe_of("m", precision="fp32")) as parts:
        assert parts.compute.dtype == torch.float32
        assert parts.run.done(Precision) == Precision(precision="fp32")


def test_the_teacher_s_identity_is_recorded_when_it_is_met(
    nano_llama: Path, tmp_path: Path
) -> None:
    identity = load(str(nano_llama), precision="fp32").identity
    with parts_of(tmp_path, recipe_of(nano_llama)) as parts:
        assert parts.run.done(Teacher) is None
        assert parts.author_identity == identity
        assert parts.run.done(Teacher) == Teacher(identity=identity)
    with parts_of(tmp_path, recipe_of(nano_llama)) as parts:
        # Known by now: nothing has to be loaded.
        assert parts.author_identity == identity and parts.opened._teacher is None
    with parts_of(tmp_path, recipe_of(nano_llama)) as parts:
        parts.run.finish(Teacher(identity="another"))
        with pytest.raises(PotstillError, match="is another one than this run began with"):
            _ = parts.opened.teacher


def test_a_server_is_who_it_says_it_is(nano_llama: Path, tmp_path: Path) -> None:
    with parts_of(tmp_path, text_recipe(nano_llama)) as parts:
        assert parts.access.server is not None
        assert parts.author_identity == parts.access.server.identity
        assert parts.corpus.author_identity == parts.corpus.scorer_identity


def test_a_teacher_whose_licence_says_no_is_not_loaded(
    nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with parts_of(tmp_path, recipe_of(nano_llama)) as parts:
        assert parts.decision.outcome == "allow"

    def refuse(self: Any) -> None:
        raise PotstillError("not permitted")

    monkeypatch.setattr(Parts, "decision", property(refuse))
    with parts_of(tmp_path, recipe_of(nano_llama)) as parts:
        with pytest.raises(PotstillError, match="not permitted"):
            _ = parts.opened.parent
        assert parts.run.done(Teacher) is None


def test_a_model_that_changed_since_it_was_checked_is_refused(tmp_path: Path) -> None:
    with parts_of(tmp_path, recipe_of("m")) as parts:
        # One that nobody checked is taken as it is.
        parts.require_checked("student.model", "a")
        parts.run.finish(Checked(recipe="r", models={"student.model": "a"}))
        parts.require_checked("student.model", "a")
        parts.require_checked("curate.judge.model", "b")
        with pytest.raises(PotstillError, match=r"student\.model has changed since this run began"):
            parts.require_checked("student.model", "b")
        # Damaged, it no longer says what was checked: another student would pass.
        parts.run.record_path("checked").write_text("{")
        with pytest.raises(PotstillError, match=r"checked\.json is damaged, and only it says"):
            parts.require_checked("student.model", "b")


def held_out(**sampling: Any) -> Any:
    return written(PLAN.held_out[-1], "Yes.", sampling=sampling)


@pytest.mark.parametrize(
    ("evaluate", "sampling", "asked_for"),
    [
        ({}, {"temperature": 1.0, "max_tokens": 24}, True),
        # An older version did not say how long an answer could be.
        ({}, {"temperature": 1.0}, True),
        ({}, {"temperature": 1.0, "max_tokens": 25}, False),
        ({"fidelity_prompts": 2}, {"temperature": 1.0, "max_tokens": 24}, False),
        ({"fidelity_prompts": 3}, {"temperature": 1.0, "max_tokens": 24}, True),
        ({"fidelity_prompts": 2}, {"temperature": 0.0, "max_tokens": 24}, False),
    ],
)
def test_held_out_answers_count_that_the_recipe_asks_for_now(
    evaluate: dict[str, Any], sampling: dict[str, Any], asked_for: bool, tmp_path: Path
) -> None:
    with parts_of(tmp_path, recipe_of("m", evaluate=evaluate)) as parts:
        assert parts._measured_on(held_out(**sampling)) == asked_for


def test_a_server_s_greedy_answers_all_count_where_a_task_is_scored(
    nano_llama: Path, tmp_path: Path
) -> None:
    task = {"kind": "label", "labels": ["a", "b"], "gold": "right"}
    few = {"evaluate": {"fidelity_prompts": 2}}
    greedy = held_out(temperature=0.0, max_tokens=24)
    drawn = held_out(temperature=1.0, max_tokens=24)
    with parts_of(tmp_path / "a", text_recipe(nano_llama, task=task, **few)) as parts:
        assert parts._measured_on(greedy) and not parts._measured_on(drawn)
    with parts_of(tmp_path / "b", text_recipe(nano_llama, **few)) as parts:
        assert not parts._measured_on(greedy)
    # Weights are there to be asked for the others, when the task is scored.
    with parts_of(tmp_path / "c", recipe_of("m", task=task, **few)) as parts:
        assert not parts._measured_on(greedy)


def test_answers_that_were_given_all_count(nano_llama: Path, tmp_path: Path) -> None:
    calls = {"path": "log.jsonl", "source": "mit"}
    recipe = text_recipe(
        nano_llama,
        asks=False,
        collect={"calls": calls},
        evaluate={"fidelity_prompts": 1},
    )
    with parts_of(tmp_path, recipe) as parts:
        assert parts._measured_on(held_out(max_tokens=1))


def test_prompts_that_were_never_asked_are_counted_by_split(tmp_path: Path) -> None:
    with parts_of(tmp_path, recipe_of("m")) as parts:
        assert parts.unasked("held_out") == 0 and parts.plan == PLAN
        parts.run.finish(Unasked(validation=2, held_out=5))
        assert [parts.unasked(s) for s in ("train", "validation", "held_out")] == [0, 2, 5]


def test_the_map_of_a_trimmed_vocabulary_is_there_where_it_was_kept(tmp_path: Path) -> None:
    with parts_of(tmp_path, recipe_of("m")) as parts:
        assert parts.vocabulary is None
        VocabularyMap(torch.tensor([0, 2]), torch.tensor([0, 1, 1])).save(parts.vocabulary_path)
        assert parts.vocabulary is not None
        assert parts.vocabulary.teacher_ids_K.tolist() == [0, 2]
        assert parts.untrained.parent == parts.vocabulary_path.parent == tmp_path


def test_the_terms_gate_goes_by_who_answers(
    nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model's own files, a server's address and name, what is said of calls, or nobody."""
    asked: list[str] = []

    def decide(named: str, found: Any, stated: Stated) -> Any:
        asked.append(f"{named} by {found}, {stated.setting}")
        return module_decide(named, (Evidence("mit", "test", "mit"),), stated)

    module_decide = parts_module.decide
    monkeypatch.setattr(parts_module, "decide", decide)
    monkeypatch.setattr(parts_module, "licence_of", lambda directory: directory.name)
    monkeypatch.setattr(
        parts_module, "evidence_of_endpoint", lambda url, model: f"{model} at {url}"
    )
    monkeypatch.setattr(
        parts_module, "evidence_of_calls", lambda source, models, setting: f"{source} {models}"
    )
    task = {"kind": "label", "labels": ["a", "b"], "gold": "right"}
    log = tmp_path / "log.jsonl"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    log.write_text(json.dumps({"messages": turns, "model": "past-1"}) + "\n")
    calls = {"path": str(log), "source": "mit"}
    recipes = {
        "weights": recipe_of(nano_llama),
        "server": text_recipe(nano_llama),
        "calls": text_recipe(nano_llama, asks=False, collect={"calls": calls}),
        "gold": text_recipe(nano_llama, asks=False, collect={"gold": True}, task=task),
    }
    for name, recipe in recipes.items():
        asked.clear()
        with parts_of(tmp_path / name, recipe) as parts:
            assert parts.decision.permitted
            assert parts.decision is parts.decision, "asked once"
        expected = {
            "weights": [f"{nano_llama} by llama, teacher.terms.authorisation"],
            "server": [f"m by m at {ENDPOINT['url']}, teacher.terms.authorisation"],
            "gold": [],
        }
        if name == "calls":
            (said,) = asked
            assert " by mit " in said and said.endswith(", collect.calls.terms.authorisation")
        else:
            assert asked == expected[name]
