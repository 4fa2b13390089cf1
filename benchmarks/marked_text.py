"""Marked text under several keys at once, what the teacher thinks of it, and how the mark shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.collect.mark_effect import kl_of_mark
from potstill.models.generate import Request, completions
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Candidates, Chooser, Sampling, drawn
from potstill.watermark.detect import distinct_scores
from potstill.watermark.marking import OwnScheme, Windows, marking, tilted
from potstill.watermark.schemes import GreenList
from potstill.watermark.token_texts import TokenTexts

# Of the marked texts, every so many is asked how far the mark moved its distributions.
_KL_EVERY = 4


@dataclass
class TextFigures:
    """Sums over the tokens of one text, in nats.

    `nll` is by the teacher's whole distribution at temperature 1, `nll_drawn` by the one that was
    drawn from (after temperature and truncation), without a mark both. `entropy` is that of the
    latter. `kl` is KL(marked || unmarked) of it, and `more` how much larger the marked draw's mean
    `nll_drawn` is than the unmarked one's, given what stands before; both None but for the texts
    with a green list that were asked for them.
    """

    nll: float = 0.0
    nll_drawn: float = 0.0
    entropy: float = 0.0
    kl: float | None = None
    more: float | None = None


@dataclass(frozen=True)
class Text:
    """One response with what the teacher thinks of it."""

    ids: tuple[int, ...]
    figures: TextFigures


@dataclass
class Metered:
    """A chooser that marks each row by its own scheme, or not at all, and notes what it costs.

    `schemes` are those of requests' keys before the slash.
    """

    schemes: Mapping[str, OwnScheme | None]
    figures: dict[str, TextFigures] = field(default_factory=lambda: defaultdict(TextFigures))

    def __post_init__(self) -> None:
        self._choose: dict[str, Chooser] = {
            name: drawn if scheme is None else marking(scheme)
            for name, scheme in self.schemes.items()
        }
        self._windows = {
            name: Windows(scheme.window)
            for name, scheme in self.schemes.items()
            if isinstance(scheme, GreenList)
        }

    def __call__(self, candidates: Candidates) -> Tensor:
        weight_SV = candidates.surviving()
        whole_SV = candidates.logits_SV.log_softmax(-1)
        candidates = _truncated(candidates, weight_SV)
        rows_of: dict[str, list[int]] = defaultdict(list)
        for s, key in enumerate(candidates.keys):
            rows_of[key.split("/")[0]].append(s)
        token_S = torch.empty(len(candidates.keys), dtype=torch.long)
        for name, rows in rows_of.items():
            part = _part(candidates, rows)
            token_S[rows] = self._choose[name](part)
            self._note_kl(name, part, weight_SV[rows])
        self._note(candidates.keys, whole_SV, weight_SV, token_S)
        return token_S

    def _note(
        self, keys: Sequence[str], whole_SV: Tensor, weight_SV: Tensor, token_S: Tensor
    ) -> None:
        at_S1 = token_S[:, None]
        p_SV = weight_SV / weight_SV.sum(-1, keepdim=True)
        entropy_S = torch.special.entr(p_SV).sum(-1).tolist()
        drawn_S = p_SV.gather(1, at_S1)[:, 0].log().tolist()
        whole_S = whole_SV.gather(1, at_S1)[:, 0].tolist()
        for s, key in enumerate(keys):
            figures = self.figures[key]
            figures.nll -= whole_S[s]
            figures.nll_drawn -= drawn_S[s]
            figures.entropy += entropy_S[s]

    def _note_kl(self, name: str, part: Candidates, weight_SV: Tensor) -> None:
        scheme, windows = self.schemes[name], self._windows.get(name)
        if windows is None or not isinstance(scheme, GreenList):
            return
        found: dict[int, tuple[int, ...]] = {}
        for s, key in enumerate(part.keys):
            if int(key.split("/")[1]) % _KL_EVERY:
                continue
            figures = self.figures[key]
            figures.kl, figures.more = figures.kl or 0.0, figures.more or 0.0
            window = windows.fresh(key, part.responses[s])
            if window is not None:
                found[s] = window
        if not found:
            return
        weight_NV, behind = weight_SV[list(found)], list(found.values())
        kl_N = kl_of_mark(scheme, weight_NV, behind).tolist()
        more_N = more_of_mark(scheme, weight_NV, behind).tolist()
        for s, kl, more in zip(found, kl_N, more_N, strict=True):
            figures = self.figures[part.keys[s]]
            figures.kl, figures.more = (figures.kl or 0.0) + kl, (figures.more or 0.0) + more


def more_of_mark(
    scheme: GreenList, weight_NV: Tensor, windows: Sequence[tuple[int, ...]]
) -> Tensor:
    """Return more_N in nats: the sum over tokens of (q - p) (-log p), q the marked p."""
    q_NV = tilted(scheme, weight_NV, windows)
    p_NV = weight_NV.double()
    q_NV, p_NV = (x / x.sum(-1, keepdim=True) for x in (q_NV, p_NV))
    return -((q_NV - p_NV) * torch.where(p_NV > 0, p_NV.log(), 0.0)).sum(-1)


def _truncated(candidates: Candidates, weight_SV: Tensor) -> Candidates:
    """Return candidates whose logits are those of what survives, so that it is cut off once."""
    sampling = candidates.sampling
    if sampling.top_p == 1 and sampling.top_k == 0:
        return candidates
    plain = replace(sampling, temperature=1.0, top_p=1.0, top_k=0)
    return replace(candidates, logits_SV=weight_SV.log(), sampling=plain)


def _part(candidates: Candidates, rows: Sequence[int]) -> Candidates:
    return replace(
        candidates,
        logits_SV=candidates.logits_SV[list(rows)],
        keys=[candidates.keys[s] for s in rows],
        uniforms=[candidates.uniforms[s] for s in rows],
        prompts=[candidates.prompts[s] for s in rows],
        responses=[candidates.responses[s] for s in rows],
    )


def write(
    teacher: LoadedModel,
    prompts: Sequence[Sequence[tuple[int, ...]]],
    sampling: Sampling,
    schemes: Sequence[OwnScheme | None],
    *,
    first: int = 0,
) -> list[list[Text]]:
    """Return for each scheme its texts, one a prompt of its own list, in the prompts' order.

    Texts are numbered from `first` on; equal numbers and schemes' places draw by equal random
    numbers, whatever marks them.
    """
    choose = Metered({str(r): scheme for r, scheme in enumerate(schemes)})
    requests = [
        Request(f"{r}/{first + i}", tuple(ids))
        for r, own in enumerate(prompts)
        for i, ids in enumerate(own)
    ]
    done = completions(teacher, requests, sampling, slots=len(requests), choose=choose)
    texts = [Text(found.token_ids, choose.figures[found.key]) for found in done]
    ends = np.cumsum([0, *map(len, prompts)]).tolist()
    return [texts[a:b] for a, b in pairwise(ends)]


@dataclass(frozen=True)
class Cost:
    """`TextFigures` a token; `kl` and `more` over the texts that were asked for them."""

    tokens: int
    nll: float
    nll_drawn: float
    entropy: float
    kl: float | None
    more: float | None


def cost_of(texts: Sequence[Text]) -> Cost:
    """Return what texts cost: sums over their tokens, divided by these."""
    total = sum(len(text.ids) for text in texts)
    asked = [text for text in texts if text.figures.kl is not None]
    of_asked = sum(len(text.ids) for text in asked)
    return Cost(
        tokens=total,
        nll=sum(text.figures.nll for text in texts) / total,
        nll_drawn=sum(text.figures.nll_drawn for text in texts) / total,
        entropy=sum(text.figures.entropy for text in texts) / total,
        kl=sum(t.figures.kl or 0.0 for t in asked) / of_asked if asked else None,
        more=sum(t.figures.more or 0.0 for t in asked) / of_asked if asked else None,
    )


@dataclass(frozen=True)
class Curve:
    """How a mark shows over the first tokens of texts, each number of tokens in `tokens`.

    `log10_p` holds the exact ones of each key, as [keys, numbers of tokens]; `scored` how many
    distinct rows they rest on.
    """

    tokens: tuple[int, ...]
    log10_p: NDArray[np.float64]
    scored: NDArray[np.float64]


def curve_of(
    schemes: Sequence[OwnScheme], texts: Sequence[Sequence[Sequence[int]]], sizes: Sequence[int]
) -> Curve:
    """Return how each scheme's mark shows in its own texts, at sizes that all of them reach."""
    least = min(sum(map(len, own)) for own in texts)
    reached = tuple(size for size in sizes if size <= least)
    log10_p = np.zeros((len(schemes), len(reached)))
    scored = np.zeros((len(schemes), len(reached)))
    for r, (scheme, own) in enumerate(zip(schemes, texts, strict=True)):
        for j, size in enumerate(reached):
            scores = distinct_scores(scheme, TokenTexts.of(first_tokens(own, size)))
            log10_p[r, j] = scheme.law.log10_p(float(scores.sum()), len(scores))
            scored[r, j] = len(scores)
    return Curve(reached, log10_p, scored)


def first_tokens(texts: Sequence[Sequence[int]], size: int) -> list[Sequence[int]]:
    """Return the first texts, the last of them cut, so that they have `size` tokens together."""
    found, left = [], size
    for ids in texts:
        if left <= 0:
            break
        found.append(ids[:left])
        left -= len(found[-1])
    return found


def tokens_for(tokens: Sequence[int], log10_p: Sequence[float], wanted: float) -> float | None:
    """Return the tokens at which a curve of log10 p first falls to `wanted`; None where it never.

    Between sizes, and from nothing at p = 1 on, the curve is taken for straight.
    """
    before, p_before = 0.0, 0.0
    for size, p in zip(tokens, log10_p, strict=True):
        if p <= wanted:
            return before + (size - before) * (wanted - p_before) / (p - p_before)
        before, p_before = float(size), p
    return None
