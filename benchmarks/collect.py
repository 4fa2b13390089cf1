"""How busy collection keeps its slots, and what uneven response lengths cost it.

The demo's prompts are answered as the demo does (waves, a finished row's slot goes to the next
prompt), and again with an end-of-sequence token that never comes, so that all rows are equally
long and no slot ever waits. Alternated, medians. Writes benchmarks/results/collect.json.

    python benchmarks/collect.py [--runs 3] [--prompts 768]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from common import write_results

from potstill.collect.answers import Question, plan_waves, questions
from potstill.collect.prompts import plan_prompts
from potstill.models.generate import Request, SlotUse, decode
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.recipe.io import packaged_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=768)
    arguments = parser.parse_args()
    recipe = packaged_recipe("demo", ["prompts.limit=null"])
    teacher = load(recipe.teacher.model)
    sampling = Sampling(max_tokens=recipe.collect.max_tokens, seed=recipe.seed)
    prompts = plan_prompts(recipe.prompts, seed=recipe.seed).train[: arguments.prompts]
    wanted = questions(teacher, prompts, sampling)
    slots = recipe.collect.slots
    waves = plan_waves(wanted, slots, recipe.collect.wave)
    endless = replace(teacher, eos_ids=())
    rows = []
    for run in range(arguments.runs):
        for name, model in (("as collected", teacher), ("equal rows", endless)):
            rows.append({"run": run, "kind": name} | timed(model, wanted, waves, sampling, slots))
            print(rows[-1], flush=True)
    real = [r for r in rows if r["kind"] == "as collected"]
    equal = [r for r in rows if r["kind"] == "equal rows"]
    ratios = [a["tokens_per_s"] / b["tokens_per_s"] for a, b in zip(real, equal, strict=True)]
    claims = {
        "slots_busy_before_last_wave": (
            median(r["slots_busy_before_last_wave"] for r in real),
            "share",
        ),
        "slots_busy": (median(r["slots_busy"] for r in real), "share"),
        "tokens_per_s_vs_equal_rows": (median(ratios), "ratio"),
        "tokens_per_s": (median(r["tokens_per_s"] for r in real), "tokens/s"),
    }
    named = {
        name: {"value": value, "unit": unit, "runs": arguments.runs}
        for name, (value, unit) in claims.items()
    }
    print(write_results("collect", named, rows, teacher.compute_dtype))


def timed(
    model: LoadedModel,
    wanted: Sequence[Question],
    waves: Sequence[Sequence[str]],
    sampling: Sampling,
    slots: int,
) -> dict[str, Any]:
    """Decode all waves and return rate and share of busy slots."""
    by_id = {q.exchange_id: q for q in wanted}
    before, last = SlotUse(), SlotUse()
    tokens = 0
    start = time.perf_counter()
    for number, wave in enumerate(waves):
        use = last if number == len(waves) - 1 else before
        requests = [Request(key, by_id[key].prompt_ids) for key in wave]
        for done in decode(model, requests, sampling, slots=slots, keep_hidden=True, use=use):
            tokens += sum(len(c.token_ids) for c in done)
    seconds = time.perf_counter() - start
    return {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_s": tokens / seconds,
        "slots_busy": (before.busy + last.busy) / (before.offered + last.offered),
        "slots_busy_before_last_wave": before.busy / before.offered if before.offered else None,
    }


if __name__ == "__main__":
    main()
