"""A student's lineage with every part, made up, for tests of what is told of it."""

from __future__ import annotations

from typing import Any

from potstill.evaluate.again import MadeFigures
from potstill.lineage.data import AnsweredPrompt, data_facts
from potstill.lineage.document import LineageFacts, ModelFacts
from potstill.lineage.operations import operations_of
from potstill.work.evaluation import Cost, FromScratch, Stage
from potstill.work.figures import Estimate

KL = Estimate(value=0.25, ci95=(0.2, 0.3125), n=40)
TEACHER = ModelFacts(
    model="big/teacher", identity="blake3:" + "1" * 32, tokenizer="blake3:" + "2" * 32
)
BASE = ModelFacts(model="small/base", identity="blake3:" + "3" * 32, training_flops=6e20)
TERMS: dict[str, Any] = {
    "outcome": "conditions",
    "permitted": True,
    "licences": ["llama3.1"],
    "stated": ["llama3.1 (README.md)"],
    "conditions": ['A distributed student\'s name begins with "Llama".'],
    "reason": "README.md states llama3.1",
    "facts_version": "2026-11",
    "authorisation": "blake3:" + "4" * 64,
}


def cost_of(flops: float) -> Cost:
    total = Stage(flops=flops, tokens=1000, seconds=60.0, joules=None, money=0.5)
    scratch = FromScratch(tokens=20, flops=1e15, money=1.0, formula="6 N D")
    return Cost(total=total, from_scratch=scratch, ratio_flops=flops / 1e15, currency="EUR")


def lineage(**changes: Any) -> LineageFacts:
    """Return the facts of a student of another base, which was learnt under conditions."""
    teacher, base = changes.get("teacher", TEACHER), changes.get("base", BASE)
    rows = [AnsweredPrompt(f"x{n}", f"p{n}", "train" if n % 3 else "held_out") for n in range(12)]
    figures = MadeFigures(models={"student": {"kl_per_token": KL, "perplexity": KL}})
    values: dict[str, Any] = {
        "teacher": teacher,
        "base": base,
        "student": ModelFacts(identity="blake3:" + "5" * 32, tokenizer="blake3:" + "2" * 32),
        "terms": TERMS,
        "seeds": {"recipe": 7},
        "data": data_facts(rows),
        "watermark": {"key_id": "blake3:" + "6" * 64},
        "training_order": {"secret": "blake3:" + "7" * 64},
        "figures": figures.model_dump(mode="json"),
        "overlap": {"held_out": 4, "train": 8, "exact": 0, "near": 0},
        "cost": cost_of(3e20).model_dump(mode="json"),
        "operations": operations_of(3e20, teacher, base).model_dump(mode="json"),
    }
    return LineageFacts.model_validate(values | changes)
