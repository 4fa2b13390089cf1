"""A teacher behind a server: its likeliest tokens at text that the student wrote just now.

The divergence is then that of two coarse distributions, k tokens and the rest as one
(`losses.row_terms.TopKTerm`): no more than that of the whole ones. How the student shares out the
rest among its tokens is not told apart, and has no gradient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.exchanges.targets import LikeliestTokens, TargetValues
from potstill.losses.targets import TopKTargets
from potstill.models.loaded import LoadedModel
from potstill.models.score import PromptAndResponse
from potstill.work.stage_records import OwnTextRead

# So many answers that end, none of them where the server would, mean that it ends its answers with
# another token.
_ENDS = 16


class ReadFigures(Protocol):
    """What reading took: texts, tokens, and money, None without prices."""

    @property
    def texts(self) -> int: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def response_tokens(self) -> int: ...
    @property
    def money(self) -> float | None: ...


class ReadsOwnText(Protocol):
    """A server that reads given text; who asks it holds the terms gate's decision about it.

    `count` likeliest tokens are told a position.
    """

    count: int

    def check(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> None:
        """Raise PotstillError where nothing is told of such a text."""

    def read(self, texts: Sequence[PromptAndResponse], group: int) -> Sequence[LikeliestTokens]:
        """Return what is told at each response token; raises PotstillError where any is not."""

    def forget_before(self, group: int) -> None:
        """Delete what was told of earlier groups."""

    def figures(self) -> ReadFigures:
        """Return what all of it took so far."""


@dataclass(frozen=True)
class AnswerEnd:
    """Where an answer ends: its last token, and what the server likes there, likeliest first."""

    token: int
    likeliest: tuple[int, ...]


@dataclass(frozen=True)
class ServedTeacher:
    """A server as a teacher of own text. `ends` are those of stored answers that it has read."""

    reader: ReadsOwnText
    ends: Sequence[AnswerEnd] = ()

    @property
    def told(self) -> int:
        """How many likeliest tokens it tells a position."""
        return self.reader.count

    def check(self, student: LoadedModel, longest: PromptAndResponse) -> None:
        """Raise PotstillError where it ends its answers with other tokens, or cannot read."""
        check_served_ends(student, self.ends)
        self.reader.check(*longest)

    def read(self, texts: Sequence[PromptAndResponse], group: int) -> Sequence[LikeliestTokens]:
        """Return what it tells of each response; asked again, what it told before."""
        return self.reader.read(texts, group)

    def targets(self, values: Sequence[TargetValues]) -> TopKTargets:
        """Return its likeliest tokens and the rest as one bucket."""
        told = _told(values)
        return TopKTargets(
            torch.cat([one.ids_RK for one in told]),
            torch.cat([one.logp_RK for one in told]),
            torch.cat([one.rest_R for one in told]),
        )

    def likeliest(self, values: Sequence[TargetValues], every: int) -> tuple[Tensor, Tensor]:
        """Return (ids_NK, logp_NK) of all that it tells at every so-manieth row."""
        joined = self.targets(values)
        return joined.ids_NK[::every], joined.logp_NK[::every]

    def forget_before(self, group: int) -> None:
        """Delete what was told of earlier groups, which no checkpoint needs."""
        self.reader.forget_before(group)

    def record(self) -> OwnTextRead:
        """Return what it was given to read in all calls of a run, and what that took."""
        found = self.reader.figures()
        return OwnTextRead(
            likeliest=self.reader.count,
            texts=found.texts,
            prompt_tokens=found.prompt_tokens,
            response_tokens=found.response_tokens,
            money=found.money,
        )


def check_served_ends(student: LoadedModel, ends: Sequence[AnswerEnd]) -> None:
    """Raise PotstillError where the server likes none of the ends that stored answers have.

    It then ends its own with another token, and a student that writes its own would learn to end
    none. Nothing is said where fewer than 16 stored answers end.
    """
    whole = [end for end in ends if end.token in student.eos_ids]
    if len(whole) < _ENDS or any(set(end.likeliest) & set(student.eos_ids) for end in whole):
        return
    spelt = student.tokenizer.convert_ids_to_tokens
    mine = " and ".join(spelt(sorted(student.eos_ids)))
    wanted = spelt(Counter(end.likeliest[0] for end in whole).most_common(1)[0][0])
    raise PotstillError(
        f"the student ends its answers with {mine}, which is among the server's likeliest tokens "
        f"at the end of none of {len(whole)} stored answers (it would mostly go on with {wanted}), "
        "so that on its own text the student would learn to end none; have eos_token_id in "
        "generation_config.json of student.model name the token that ends the server's answers, or "
        "take train.on_policy out"
    )


def answer_end(response_ids: Sequence[int], told: LikeliestTokens) -> AnswerEnd:
    """Return where an answer ends, by what the server told of it."""
    order = told.logp_RK[-1].argsort(descending=True)
    return AnswerEnd(response_ids[-1], tuple(told.ids_RK[-1][order].tolist()))


def _told(values: Sequence[TargetValues]) -> list[LikeliestTokens]:
    return [one for one in values if isinstance(one, LikeliestTokens)]
