"""The run directory: one recipe, one process, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.recipe import Recipe
from potstill.work.records import RECORDS, Prompts, Teacher
from potstill.work.run_recipe import RECIPE, recipe_digest
from potstill.work.rundir import RunDir
from potstill.work.stage_records import STAGE_RECORDS, UNMEASURED, ShrinkRecord, TrainRecord


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"name": "run", "teacher": {"model": "möd/el"}, **changes})


def test_a_new_directory_gets_the_resolved_recipe(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "a" / "run", recipe()) as run:
        assert RECIPE.read(run.root) == recipe()
        text = (run.root / "recipe.yaml").read_text(encoding="utf-8")
        assert "learning_rate: 0.0001" in text and "möd/el" in text
        assert RECIPE.begins(run.root)
        assert [p.name for p in run.root.iterdir()] == ["recipe.yaml"]


def test_the_same_recipe_goes_on_and_opening_writes_nothing(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "run", recipe()) as run:
        run.finish(Teacher(identity="x"))
        run.log({"step": 1})
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    with RunDir.open(tmp_path / "run", recipe()) as run:
        assert run.done(Teacher) == Teacher(identity="x")
        assert run.done(TrainRecord) is None
        assert run.metrics() == [{"step": 1}]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before


def test_another_recipe_is_refused_and_each_difference_named(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with RunDir.open(root, recipe(train={"learning_rate": 1e-4}, seed=1)) as run:
        run.write_text("exchanges/journal", "an answer")
    with pytest.raises(PotstillError) as caught:
        RunDir.open(root, recipe(train={"learning_rate": 3e-4}, prompts={"limit": 7}, seed=1))
    message = str(caught.value)
    assert "made by another recipe" in message
    assert "train.learning_rate is 0.0001 there and 0.0003 in this recipe" in message
    assert "prompts.limit is null there and 7 in this recipe" in message
    assert "seed" not in message
    assert "--out" in message and "--fresh" in message
    RunDir.open(root, recipe(seed=1, train={"learning_rate": 1e-4})).close()


def test_a_run_that_holds_nothing_takes_a_corrected_recipe(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with RunDir.open(root, recipe(seed=1)) as run:
        run.write_json("state/prompts.json", {"prompts": []})
    with RunDir.open(root, recipe(seed=2)) as run:
        assert "holds no answers yet" in run.changed and "seed is 1 there and 2" in run.changed
        assert run.done(Prompts) is None and RECIPE.read(root).seed == 2


@pytest.mark.parametrize("finished", [False, True])
def test_how_a_server_is_reached_is_written_down_until_a_run_is_finished(
    tmp_path: Path, finished: bool
) -> None:
    def served(budget: int) -> Recipe:
        endpoint = {"url": "http://localhost:1/v1", "provider": "p", "budget_tokens": budget}
        return recipe(
            teacher={"model": "m", "endpoint": endpoint},
            student={"model": "c/d"},
            collect={"targets": "none"},
            train={"cross_entropy": 1},
        )

    root = tmp_path / "run"
    with RunDir.open(root, served(5)) as run:
        run.write_text("exchanges/journal", "an answer")
        if finished:
            run.write_text("manifest.json", "{}")
    with RunDir.open(root, served(9)) as run:
        assert run.changed == ""
    stated = RECIPE.read(root).teacher.endpoint
    assert stated is not None and stated.budget_tokens == (5 if finished else 9)


STAGES = ("collect", "curate", "shrink", "train", "evaluate")
LEFT = ("untrained", "checkpoints", "student", "metrics.jsonl", "evaluation.json")


@pytest.mark.parametrize(
    ("changes", "kept_stages", "kept_files"),
    [
        ({"curate": {"refusals": "drop"}}, STAGES[:1], ()),
        ({"student": {"model": "other"}}, STAGES[:1], ()),
        ({"train": {"cross_entropy": 0.5}}, STAGES[:1], ()),
        ({"shrink": {"drop_layers": 2}}, STAGES[:2], ()),
        ({"train": {"learning_rate": 3e-4}}, STAGES[:3], LEFT[:1]),
        ({"evaluate": {"cross_entropy_baseline": True}}, STAGES[:3], (*LEFT[:2], LEFT[3])),
        ({"evaluate": {"sample_pairs": 9}}, STAGES[:4], LEFT[:4]),
        ({"evaluate": {"greedy": False}}, (), ()),
        ({"cost": {"machine_hour": 3.0}}, STAGES, LEFT[:4]),
        ({"name": "another"}, STAGES, LEFT[:4]),
    ],
)
def test_a_changed_field_undoes_its_own_stage_and_what_follows(
    tmp_path: Path, changes: dict[str, object], kept_stages: tuple[str, ...], kept_files: tuple
) -> None:
    root = tmp_path / "run"
    with RunDir.open(root, recipe()) as run:
        run.write_text("exchanges/journal", "an answer")
        for stage in STAGES:
            run.write_json(f"state/{stage}.json", {})
        for name in LEFT:
            run.write_text(f"{name}/x" if "." not in name else name, "{}")
    with RunDir.open(root, recipe(**changes)) as run:
        field = next(iter(changes))
        assert field in run.changed
        assert tuple(r.name for r in STAGE_RECORDS if run.has(r)) == kept_stages
        assert {n for n in LEFT if (root / n).exists()} == set(kept_files)
        assert (root / "exchanges/journal").exists()
    with RunDir.open(root, recipe(**changes)) as run:
        assert run.changed == ""


def test_a_finished_run_is_changed_only_where_that_is_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with RunDir.open(root, recipe()) as run:
        run.write_json("state/train.json", {})
        run.write_text("student/config.json", "{}")
        run.write_text("manifest.json", "{}")
    with pytest.raises(PotstillError, match=r"is finished.*--redo to do train and what follows"):
        RunDir.open(root, recipe(train={"epochs": 2}))
    assert (root / "student").exists()
    with RunDir.open(root, recipe(train={"epochs": 2}), redo=True) as run:
        assert not run.has(TrainRecord) and not run.manifest_path.exists()
        assert not (root / "student").exists()


@pytest.mark.parametrize("name", ["teacher", "precision", "conversation", "prompts", "files"])
@pytest.mark.parametrize("content", ["", '{"identity": ', "[1]", "\x00\x00", "null"])
def test_a_damaged_record_of_what_a_run_began_with_is_named(
    tmp_path: Path, name: str, content: str
) -> None:
    with RunDir.open(tmp_path / "run", recipe()) as run:
        run.write_json(f"state/{name}.json", {"identity": "x"})
        (run.root / "state" / f"{name}.json").write_text(content)
        with pytest.raises(PotstillError, match=f"{name}.json is damaged.*--fresh"):
            run.done(next(r for r in RECORDS if r.name == name))


def test_a_damaged_record_of_a_stage_counts_as_none_and_is_known(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "run", recipe()) as run:
        run.finish(ShrinkRecord(blocks=None, **UNMEASURED))
        (run.root / "state" / "train.json").write_bytes(b"\xff{")
        assert run.done(TrainRecord) is None and run.done(ShrinkRecord) is not None
        assert run.damage() == ["the record of train was damaged; train is done again"]


def test_a_recipe_of_an_older_version_means_the_defaults(tmp_path: Path) -> None:
    root = tmp_path / "run"
    RunDir.open(root, recipe()).close()
    path = root / "recipe.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(x for x in lines if "clip_norm" not in x), encoding="utf-8")
    RunDir.open(root, recipe()).close()
    path.write_text("".join([*lines, "gone: 1\n"]), encoding="utf-8")
    (root / "exchanges").mkdir()
    with pytest.raises(PotstillError, match="gone is 1 there and not set in this recipe"):
        RunDir.open(root, recipe())
    with pytest.raises(PotstillError, match=r"does not fit this version of potstill \(gone\)"):
        RECIPE.read(root)


def test_fresh_empties_a_run_directory_only(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with RunDir.open(root, recipe()) as run:
        run.write_json("state/collect.json", {})
        run.write_text("student/config.json", "{}")
    with RunDir.open(root, recipe(seed=5), fresh=True) as run:
        assert [p.name for p in root.iterdir()] == ["recipe.yaml"]
        assert RECIPE.read(root).seed == 5
    foreign = tmp_path / "home"
    foreign.mkdir()
    # Somebody's own recipe in somebody's own folder does not make it a run directory.
    (foreign / "recipe.yaml").write_text("name: run\nteacher: {model: x}\n")
    for fresh in (False, True):
        with pytest.raises(PotstillError, match="not empty and not a run directory"):
            RunDir.open(foreign, recipe(), fresh=fresh)
    assert (foreign / "recipe.yaml").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(PotstillError, match="is a file, not a directory"):
        RunDir.open(tmp_path / "run", recipe())
    with pytest.raises(PotstillError, match="not a run directory"):
        RunDir.reading(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    root = tmp_path / "run"
    held = RunDir.open(root, recipe())
    with pytest.raises(PotstillError, match="in use by another potstill process"):
        RunDir.open(root, recipe())
    held.close()
    RunDir.open(root, recipe()).close()
    (root / "exchanges").mkdir()
    with pytest.raises(PotstillError, match="another recipe"):
        RunDir.open(root, recipe(seed=9))
    RunDir.open(root, recipe()).close()  # a refusal does not keep the lock


def test_a_run_is_read_while_it_is_held(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with RunDir.open(root, recipe(seed=3)) as run:
        run.finish(Teacher(identity="x"))
        reader = RunDir.reading(root)
        assert reader.recipe == recipe(seed=3) and reader.done(Teacher) == Teacher(identity="x")
        with pytest.raises(RuntimeError, match="open for reading"):
            reader.finish(Teacher(identity="y"))
        paths = (reader.student, reader.checkpoints, reader.evaluation_path, reader.report_path)
        assert [p.name for p in paths] == [
            "student",
            "checkpoints",
            "evaluation.json",
            "report.html",
        ]
        assert {reader.readings_path.parent, reader.judge_scores_path.parent} == {root / "state"}


def test_a_recipe_that_cannot_be_read_is_named_with_line_and_key(tmp_path: Path) -> None:
    root = tmp_path / "run"
    RunDir.open(root, recipe()).close()
    path = root / "recipe.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("clip_norm:", "clipnorm:"), encoding="utf-8")
    with pytest.raises(PotstillError, match=r"recipe.yaml, line \d+: .*clipnorm"):
        RunDir.reading(root)


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, {"teacher", "prompts", "collect", "curate", "train"}),
        ({"curate": {"refusals": "drop"}}, {"teacher", "prompts", "collect"}),
        ({"train": {"epochs": 2}}, {"teacher", "prompts", "collect", "curate"}),
        ({"seed": 8}, {"teacher", "prompts"}),
    ],
)
def test_a_run_is_begun_like_another(
    tmp_path: Path, changes: dict[str, object], taken: set[str]
) -> None:
    other = tmp_path / "run"
    with RunDir.open(other, recipe()) as run:
        run.write_text("exchanges/journal", "an answer")
        for name in ("teacher", "prompts", "checked", *STAGES):
            run.write_json(f"state/{name}.json", {})
    with RunDir.open(tmp_path / "scratch", recipe(**changes)) as scratch:
        assert scratch.holds_nothing
        scratch.begin_like(tmp_path / "nowhere")
        assert scratch.recorded() == {}
        scratch.begin_like(other)
        assert set(scratch.recorded()) == taken and not scratch.holds_nothing


def test_a_run_without_answers_is_nothing_to_be_begun_like(tmp_path: Path) -> None:
    with RunDir.open(tmp_path / "run", recipe()) as run:
        run.write_json("state/prompts.json", {})
    with RunDir.open(tmp_path / "scratch", recipe(seed=4)) as scratch:
        scratch.begin_like(run.root)
        assert scratch.recorded() == {} and scratch.holds_nothing


def test_the_digest_covers_every_value() -> None:
    assert recipe_digest(recipe()) == recipe_digest(recipe(seed=0))
    assert recipe_digest(recipe()) != recipe_digest(recipe(seed=1))
