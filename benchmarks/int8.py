"""What a teacher in int8 is from itself, by channels left as they are, and how fast it answers.

SmolLM2-135M answers starter prompts in fp32 and, where the CPU computes in it, in bf16; the same
text is read by the teacher in int8 with 0, 32 and 64 channels of every map left as they are. Then
the same prompts are answered in each precision, in turn. Writes benchmarks/results/int8.json.

    python benchmarks/int8.py [--runs 3] [--prompts 96]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from common import write_results

from potstill.collect.answers import Question, questions
from potstill.collect.prompts import plan_prompts
from potstill.collect.rounded import kl_sums
from potstill.models.generate import Request, completions
from potstill.models.int8 import OUTLIERS, in_int8
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.precision import resolve_device, resolve_dtype
from potstill.models.sampling import Sampling
from potstill.models.score import response_hidden
from potstill.recipe.io import packaged_recipe
from potstill.stats.bootstrap import ratio_interval

CALIBRATION = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=96)
    arguments = parser.parse_args()
    recipe = packaged_recipe("demo", ["prompts.limit=null"])
    prompts = plan_prompts(recipe.prompts, seed=recipe.seed)
    sampling = Sampling(max_tokens=recipe.collect.max_tokens, seed=recipe.seed)
    rows: list[dict[str, Any]] = []
    claims: dict[str, tuple[float, str]] = {}
    for precision in precisions():
        teacher = load(recipe.teacher.model, device="cpu", precision=precision)
        calibration = [q.prompt_ids for q in questions(teacher, prompts.train, sampling)]
        asked = questions(teacher, prompts.held_out, sampling)[: arguments.prompts]
        text = answered(teacher, asked, sampling)
        rows += [
            {"precision": precision, "channels": c} | apart(teacher, calibration, text, c)
            for c in (0, 32, OUTLIERS)
        ]
        made = in_int8(teacher, calibration[:CALIBRATION]).model
        ratios = []
        for run in range(arguments.runs):
            rates = {n: rate(m, asked, sampling) for n, m in (("own", teacher), ("int8", made))}
            rows.append({"precision": precision, "run": run, "tokens_per_s": rates})
            ratios.append(rates["int8"] / rates["own"])
            print(rows[-1], flush=True)
        claims[f"kl_int8_{precision}"] = (rows[-1 - arguments.runs]["kl"]["value"], "nats a token")
        claims[f"tokens_per_s_int8_vs_{precision}"] = (median(ratios), "ratio")
    named = {
        name: {"value": value, "unit": unit, "runs": arguments.runs}
        for name, (value, unit) in claims.items()
    }
    print(write_results("int8", named, rows, torch.int8))


def precisions() -> list[str]:
    """Return what this CPU computes in: fp32, and bf16 where that is worth it."""
    fast = resolve_dtype("auto", resolve_device("cpu")) == torch.bfloat16
    return ["fp32", "bf16"] if fast else ["fp32"]


Text = list[tuple[tuple[int, ...], tuple[int, ...]]]


def answered(teacher: LoadedModel, asked: Sequence[Question], sampling: Sampling) -> Text:
    """Return (prompt ids, response ids) of the teacher's own answers."""
    requests = [Request(q.exchange_id, q.prompt_ids) for q in asked]
    found = completions(teacher, requests, sampling, slots=len(requests))
    return [(q.prompt_ids, c.token_ids) for q, c in zip(asked, found, strict=True)]


def apart(
    teacher: LoadedModel, calibration: Sequence[Sequence[int]], text: Text, channels: int
) -> dict[str, Any]:
    """Return KL(teacher || teacher in int8) on text, with its interval over answers."""
    made = in_int8(teacher, calibration[:CALIBRATION], outliers=channels)
    responses = [response for _, response in text]
    own, other = response_hidden(teacher, text), response_hidden(made.model, text)
    sums = kl_sums(teacher, own, other, responses)
    kl = ratio_interval(sums, [len(r) for r in responses]).as_dict()
    print(channels, kl, flush=True)
    return {"share": made.share, "tokens": sum(map(len, responses)), "kl": kl}


def rate(model: LoadedModel, asked: Sequence[Question], sampling: Sampling) -> float:
    """Return the tokens a second that a model answers with."""
    requests = [Request(q.exchange_id, q.prompt_ids) for q in asked]
    start = time.perf_counter()
    found = completions(model, requests, sampling, slots=len(requests), keep_hidden=True)
    return sum(len(c.token_ids) for c in found) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
