"""How fast models read and write, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch

from potstill.models.generate import Request, completions
from potstill.models.load import body_of, context_length
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.models.score import hidden_states

REPEATS = 3
PREFILL_TOKENS = 512
PROMPT_TOKENS = 16
# About how long one repeat of one model may take, and the fewest tokens that it is cut to for that.
SECONDS = 2.0
FEWEST_READ, FEWEST_WRITTEN = 64, 8

# A task does its work and returns how many tokens that was.
Task = Callable[[], int]
# Makes the task that reads, or writes, so many tokens.
Making = Callable[[int], Task]


@dataclass(frozen=True)
class Speed:
    """Tokens a second of one sequence at a time, medians over interleaved repeats."""

    prefill_tok_s: float
    decode_tok_s: float


def measure_speed(
    models: Mapping[str, LoadedModel], *, decode_tokens: int, repeats: int = REPEATS
) -> dict[str, Speed]:
    """Return each model's speed on this machine, one sequence at a time, as in a chat.

    Reading is one forward pass of the transformer over 512 tokens (less where the context is
    shorter), writing is greedy decoding of `decode_tokens` after 16 tokens of prompt, the end
    of sequence ignored. Where the slowest model would take more than about two seconds for that,
    all of them read and write as many tokens as it does in two seconds, but at least 64 and 8.
    Models of one shape share one measurement: their difference would be noise.
    """
    shapes = {name: _shape(model) for name, model in models.items()}
    first: dict[tuple[Any, ...], str] = {}
    for name, shape in shapes.items():
        first.setdefault(shape, name)
    measured = {name: models[name] for name in first.values()}
    reading = _rates_within(
        {name: partial(_reading, model) for name, model in measured.items()},
        PREFILL_TOKENS,
        FEWEST_READ,
        repeats,
    )
    writing = _rates_within(
        {name: partial(_writing, model) for name, model in measured.items()},
        decode_tokens,
        FEWEST_WRITTEN,
        repeats,
    )
    return {
        name: Speed(reading[first[shape]], writing[first[shape]]) for name, shape in shapes.items()
    }


def rates(
    tasks: Mapping[str, Task],
    *,
    repeats: int = REPEATS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return each task's median units a second.

    Rounds run every task in turn, each second round backwards, so that a machine that slows down
    or is shared slows all of them alike.
    """
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for round_number in range(repeats):
        names: Sequence[str] = list(tasks)
        for name in names if round_number % 2 == 0 else reversed(names):
            start = clock()
            done = tasks[name]()
            found[name].append(done / max(clock() - start, 1e-9))
    return {name: median(values) for name, values in found.items()}


def _rates_within(
    makings: Mapping[str, Making], most: int, fewest: int, repeats: int
) -> dict[str, float]:
    """Return each model's rate over so many tokens that no repeat takes much over SECONDS."""
    tokens = tokens_within(makings, most, fewest)
    return rates({name: making(tokens) for name, making in makings.items()}, repeats=repeats)


def tokens_within(
    makings: Mapping[str, Making],
    most: int,
    fewest: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Return how many tokens are measured: `most`, or as many as the slowest can in SECONDS.

    Every task is tried on `fewest` tokens for that, twice: the first time warms up.
    """
    fewest = min(fewest, most)
    slowest = 0.0
    for making in makings.values():
        task = making(fewest)
        task()
        start = clock()
        done = task()
        slowest = max(slowest, (clock() - start) / max(1, done))
    return most if slowest * most <= SECONDS else max(fewest, min(most, int(SECONDS / slowest)))


def _reading(model: LoadedModel, tokens: int) -> Task:
    ids = _ids(model, tokens)

    def task() -> int:
        hidden_states(model, [ids])
        _wait(model)
        return len(ids)

    return task


def _writing(model: LoadedModel, tokens: int) -> Task:
    # Without end-of-sequence ids every response has the same length.
    endless = replace(model, eos_ids=())
    ids = _ids(model, PROMPT_TOKENS)
    room = max(1, min(tokens, context_length(model) - len(ids)))
    request = Request(key="speed", prompt_ids=tuple(ids))
    sampling = Sampling(temperature=0.0, max_tokens=room)

    def task() -> int:
        (done,) = completions(endless, [request], sampling)
        _wait(model)
        return len(done.token_ids)

    return task


def _ids(model: LoadedModel, count: int) -> list[int]:
    """Return ids spread over the vocabulary: what they say does not matter for speed."""
    count = max(1, min(count, context_length(model) // 2))
    usable = max(1, len(model.tokenizer))
    return [(7 + 31 * i) % usable for i in range(count)]


def _shape(model: LoadedModel) -> tuple[Any, ...]:
    """Return what speed depends on: the shapes of all parameters, dtype and device."""
    body = body_of(model.network)
    parameters = tuple((n, tuple(p.shape), p.dtype) for n, p in model.network.named_parameters())
    return (type(body).__name__, parameters, model.compute_dtype, str(model.device))


def _wait(model: LoadedModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    elif model.device.type == "mps":
        torch.mps.synchronize()
