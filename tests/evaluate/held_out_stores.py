"""A store of held-out answers, and a corpus on it, made without a run directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import learnt_stores
from opened_models import permitted
from potstill.collect.answers import collect, plan_waves, questions
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.store import ExchangeStore
from potstill.progress import Progress, Silent
from potstill.recipe import CollectConfig, EvaluateConfig
from potstill.terms.gate import Stated, decide
from potstill.terms.licences import licence_of
from potstill.text.turns import prompt_id_of
from potstill.work.access import Access, Author, Weights
from potstill.work.corpus import Corpus
from potstill.work.opened import Compute, Opened
from potstill.work.samplings import sampling_to_measure
from potstill.work.target_specs import target_specs

SEED = 3
COMPUTE = Compute("cpu", "fp32", "2026-01-01")
CONFIG = EvaluateConfig(max_tokens=12, resamples=200, speed_tokens=2, sample_pairs=1)


def prompts(count: int, *, gold: bool = False) -> list[Prompt]:
    made = []
    for i in range(count):
        messages = ({"role": "user", "content": f"Count from {i} to {i + 3}."},)
        right = f"{i}, {i + 1}" if gold else None
        made.append(Prompt(prompt_id_of(messages), messages, "held_out", "test", gold=right))
    return made


def access_to(directory: Path, author: Author | None = None) -> Access:
    """Return access to a model's weights, or to an author whose answers a model learns."""
    weights = Weights(str(directory))
    if author is None:
        return Access(weights, weights, weights, None)
    return Access(author, None, weights, weights)


def corpus_on(
    store: ExchangeStore,
    access: Access,
    identity: str,
    *,
    measured_on: Callable[[Exchange], bool] = lambda row: True,
    progress: Progress | None = None,
) -> Corpus:
    opened = Opened(
        access,
        COMPUTE,
        store,
        identity=identity,
        permit=permitted,
        met=lambda found: None,
        progress=progress or Silent(),
    )
    return Corpus(store, opened, identity, None, "keep", measured_on)


def collected(
    directory: Path,
    root: Path,
    asked: Sequence[Prompt],
    *,
    config: EvaluateConfig = CONFIG,
    **options: Any,
) -> Corpus:
    """Have a model answer held-out prompts as evaluation is to read them; the corpus is open."""
    access = access_to(directory)
    teacher = COMPUTE.load(Weights(str(directory)))
    store = ExchangeStore(root)
    for greedy in (False, True) if config.greedy else (False,):
        sampling = sampling_to_measure(config, SEED, greedy=greedy)
        wanted = questions(teacher, asked, sampling)
        collect(
            teacher,
            wanted,
            plan_waves(wanted, 8, 2),
            sampling,
            store,
            decide("nano", licence_of(directory), Stated()),
            slots=8,
            targets=target_specs(CollectConfig(), 1.0),
            progress=Silent(),
        )
    return corpus_on(store, access, teacher.identity, **options)


def written(
    prompt: Prompt, response: str, *, temperature: float | None = 1.0, **more: Any
) -> Exchange:
    """Return an answer of which there is text alone."""
    drawn = {} if temperature is None else {"temperature": temperature}
    given = {"exchange_id": f"{prompt.prompt_id} at {temperature}", "sampling": drawn}
    return learnt_stores.written(prompt, response, **{**given, **more})
