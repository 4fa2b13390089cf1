"""Nothing is paid for a recipe that fails later, and mending one pays nothing again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import fault_server
import pipeline_runs
from fault_server import Behaviour, FaultServer
from potstill.cli.app import app
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.recipe.io import dump_recipe
from potstill.runs import distill as pipeline
from potstill.runs.dry_run import dry_run
from potstill.work.evaluation import Evaluation
from potstill.work.plan import PromptPlan
from potstill.work.records import Prompts
from potstill.work.rundir import RunDir
from potstill.work.workdir import WorkRecord

NAME = "smollm2-nano"
# Of `values_for`: training prompts, and all that are asked.
TRAINED, ALL = 18, 28


def stored(root: Path) -> int:
    store = ExchangeStore(root)
    try:
        return len(store.ids())
    finally:
        store.close()


def refused(values: Any, root: Path, match: str) -> None:
    """Both a run and a dry run refuse a recipe before an answer is there."""
    recipe = Recipe.model_validate(values)
    with pytest.raises(PotstillError, match=match):
        dry_run(recipe, root, progress=Silent())
    assert not root.exists()
    with pytest.raises(PotstillError, match=match):
        pipeline.distill(recipe, root, progress=Silent())
    assert stored(root) == 0


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ({"shrink": {"drop_layers": 6}}, r"shrink.drop_layers is 6.* 6 blocks"),
        ({"shrink": {"drop_layers": 99}}, r"shrink.drop_layers is 99"),
        ({"shrink": {"drop_layers": 0, "blocks": [9]}}, r"shrink.blocks must name different"),
        ({"shrink": {"drop_layers": 0, "blocks": [1, 1]}}, r"shrink.blocks must name different"),
        ({"shrink": {"ffn_channels": 100_000}}, r"shrink.ffn_channels is 100000"),
        ({"shrink": {"kv_heads": 77}}, r"shrink.kv_heads is 77"),
        ({"shrink": {"vocabulary": 256}}, r"shrink.vocabulary is 256, but \d+ tokens"),
        ({"shrink": {"drop_layers": 0, "parameters": 1e-4}}, r"shrink.parameters asks for"),
        ({"train": {"frozen_blocks": 5}}, r"train.frozen_blocks is 5.* has 5 blocks"),
        ({"train": {"lora": {"targets": ["no_proj"]}}}, r"train.lora.targets is no_proj"),
        ({"curate": {"languages": ["xx"]}}, r"curate.languages holds xx"),
        ({"curate": {"verify": {"kind": "number"}}}, r"curate.verify.kind number compares"),
        ({"curate": {"verify": {"kind": "exact"}}}, r"curate.verify.kind exact compares"),
        ({"curate": {"decontaminate": {"sources": ["gone.jsonl"]}}}, r"gone.jsonl"),
        ({"task": {"kind": "json", "json_schema": "gone.json"}}, r"gone.json"),
        ({"task": {"kind": "text", "slice": "topic"}}, r"topic"),
        ({"task": {"kind": "text", "gold": "right"}}, r"right"),
        ({"evaluate": {"max_tokens": 500}}, r"lower evaluate.max_tokens"),
        ({"collect": {"max_tokens": 500}}, r"lower collect.max_tokens"),
        ({"task": {"kind": "text", "max_tokens": 600}}, r"lower task.max_tokens"),
    ],
)
def test_a_recipe_that_fails_later_is_refused_before_the_first_answer(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, sections: dict[str, Any], match: str
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, **sections)
    refused(values, tmp_path / "run", match)


def damaged(model: Path, to: Path, *, how: str) -> Path:
    shutil.copytree(model, to)
    file = to / "model.safetensors"
    tensors = load_file(file)
    name = next(n for n in tensors if n.endswith("mlp.up_proj.weight"))
    if how == "missing":
        del tensors[name]
    else:
        tensors[name][0, 0] = torch.nan
    save_file(tensors, file, metadata={"format": "pt"})
    return to


@pytest.mark.parametrize("how", ["missing", "not a number"])
@pytest.mark.parametrize("role", ["judge", "student"])
def test_damaged_weights_of_every_model_are_known_first(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, role: str, how: str
) -> None:
    other = damaged(nano_llama, tmp_path / "other", how=how)
    sections: dict[str, Any] = (
        {"curate": {"judge": {"model": str(other)}}}
        if role == "judge"
        else {"student": {"model": str(other)}, "shrink": {"drop_layers": 0}}
    )
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, **sections)
    refused(values, tmp_path / "run", r"mlp.up_proj.weight")


def test_slices_apart_and_gold_labels_are_known_first(nano_llama: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Where is number {n}?", "right": "here" if n % 2 else "there", "topic": "a"}
        for n in range(60)
    ]
    file = tmp_path / "rows.jsonl"
    task = {"kind": "label", "labels": ["here", "there"], "gold": "right", "slice": "topic"}

    def values(**more: Any) -> Any:
        file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return pipeline_runs.recipe_values(nano_llama, file, task={**task, **more})

    refused(values(apart=["b"]), tmp_path / "run", r"task.apart names b")
    shutil.rmtree(tmp_path / "run")
    refused(values(apart=["a"]), tmp_path / "run", r"task.apart names every slice")
    shutil.rmtree(tmp_path / "run")
    rows[7]["right"] = "elsewhere"
    refused(values(), tmp_path / "run", r"rows.jsonl, line 8")


def test_a_dry_run_of_a_local_teacher_checks_and_says_what_there_is(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    path.write_text(dump_recipe(Recipe.model_validate(values)), encoding="utf-8")
    arguments = ["distill", str(path), "--out", str(tmp_path / "run"), "--dry-run"]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0, said.output
    assert "60 training, 6 validation, 12 held-out prompts" in said.output
    assert not (tmp_path / "run").exists()


def values_for(server: FaultServer, student: Path, prompts: Path, **sections: Any) -> Any:
    """Return a recipe that asks a server for few and short answers; `prompts` lasts that long."""
    values = pipeline_runs.recipe_values(
        NAME,
        prompts,
        **{
            "student": {"model": str(student)},
            "prompts": {"limit": 20, "held_out_count": 6, "validation_count": 4},
            "collect": {"targets": "none", "max_tokens": 16},
            "train": {"cross_entropy": 1.0},
            "evaluate": {"greedy": False, "max_tokens": 16},
            **sections,
        },
    )
    values["prompts"]["source"] = str(prompts)
    values["teacher"]["endpoint"] = {"url": server.url, "provider": "test", "tries": 1}
    values["teacher"]["terms"] = {"authorisation": str(permission(prompts.parent))}
    return values


def permission(folder: Path) -> Path:
    path = folder / "permission.txt"
    path.write_text("You may.", encoding="utf-8")
    return path


@pytest.fixture
def prompts(nano_prompts: Path, tmp_path: Path) -> Path:
    """A prompts file of the test's own, of which no row is dropped as another's likeness."""
    return Path(shutil.copy(nano_prompts, tmp_path / "prompts.jsonl"))


@pytest.fixture
def server() -> Any:
    with FaultServer(Behaviour(model=NAME)) as running:
        yield running


def test_distill_asks_again_what_failed(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer
) -> None:
    values = values_for(server, nano_llama, prompts)
    server.behaviour = Behaviour(model=NAME, rate=0.5, faults=("200 with an error",), seed=3)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
    failures = len(pipeline_runs.recorded(run, "collect")["figures"]["failures"])
    assert 0 < failures < 30
    server.behaviour = Behaviour(model=NAME)
    asked = server.requests
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    assert server.requests == asked + failures
    figures = pipeline_runs.recorded(run, "collect")["figures"]
    assert figures["exchanges"] == ALL and not figures["failures"]
    evaluation = Evaluation.model_validate_json(run.evaluation_path.read_text(encoding="utf-8"))
    assert evaluation.held_out.prompts == 6
    assert pipeline_runs.recorded(run, "curate")["train"] == TRAINED


def test_a_server_that_answers_nothing_is_asked_again(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer
) -> None:
    values = values_for(server, nano_llama, prompts)
    server.behaviour = Behaviour(model=NAME, rate=1.0, faults=("500",))
    with pytest.raises(PotstillError):
        pipeline_runs.run(values, tmp_path / "run")
    server.behaviour = Behaviour(model=NAME)
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    assert run.manifest_path.is_file()


def test_once_training_has_begun_what_failed_is_named_and_left_out(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer
) -> None:
    values = values_for(server, nano_llama, prompts)
    server.behaviour = Behaviour(model=NAME, rate=0.3, faults=("200 with an error",), seed=3)
    pipeline_runs.run(values, tmp_path / "run", until="train")
    asked = server.requests
    _, notes = pipeline_runs.run(values, tmp_path / "run", until="evaluate")
    assert server.requests == asked
    assert any("`potstill collect --redo` asks them again" in note for note in notes)
    server.behaviour = Behaviour(model=NAME)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
    assert server.requests > asked and pipeline_runs.recorded(run, "train") is None
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    assert pipeline_runs.recorded(run, "curate")["train"] == TRAINED


MENDED: dict[str, dict[str, Any]] = {
    "curate": {"curate": {"exact_duplicates": True}},
    "shrink": {"shrink": {"drop_layers": 2}},
    "train": {"train": {"learning_rate": 1e-3}},
    "evaluate": {"evaluate": {"sample_pairs": 1}},
    "report": {"cost": {"machine_hour": 1.0}},
}


@pytest.fixture(scope="module")
def failed(nano_llama: Path, nano_prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run whose last stage failed, its recipe, and the server that it has asked."""
    folder = tmp_path_factory.mktemp("failed")
    rows = Path(shutil.copy(nano_prompts, folder / "prompts.jsonl"))

    def fail(*_: Any) -> None:
        raise PotstillError("the last stage fails for its recipe; mend it")

    with FaultServer(Behaviour(model=NAME)) as running, pytest.MonkeyPatch.context() as broken:
        values = values_for(running, nano_llama, rows)
        broken.setattr("potstill.runs.distill.write_report", fail)
        with pytest.raises(PotstillError, match="the last stage fails"):
            pipeline_runs.run(values, folder / "run")
        broken.undo()
        yield values, folder / "run", running


@pytest.mark.parametrize("mended", list(MENDED))
def test_a_run_that_failed_goes_on_with_a_mended_recipe_and_asks_nothing(
    failed: Any, tmp_path: Path, mended: str
) -> None:
    values, root, server = failed
    shutil.copytree(root, tmp_path / "run")
    asked = server.requests
    changed = {s: {**values[s], **f} if s in values else f for s, f in MENDED[mended].items()}
    run, notes = pipeline_runs.run({**values, **changed}, tmp_path / "run")
    assert server.requests == asked == ALL
    assert run.manifest_path.is_file()
    assert any("goes on with a changed recipe" in note for note in notes)
    if mended == "shrink":
        config = json.loads((run.student / "config.json").read_text(encoding="utf-8"))
        assert config["num_hidden_layers"] == 4


def test_held_out_answers_of_another_length_are_asked_for_and_the_others_stay(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer
) -> None:
    values = values_for(server, nano_llama, prompts)
    pipeline_runs.run(values, tmp_path / "run", until="train")
    asked = server.requests
    values["evaluate"] = {**values["evaluate"], "max_tokens": 20, "fidelity_prompts": 4}
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    assert server.requests == asked + 4
    evaluation = Evaluation.model_validate_json(run.evaluation_path.read_text(encoding="utf-8"))
    assert evaluation.held_out.prompts == 4


def test_a_prompts_file_that_has_grown_is_named(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer
) -> None:
    values = values_for(server, nano_llama, prompts)
    pipeline_runs.run(values, tmp_path / "run", until="collect")
    asked = server.requests
    with prompts.open("a", encoding="utf-8") as file:
        file.write('\n{"prompt": "What is new here?"}\n')
    _, notes = pipeline_runs.run(values, tmp_path / "run", until="curate")
    (named,) = [n for n in notes if n.startswith("prompts.source")]
    assert "prompts.jsonl has changed" in named and "--out" in named
    assert server.requests == asked
    prompts.unlink()
    _, notes = pipeline_runs.run(values, tmp_path / "run", until="shrink")
    assert any("prompts.jsonl is gone" in note for note in notes)


def test_a_changed_evaluation_set_has_curation_done_again(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer
) -> None:
    texts = [json.loads(line)["prompt"] for line in prompts.read_text("utf-8").splitlines() if line]
    evaluation = tmp_path / "set.jsonl"
    evaluation.write_text('{"prompt": "nothing of the kind stands in any of these rows"}')
    values = values_for(
        server, nano_llama, prompts, curate={"decontaminate": {"sources": [str(evaluation)]}}
    )
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
    assert pipeline_runs.recorded(run, "curate")["train_kept"] == TRAINED
    evaluation.write_text("\n".join(json.dumps({"prompt": t}) for t in texts), encoding="utf-8")
    with pytest.raises(PotstillError, match="curation drops all"):
        pipeline_runs.run(values, tmp_path / "run", until="curate")


@pytest.mark.parametrize("what", ["gone", "broken", "a list", "emptied"])
def test_a_schema_that_is_lost_after_collecting_is_named_before_training(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer, what: str
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}', encoding="utf-8")
    task = {"kind": "json", "json_schema": str(schema), "max_tokens": 16}
    values = values_for(server, nano_llama, prompts, task=task)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
    asked = server.requests
    if what == "gone":
        schema.unlink()
    else:
        schema.write_text({"broken": "{", "a list": "[1]", "emptied": ""}[what], encoding="utf-8")
    with pytest.raises(PotstillError, match=r"schema"):
        pipeline_runs.run(values, tmp_path / "run")
    assert pipeline_runs.recorded(run, "train") is None and server.requests == asked


def test_a_gold_column_can_be_named_later(nano_llama: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Where is number {n}?", "right": "here", "other": "there"} for n in range(60)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    values = pipeline_runs.recipe_values(
        nano_llama, file, task={"kind": "text", "gold": "right", "max_tokens": 4}
    )
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
    before = stored(run.root)
    values["task"]["gold"] = "other"
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
    assert {p["gold"] for p in pipeline_runs.recorded(run, "prompts")["prompts"]} == {"there"}
    del values["task"]
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
    assert {p["gold"] for p in pipeline_runs.recorded(run, "prompts")["prompts"]} == {None}
    assert stored(run.root) == before


def test_a_student_that_changes_on_the_way_is_named(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(nano_llama, tmp_path / "other"))
    student = {"student": {"model": str(other)}, "shrink": {"drop_layers": 0}}
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, **student)
    pipeline_runs.run(values, tmp_path / "run", until="curate")
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"] *= 2
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PotstillError, match=r"student.model has changed since this run began"):
        pipeline_runs.run(values, tmp_path / "run")


def test_damaged_records_are_said_and_their_stages_done_again(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="shrink")
    (run.root / "state" / "shrink.json").write_text('{"blocks": [')
    run, notes = pipeline_runs.run(values, tmp_path / "run", until="shrink")
    assert any("the record of shrink was damaged" in note for note in notes)
    assert pipeline_runs.recorded(run, "shrink") is not None
    (run.root / "state" / "teacher.json").write_text("")
    with pytest.raises(PotstillError, match=r"teacher.json is damaged"):
        pipeline_runs.run(values, tmp_path / "run")


@pytest.mark.parametrize(
    "wrong",
    [
        {"shrink": {"drop_layers": 77}},
        {"train": {"frozen_blocks": 50}},
        {"train": {"lora": {"targets": ["no_proj"]}}},
        {"curate": {"decontaminate": {"sources": ["gone.jsonl"]}}},
    ],
)
@pytest.mark.parametrize("how", ["redo", "fresh", "half done"])
def test_a_wrong_recipe_takes_nothing_from_a_run(
    done: Path, nano_llama: Path, nano_prompts: Path, tmp_path: Path, wrong: Any, how: str
) -> None:
    root = Path(shutil.copytree(done, tmp_path / "run"))
    if how == "half done":
        (root / "manifest.json").unlink()
        (root / "state" / "evaluate.json").unlink()
    before = pipeline_runs.fingerprint(root)
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, **{**FEW, **wrong})
    options = {} if how == "half done" else {how: True}
    with pytest.raises(PotstillError):
        pipeline_runs.run(values, root, **options)
    assert pipeline_runs.fingerprint(root) == before


FEW: dict[str, Any] = {"prompts": {"limit": 20, "held_out_count": 6, "validation_count": 4}}


@pytest.fixture(scope="module")
def done(nano_llama: Path, nano_prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a local teacher."""
    root = tmp_path_factory.mktemp("done") / "run"
    pipeline_runs.run(pipeline_runs.recipe_values(nano_llama, nano_prompts, **FEW), root)
    return root


def test_a_dry_run_says_what_redo_and_fresh_would_do(
    prompts: Path, nano_llama: Path, tmp_path: Path, server: FaultServer
) -> None:
    values = values_for(server, nano_llama, prompts)
    server.behaviour = Behaviour(model=NAME, rate=0.4, faults=("200 with an error",), seed=3)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
    failed = len(pipeline_runs.recorded(run, "collect")["figures"]["failures"])

    def asked(**options: Any) -> int:
        recipe = Recipe.model_validate(values)
        found = dry_run(recipe, run.root, progress=Silent(), **options).asked
        return sum(one.responses for _, one in found)

    assert asked() == asked(until="collect") == failed > 0
    assert asked(fresh=True) == ALL
    pipeline_runs.run(values, run.root, until="train")  # the server still fails for some
    again = len(pipeline_runs.recorded(run, "collect")["figures"]["failures"])
    assert again > 0 and asked() == 0 and asked(until="collect") == again
    pipeline_runs.run(values, run.root)
    before = pipeline_runs.fingerprint(run.root)
    assert asked() == 0
    assert asked(redo=True) == again
    values["train"]["epochs"] = 2
    with pytest.raises(PotstillError, match="--redo"):
        asked()
    # Training begins anew, so that what failed is asked for before.
    assert asked(redo=True) == again
    assert pipeline_runs.fingerprint(run.root) == before
    server.behaviour, sent = Behaviour(model=NAME), server.requests
    pipeline_runs.run(values, run.root, redo=True, until="collect")
    assert server.requests == sent + again


def test_a_dry_run_plans_from_what_the_run_has_read(
    prompts: Path, nano_llama: Path, tmp_path: Path, server: FaultServer
) -> None:
    values = values_for(server, nano_llama, prompts)
    pipeline_runs.run(values, tmp_path / "run", until="collect")
    lines = [json.dumps({"prompt": f"What of the thing number {n}?"}) for n in range(90)]
    prompts.write_text("\n".join(lines), encoding="utf-8")
    recipe = Recipe.model_validate(values)
    found = dry_run(recipe, tmp_path / "run", progress=Silent()).asked
    assert sum(one.responses for _, one in found) == 0


@pytest.mark.parametrize("where", ["file", "file/under", "foreign"])
def test_a_dry_run_refuses_a_directory_that_a_run_refuses(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("x")
    path = tmp_path / "recipe.yaml"
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    path.write_text(dump_recipe(Recipe.model_validate(values)), encoding="utf-8")
    for more in ([], ["--dry-run"]):
        arguments = ["distill", str(path), "--out", str(tmp_path / where), *more]
        said = CliRunner().invoke(app, arguments)
        assert said.exit_code == 2
        assert re.search(r"(is a file, not a directory|not a run directory).*--out", said.output)


def test_answers_that_came_in_a_call_that_was_killed_are_curated(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer
) -> None:
    values = values_for(server, nano_llama, prompts)
    server.behaviour = Behaviour(model=NAME, rate=0.4, faults=("200 with an error",), seed=3)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
    assert pipeline_runs.recorded(run, "curate")["train"] < TRAINED
    server.behaviour = Behaviour(model=NAME)
    finish = RunDir.finish

    def killed(self: RunDir, record: WorkRecord) -> None:
        if record.name == "collect":
            raise KeyboardInterrupt
        finish(self, record)

    with pytest.MonkeyPatch.context() as kill:
        kill.setattr(RunDir, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            pipeline_runs.run(values, run.root, until="curate")
    run, _ = pipeline_runs.run(values, run.root, until="curate")
    assert pipeline_runs.recorded(run, "curate")["train"] == TRAINED


def test_a_schema_that_is_broken_meanwhile_is_refused_before_training(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}', encoding="utf-8")
    task = {"kind": "json", "json_schema": str(schema), "max_tokens": 4}
    values = values_for(server, nano_llama, prompts, task=task)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
    schema.write_text('{"type":', encoding="utf-8")
    recipe = Recipe.model_validate(values)
    for call in (dry_run, pipeline.distill):
        with pytest.raises(PotstillError, match=r"schema.json is not valid JSON"):
            call(recipe, run.root, progress=Silent())
    assert (
        pipeline_runs.recorded(run, "curate") is not None
        and pipeline_runs.recorded(run, "shrink") is None
    )


def test_a_file_that_is_gone_and_comes_back_as_another_is_named(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer
) -> None:
    values = values_for(server, nano_llama, prompts)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
    text = prompts.read_text(encoding="utf-8")
    prompts.unlink()
    _, notes = pipeline_runs.run(values, run.root, until="collect")
    assert any("prompts.jsonl is gone" in note for note in notes)
    prompts.write_text(text, encoding="utf-8")
    _, notes = pipeline_runs.run(values, run.root, until="collect")
    assert not [note for note in notes if "prompts.jsonl" in note]
    prompts.write_text(text + '{"prompt": "What is new here?"}\n', encoding="utf-8")
    _, notes = pipeline_runs.run(values, run.root, until="collect")
    assert any("prompts.jsonl has changed" in note for note in notes)


@pytest.mark.parametrize(
    ("late", "match"),
    [
        ({"evaluate": {"max_tokens": 500}}, r"lower evaluate.max_tokens"),
        ({"task": {"kind": "text", "max_tokens": 600}}, r"lower task.max_tokens"),
    ],
)
def test_answers_that_have_no_room_are_refused_in_a_begun_run_as_well(
    done: Path, nano_llama: Path, nano_prompts: Path, tmp_path: Path, late: Any, match: str
) -> None:
    root = Path(shutil.copytree(done, tmp_path / "run"))
    before = pipeline_runs.fingerprint(root)
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, **{**FEW, **late})
    with pytest.raises(PotstillError, match=match):
        pipeline_runs.run(values, root, redo=True)
    assert pipeline_runs.fingerprint(root) == before


def test_asking_for_more_leaves_what_the_first_answers_took_in_the_cost(
    done: Path, nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(done, tmp_path / "run"))
    first = Evaluation.model_validate_json((root / "evaluation.json").read_text(encoding="utf-8"))
    fewer = {**FEW, "evaluate": {"fidelity_prompts": 5}}
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, **fewer)
    run, _ = pipeline_runs.run(values, root, redo=True)
    now = Evaluation.model_validate_json(run.evaluation_path.read_text(encoding="utf-8"))
    assert now.collection.response_tokens == first.collection.response_tokens > 0
    assert now.cost.collection.seconds > first.cost.collection.seconds > 0
    assert now.collection.tokens_per_s is None


@pytest.mark.parametrize("until", [None, pytest.param("collect", marks=pytest.mark.slow)])
def test_a_finished_run_asks_again_what_failed_where_it_is_told_to(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer, until: str | None
) -> None:
    values = values_for(server, nano_llama, prompts)
    server.behaviour = Behaviour(model=NAME, rate=0.3, faults=("200 with an error",), seed=3)
    pipeline_runs.run(values, tmp_path / "run", until="train")
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    failed = len(pipeline_runs.recorded(run, "collect")["figures"]["failures"])
    server.behaviour = Behaviour(model=NAME)
    asked, before = server.requests, pipeline_runs.fingerprint(run.root)
    _, notes = pipeline_runs.run(values, run.root, until=until)
    assert any("--redo asks again what got no answer" in note for note in notes)
    assert server.requests == asked and pipeline_runs.fingerprint(run.root) == before
    pipeline_runs.run(values, run.root, until=until, redo=True)
    assert server.requests == asked + failed > asked
    run, _ = pipeline_runs.run(values, run.root)
    assert pipeline_runs.recorded(run, "curate")["train"] == TRAINED and run.manifest_path.is_file()


@pytest.mark.parametrize("split", ["held_out", "validation"])
def test_a_run_without_anything_to_measure_stops_before_training_and_asks_again(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer, split: str
) -> None:
    values = values_for(server, nano_llama, prompts)
    run, _ = pipeline_runs.run(values, tmp_path / "first", until="collect")
    plan = PromptPlan.of(run.done(Prompts))
    silent = {p.messages[-1]["content"] for p in plan.prompts if p.split == split}
    complete = server._complete

    async def broken(body: Any, headers: Any, writer: Any) -> bool:
        if body["messages"][-1]["content"] in silent:
            return await fault_server.send(writer, 200, fault_server.error("e", "no"))
        return await complete(body, headers, writer)

    with pytest.MonkeyPatch.context() as fault:
        fault.setattr(server, "_complete", broken)
        name = split.replace("_", "-")
        with pytest.raises(PotstillError, match=f"no answer to a {name} prompt"):
            pipeline_runs.run(values, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
    assert pipeline_runs.recorded(run, "curate")["train"] == TRAINED
    assert not pipeline_runs.recorded(run, "collect")["figures"]["failures"]


def test_prices_that_are_stated_later_are_counted(
    nano_llama: Path, prompts: Path, tmp_path: Path, server: FaultServer
) -> None:
    values = values_for(server, nano_llama, prompts, shrink={"drop_layers": 0})
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    asked = server.requests
    values["teacher"]["endpoint"].update(price_in=1.0, price_out=2.0)
    with pytest.raises(PotstillError, match=r"price_in is null there and 1.0.*--redo"):
        pipeline_runs.run(values, run.root)
    run, _ = pipeline_runs.run(values, run.root, redo=True)
    evaluation = Evaluation.model_validate_json(run.evaluation_path.read_text(encoding="utf-8"))
    # The server states 7 tokens of each prompt and 5 of each answer.
    assert evaluation.collection.money == pytest.approx(ALL * (7 * 1.0 + 5 * 2.0) / 1e6)
    assert server.requests == asked
