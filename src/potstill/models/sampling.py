"""How next tokens are chosen: what survives truncation, and one of it by a number of the row's own.

Whatever else chooses tokens (a watermark) is another `Chooser`, and is given the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Width of the blocks of the two-level cumulative sum.
_BLOCK = 256
# Rows that are drawn at once: their weights stay in a CPU's cache, and its memory is used again.
_ROWS = 32


@dataclass(frozen=True)
class Sampling:
    """How a response is drawn. Temperature 0 is greedy; top_k 0 and top_p 1 truncate nothing."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 128
    seed: int = 0

    def key(self) -> dict[str, float | int]:
        """Return the settings as they enter an exchange's identity."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Candidates:
    """What the next token of each of S rows is chosen from.

    `logits_SV` are fp32. `keys` are those of the rows' requests; `uniforms` holds for each row
    the number in [0, 1) that its own counter has for this position. `prompts` and `responses` are
    the ids that each row has read and written so far. All is lent for this step alone.
    """

    logits_SV: Tensor
    sampling: Sampling
    keys: Sequence[str]
    uniforms: Sequence[float]
    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]

    @property
    def positions(self) -> tuple[int, ...]:
        """The response position that each row has come to."""
        return tuple(len(response) for response in self.responses)

    def surviving(self) -> Tensor:
        """Return weight_SV, the distribution that is drawn from; see `surviving`."""
        return surviving(self.logits_SV, self.sampling)

    def before(self, count: int) -> list[tuple[int, ...]]:
        """Return the last `count` ids of each row, its prompt's among them; fewer at its start."""
        pairs = zip(self.prompts, self.responses, strict=True)
        return [_last(prompt, response, count) for prompt, response in pairs]


class Chooser(Protocol):
    """Chooses the next token of every row: the only place where decoding decides anything."""

    def __call__(self, candidates: Candidates) -> Tensor:
        """Return token_S, on the device of the logits.

        A row's token depends on nothing but that row: its company changes from run to run.
        """
        ...


def _last(prompt: Sequence[int], response: Sequence[int], count: int) -> tuple[int, ...]:
    if count <= len(response):
        return tuple(response[len(response) - count :])
    return (*prompt[max(0, len(prompt) + len(response) - count) :], *response)


def drawn(candidates: Candidates) -> Tensor:
    """Return token_S, drawn from what survives by each row's own number: the plain chooser."""
    logits_SV = candidates.logits_SV
    uniform_S = torch.tensor(candidates.uniforms).to(logits_SV.device)
    return draw(logits_SV, uniform_S, candidates.sampling)


def draw(logits_BV: Tensor, uniform_B: Tensor, sampling: Sampling) -> Tensor:
    """Return token_B, drawn by inverse transform from the (truncated) distribution."""
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    if logits_BV.device.type != "cpu":
        return drawn_from(surviving(logits_BV, sampling), uniform_B[:, None])[:, 0]
    parts = zip(logits_BV.split(_ROWS), uniform_B[:, None].split(_ROWS), strict=True)
    tokens = [drawn_from(surviving(logits, sampling), number)[:, 0] for logits, number in parts]
    return torch.cat(tokens)


def surviving(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """Return weight_BV: unnormalised probabilities, zero where top-k and top-p cut them off.

    At temperature 0 the likeliest token alone survives.
    """
    if sampling.temperature == 0:
        likeliest_B1 = logits_BV.argmax(-1, keepdim=True)
        return torch.zeros_like(logits_BV).scatter_(-1, likeliest_B1, 1.0)
    scaled_BV = logits_BV / sampling.temperature if sampling.temperature != 1 else logits_BV
    weight_BV = (scaled_BV - scaled_BV.amax(-1, keepdim=True)).exp_()
    if 0 < sampling.top_k < weight_BV.shape[-1]:
        least_B1 = weight_BV.topk(sampling.top_k, dim=-1).values[:, -1:]
        weight_BV = weight_BV.masked_fill(weight_BV < least_B1, 0)
    if sampling.top_p < 1:
        ranked_BV, order_BV = weight_BV.sort(-1, descending=True)
        before_BV = ranked_BV.cumsum(-1, dtype=torch.float64) - ranked_BV
        # A token stays while the mass before it has not reached top_p: the first always does.
        cut_BV = before_BV >= sampling.top_p * ranked_BV.sum(-1, keepdim=True)
        weight_BV = weight_BV.scatter(-1, order_BV, ranked_BV.masked_fill(cut_BV, 0))
    return weight_BV


def drawn_from(weight_BV: Tensor, uniform_BM: Tensor) -> Tensor:
    """Return token_BM, M draws of each row: where the cumulative weight passes `uniform * total`.

    Two levels (blocks, then inside one block), in float64: a plain fp32 cumulative sum over
    a large vocabulary rounds its tail away.
    """
    rows, width = weight_BV.shape
    spare = -width % _BLOCK
    if spare:
        weight_BV = torch.nn.functional.pad(weight_BV, (0, spare))
    blocks_BKW = weight_BV.view(rows, -1, _BLOCK)
    upto_BK = blocks_BKW.sum(-1).double().cumsum(-1)
    wanted_BM = uniform_BM.double() * upto_BK[:, -1:]
    # A number next to 1 may round to the whole: the last block with weight has it.
    block_BM = torch.minimum(
        torch.searchsorted(upto_BK, wanted_BM, right=True), _last_positive(upto_BK)
    )
    before_BM = torch.where(block_BM > 0, upto_BK.gather(1, (block_BM - 1).clamp(min=0)), 0.0)
    row_B1 = torch.arange(rows, device=weight_BV.device)[:, None]
    inside_BMW = blocks_BKW[row_B1, block_BM].double().cumsum(-1)
    wanted_BM1 = (wanted_BM - before_BM)[..., None]
    offset_BM1 = torch.searchsorted(inside_BMW, wanted_BM1, right=True)
    # Rounding may put the wanted value past the block's end: take its last token with weight.
    last_BM1 = _last_positive(inside_BMW)
    return block_BM * _BLOCK + torch.minimum(offset_BM1, last_BM1)[..., 0]


def _last_positive(upto_N: Tensor) -> Tensor:
    """Return along the last axis the first index at which the cumulative weight has its end."""
    return torch.searchsorted(upto_N, upto_N[..., -1:].contiguous(), right=False)
