"""Marks for text that transformers' own `generate` writes.

    scheme = GreenList(key, window=2, gamma=0.25, delta=2.0)
    sampling = Sampling(temperature=0.8, top_p=0.95)
    model.generate(..., do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                   logits_processor=LogitsProcessorList([MarkProcessor(scheme, sampling)]))

transformers runs a caller's processors before its own temperature, top-k and top-p, and a mark
belongs after them: so the processor does these itself, and `generate` is told not to.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

from potstill.models.sampling import Sampling, surviving
from potstill.watermark.marking import doubts, fresh_window
from potstill.watermark.schemes import GreenList
from potstill.watermark.survivors import OwnScheme, tilted, winners


class MarkProcessor(LogitsProcessor):
    """Marks by a scheme; one object may serve one call of `generate` after the other.

    What it returns are log-weights: of the marked distribution of what survives `sampling`, or for
    Gumbel of the one token that the key chooses. Prompts may be padded on the left; windows never
    reach into them. Warns where a mark would not be there, or would make answers alike.
    """

    def __init__(self, scheme: OwnScheme, sampling: Sampling | None = None) -> None:
        self.scheme, self.sampling = scheme, sampling or Sampling()
        self._prompt = self._expected = -1
        for doubt in doubts(scheme, self.sampling):
            warnings.warn(doubt, stacklevel=2)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores_BV for the next token of each row of `input_ids`."""
        self._begin(input_ids)
        weight_BV = surviving(scores.float(), self.sampling)
        fresh = [
            fresh_window(response, self.scheme.window)
            for response in input_ids[:, self._prompt :].tolist()
        ]
        rows = {b: window for b, window in enumerate(fresh) if window is not None}
        if rows and self.sampling.temperature > 0:
            weight_BV = weight_BV.double()
            weight_BV[list(rows)] = self._marked(weight_BV[list(rows)], list(rows.values()))
        return torch.log(weight_BV).to(scores.dtype)

    def _begin(self, input_ids: Tensor) -> None:
        """Take the length of the prompts from the first call of a generation."""
        length = input_ids.shape[1]
        if length != self._expected:
            self._prompt = length
            alike = len(torch.unique(input_ids, dim=0)) < len(input_ids)
            for doubt in doubts(self.scheme, Sampling(), 2) if alike else ():
                warnings.warn(doubt.replace("2 answers", "several answers"), stacklevel=4)
        self._expected = length + 1

    def _marked(self, weight_RV: Tensor, windows: Sequence[tuple[int, ...]]) -> Tensor:
        if isinstance(self.scheme, GreenList):
            return tilted(self.scheme, weight_RV, windows)
        chosen_R1 = winners(self.scheme, weight_RV, windows)[:, None]
        return torch.zeros_like(weight_RV).scatter_(-1, chosen_R1, 1.0)
