"""Who answers the demo's prompts in benchmarks/collect.py: one side a process, one JSON line each.

    python benchmarks/collect_sides.py SIDE PROMPTS PRECISION TOKENS

`potstill` needs nothing of this checkout but this file: with the sources of another commit on
PYTHONPATH it measures that one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from potstill.collect.answers import plan_waves, questions
from potstill.collect.prompts import plan_prompts
from potstill.models.generate import Request, SlotUse, decode
from potstill.models.load import head_of, load
from potstill.models.sampling import Sampling

try:
    from potstill.recipe.io import packaged_recipe
except ImportError:  # an earlier commit's place of it
    from potstill.recipe_io import packaged_recipe

ROWS = 128
# What a peer's setting is chosen on: prompts, and tokens of each.
TRIED_PROMPTS, TRIED_TOKENS = 128, 12


def main() -> None:
    side, prompts, precision, tokens = sys.argv[1], *sys.argv[2:5]
    work = Work(int(prompts), precision, int(tokens))
    print(json.dumps(SIDES[side](work)), flush=True)


class Work:
    """The demo's first prompts, and its teacher."""

    def __init__(self, count: int, precision: str, tokens: int) -> None:
        self.recipe = packaged_recipe("demo", ["prompts.limit=null"])
        self.teacher = load(self.recipe.teacher.model, precision=precision)
        self.sampling = Sampling(max_tokens=tokens, seed=self.recipe.seed)
        planned = plan_prompts(self.recipe.prompts, seed=self.recipe.seed)
        self.prompts = planned.train[:count]
        self.wanted = questions(self.teacher, self.prompts, self.sampling)


def potstill(work: Work) -> dict[str, Any]:
    """Decode as the demo does: its slots, its waves, states kept."""
    collect = work.recipe.collect
    by_id = {q.exchange_id: q for q in work.wanted}
    warm = [Request(q.exchange_id, q.prompt_ids) for q in work.wanted[:8]]
    list(decode(work.teacher, warm, Sampling(max_tokens=4), slots=8))
    use, tokens, start = SlotUse(), 0, time.perf_counter()
    for wave in plan_waves(work.wanted, collect.slots, collect.wave):
        requests = [Request(key, by_id[key].prompt_ids) for key in wave]
        found = decode(
            work.teacher, requests, work.sampling, slots=collect.slots, keep_hidden=True, use=use
        )
        tokens += sum(len(c.token_ids) for done in found for c in done)
    return rate(tokens, start) | {
        "slots": collect.slots,
        "slots_busy": use.busy / use.offered,
        "slots_busy_while_queued": (
            use.busy_while_queued / use.offered_while_queued if use.offered_while_queued else None
        ),
    }


def products(work: Work) -> dict[str, Any]:
    """Multiply what one token of each of 128 rows is multiplied with, and do nothing else."""
    base = work.teacher.network.base_model
    weights = [m.weight for m in base.modules() if isinstance(m, torch.nn.Linear)]
    weights.append(head_of(work.teacher).weight_VD)
    result: dict[str, Any] = {"rows": ROWS}
    for name, multiply in multipliers(work):
        inputs = [torch.randn(ROWS, w.shape[1]).to(w.dtype) for w in weights]
        times = []
        with torch.inference_mode():
            for _ in range(12):
                start = time.perf_counter()
                for x, weight in zip(inputs, weights, strict=True):
                    multiply(x, weight, None)
                times.append(time.perf_counter() - start)
        result[name] = ROWS / median(times[2:])
    return result


def multipliers(work: Work) -> list[tuple[str, Callable[..., Any]]]:
    """Return torch's own product, and the one that decoding takes."""
    from potstill.models.products import product_for

    chosen = product_for(work.teacher.device, work.teacher.compute_dtype)
    return [("tokens_per_s", F.linear), ("tokens_per_s_chosen", chosen)]


def generate(work: Work) -> dict[str, Any]:
    """transformers' `generate`, prompts of like length together, at its best batch of three."""

    def run(ids: Sequence[Sequence[int]], batch: int, tokens: int) -> dict[str, Any]:
        ordered, count, start = sorted(ids, key=len), 0, time.perf_counter()
        for at in range(0, len(ordered), batch):
            count += generated(work, ordered[at : at + batch], tokens)
        return rate(count, start) | {"batch": batch}

    return best(work, run, (32, 64, 128))


def generated(work: Work, rows: Sequence[Sequence[int]], tokens: int) -> int:
    """Return how many tokens of answers `generate` wrote for one batch."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    there = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    with torch.inference_mode():
        found = work.teacher.network.generate(
            ids,
            attention_mask=there,
            max_new_tokens=tokens,
            do_sample=True,
            top_k=0,
            top_p=1.0,
            temperature=1.0,
            eos_token_id=list(work.teacher.eos_ids),
            pad_token_id=work.teacher.eos_ids[0],
        )
    ends = set(work.teacher.eos_ids)
    answers = found[:, width:].tolist()
    return sum(next((n + 1 for n, i in enumerate(a) if i in ends), len(a)) for a in answers)


def continuous(work: Work) -> dict[str, Any]:
    """transformers' continuous batching, of at most 128 rows."""
    from transformers import GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    settings = GenerationConfig(
        max_new_tokens=work.sampling.max_tokens,
        do_sample=True,
        top_k=0,
        top_p=1.0,
        temperature=1.0,
        eos_token_id=list(work.teacher.eos_ids),
        pad_token_id=work.teacher.eos_ids[0],
    )
    batching = ContinuousBatchingConfig(
        num_blocks=256, page_size=128, max_batch_tokens=512, max_requests_per_batch=ROWS
    )
    start = time.perf_counter()
    found = work.teacher.network.generate_batch(
        [list(q.prompt_ids) for q in work.wanted],
        generation_config=settings,
        continuous_batching_config=batching,
    )
    return rate(sum(len(o.generated_tokens) for o in found.values()), start)


def llama_cpp(work: Work) -> dict[str, Any]:
    """llama.cpp's server on a GGUF of potstill's own making (f16), at the better of two settings.

    Server and client share this process's cores, as they do wherever it is asked on one machine.
    """
    from potstill.models.export import to_gguf
    from potstill.models.load import save

    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from llama_server import started

    with tempfile.TemporaryDirectory() as folder:
        save(work.teacher, Path(folder) / "model")
        gguf = to_gguf(Path(folder) / "model", Path(folder) / "model.gguf", "f16")

        def run(ids: Sequence[Sequence[int]], slots: int, tokens: int) -> dict[str, Any]:
            server = started(gguf, slots=slots, context=256, threads=os.cpu_count() or 1)
            start = time.perf_counter()
            count = asyncio.run(asked(server.listening_address, ids, slots, tokens))
            found = rate(count, start) | {"slots": slots}
            del server
            return found

        return best(work, run, (16, 64))


async def asked(url: str, rows: Sequence[Sequence[int]], slots: int, tokens: int) -> int:
    """Ask for all answers, `slots` at once; return how many tokens were written."""
    import httpx2

    gate = asyncio.Semaphore(slots)
    async with httpx2.AsyncClient(base_url=url, timeout=3600, trust_env=False) as client:

        async def one(ids: Sequence[int], seed: int) -> int:
            wanted = {"prompt": list(ids), "n_predict": tokens, "seed": seed, "temperature": 1.0}
            wanted |= {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
            async with gate:
                answer = await client.post("/completion", json=wanted)
            return int(answer.json()["tokens_predicted"])

        return sum(await asyncio.gather(*(one(ids, n) for n, ids in enumerate(rows))))


def best(work: Work, run: Callable[..., dict[str, Any]], settings: Sequence[int]) -> dict[str, Any]:
    """Return what a peer does at the setting that is the fastest on a few prompts."""
    ids = [q.prompt_ids for q in work.wanted]
    tried = {s: run(ids[:TRIED_PROMPTS], s, TRIED_TOKENS)["tokens_per_s"] for s in settings}
    chosen = max(settings, key=lambda s: tried[s])
    return run(ids, chosen, work.sampling.max_tokens) | {"tried": tried}


def rate(tokens: int, start: float) -> dict[str, Any]:
    """Return tokens, seconds since `start`, and their ratio."""
    seconds = time.perf_counter() - start
    return {"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds}


SIDES = {
    "potstill": potstill,
    "products": products,
    "generate": generate,
    "continuous": continuous,
    "llama_cpp": llama_cpp,
}

if __name__ == "__main__":
    main()
