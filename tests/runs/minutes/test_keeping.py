"""A run by the clock, on a nano model: planned, ended, killed, and done again by its plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

import pipeline_runs
from fault_server import Behaviour, FaultServer
from potstill.errors import PotstillError
from potstill.lineage import manifest
from potstill.recipe import Recipe
from potstill.runs import library
from potstill.runs.distill import distill
from potstill.runs.minutes.fields import replayed, stated_fields
from potstill.runs.minutes.keeping import Clock
from potstill.work.rundir import RunDir
from potstill.work.stage_records import CollectRecord, ShrinkRecord, TrainRecord
from potstill.work.time_plan import TimePlan, TimeSpent


def open_values(teacher: Path, source: Path, minutes: float | None) -> dict[str, Any]:
    """Return the small recipe without what minutes decide about."""
    values = pipeline_runs.recipe_values(teacher, source, shrink={"blocks": [3]})
    del values["prompts"]["limit"]
    del values["shrink"]["calibration_tokens"], values["shrink"]["candidates"]
    del values["train"]["validate_every"]
    # Large enough that a nano model has more than a few steps to choose from.
    values["train"]["batch_tokens"] = 128
    return {**values, **({} if minutes is None else {"minutes": minutes})}


def weights(run: RunDir) -> str:
    return blake3((run.student / "model.safetensors").read_bytes()).hexdigest()


def go(recipe: Recipe, out: Path, **clock: Any) -> tuple[RunDir, list[str]]:
    noted = pipeline_runs.Noted()
    until = clock.pop("until", None)
    run = distill(recipe, out, until=until, progress=noted, clock=Clock(**clock))
    return run, noted.notes


@pytest.mark.slow
def test_a_run_by_the_clock_and_the_same_by_its_plan(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = open_values(nano_llama, nano_prompts, 0.5)
    run, notes = go(Recipe.model_validate(values), tmp_path / "run")
    plan = run.done(TimePlan)
    assert plan is not None
    assert any("plan for 0.5 minutes" in note for note in notes)
    assert plan.chosen.keys() == {
        *("prompts.limit", "collect.samples", "shrink.calibration_tokens"),
        *("train.epochs", "train.steps", "train.validate_every", "evaluate.greedy"),
    }
    done = run.done(TrainRecord)
    assert done is not None
    assert done.steps == plan.legs[-1].total == plan.chosen["train.steps"]
    assert all(row.taken is not None for row in plan.stages)
    # The header says what was done, and the same command leaves the run as it is.
    assert RunDir.reading(run.root).recipe.train.steps == done.steps
    assert manifest.verify(run.root) == []
    section = json.loads(run.evaluation_path.read_text())["time"]
    assert section["minutes"] == 0.5
    assert [row["stage"] for row in section["stages"]] == ["collect", "shrink", "train", "evaluate"]
    assert "What more time would have bought" in run.report_path.read_text()
    before = pipeline_runs.fingerprint(run.root)
    _, again = go(Recipe.model_validate(values), run.root)
    assert any("finished" in note for note in again)
    assert pipeline_runs.fingerprint(run.root) == before

    recipe, known = replayed(
        Recipe.model_validate(open_values(nano_llama, nano_prompts, None)), run.root
    )
    second, _ = go(recipe, tmp_path / "second", replay=known)
    assert weights(second) == weights(run)
    values_alone = open_values(nano_llama, nano_prompts, None)
    library.distill(values_alone, tmp_path / "python", plan=run.root)
    assert weights(RunDir.reading(tmp_path / "python")) == weights(run)
    other = Recipe.model_validate({**values, "prompts": {**values["prompts"], "limit": 7}})
    with pytest.raises(PotstillError, match=r"prompts.limit is 7 in the recipe and"):
        replayed(other, run.root)


def test_a_stopped_run_goes_on_with_what_is_left(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    recipe = Recipe.model_validate(open_values(nano_llama, nano_prompts, 0.6))
    run, _ = go(recipe, tmp_path / "run", until="collect")
    first, spent = run.done(TimePlan), run.done(TimeSpent)
    assert first is not None
    assert spent is not None
    assert spent.seconds > 0
    # As if the first call had taken nearly all of it.
    run = RunDir.open(run.root, run.recipe)
    run.finish(TimeSpent(seconds=35.0))
    run.close()
    run, _ = go(recipe, run.root)
    last, trained = run.done(TimePlan), run.done(TrainRecord)
    assert last is not None
    assert trained is not None
    assert last.chosen["prompts.limit"] == first.chosen["prompts.limit"]
    assert trained.steps < first.chosen["train.steps"]
    assert run.done(CollectRecord) is not None
    spent = run.done(TimeSpent)
    assert spent is not None
    assert spent.seconds > 35.0


def test_what_is_stated_is_not_touched_and_too_few_minutes_are_refused(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = open_values(nano_llama, nano_prompts, 0.01)
    values["shrink"]["calibration_tokens"] = 900
    values["train"]["epochs"] = 1.0
    recipe = Recipe.model_validate(values)
    assert {"shrink.calibration_tokens", "train.epochs"} <= stated_fields(recipe)
    said = r"0.01 minutes are too few here for 12 held-out prompts, .* the least is (\d\.\d); give"
    with pytest.raises(PotstillError, match=said):
        go(recipe, tmp_path / "run")
    enough = Recipe.model_validate({**values, "minutes": 0.5})
    run, _ = go(enough, tmp_path / "run", until="shrink")
    plan, shrunk = run.done(TimePlan), run.done(ShrinkRecord)
    assert plan is not None
    assert shrunk is not None
    assert not {"shrink.calibration_tokens", "train.epochs", "train.steps"} & plan.chosen.keys()
    assert 900 <= shrunk.calibration_tokens < 1000


def test_a_server_is_asked_as_often_as_it_permits_and_nothing_twice(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANO_KEY", "sk-0123456789")
    values = open_values(Path("smollm2-nano"), nano_prompts, 0.5)
    values |= {"student": {"model": str(nano_llama)}, "shrink": {}, "collect": {"targets": "none"}}
    values["train"]["cross_entropy"] = 1.0
    with FaultServer(Behaviour(model="smollm2-nano", key="sk-0123456789")) as server:
        values["teacher"]["endpoint"] = {
            **{"url": server.url, "provider": "test", "key_env": "NANO_KEY"},
            "requests_per_minute": 300,
        }
        run, _ = go(Recipe.model_validate(values), tmp_path / "run", until="collect")
        plan, collected = run.done(TimePlan), run.done(CollectRecord)
        assert plan is not None
        assert collected is not None
        # Twelve held-out prompts were asked to measure, and are stored; six watch.
        assert server.requests == collected.stored.exchanges
    assert "collect.samples" not in plan.chosen
    assert plan.rates["answer"] > 0
    assert plan.stages[0].at_start >= 60 / 300 * collected.stored.exchanges - 1e-6


def test_without_minutes_it_is_only_foretold(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, shrink={"blocks": [3]})
    plain, _ = pipeline_runs.run(values, tmp_path / "plain", until="train")
    run, notes = go(Recipe.model_validate(values), tmp_path / "run", until="train", foretell=True)
    assert any("foretold" in note for note in notes)
    plan = run.done(TimePlan)
    assert plan is not None
    assert plan.chosen == {}
    assert plan.estimate > 0
    assert weights(run) == weights(plain)


def test_a_plan_that_was_only_foretold_is_refused(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = open_values(nano_llama, nano_prompts, None)
    told = TimePlan(minutes=None, chosen={}, estimate=1.0, stages=())
    (tmp_path / "minutes.json").write_text(json.dumps(told.as_json()))
    with pytest.raises(PotstillError, match="decides nothing, since its run had no minutes"):
        replayed(Recipe.model_validate(values), tmp_path / "minutes.json")
