"""What is known of the teacher's next-token distribution at each position.

The losses take any of these and do not care where it came from. Ids are the student's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from potstill.losses.teacher import TeacherHead
from potstill.models.head import Head


@dataclass(frozen=True)
class DenseTargets:
    """The teacher's whole distribution at each row: final hidden states and the head.

    A `Head` is arranged for the student's vocabulary at each call; a `TeacherHead` was.
    """

    hidden_ND: Tensor
    head: Head | TeacherHead

    def to(self, device: torch.device) -> DenseTargets:
        """Return the states on a device; the head stays where it is."""
        return DenseTargets(self.hidden_ND.to(device, non_blocking=True), self.head)


@dataclass(frozen=True)
class SampledTargets:
    """Draws from the teacher's distribution at each row (Anshumann et al. 2025,
    arXiv 2503.16870).

    `ids_NK` are the tokens that were drawn and `weight_NK` their share of the draws, which sums
    to 1 over a row; unused places have weight 0 and any valid id. `entropy_N` is that of the
    distribution they were drawn from, in nats. They were drawn at `temperature`.
    """

    ids_NK: Tensor
    weight_NK: Tensor
    entropy_N: Tensor
    temperature: float = 1.0

    def to(self, device: torch.device) -> SampledTargets:
        """Return them on a device."""
        return replace(
            self,
            ids_NK=self.ids_NK.to(device, non_blocking=True),
            weight_NK=self.weight_NK.to(device, non_blocking=True),
            entropy_N=self.entropy_N.to(device, non_blocking=True),
        )

    def rows(self, rows: slice) -> SampledTargets:
        """Return some of the rows."""
        return SampledTargets(
            self.ids_NK[rows], self.weight_NK[rows], self.entropy_N[rows], self.temperature
        )


@dataclass(frozen=True)
class TopKTargets:
    """The likeliest tokens of each row and, as one bucket, the rest.

    `logp_NK` are log-probabilities over the whole vocabulary, in nats and at temperature 1; unused
    places hold -inf and any valid id. `rest_N` is the log of the mass of all other tokens, -inf
    where they have none. A divergence of the two coarsened distributions is a lower bound of that
    of the whole ones.
    """

    ids_NK: Tensor
    logp_NK: Tensor
    rest_N: Tensor

    def to(self, device: torch.device) -> TopKTargets:
        """Return them on a device."""
        return TopKTargets(
            self.ids_NK.to(device, non_blocking=True),
            self.logp_NK.to(device, non_blocking=True),
            self.rest_N.to(device, non_blocking=True),
        )

    def rows(self, rows: slice) -> TopKTargets:
        """Return some of the rows."""
        return TopKTargets(self.ids_NK[rows], self.logp_NK[rows], self.rest_N[rows])


Targets = DenseTargets | SampledTargets | TopKTargets
