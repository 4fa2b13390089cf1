"""Read given text: final hidden states at the positions that predict a response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from potstill.models.load import body_of
from potstill.models.loaded import LoadedModel
from potstill.progress import Step

# Tokens read at once: on a CPU what a layer makes of them stays in its cache.
_CPU_TOKENS = 1024
_GPU_TOKENS = 8192

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
    see the padding, about `batch_tokens` at once.
    """
    result: list[Tensor] = [torch.empty(0)] * len(sequences)
    for batch, states in read_in_batches(model, sequences, batch_tokens=batch_tokens):
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
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Yield (indices of a batch's sequences, their states hidden_RD), the longest batch first."""
    if batch_tokens is None:
        batch_tokens = _CPU_TOKENS if model.device.type == "cpu" else _GPU_TOKENS
    for batch in length_batches([len(p) + len(r) for p, r in sequences], batch_tokens):
        rows = [list(sequences[i][0]) + list(sequences[i][1]) for i in batch]
        hidden_BTD = hidden_states(model, rows)
        states = []
        for hidden_TD, i in zip(hidden_BTD, batch, strict=True):
            prompt, response = sequences[i]
            first = len(prompt) - 1
            states.append(hidden_TD[first : first + len(response)].clone())
        yield batch, states


@torch.inference_mode()
def hidden_states(model: LoadedModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return final hidden states hidden_BTD of rows of ids, padded on the right."""
    ids_BT = padded(rows).to(model.device)
    with torch.autocast(model.device.type, model.compute_dtype, enabled=_needs_autocast(model)):
        output = body_of(model.network)(input_ids=ids_BT, use_cache=False)
    hidden_BTD: Tensor = output.last_hidden_state
    return hidden_BTD.to(model.compute_dtype)


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


def _needs_autocast(model: LoadedModel) -> bool:
    weight = next(model.network.parameters())
    return bool(weight.dtype != model.compute_dtype)
