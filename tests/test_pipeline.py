"""The whole way, from recipe to manifest, on four architectures."""

from __future__ import annotations

import gc
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import pipeline_runs
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.lineage import manifest
from potstill.models.load import load
from potstill.train import stage as train_stage
from potstill.work.evaluation import Evaluation
from potstill.work.opened import Opened

# Trimming needs a tokenizer that is larger than its bytes; the padded one is left whole.
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"vocabulary": 400}),
    ("qwen3", {}),
    ("gemma", {}),
    ("neox", {}),
]


@pytest.mark.parametrize(("family", "shrink"), FAMILIES)
def test_a_family_goes_the_whole_way(
    family: str,
    shrink: dict[str, Any],
    nano_model: Callable[[str], Path],
    nano_prompts: Path,
    tmp_path: Path,
) -> None:
    values = pipeline_runs.recipe_values(nano_model(family), nano_prompts, shrink=shrink)
    run, notes = pipeline_runs.run(values, tmp_path / "run")
    evaluation = json.loads(run.evaluation_path.read_text())
    Evaluation.model_validate(evaluation)
    models = evaluation["models"]
    assert models["student"]["params"] < models["teacher"]["params"]
    assert models["student"]["kl_per_token"]["value"] < models["pruned"]["kl_per_token"]["value"]
    assert evaluation["overlap"]["exact"] == evaluation["overlap"]["near"] == 0
    assert run.report_path.stat().st_size > 5_000
    assert manifest.verify(run.root) == []
    healed = models["untrained"]["kl_per_token"]["value"]
    plain = models["pruned"]["kl_per_token"]["value"]
    if family == "llama":
        assert models["student"]["kl_per_token"]["value"] < healed
    assert healed < plain and not any("not healed" in note for note in notes)

    network = AutoModelForCausalLM.from_pretrained(run.student)
    tokenizer = AutoTokenizer.from_pretrained(run.student)
    ids = tokenizer("The cat", return_tensors="pt")["input_ids"]
    written = network.generate(ids, max_new_tokens=4, do_sample=False)
    assert written.shape[1] > ids.shape[1]

    before = pipeline_runs.fingerprint(run.root)
    _, again = pipeline_runs.run(values, tmp_path / "run")
    assert pipeline_runs.fingerprint(run.root) == before
    assert any("finished" in note for note in again)


def test_a_narrow_student_goes_the_whole_way(
    nano_qwen3: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    cut = {"drop_layers": 0, "ffn_channels": 100, "kv_heads": 1}
    values = pipeline_runs.recipe_values(nano_qwen3, nano_prompts, shrink=cut)
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    models = json.loads(run.evaluation_path.read_text())["models"]
    assert models["pruned"]["params"] == models["student"]["params"] < models["teacher"]["params"]
    plain = models["pruned"]["kl_per_token"]["value"]
    assert models["untrained"]["kl_per_token"]["value"] < plain
    assert models["student"]["kl_per_token"]["value"] < plain
    config = AutoModelForCausalLM.from_pretrained(run.student).config
    assert (config.intermediate_size, config.num_attention_heads) == (100, 2)


@pytest.mark.parametrize("family", ["llama", pytest.param("neox", marks=pytest.mark.slow)])
def test_a_share_of_the_parameters_is_reached(
    family: str, nano_model: Callable[[str], Path], nano_prompts: Path, tmp_path: Path
) -> None:
    cut = {"drop_layers": 0, "parameters": 0.6, "step": 0.1, "trial_tokens": 600}
    values = pipeline_runs.recipe_values(nano_model(family), nano_prompts, shrink=cut)
    run, notes = pipeline_runs.run(values, tmp_path / "run")
    models = json.loads(run.evaluation_path.read_text())["models"]
    share = models["student"]["params"] / models["teacher"]["params"]
    assert 0.57 < share <= 0.6
    assert models["pruned"]["params"] == models["student"]["params"]
    healed = models["untrained"]["kl_per_token"]["value"]
    assert healed < models["pruned"]["kl_per_token"]["value"]
    assert any("cannot be cut by heads" in note for note in notes) == (family == "neox")
    assert load(str(run.student), precision="fp32").network.config.num_hidden_layers > 1
    assert manifest.verify(run.root) == []


def test_padding_rows_never_get_mass(nano_qwen3: Path, nano_prompts: Path, tmp_path: Path) -> None:
    values = pipeline_runs.recipe_values(nano_qwen3, nano_prompts)
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    student = load(str(run.student), precision="fp32")
    assert student.network.get_output_embeddings().weight.shape[0] > len(student.tokenizer)
    kl = json.loads(run.evaluation_path.read_text())["models"]["student"]["kl_per_token"]
    assert 0 <= kl["value"] < 5


def test_stored_and_online_targets_train_alike(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    def losses(targets: str) -> list[float]:
        values = pipeline_runs.recipe_values(
            nano_llama, nano_prompts, collect={"targets": targets}, shrink={"blocks": [3]}
        )
        run, _ = pipeline_runs.run(values, tmp_path / targets, until="train")
        return [entry["loss"] for entry in run.metrics() if "loss" in entry]

    assert losses("hidden") == pytest.approx(losses("none"), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("targets", ["hidden-int8", "sampled", "top-k"])
def test_every_form_of_targets_goes_the_whole_way(
    targets: str, nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    shrink: dict[str, Any] = {"blocks": [1, 3], "heal": "none"}
    if targets != "top-k":
        shrink["vocabulary"] = 400
    collect = {"targets": targets, "top_k_targets": 100}
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, collect=collect, shrink=shrink)
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    models = json.loads(run.evaluation_path.read_text())["models"]
    before, after = (models[m]["kl_per_token"]["value"] for m in ("untrained", "student"))
    assert after < before
    store = ExchangeStore(run.root)
    specs = {usage.spec: usage.exchanges for usage in store.usage()}
    store.close()
    # Held-out text twice (drawn and greedy) and validation text keep their states.
    assert specs["hidden-fp16"] == 2 * 12 + 6
    assert [count for spec, count in specs.items() if spec.startswith(targets)] == [60]


@pytest.mark.parametrize(
    "objective", ["reverse_kl", pytest.param("total_variation", marks=pytest.mark.slow)]
)
def test_likeliest_tokens_serve_every_objective(
    objective: str, nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(
        nano_llama,
        nano_prompts,
        collect={"targets": "top-k"},
        shrink={"blocks": [3], "heal": "none"},
        train={"objective": objective},
    )
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="train")
    losses = [entry["loss"] for entry in run.metrics() if "loss" in entry]
    assert losses and all(map(math.isfinite, losses))


def test_training_from_the_store_holds_no_teacher(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, shrink={"blocks": [3]})
    held: list[bool] = []
    plain = train_stage.train_steps

    def watched(*args: Any, **options: Any) -> Any:
        (opened,) = [o for o in gc.get_objects() if isinstance(o, Opened)]
        held.append(opened._teacher is not None)
        return plain(*args, **options)

    monkeypatch.setattr(train_stage, "train_steps", watched)
    pipeline_runs.run(values, tmp_path / "run", until="train")
    assert held == [False]


def test_a_teacher_that_has_changed_is_noticed(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(nano_llama, teacher)
    values = pipeline_runs.recipe_values(teacher, nano_prompts)
    pipeline_runs.run(values, tmp_path / "run", until="collect")
    weights = load_file(teacher / "model.safetensors")
    name = min(weights)
    save_file(
        {**weights, name: weights[name] * 1.01}, teacher / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(PotstillError, match="is another one than this run began with"):
        pipeline_runs.run(values, tmp_path / "run")


def test_an_existing_student_and_a_text_only_baseline(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(
        nano_llama,
        nano_prompts,
        student={"model": str(nano_llama)},
        shrink={"drop_layers": 0},
        train={"hidden_matching": {}},
        evaluate={"cross_entropy_baseline": True},
    )
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    evaluation = json.loads(run.evaluation_path.read_text())
    models = evaluation["models"]
    assert models["untrained"]["kl_per_token"]["value"] == pytest.approx(0, abs=1e-4)
    # Text alone can only lead away from what the student equals: it stays as it was.
    assert pipeline_runs.recorded(run, "train")["cross_entropy"]["kept_step"] == 0
    assert evaluation["training"]["cross_entropy_kept_step"] == 0
    # A given student has axes of its own, which the one on text alone matches to nothing.
    assert evaluation["training"]["hidden_matching"]["projection_weights"] == 64 * 64
    distances = [entry.get("student") for entry in run.metrics() if "hidden_loss" in entry]
    assert distances and set(distances) == {None}
    assert models["cross_entropy"]["kl_per_token"]["value"] == pytest.approx(0, abs=1e-4)
    assert "Trained on text alone, no better: as before" in run.report_path.read_text()


def test_a_stage_alone_stops_and_the_next_call_goes_on(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
    assert pipeline_runs.recorded(run, "collect") is not None
    assert pipeline_runs.recorded(run, "shrink") is None
    store = ExchangeStore(run.root)
    collected = store.ids()
    store.close()
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    store = ExchangeStore(run.root)
    assert store.ids() == collected
    store.close()
    assert manifest.verify(run.root) == []


def test_no_environment_value_is_written(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "potstill-secret-4f1c"
    monkeypatch.setenv("HF_TOKEN", secret)
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    for path in run.root.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()


def test_a_trimmed_student_reads_as_it_was_measured(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(
        nano_llama,
        nano_prompts,
        shrink={"vocabulary": 400},
        train={"hidden_matching": {"layers": "blocks"}},
    )
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    matched = json.loads(run.evaluation_path.read_text())["training"]["hidden_matching"]
    assert matched["last"] and len(matched["pairs"]) == 4 and matched["projection_weights"] == 0
    assert 0 < matched["first"] < 0.5 and 0 < matched["final"] < 0.5
    assert "Distance of hidden states" in run.report_path.read_text()
    student = load(str(run.student), precision="fp32")
    assert len(student.tokenizer) == student.network.config.vocab_size == 400
    assert student.tokenizer.chat_template
    logits = student.network(torch.tensor([[1, 2, 3]])).logits
    assert torch.isfinite(logits).all()
