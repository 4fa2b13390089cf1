"""Healing in families whose blocks write in other ways than Llama's, on nano models.

Each is trained on nano text from three seeds. potstill takes two of its six blocks, by the loss
after healing, and heals what is left on the model's own answers to 100 prompts, with the recipe's
ridge. Measured on one answer to each of 200 other prompts: KL to the whole model, healed and cut
plainly, and whether the healed student computes the same once plain transformers has loaded it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "nano"))

from nano_deep import DEEP, build_deep
from nano_models import chat_ids
from nano_text import prompts

from potstill.evaluate.fidelity import compare
from potstill.evaluate.summary import summarise
from potstill.models.load import head_of, load, save
from potstill.models.loaded import LoadedModel
from potstill.models.score import PromptAndResponse, response_hidden
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Silent
from potstill.recipe import ShrinkConfig
from potstill.shrink.making import pruned
from potstill.shrink.shrink import shrink

SEEDS = (0, 1, 2)
HELD_OUT, VALIDATION, ANSWERS_EACH = 200, 24, 5
CONFIG = ShrinkConfig(drop_layers=2, candidates=4)


def nano_rows() -> list[dict[str, Any]]:
    """Return a row for each family and seed."""
    with tempfile.TemporaryDirectory() as folder:
        return [_row(family, seed, Path(folder)) for family in DEEP for seed in SEEDS]


def nano_claims(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the median ratio over seeds of each family, the worst, and what loading changed."""
    claims: dict[str, dict[str, Any]] = {}
    for family in DEEP:
        ratios = [row["kl_healed_vs_plain"] for row in rows if row["nano"] == family]
        for end, value in (("", median(ratios)), ("_worst", max(ratios))):
            name = f"kl_healed_vs_plain_{family}{end}"
            claims[name] = {"value": value, "unit": "ratio", "runs": len(ratios)}
    loaded = max(row["logits_after_loading"] for row in rows)
    name = "nano_logits_after_loading"
    claims[name] = {"value": loaded, "unit": "largest difference", "runs": len(rows)}
    return claims


def is_nano(claim: str) -> bool:
    """Return whether a claim is one of these."""
    return claim.startswith("nano_") or any(family in claim for family in DEEP)


def _row(family: str, seed: int, folder: Path) -> dict[str, Any]:
    path = build_deep(family, folder / f"{family}-{seed}", seed=seed)
    teacher = load(str(path), device="cpu", precision="fp32")
    texts = prompts()
    held_out = _answers(teacher, texts[:HELD_OUT], seed)
    validation = _answers(teacher, texts[HELD_OUT:][:VALIDATION], seed + 100)
    taught = texts[HELD_OUT + VALIDATION :] * ANSWERS_EACH
    calibration = [[*p, *r] for p, r in _answers(teacher, taught, seed + 200)]

    def validated(student: LoadedModel, _: VocabularyMap | None) -> dict[str, float]:
        found = _measured(teacher, student, validation)
        return {"kl": found["kl_per_token"]["value"], "agreement": found["top1_agreement"]["value"]}

    made = shrink(teacher, CONFIG, calibration, None, measure=validated, progress=Silent())
    plain = _measured(teacher, pruned(teacher, made.cut)[0], held_out)
    healed = _measured(teacher, made.student, held_out)
    row = {
        "nano": family,
        "seed": seed,
        "blocks": list(made.cut.blocks),
        "calibration_tokens": sum(map(len, calibration)),
        "kl_healed_vs_plain": healed["kl_per_token"]["value"] / plain["kl_per_token"]["value"],
        "logits_after_loading": _difference_once_loaded(made.student, folder / "student"),
        "plain": plain,
        "healed": healed,
    }
    print(family, seed, row["blocks"], round(row["kl_healed_vs_plain"], 3), flush=True)
    return row


@torch.inference_mode()
def _answers(
    teacher: LoadedModel, texts: Sequence[str], seed: int, at_once: int = 100
) -> list[PromptAndResponse]:
    """Return ids of each prompt and of an answer drawn at temperature 1, at most 64 tokens long."""
    torch.manual_seed(seed)
    tokenizer, pairs = teacher.tokenizer, []
    end = tokenizer.eos_token_id
    for begin in range(0, len(texts), at_once):
        asked = [chat_ids(tokenizer, text, "")[:-1] for text in texts[begin : begin + at_once]]
        width = max(map(len, asked))
        padding = [width - len(ids) for ids in asked]
        written = teacher.network.generate(
            torch.tensor([[0] * p + ids for p, ids in zip(padding, asked, strict=True)]),
            attention_mask=torch.tensor([[0] * p + [1] * (width - p) for p in padding]),
            max_new_tokens=64,
            do_sample=True,
            top_k=0,
        )
        for ids, row in zip(asked, written, strict=True):
            answer = row[width:].tolist()
            pairs.append((ids, answer[: answer.index(end) + 1] if end in answer else answer))
    return pairs


def _measured(
    teacher: LoadedModel, student: LoadedModel, pairs: Sequence[PromptAndResponse]
) -> dict[str, Any]:
    sums = compare(
        response_hidden(teacher, pairs),
        head_of(teacher),
        response_hidden(student, pairs),
        head_of(student),
        [answer for _, answer in pairs],
    )
    found = summarise(sums, resamples=2000, seed=0)
    return {name: interval.as_dict() for name, interval in found.items()}


@torch.inference_mode()
def _difference_once_loaded(student: LoadedModel, directory: Path) -> float:
    save(student, directory)
    again = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    ids_BT = torch.randint(5, 400, (4, 60), generator=torch.Generator().manual_seed(0))
    return float((again(ids_BT).logits - student.network(ids_BT).logits).abs().max())
