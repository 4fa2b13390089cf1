"""Models whose files and config do not belong together, wherever a command takes a model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import broken_models as b
import pipeline_runs
from potstill.cli.app import app
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.models import gguf
from potstill.models.load import load

DOWN = "model.layers.1.mlp.down_proj.weight"
BREAKS: dict[str, tuple[b.Break, str]] = {
    "missing": (b.without(DOWN), f"the files lack {DOWN};"),
    "too many blocks": (b.stated(num_hidden_layers=7), "num_hidden_layers is 7, and the files"),
    "NaN": (b.value("model.embed_tokens.weight", 3, float("nan")), "(first in row 3)"),
    "halved": (b.cut_off(), "model.safetensors that is cut off or damaged"),
    "another's config": (b.stated(model_type="lama"), "type `lama`"),
    "broken settings": (b.cut_off("generation_config.json"), "generation_config.json that is not"),
}


def refused(arguments: list[str]) -> str:
    """Run a command; return its error after checking the exit code."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def distilled(values: dict[str, Any], tmp_path: Path) -> list[str]:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    return ["distill", str(recipe), "--out", str(tmp_path / "run"), "--quiet"]


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_teacher_is_asked_nothing(
    case: str, nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    change, words = BREAKS[case]
    teacher = b.broken(nano_llama, tmp_path / "teacher", change)
    error = refused(distilled(pipeline_runs.recipe_values(teacher, nano_prompts), tmp_path))
    assert words in error
    store = ExchangeStore(tmp_path / "run")
    assert store.ids() == set()
    store.close()


@pytest.mark.parametrize("case", ["missing", "NaN", "halved"])
def test_a_broken_model_is_not_talked_to(case: str, nano_llama: Path, tmp_path: Path) -> None:
    change, words = BREAKS[case]
    model = b.broken(nano_llama, tmp_path / "model", change)
    error = refused(["chat", str(model), "--once", "Hello"])
    assert words in error
    assert "teacher" not in error


def short(teacher: Path, prompts: Path, **sections: Any) -> dict[str, Any]:
    """Return a recipe whose collection takes next to no time."""
    return pipeline_runs.recipe_values(
        teacher,
        prompts,
        prompts={"limit": 20, "held_out_count": 4, "validation_count": 2},
        collect={"max_tokens": 4},
        evaluate={"max_tokens": 4},
        **sections,
    )


def test_a_broken_judge_is_refused(nano_llama: Path, nano_prompts: Path, tmp_path: Path) -> None:
    change, words = BREAKS["missing"]
    broken = b.broken(nano_llama, tmp_path / "judge", change)
    judge = {"model": str(broken), "judge_may_be_teacher": True}
    values = short(nano_llama, nano_prompts, curate={"judge": judge})
    assert words in refused(distilled(values, tmp_path))


def test_a_broken_student_is_refused(nano_llama: Path, nano_prompts: Path, tmp_path: Path) -> None:
    change, words = BREAKS["too many blocks"]
    broken = b.broken(nano_llama, tmp_path / "student", change)
    values = short(
        nano_llama, nano_prompts, student={"model": str(broken)}, shrink={"drop_layers": 0}
    )
    assert words in refused(distilled(values, tmp_path))


def test_a_student_that_broke_before_a_run_went_on_is_refused(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = short(nano_llama, nano_prompts, shrink={"blocks": [3]})
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="shrink")
    b.value("model.layers.0.mlp.down_proj.weight", 9, float("nan"))(run.root / "untrained")
    error = refused(distilled(values, tmp_path))
    assert "model.layers.0.mlp.down_proj.weight (first in row 9)" in error


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGML" * 20, b"GGUF\x03\0\0\0" + b"\xff" * 40])
def test_no_gguf_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    error = refused(["chat", str(tmp_path / "model.gguf"), "--once", "Hello"])
    assert "model.gguf" in error
    assert "download it again" in error


def test_a_converted_gguf_that_broke_in_the_cache_is_refused(
    nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The conversion itself is not at issue: what it left in the cache is.
    cached = b.broken(nano_llama, tmp_path / "cached", b.cut_off())
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(gguf, "converted", lambda _: cached)
    with pytest.raises(PotstillError, match=r"model\.safetensors that is cut off"):
        load(str(tmp_path / "model.gguf"))


def hyperclovax(nano_llama: Path, to: Path, scaling: float) -> Path:
    """Return nano Llama as a HyperCLOVAX, whose logits `scaling` multiplies."""
    head_dim = 16
    fields = {"embedding_multiplier": 1.0, "residual_multiplier": 1.0, "use_post_norm": False}
    change = b.stated(
        model_type="hyperclovax",
        architectures=["HyperCLOVAXForCausalLM"],
        attention_multiplier=head_dim**-0.5,
        logits_scaling=scaling,
        **fields,
    )
    return b.broken(nano_llama, to, change)


@pytest.mark.slow
def test_a_hyperclovax_teacher_is_measured_by_its_own_logits(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    teacher = hyperclovax(nano_llama, tmp_path / "teacher", 0.5)
    values = pipeline_runs.recipe_values(
        teacher, nano_prompts, prompts={"limit": 40}, shrink={"blocks": [3]}
    )
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    models = json.loads(run.evaluation_path.read_text())["models"]
    tokens = len(AutoTokenizer.from_pretrained(teacher))
    networks = [AutoModelForCausalLM.from_pretrained(path) for path in (teacher, run.student)]
    nll = kl = count = 0.0
    store = ExchangeStore(run.root)
    rows = [row for row in store.read("held_out") if row.sampling["temperature"] > 0]
    store.close()
    for row in rows:
        assert row.prompt_token_ids is not None
        assert row.response_token_ids is not None
        ids = torch.tensor([[*row.prompt_token_ids, *row.response_token_ids]])
        first, said = len(row.prompt_token_ids) - 1, torch.tensor(row.response_token_ids)
        with torch.inference_mode():
            logp, logq = (
                network(ids).logits[0, first:-1, :tokens].double().log_softmax(-1)
                for network in networks
            )
        nll -= float(logp.gather(1, said[:, None]).sum())
        kl += float((logp.exp() * (logp - logq)).sum())
        count += len(said)
    assert models["teacher"]["perplexity"]["value"] == pytest.approx(
        math.exp(nll / count), rel=1e-3
    )
    assert models["student"]["kl_per_token"]["value"] == pytest.approx(kl / count, rel=1e-3)
