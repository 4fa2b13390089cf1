"""Divergences between next-token distributions: each one is one pure function.

Each takes the log-probabilities of teacher (p) and student (q), with -inf where a token cannot
occur, and returns its value for each row, in nats, and on request its slope: the gradient with
respect to the student's logits. With g the derivative with respect to q, that is
q (g - sum_v q_v g_v), so a constant added to g changes nothing; it is chosen so that equal rows
give exactly 0, as value and as slope. All of them are zero or more but for rounding, which puts
nearly equal rows below 0 by a few 1e-7 (flat ones over 262,144 tokens by 2e-6). Nothing is clamped,
so that a wrong value would show.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.recipe.learning import OBJECTIVES

Slope = Tensor | None
Function = Callable[..., tuple[Tensor, Slope]]
"""f(teacher_logp_NV, student_logp_NV, slope=...) -> (value_N, slope_NV or None)."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LEAST = -1e30
# Near its ends a skewed divergence and its slope go with the square of the share: at 0.001 that is
# a few of fp32's steps at 1 (2^-23), and below it rounding is all that is left.
LEAST_SHARE = 1e-3
# Where p and q differ by more than e^30, the lesser one adds nothing that float32 could hold:
# mixtures are formed from a gap log(p / q) held to this, so that nothing overflows.
_GAP = 30.0


@dataclass(frozen=True)
class Divergence:
    """Which divergence, and its parameter.

    `beta` is the teacher's share in the mixture of `jsd`, `alpha` the share of the divergence's
    own first argument in the mixture of both skewed ones. Both lie between 0.001 and 0.999: nearer
    to an end fp32 cannot tell the objective from that end, or from nothing.
    """

    kind: str = "forward_kl"
    beta: float = 0.5
    alpha: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in _MAKE:
            raise PotstillError(
                f"there is no divergence {self.kind}; there are {', '.join(_MAKE)}, and "
                "potstill.losses.register_divergence adds one"
            )
        for name in ("beta", "alpha"):
            if not LEAST_SHARE <= getattr(self, name) <= 1.0 - LEAST_SHARE:
                raise PotstillError(
                    f"{name} is {getattr(self, name)}, but has to lie between {LEAST_SHARE:g} and "
                    f"{1 - LEAST_SHARE:g}, where fp32 tells it from its limits; these are "
                    "objectives of their own, forward_kl and reverse_kl"
                )

    @property
    def function(self) -> Function:
        """Return f(teacher_logp_NV, student_logp_NV, slope=...) -> (value_N, slope_NV or None)."""
        return _MAKE[self.kind](self)

    @property
    def needs_overlap(self) -> bool:
        """Tell whether it is infinite where the student uses a token that the teacher cannot."""
        return self.kind in _NEED_OVERLAP


def forward_kl(
    teacher_logp_NV: Tensor, student_logp_NV: Tensor, *, slope: bool = False
) -> tuple[Tensor, Slope]:
    """Return KL(p || q) = sum_v p (log p - log q), and its slope q - p.

    A token without teacher mass adds nothing, also where the student gives it none; teacher mass
    on a token that the student rules out gives inf (Kullback and Leibler 1951, equation 2.4,
    with 0 log 0 = 0).
    """
    p_NV = teacher_logp_NV.exp()
    value_N = _weighted_sum(p_NV, teacher_logp_NV - student_logp_NV)
    return value_N, student_logp_NV.exp().sub_(p_NV) if slope else None


def reverse_kl(
    teacher_logp_NV: Tensor, student_logp_NV: Tensor, *, slope: bool = False
) -> tuple[Tensor, Slope]:
    """Return KL(q || p), and its slope q (log q - log p - KL): inf where q > 0 = p."""
    q_NV = student_logp_NV.exp()
    terms_NV = student_logp_NV - teacher_logp_NV
    value_N = _weighted_sum(q_NV, terms_NV)
    return value_N, terms_NV.sub_(q_NV.mul_(value_N[:, None])) if slope else None


def jensen_shannon(
    teacher_logp_NV: Tensor, student_logp_NV: Tensor, *, beta: float, slope: bool = False
) -> tuple[Tensor, Slope]:
    """Return JSD_beta = beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q.

    Its slope is (1 - beta) q (log(q / m) - KL(q || m)). It is beta KL(p || q) to first order for
    beta towards 0, and (1 - beta) KL(q || p) for beta towards 1 (Agarwal et al. 2024,
    arXiv 2306.13649, equation 1).
    """
    gap_NV = _gap(teacher_logp_NV, student_logp_NV)
    mixture_NV = _log_mixture(gap_NV, beta)
    q_NV = student_logp_NV.exp()
    from_teacher_N = _sum(gap_NV.sub_(mixture_NV).mul_(teacher_logp_NV.exp()))
    from_student_N = -_sum(q_NV * mixture_NV)
    value_N = beta * from_teacher_N + (1.0 - beta) * from_student_N
    if not slope:
        return value_N, None
    return value_N, q_NV.mul_(mixture_NV.add_(from_student_N[:, None])).mul_(beta - 1.0)


def skew_forward_kl(
    teacher_logp_NV: Tensor, student_logp_NV: Tensor, *, alpha: float, slope: bool = False
) -> tuple[Tensor, Slope]:
    """Return KL(p || m), m = alpha p + (1 - alpha) q (Ko et al. 2024, arXiv 2402.03898, section 3).

    The derivative with respect to q is -(1 - alpha) p / m.
    """
    gap_NV = _gap(teacher_logp_NV, student_logp_NV)
    # log(p / m) = log(p / q) - log(m / q)
    ratio_NV = gap_NV.sub(_log_mixture(gap_NV, alpha))
    value_N = _sum(ratio_NV * teacher_logp_NV.exp())
    if not slope:
        return value_N, None
    return value_N, _slope(torch.expm1(ratio_NV).mul_(alpha - 1.0), student_logp_NV)


def skew_reverse_kl(
    teacher_logp_NV: Tensor, student_logp_NV: Tensor, *, alpha: float, slope: bool = False
) -> tuple[Tensor, Slope]:
    """Return KL(q || m), m = (1 - alpha) p + alpha q (Ko et al. 2024, arXiv 2402.03898, section 3).

    The derivative with respect to q is log(q / m) + 1 - alpha q / m.
    """
    gap_NV = _gap(teacher_logp_NV, student_logp_NV)
    ratio_NV = _log_mixture(gap_NV, 1.0 - alpha).neg_()
    value_N = _sum(ratio_NV * student_logp_NV.exp())
    if not slope:
        return value_N, None
    derivative_NV = ratio_NV - torch.expm1(ratio_NV).mul_(alpha)
    return value_N, _slope(derivative_NV, student_logp_NV)


def total_variation(
    teacher_logp_NV: Tensor, student_logp_NV: Tensor, *, slope: bool = False
) -> tuple[Tensor, Slope]:
    """Return 1/2 sum_v |p - q|, which lies in [0, 1]; its derivative with respect to q is
    sign(q - p) / 2, and 0 where both are equal."""
    q_NV = student_logp_NV.exp()
    difference_NV = q_NV.sub_(teacher_logp_NV.exp())
    value_N = _sum(difference_NV.abs()).mul_(0.5)
    if not slope:
        return value_N, None
    return value_N, _slope(difference_NV.sign_().mul_(0.5), student_logp_NV)


def cross_entropy(student_logp_NV: Tensor, label_N: Tensor) -> Tensor:
    """Return ce_N: the student's negative log-probability of each label, in nats."""
    return -torch.gather(student_logp_NV, -1, label_N.unsqueeze(-1)).squeeze(-1)


# From a name to what makes its function of a divergence's parameters.
_MAKE: dict[str, Callable[[Divergence], Function]] = {
    "forward_kl": lambda _: forward_kl,
    "reverse_kl": lambda _: reverse_kl,
    "jsd": lambda chosen: partial(jensen_shannon, beta=chosen.beta),
    "skew_forward_kl": lambda chosen: partial(skew_forward_kl, alpha=chosen.alpha),
    "skew_reverse_kl": lambda chosen: partial(skew_reverse_kl, alpha=chosen.alpha),
    "total_variation": lambda _: total_variation,
}
_NEED_OVERLAP = {"reverse_kl"}
_OWN = frozenset(_MAKE)

FORWARD_KL = Divergence()


def register_divergence(name: str, function: Function, *, needs_overlap: bool = False) -> None:
    """Let `train.objective` name a divergence of your own, for this process.

    `function(teacher_logp_NV, student_logp_NV, slope=...)` returns value_N, in nats, and, where
    asked, its slope as this module says; `differentiated` makes one of a value alone.
    `needs_overlap` tells that it is infinite where the student uses a token that the teacher
    cannot. Raises PotstillError where the name is taken or cannot be one; a function that returns
    something else is refused in a sentence when it is first asked.
    """
    if not callable(function):
        raise PotstillError(
            f"the divergence {name} has to be a function, but an object of class "
            f"{type(function).__name__} was given"
        )
    if not _NAME.fullmatch(name):
        raise PotstillError(
            f"{name!r} cannot name a divergence; take lower-case letters, digits and underscores"
        )
    if name in _MAKE:
        raise PotstillError(f"there is a divergence {name} already; give yours another name")
    _MAKE[name] = lambda _: partial(_checked, name, function)
    if needs_overlap:
        _NEED_OVERLAP.add(name)
    OBJECTIVES.add(name)


def unregister_divergence(name: str) -> None:
    """Take out what `register_divergence` added; potstill's own stay."""
    if name not in _OWN:
        _MAKE.pop(name, None)
        _NEED_OVERLAP.discard(name)
        OBJECTIVES.remove(name)


def differentiated(value: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """Return a divergence of its value alone, whose slope PyTorch derives.

    `value(teacher_logp_NV, student_logp_NV)` returns value_N. The student's log-probabilities are
    its logits but for a constant a row, which a normalised row's slope does not see. Raises
    PotstillError, when it is first asked, where it does not return one value a row.
    """

    def function(
        teacher_logp_NV: Tensor, student_logp_NV: Tensor, *, slope: bool = False
    ) -> tuple[Tensor, Slope]:
        if not slope:
            return _one_a_row(value(teacher_logp_NV, student_logp_NV), student_logp_NV), None
        with torch.enable_grad():
            logits_NV = student_logp_NV.detach().requires_grad_()
            value_N = _one_a_row(value(teacher_logp_NV, logits_NV.log_softmax(-1)), logits_NV)
            (slope_NV,) = torch.autograd.grad(value_N.sum(), logits_NV)
        # A token that the student rules out stays so, whatever 0 * inf is.
        slope_NV = slope_NV.masked_fill(student_logp_NV.isneginf(), 0.0)
        return value_N.detach(), slope_NV

    return function


def _checked(
    name: str,
    function: Function,
    teacher_logp_NV: Tensor,
    student_logp_NV: Tensor,
    *,
    slope: bool = False,
) -> tuple[Tensor, Slope]:
    """Return what a function of somebody's own does, where it is what a divergence has to be."""
    shape = student_logp_NV.shape
    found = function(teacher_logp_NV, student_logp_NV, slope=slope)
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], Tensor):
        raise PotstillError(
            f"the divergence {name} returned an object of class {type(found).__name__}; have it "
            "return a pair, one value a row and its slope, or make it with "
            "potstill.losses.differentiated"
        )
    value_N, slope_NV = found
    if slope and (not isinstance(slope_NV, Tensor) or slope_NV.shape != shape):
        raise PotstillError(
            f"the divergence {name} was asked for its slope and gave none of the shape of the "
            "student's log-probabilities; potstill.losses.differentiated derives one"
        )
    return _one_a_row(value_N, student_logp_NV), slope_NV


def _one_a_row(value_N: Tensor, logp_NV: Tensor) -> Tensor:
    if value_N.shape != logp_NV.shape[:-1]:
        raise PotstillError(
            f"a divergence returned values of shape {tuple(value_N.shape)} for {len(logp_NV)} "
            "rows; have it return one value a row, a sum over the last dimension alone"
        )
    return value_N


def _gap(teacher_logp_NV: Tensor, student_logp_NV: Tensor) -> Tensor:
    """Return log(p / q), held to +-30; where neither has mass it counts nowhere and is 0."""
    finite_NV = student_logp_NV.clamp(min=_LEAST)
    return (teacher_logp_NV.clamp(min=_LEAST).sub_(finite_NV)).clamp_(-_GAP, _GAP)


def _weighted_sum(share_NV: Tensor, ratio_NV: Tensor) -> Tensor:
    """Return the rows' sums of share * ratio, 0 where the share is 0; the ratio becomes these."""
    terms_NV = ratio_NV.mul_(share_NV)
    total_N = _sum(terms_NV)
    # 0 * inf is no number. Masks cost as much as the rest, so they wait until there is one;
    # compiled they cost nothing, and looking would stop a GPU.
    if torch.compiler.is_compiling() or bool(total_N.isnan().any()):
        total_N = _sum(terms_NV.masked_fill_(share_NV == 0, 0.0))
    return total_N


def _log_mixture(gap_NV: Tensor, share: float) -> Tensor:
    """Return log(m / q) with m = share p + (1 - share) q: exactly 0 where p = q."""
    return torch.expm1(gap_NV).mul_(share).log1p_()


def _slope(derivative_NV: Tensor, student_logp_NV: Tensor) -> Tensor:
    """Return q (g - sum_v q_v g_v) from the derivative g with respect to q, in place."""
    q_NV = student_logp_NV.exp()
    mean_N = _sum(q_NV * derivative_NV)
    return derivative_NV.sub_(mean_N[:, None]).mul_(q_NV)


def _sum(terms_NV: Tensor) -> Tensor:
    return terms_NV.sum(dim=-1)
