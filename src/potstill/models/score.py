"""Read given text: final hidden states at the positions that predict a response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from potstill.models.beginning import Beginning, common_start, read_beginning
from potstill.models.load import body_of
from potstill.models.loaded import LoadedModel
from potstill.models.precision import fast_products
from potstill.progress import Step

# Tokens read at once: on a CPU what a layer makes of them stays in its cache.
_CPU_TOKENS = 1024
_GPU_TOKENS = 8192

# A shorter beginning, or one of fewer texts, is not worth the second pass.
_SHARED_TOKENS = 8
_SHARED_TEXTS = 8
# Up to which length of text a network was seen to go on after a beginning as in the whole text.
_goes_on: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
# How far states read after a beginning may lie from those of the whole text: rounding alone.
_ALIKE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}

PromptAndResponse = tuple[Sequence[int], Sequence[int]]


def response_hidden(
    model: LoadedModel,
    sequences: Sequence[PromptAndResponse],
    *,
    batch_tokens: int | None = None,
    step: Step | None = None,
) -> list[Tensor]:
    """Return for each (prompt ids, response ids) the states that predict the response.

    Each is hidden_RD in the compute dtype, after the last norm: row r predicts response token
    r. Sequences are read in length order, padded on the right, where causal attention cannot
    see the padding, about `batch_tokens` at once. What all prompts begin with is read once.
    """
    result: list[Tensor] = [torch.empty(0)] * len(sequences)
    beginning = shared_beginning(model, sequences)
    for batch, states in read_in_batches(
        model, sequences, batch_tokens=batch_tokens, beginning=beginning
    ):
        for i, hidden_RD in zip(batch, states, strict=True):
            result[i] = hidden_RD
        if step is not None:
            step.advance(sum(len(sequences[i][1]) for i in batch))
    return result


def read_in_batches(
    model: LoadedModel,
    sequences: Sequence[PromptAndResponse],
    *,
    batch_tokens: int | None = None,
    beginning: Beginning | None = None,
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Yield (indices of a batch's sequences, their states hidden_RD), the longest batch first.

    `beginning` is what all prompts begin with, where it has been read already.
    """
    if batch_tokens is None:
        batch_tokens = _CPU_TOKENS if model.device.type == "cpu" else _GPU_TOKENS
    skipped = 0 if beginning is None else beginning.length
    lengths = [len(p) + len(r) - skipped for p, r in sequences]
    for batch in length_batches(lengths, batch_tokens):
        rows = [(list(sequences[i][0]) + list(sequences[i][1]))[skipped:] for i in batch]
        hidden_BTD = hidden_states(model, rows, after=beginning)
        states = []
        for hidden_TD, i in zip(hidden_BTD, batch, strict=True):
            prompt, response = sequences[i]
            first = len(prompt) - 1 - skipped
            states.append(hidden_TD[first : first + len(response)].clone())
        yield batch, states


@torch.inference_mode()
def hidden_states(
    model: LoadedModel, rows: Sequence[Sequence[int]], *, after: Beginning | None = None
) -> Tensor:
    """Return final hidden states hidden_BTD of rows of ids, padded on the right.

    The rows go on `after` a beginning, where one is given.
    """
    ids_BT = padded(rows).to(model.device)
    more = {"use_cache": False} if after is None else after.repeated(len(rows))
    with computing(model):
        output = body_of(model.network)(input_ids=ids_BT, **more)
    hidden_BTD: Tensor = output.last_hidden_state
    return hidden_BTD.to(model.compute_dtype)


def shared_beginning(
    model: LoadedModel, sequences: Sequence[PromptAndResponse]
) -> Beginning | None:
    """Return what all prompts begin with, read once: a system prompt, say.

    None where that is little, and where the model gives other states after it than for the whole
    text by more than rounding, which is measured on the longest text. A network that gave the same
    is not asked again about texts that are no longer.
    """
    # The last token of a prompt predicts: it is never part of the beginning.
    shared = common_start([prompt[:-1] for prompt, _ in sequences])
    if len(sequences) < _SHARED_TEXTS or len(shared) < _SHARED_TOKENS:
        return None
    with computing(model):
        beginning = read_beginning(body_of(model.network), torch.tensor([shared]).to(model.device))
    if beginning is None:
        return None
    longest = max(([*p, *r] for p, r in sequences), key=len)
    if len(longest) <= _goes_on.get(model.network, 0):
        return beginning
    whole_TD = hidden_states(model, [longest])[0, len(shared) :].float()
    after_TD = hidden_states(model, [longest[len(shared) :]], after=beginning)[0].float()
    apart = (whole_TD - after_TD).norm() / whole_TD.norm()
    if apart > _ALIKE[model.compute_dtype]:
        return None
    _goes_on[model.network] = len(longest)
    return beginning


def padded(rows: Sequence[Sequence[int]], fill: int = 0, multiple: int = 1) -> Tensor:
    """Return ids_BT: rows of different lengths, filled up on the right to a multiple."""
    width = -(-max(len(r) for r in rows) // multiple) * multiple
    ids_BT = torch.full((len(rows), width), fill, dtype=torch.long)
    for b, row in enumerate(rows):
        ids_BT[b, : len(row)] = torch.tensor(row, dtype=torch.long)
    return ids_BT


def length_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Return indices in batches of similar length, each at most `batch_tokens` with padding."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        width = lengths[batches[-1][0]] if batches else 0
        if batches and width * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


@contextmanager
def computing(model: LoadedModel) -> Iterator[None]:
    """Have a model's forward pass multiply as it is to: in its compute dtype, and fast."""
    cast = _needs_autocast(model)
    with torch.autocast(model.device.type, model.compute_dtype, enabled=cast), fast_products():
        yield


def _needs_autocast(model: LoadedModel) -> bool:
    weight = next(model.network.parameters())
    return bool(weight.dtype != model.compute_dtype)
