"""The divergence's term at some rows, from the student's log-probabilities and any targets.

Each kind of targets has a term: called with the student's log-probabilities it returns the
divergence's sum over the rows, in nats, and on request its slope, the gradient with respect to the
student's tempered logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.divergence import Divergence
from potstill.losses.targets import DenseTargets, SampledTargets, Targets, TopKTargets
from potstill.losses.teacher import TeacherHead, TeacherProducts
from potstill.losses.workspace import Workspace

Term = tuple[Tensor, Tensor | None]
_LEAST_REST = -100.0  # nats; its mass, 4e-44, is nothing beside what fp32 tells apart


def check_pair(
    divergence: Divergence, targets: Targets, temperature: float, student_tokens: int
) -> None:
    """Raise PotstillError where these targets cannot give this divergence.

    Draws give an unbiased gradient of forward KL alone, at the temperature they were drawn at
    (Anshumann et al. 2025, arXiv 2503.16870, section 4); a tempered distribution needs more than
    the likeliest tokens at temperature 1.
    """
    if isinstance(targets, SampledTargets):
        if divergence.kind != "forward_kl":
            raise PotstillError(
                f"sampled targets give {divergence.kind} with a bias, or infinite; set "
                "train.objective to forward_kl, or collect.targets to hidden"
            )
        if temperature != targets.temperature:
            raise PotstillError(
                f"the targets were drawn at temperature {targets.temperature:g}, and the loss is "
                f"at {temperature:g}, where they would be biased; set train.temperature to "
                f"{targets.temperature:g}, or collect.targets to hidden"
            )
    elif isinstance(targets, TopKTargets):
        if temperature != 1.0:
            raise PotstillError(
                f"top-k targets do not say what the rest is at temperature {temperature:g}; set "
                "train.temperature to 1, or collect.targets to hidden"
            )
    else:
        _check_widths(divergence, targets, student_tokens)


def term_of(
    targets: Targets,
    rows: slice,
    divergence: Divergence,
    temperature: float,
    workspace: Workspace,
) -> RowsTerm:
    """Return the term of these rows, with the teacher's products made where there are any."""
    if isinstance(targets, SampledTargets):
        return SampledTerm(targets.rows(rows))
    if isinstance(targets, TopKTargets):
        return TopKTerm(targets.rows(rows), divergence)
    assert isinstance(targets.head, TeacherHead)
    products = targets.head.products(targets.hidden_ND[rows], workspace)
    return DenseTerm(products, divergence, temperature)


@dataclass(frozen=True)
class DenseTerm:
    """The term against the teacher's whole distribution."""

    products: TeacherProducts
    divergence: Divergence
    temperature: float

    def rows(self, rows: slice) -> DenseTerm:
        """Return that of some of the rows."""
        return DenseTerm(self.products.rows(rows), self.divergence, self.temperature)

    def tensors(self) -> list[Tensor]:
        """Return what has a row for each row."""
        found = (self.products.raw_NK, self.products.extra_NU)
        return [tensor for tensor in found if tensor is not None]

    def __call__(self, student_logp_NV: Tensor, slope: bool) -> Term:
        """Return the term; the student's columns past the teacher's are tokens without teacher
        mass."""
        logits_NK = self.products.logits()
        if self.temperature != 1.0:
            logits_NK = logits_NK.div_(self.temperature)
        teacher_logp_NV = torch.log_softmax(logits_NK, dim=-1)
        missing = student_logp_NV.shape[1] - teacher_logp_NV.shape[1]
        if missing:
            teacher_logp_NV = F.pad(teacher_logp_NV, (0, missing), value=float("-inf"))
        value_N, slope_NV = self.divergence.function(teacher_logp_NV, student_logp_NV, slope=slope)
        return value_N.sum(), slope_NV


@dataclass(frozen=True)
class SampledTerm:
    """Cross-entropy on the draws minus the teacher's entropy, an unbiased forward KL.

    Its slope is q - w with w the draws' shares, whose expectation is p (Anshumann et al. 2025,
    arXiv 2503.16870, section 4).
    """

    targets: SampledTargets

    def rows(self, rows: slice) -> SampledTerm:
        """Return that of some of the rows."""
        return SampledTerm(self.targets.rows(rows))

    def tensors(self) -> list[Tensor]:
        """Return what has a row for each row."""
        return [self.targets.ids_NK, self.targets.weight_NK, self.targets.entropy_N]

    def __call__(self, student_logp_NV: Tensor, slope: bool) -> Term:
        """Return the term."""
        ids_NK, weight_NK = self.targets.ids_NK, self.targets.weight_NK
        logp_NK = student_logp_NV.gather(1, ids_NK).masked_fill_(weight_NK == 0, 0.0)
        value_N = -(weight_NK * logp_NK).sum(dim=-1) - self.targets.entropy_N
        slope_NV = None
        if slope:
            slope_NV = student_logp_NV.exp().scatter_add_(1, ids_NK, -weight_NK)
        return value_N.sum(), slope_NV


@dataclass(frozen=True)
class TopKTerm:
    """The divergence of two coarse distributions: the k tokens, and the rest as one.

    It bounds the divergence of the whole ones from below (data processing). A token's share of
    its bucket's slope is its share of the bucket's mass. A teacher's rest of less than e^-100, none
    included, counts as e^-100 where the student has tokens for it: a reverse KL is then finite,
    and still no more than that of the whole.
    """

    targets: TopKTargets
    divergence: Divergence

    def rows(self, rows: slice) -> TopKTerm:
        """Return that of some of the rows."""
        return TopKTerm(self.targets.rows(rows), self.divergence)

    def tensors(self) -> list[Tensor]:
        """Return what has a row for each row."""
        return [self.targets.ids_NK, self.targets.logp_NK, self.targets.rest_N]

    def __call__(self, student_logp_NV: Tensor, slope: bool) -> Term:
        """Return the term."""
        ids_NK, teacher_NK = self.targets.ids_NK, self.targets.logp_NK.float()
        unused_NK = teacher_NK == float("-inf")
        student_NK = student_logp_NV.gather(1, ids_NK).masked_fill_(unused_NK, float("-inf"))
        # Added up, since an unused place may name a token that another place holds.
        taken_NV = torch.zeros_like(student_logp_NV).scatter_add_(1, ids_NK, (~unused_NK).float())
        rest_NV = student_logp_NV.masked_fill(taken_NV > 0, float("-inf"))
        student_rest_N1 = torch.logsumexp(rest_NV, dim=-1, keepdim=True)
        coarse_student_NC = torch.cat([student_NK, student_rest_N1], dim=-1)
        # Where no token is left for the rest, the teacher has none of it either.
        nothing_N1 = student_rest_N1 == float("-inf")
        teacher_rest_N1 = self.targets.rest_N.float().unsqueeze(1).clamp(min=_LEAST_REST)
        teacher_rest_N1 = teacher_rest_N1.masked_fill(nothing_N1, float("-inf"))
        coarse_teacher_NC = torch.cat([teacher_NK, teacher_rest_N1], dim=-1)
        value_N, coarse_NC = self.divergence.function(
            coarse_teacher_NC, coarse_student_NC, slope=slope
        )
        if coarse_NC is None:
            return value_N.sum(), None
        # exp(-inf - -inf) is no number where nothing is left for the rest.
        share_NV = (rest_NV - student_rest_N1).exp_().nan_to_num_(nan=0.0)
        slope_NV = share_NV.mul_(coarse_NC[:, -1:])
        slope_NV.scatter_add_(1, ids_NK, coarse_NC[:, :-1].masked_fill(unused_NK, 0.0))
        return value_N.sum(), slope_NV


RowsTerm = DenseTerm | SampledTerm | TopKTerm


def _check_widths(divergence: Divergence, targets: DenseTargets, student_tokens: int) -> None:
    assert isinstance(targets.head, TeacherHead)
    width = targets.head.width
    if width > student_tokens:
        raise PotstillError(
            f"the teacher has {width} tokens and the student {student_tokens}: their "
            "tokenizers differ; take a student with the teacher's tokenizer, or let "
            "shrink.vocabulary make one"
        )
    if divergence.needs_overlap and width < student_tokens:
        raise PotstillError(
            f"{divergence.kind} is infinite: the student has {student_tokens - width} tokens that "
            "the teacher has not; set train.objective to forward_kl, jsd or skew_reverse_kl"
        )
