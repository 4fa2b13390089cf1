"""How close a student's next-token distributions are to its teacher's.

Hidden states come in, sums for each sequence go out; how distributions are formed in between, and
how precisely, `models/likelihood.py` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from potstill.errors import PotstillError
from potstill.evaluate.summary import FidelitySums
from potstill.models.head import Head
from potstill.models.likelihood import (
    CHUNK,
    check_lengths,
    chunks,
    log_probabilities,
    own_logp,
    products_of,
    ready,
    sums_by_text,
)
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Step


def compare(
    teacher_hidden: Sequence[Tensor],
    teacher_head: Head,
    student_hidden: Sequence[Tensor],
    student_head: Head,
    response_ids: Sequence[Sequence[int]],
    vocabulary: VocabularyMap | None = None,
    *,
    chunk: int = CHUNK,
    precise: bool = True,
) -> FidelitySums:
    """Return the fidelity of one student; see `compare_all`."""
    students = {"student": (student_hidden, student_head)}
    return compare_all(
        teacher_hidden,
        teacher_head,
        students,
        response_ids,
        vocabulary,
        chunk=chunk,
        precise=precise,
    )["student"]


@torch.inference_mode()
def compare_all(
    teacher_hidden: Sequence[Tensor],
    teacher_head: Head,
    students: Mapping[str, tuple[Sequence[Tensor], Head]],
    response_ids: Sequence[Sequence[int]],
    vocabulary: VocabularyMap | None = None,
    *,
    chunk: int = CHUNK,
    precise: bool = True,
    step: Step | None = None,
) -> dict[str, FidelitySums]:
    """Return each student's sums, with the teacher's distribution formed once for all.

    Hidden states are one tensor [R, d] a sequence, row r predicting response token r;
    `response_ids` are the student's ids. A removed token's probability goes to the student
    token that `vocabulary` names. `precise` leaves the head's product in fp32: see
    `likelihood.ready`. `chunk` is positions at a time: it changes memory and speed, never the
    result.

    Raises PotstillError where a student cannot produce a token that the teacher may.
    """
    check_lengths(
        response_ids, {"teacher": teacher_hidden} | {n: h for n, (h, _) in students.items()}
    )
    teacher = _TeacherSide(teacher_head, vocabulary, precise)
    heads = {name: ready(head, precise) for name, (_, head) in students.items()}
    figures: dict[str, list[Tensor]] = {name: [] for name in students}
    sources = [teacher_hidden, *(hidden for hidden, _ in students.values())]
    with products_of([teacher_head, *(head for _, head in students.values())]):
        for label_N, (teacher_ND, *student_ND) in chunks(sources, response_ids, chunk):
            label_N = label_N.to(teacher_head.weight_VD.device)
            aim = teacher.distributions(teacher_ND, label_N)
            for name, hidden_ND in zip(students, student_ND, strict=True):
                logq_NW = log_probabilities(heads[name], hidden_ND)
                figures[name].append(_position_figures(aim, logq_NW, label_N))
            if step is not None:
                step.advance(len(label_N))
    lengths = [len(ids) for ids in response_ids]
    return {name: _sums(parts, lengths, name) for name, parts in figures.items()}


@dataclass(frozen=True)
class _Aim:
    """The teacher's distributions over the student's tokens, for one chunk of positions.

    `own_2N` holds the label's negative log-likelihood before mass is moved, and the mass that
    is moved; in float64.
    """

    logp_NW: Tensor
    p_NW: Tensor
    likeliest_N: Tensor
    own_2N: Tensor


class _TeacherSide:
    """The teacher's head with its rows in the student's order, removed tokens after them."""

    def __init__(self, head: Head, vocabulary: VocabularyMap | None, precise: bool) -> None:
        self.head, self.kept = ready(head, precise), None
        self.into_R = torch.zeros(0, dtype=torch.long)
        if vocabulary is None:
            return
        device = head.weight_VD.device
        removed_R = vocabulary.removed_R
        if head.tokens is not None:
            removed_R = removed_R[removed_R < head.tokens]
        self.kept = len(vocabulary.teacher_ids_K)
        self.into_R = vocabulary.student_ids_V[removed_R].to(device)
        self.head = _selected(
            self.head, torch.cat([vocabulary.teacher_ids_K, removed_R]).to(device)
        )

    def distributions(self, hidden_ND: Tensor, label_N: Tensor) -> _Aim:
        """Return the distributions that students are compared with."""
        logp_NV = log_probabilities(self.head, hidden_ND)
        p_NV = logp_NV.exp()
        # Rows are in the student's order, so its ids address them, moved mass or not.
        own_nll_N = -own_logp(logp_NV, label_N)
        if self.kept is None or not len(self.into_R):
            own_2N = torch.stack([own_nll_N, torch.zeros_like(own_nll_N)])
            return _Aim(logp_NV, p_NV, logp_NV.argmax(-1), own_2N)
        removed_NR = p_NV[:, self.kept :]
        own_2N = torch.stack([own_nll_N, removed_NR.sum(-1).double()])
        p_NK = p_NV[:, : self.kept].index_add(1, self.into_R, removed_NR)
        return _Aim(p_NK.log(), p_NK, p_NK.argmax(-1), own_2N)


def _selected(head: Head, rows: Tensor) -> Head:
    """Return a head of the given rows only; none of them is padding."""
    bias_V = None if head.bias_V is None else head.bias_V[rows]
    return replace(head, weight_VD=head.weight_VD[rows], bias_V=bias_V, tokens=None)


def _position_figures(aim: _Aim, logq_NW: Tensor, label_N: Tensor) -> Tensor:
    """Return figures_6N in float64: kl, agree, student, teacher and own nll, mass removed."""
    logp_NW, logq_NW = _same_width(aim.logp_NW, logq_NW)
    p_NW = F.pad(aim.p_NW, (0, logp_NW.shape[1] - aim.p_NW.shape[1]))
    terms_NW = (logp_NW - logq_NW).mul_(p_NW)
    # 0 * (-inf - x) is NaN, but a token without mass adds nothing. True infinities stay.
    terms_NW.nan_to_num_(nan=0.0, posinf=float("inf"), neginf=float("-inf"))
    figures = [
        terms_NW.sum(-1).double(),
        (aim.likeliest_N == logq_NW.argmax(-1)).double(),
        -own_logp(logq_NW, label_N),
        -own_logp(logp_NW, label_N),
    ]
    return torch.cat([torch.stack(figures), aim.own_2N]).cpu()


def _same_width(one_NA: Tensor, other_NB: Tensor) -> tuple[Tensor, Tensor]:
    """Return both with as many columns as the wider one: what is missing has no mass."""
    width = max(one_NA.shape[1], other_NB.shape[1])
    pads = [
        F.pad(part, (0, width - part.shape[1]), value=float("-inf"))
        if part.shape[1] < width
        else part
        for part in (one_NA, other_NB)
    ]
    return pads[0], pads[1]


def _sums(parts: list[Tensor], lengths: Sequence[int], name: str) -> FidelitySums:
    figures_6T = torch.cat(parts, dim=1) if parts else torch.zeros(6, 0, dtype=torch.float64)
    if not bool(torch.isfinite(figures_6T).all()):
        raise PotstillError(
            f"the KL of the model '{name}' is not finite: it gives no probability to tokens that "
            "the teacher uses; check that both have the same tokenizer, or its vocabulary map"
        )
    # In the order of the fields, as `_position_figures` stacks them.
    names = [field.name for field in fields(FidelitySums)]
    sums = {n: sums_by_text(f, lengths) for n, f in zip(names[:-1], figures_6T, strict=True)}
    return FidelitySums(**sums, tokens=np.asarray(lengths, dtype=np.float64))
