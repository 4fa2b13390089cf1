"""How likely a model finds given text, position by position.

Everything is dense: the whole vocabulary at every response position, in fp32 log-space (torch
sums a row in cascades, so its error stays near 1e-7), positions added up in float64. Hidden
states come in, a few numbers a position go out, and nothing larger than one chunk of [positions,
vocabulary] is ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.models.head import Head
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.precision import fast_products
from potstill.models.score import PromptAndResponse, read_in_batches
from potstill.progress import Step

Floats = NDArray[np.float64]

# Positions at a time. It changes memory and speed, never the result: 128 rows of 50,000 logits are
# what an allocator still hands out again without asking the system for pages.
CHUNK = 128


@dataclass(frozen=True)
class Likelihood:
    """What a model finds at each response position of some texts, laid end to end.

    `logp_T` is the log-probability of the token that stands there and `entropy_T` the entropy of
    the distribution, both in nats and float64; `likeliest_T` is the likeliest token's id.
    `lengths` are the texts' positions. All on the CPU.
    """

    logp_T: Tensor
    likeliest_T: Tensor
    entropy_T: Tensor
    lengths: tuple[int, ...]

    @property
    def nll(self) -> Floats:
        """The negative log-likelihood of each text, in nats."""
        return sums_by_text(-self.logp_T, self.lengths)

    def by_text(self) -> list[Likelihood]:
        """Return that of each text alone."""
        lengths = list(self.lengths)
        columns = (self.logp_T, self.likeliest_T, self.entropy_T)
        logp, likeliest, entropies = (column.split(lengths) for column in columns)
        return [
            Likelihood(logp[i], likeliest[i], entropies[i], (length,))
            for i, length in enumerate(lengths)
        ]

    @classmethod
    def joined(cls, parts: Sequence[Likelihood]) -> Likelihood:
        """Return that of all the texts of several."""
        return cls(
            torch.cat([*(p.logp_T for p in parts), torch.zeros(0, dtype=torch.float64)]),
            torch.cat([*(p.likeliest_T for p in parts), torch.zeros(0, dtype=torch.long)]),
            torch.cat([*(p.entropy_T for p in parts), torch.zeros(0, dtype=torch.float64)]),
            tuple(length for p in parts for length in p.lengths),
        )


def likelihood_of(
    model: LoadedModel,
    sequences: Sequence[PromptAndResponse],
    *,
    precise: bool = True,
    step: Step | None = None,
) -> Likelihood:
    """Return what a model finds at the response positions of (prompt ids, response ids).

    Texts are read in batches of like length, and no batch's states outlive it. `step` moves on by
    one for each position.
    """
    head = head_of(model)
    parts: dict[int, Likelihood] = {}
    for batch, hidden in read_in_batches(model, sequences):
        responses = [sequences[i][1] for i in batch]
        found = likelihood(hidden, head, responses, precise=precise)
        parts.update(zip(batch, found.by_text(), strict=True))
        if step is not None:
            step.advance(sum(map(len, responses)))
    return Likelihood.joined([parts[i] for i in range(len(sequences))])


def likelihood(
    hidden: Sequence[Tensor],
    head: Head,
    response_ids: Sequence[Sequence[int]],
    *,
    chunk: int = CHUNK,
    precise: bool = True,
) -> Likelihood:
    """Return what a head finds where hidden states hidden_RD, one tensor a text, predict it.

    `precise` leaves the head's product in fp32: see `ready`.
    """

    def figures(logp_NV: Tensor, label_N: Tensor) -> Tensor:
        likeliest_N = logp_NV.argmax(-1)
        return torch.stack([own_logp(logp_NV, label_N), likeliest_N.double(), entropy(logp_NV)])

    found_3T = by_position(hidden, head, response_ids, figures, chunk=chunk, precise=precise)
    logp_T, likeliest_T, entropy_T = found_3T if found_3T.numel() else torch.zeros(3, 0).double()
    return Likelihood(logp_T, likeliest_T.long(), entropy_T, tuple(map(len, response_ids)))


def response_nll(
    hidden: Sequence[Tensor],
    head: Head,
    response_ids: Sequence[Sequence[int]],
    *,
    chunk: int = CHUNK,
    precise: bool = True,
) -> Floats:
    """Return the negative log-likelihood in nats of each response under its own model."""

    def figures(logp_NV: Tensor, label_N: Tensor) -> Tensor:
        return -own_logp(logp_NV, label_N)[None]

    found_1T = by_position(hidden, head, response_ids, figures, chunk=chunk, precise=precise)
    return sums_by_text(found_1T.flatten(), list(map(len, response_ids)))


@torch.inference_mode()
def by_position(
    hidden: Sequence[Tensor],
    head: Head,
    response_ids: Sequence[Sequence[int]],
    figures: Callable[[Tensor, Tensor], Tensor],
    *,
    chunk: int = CHUNK,
    precise: bool = True,
) -> Tensor:
    """Return figures_FT on the CPU: F numbers a position, by `figures(logp_NV, label_N)`.

    Of no position at all it is empty: of shape [0, 0]. Raises ValueError where states and texts
    differ in length.
    """
    check_lengths(response_ids, {"model": hidden})
    prepared = ready(head, precise)
    parts = []
    with products_of([head]):
        for label_N, (hidden_ND,) in chunks([hidden], response_ids, chunk):
            label_N = label_N.to(prepared.weight_VD.device)
            parts.append(figures(log_probabilities(prepared, hidden_ND), label_N).cpu())
    return torch.cat(parts, dim=1) if parts else torch.zeros(0, 0, dtype=torch.float64)


def log_probabilities(head: Head, hidden_ND: Tensor) -> Tensor:
    """Return fp32 logp_NV on the head's device."""
    return head.logits(hidden_ND.to(head.weight_VD.device)).log_softmax(-1)


def own_logp(logp_NV: Tensor, label_N: Tensor) -> Tensor:
    """Return the log-probability of each position's own token, in nats and float64."""
    return logp_NV.gather(1, label_N[:, None])[:, 0].double()


def entropy(logp_NV: Tensor) -> Tensor:
    """Return the entropy of each row, in nats and float64; a token without mass adds nothing."""
    # 0 * -inf is no number.
    terms_NV = (logp_NV.exp() * logp_NV).nan_to_num_(nan=0.0)
    return -terms_NV.sum(-1).double()


def ready(head: Head, precise: bool) -> Head:
    """Return a head as text is scored with it: without gradients, in fp32 where `precise`.

    A bf16 result rounds logits to three digits, so that likeliest tokens tie (measured on SmolLM2:
    agreement 0.01 too high, KL 0.001; twice as fast).
    """
    weight_VD = head.weight_VD.detach()
    bias_V = None if head.bias_V is None else head.bias_V.detach()
    if precise:
        weight_VD = weight_VD.float()
        bias_V = None if bias_V is None else bias_V.float()
    return replace(head, weight_VD=weight_VD, bias_V=bias_V)


def products_of(heads: Sequence[Head]) -> AbstractContextManager[None]:
    """Have products taken fast: as bf16 ones where all models compute in bf16.

    Then their states and weights hold bf16 values, and nothing is lost.
    """
    return fast_products(bf16=all(head.weight_VD.dtype == torch.bfloat16 for head in heads))


def chunks(
    sources: Sequence[Sequence[Tensor]], response_ids: Sequence[Sequence[int]], chunk: int
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Yield (label_N, rows hidden_ND of each source) over whole texts joined end to end.

    Texts are joined group by group, so that the sources are never copied as a whole.
    """
    label_T = torch.tensor([i for ids in response_ids for i in ids], dtype=torch.long)
    first, group, held = 0, [], 0
    for i, ids in enumerate(response_ids):
        group.append(i)
        held += len(ids)
        if held < 16 * chunk and i + 1 < len(response_ids):
            continue
        joined = [torch.cat([source[i] for i in group]) for source in sources]
        label_G = label_T[first : first + held]
        for start in range(0, held, chunk):
            rows = slice(start, start + chunk)
            yield label_G[rows], [states[rows] for states in joined]
        first, group, held = first + held, [], 0


def sums_by_text(figure_T: Tensor, lengths: Sequence[int]) -> Floats:
    """Return the sum of a figure over each text's positions, in order, in float64."""
    group = np.repeat(np.arange(len(lengths)), lengths)
    sums = np.bincount(group, weights=figure_T.numpy(), minlength=len(lengths))
    return sums.astype(np.float64)


def check_lengths(
    response_ids: Sequence[Sequence[int]], hidden: Mapping[str, Sequence[Tensor]]
) -> None:
    """Raise ValueError where states are not one a position of the texts; names whose they are."""
    lengths = [len(ids) for ids in response_ids]
    for name, states in hidden.items():
        if [len(rows) for rows in states] != lengths:
            raise ValueError(f"hidden states of {name} do not match the responses' lengths")
