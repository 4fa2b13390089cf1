"""Text for tests of shrinking: what a nano model itself finds likely."""

from __future__ import annotations

import torch

from potstill.models.loaded import LoadedModel
from potstill.models.score import hidden_states


def text(model: LoadedModel, rows: int = 24) -> list[list[int]]:
    """Return text that the model itself finds likely, of different lengths."""
    ids = model.tokenizer("Once there was a cat. It liked to sing in the")["input_ids"]
    starts = torch.tensor([ids]).repeat(rows, 1)
    torch.manual_seed(0)
    written = model.network.generate(
        starts,
        attention_mask=torch.ones_like(starts),
        max_new_tokens=40,
        min_new_tokens=40,
        do_sample=True,
        pad_token_id=0,
    )
    return [row[: 20 + i].tolist() for i, row in enumerate(written)]


def error(teacher: LoadedModel, student: LoadedModel, rows: list[list[int]]) -> float:
    """Return the mean squared distance of the two models' final hidden states."""
    gaps = [
        (hidden_states(teacher, [row]) - hidden_states(student, [row])).pow(2).mean()
        for row in rows
    ]
    return float(torch.stack(gaps).mean())
