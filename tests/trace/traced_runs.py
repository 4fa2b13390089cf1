"""Traces of nano models, from their settings to a bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from potstill.models.chat import prompt_ids
from potstill.models.generate import Request, completions
from potstill.models.load import load
from potstill.models.sampling import Sampling
from potstill.recipe.io import read_trace
from potstill.recipe.trace import TraceConfig
from potstill.watermark.keys import EpochKey, write_key
from potstill.watermark.marking import marking
from potstill.watermark.schemes import GreenList

KEY = EpochKey("2026-12", bytes(range(32)))
SCHEME = GreenList(KEY, 1, 0.5, 4.0)
WATERMARK = {"key": "epoch.key", "window": 1, "gamma": 0.5, "delta": 4.0}


def prepared(folder: Path, teacher: Path, count: int = 40) -> Path:
    """Put into a folder what traces of one teacher need: a key, prompts, its marked answers.

    `marked.jsonl` holds prompt and answer ids, `suspect.jsonl` the answers alone, as a suspect that
    repeats them would give them; `plain.jsonl` unmarked ones.
    """
    write_key(folder / "epoch.key", KEY)
    words = [f"Tell me about {word}." for word in ("rain", "rivers", "stone", "salt", "bread")]
    (folder / "prompts.txt").write_text("\n".join(words) + "\n")
    model = load(str(teacher), device="cpu", precision="fp32")
    asked = [prompt_ids(model, ({"role": "user", "content": w},)) for w in words]
    requests = [Request(f"{n}", asked[n % len(asked)]) for n in range(count)]
    for name, choose in (("marked", marking(SCHEME)), ("plain", None)):
        more = {} if choose is None else {"choose": choose}
        found = completions(model, requests, Sampling(max_tokens=48), slots=16, **more)
        rows = [
            {"prompt_ids": list(request.prompt_ids), "ids": list(one.token_ids)}
            for request, one in zip(requests, found, strict=True)
        ]
        write_rows(folder / f"{name}.jsonl", rows)
        texts = [{"token_ids": row["ids"], "tokenizer": model.tokenizer_id} for row in rows]
        write_rows(folder / f"suspect-{name}.jsonl", texts)
    return folder


def clean_models(folder: Path, model: Path, count: int) -> list[str]:
    """Write models of a model's form and tokenizer with weights of their own; return their paths.

    What is theirs is drawn from a fixed seed around the model's own, far enough for other answers.
    """
    found = []
    for number in range(count):
        path = Path(shutil.copytree(model, folder / f"clean-{number}"))
        for file in path.glob("*.safetensors"):
            draw = torch.Generator().manual_seed(number)
            weights = {
                name: tensor + tensor.std() * torch.randn(tensor.shape, generator=draw)
                if tensor.ndim > 1
                else tensor
                for name, tensor in load_file(file).items()
            }
            save_file(weights, file, metadata={"format": "pt"})
        found.append(str(path))
    return found


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def settings(folder: Path, teacher: Path, **more: Any) -> Path:
    """Write a trace's settings, with paths of the folder; return their file."""
    values: dict[str, Any] = {
        "name": "one",
        "chain": str(folder / "our.chain.jsonl"),
        "device": "cpu",
        "precision": "fp32",
        "teacher": {"name": "our model", "model": str(teacher)},
        "watermark": {**WATERMARK, "key": str(folder / "epoch.key")},
        "prompts": {"source": str(folder / "prompts.txt")},
        **more,
    }
    path = folder / f"{values['name']}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def texts_suspect(folder: Path, name: str) -> dict[str, Any]:
    return {"name": "their model", "texts": [str(folder / f"suspect-{name}.jsonl")]}


def config_of(folder: Path, teacher: Path, **more: Any) -> TraceConfig:
    return read_trace(settings(folder, teacher, **more))
