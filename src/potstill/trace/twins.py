"""Were these served answers learnt? Each is ranked among fresh answers to its own prompt.

Twins are drawn from the same model, engine, template, sampling and filters as the served answer,
with seeds that follow from the plan's digest. A suspect that never saw the served one cannot tell
it from its twins: all m + 1 are exchangeable, and the served answer's rank is uniform
(docs/methods/trace.md).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from potstill.errors import PotstillError
from potstill.stats.bootstrap import mean_score_interval
from potstill.stats.evalues import (
    STEEPNESSES,
    learnt_log_e,
    rank_log_e,
    sequential_log10_p,
    softmax_log_e,
)
from potstill.stats.ranks import RankSumLaw, rank_among
from potstill.trace.finding import Finding, TraceRecord
from potstill.trace.items import TraceItem, check_order, refuse_record
from potstill.trace.suspect import Capability
from potstill.watermark.coins import coin_of

# Clean models that the same sets of answers are tried on first, and what makes a plan void.
CONTROLS = 3
_VOID_BELOW = 0.01


class ServedExchange(TraceRecord):
    """One logged exchange of a plan: digests of prompt and served answer, and how many twins.

    One salt, the plan's, is in all of them, so that equal ones are known.
    """

    prompt: str
    served: str
    twins: int = Field(ge=1)


class TwinsPlanned(TraceRecord):
    """Which served answers are ranked among how many twins, and by which score.

    Twins are drawn as the served answers were: at `temperature`, of the model `snapshot`. A text's
    score is the suspect's log-likelihood, minus that of the model `reference` where one is named,
    both summed over the text or, with `per_token`, averaged over its tokens. `drawn_elsewhere`
    says that the engine that served draws them, by the plan's seeds, and the owner gives them.

    Beside the exact p, each rank (or each set of scores) is bet on, at a fixed `steepness` or at
    one that is learnt from the prompts before. A `sequential` plan may stop after any prompt.
    """

    test: Literal["twins"] = "twins"
    needs: ClassVar[frozenset[Capability]] = frozenset(("scores_text",))
    configuration: str
    exchanges: tuple[ServedExchange, ...] = Field(min_length=1)
    snapshot: str
    temperature: float = Field(ge=0)
    marked_with: str | None = None
    drawn_elsewhere: bool = False
    reference: str | None = None
    per_token: bool = False
    bet_on: Literal["rank", "score"] = "rank"
    steepness: float | None = Field(None, gt=0)
    sequential: bool = False

    @model_validator(mode="after")
    def _twins_can_differ(self) -> TwinsPlanned:
        if self.temperature == 0:
            raise PotstillError(
                "answers at temperature 0 have no twins that differ from them; take exchanges that "
                "were drawn at a temperature above 0"
            )
        if self.marked_with is not None and "gumbel" in self.marked_with:
            raise PotstillError(
                "Gumbel-marked answers have no twins that differ from them, since the key decides "
                "both; test such a log for its mark"
            )
        prompts = [exchange.prompt for exchange in self.exchanges]
        if len(set(prompts)) < len(prompts):
            raise PotstillError(
                "a prompt stands twice in the plan, and its answers are not independent; take one "
                "exchange of each prompt"
            )
        return self


class TwinsItem(TraceItem):
    """What was found of one prompt's m + 1 answers, the served one first, then twins as drawn.

    `texts` are salted digests, by which equal answers are known. Log-likelihoods are in nats,
    summed over `tokens` tokens each; `reference_logp` is empty where the plan names no reference.
    What failed has no `suspect_logp`.
    """

    texts: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    suspect_logp: tuple[float, ...] = ()
    reference_logp: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _figures_of_answers_alone(self) -> TwinsItem:
        if bool(self.suspect_logp) != self.answered:
            raise ValueError("scored answers have log-likelihoods, and what failed has none")
        columns = (self.tokens, self.suspect_logp, self.reference_logp)
        if any(column and len(column) != len(self.texts) for column in columns):
            raise ValueError("each answer has one figure of a kind")
        if any(count < 1 for count in self.tokens):
            raise ValueError("an answer has one token at least")
        return self


def twins_finding(planned: TwinsPlanned, items: Sequence[TwinsItem], digest: str) -> Finding:
    """Return what the suspect's likelihoods say of the served answers.

    A prompt is left out only if all its m + 1 texts are equal. Ties, and the rank of an item that
    failed, are coins of `digest`, the plan's. Raises PotstillError, which names the record, for
    items that are not the plan's.
    """
    ranked = ranked_prompts(planned, items, digest)
    law = RankSumLaw(tuple(one.twins for one in ranked))
    total = sum(one.rank for one in ranked)
    log_e = np.cumsum(_bets(planned, ranked))
    log10_e = float(log_e[-1]) / math.log(10) if ranked else 0.0
    log10_p = sequential_log10_p(log_e) if planned.sequential else law.log10_p(total)
    scored = [one.rank / one.twins for one in ranked if not one.is_coin]
    interval = mean_score_interval(scored) if scored else None
    return Finding(
        test=planned.test,
        configuration=planned.configuration,
        tier="proof",
        n=len(ranked),
        coins=len(ranked) - len(scored),
        statistic=total,
        null_mean=law.mean,
        effect=interval.value if interval else 0.5,
        effect_unit="mean share of twins that the served answer stands above (0.5 by chance)",
        effect_low=interval.lo if interval else None,
        effect_high=interval.hi if interval else None,
        p=float(10**log10_p),
        log10_p=log10_p,
        sequential=planned.sequential,
        log10_e=log10_e,
        void=None if scored else "no prompt has answers that differ and were scored",
        assumes=_assumed(planned, items, len(ranked)),
    )


def void_by_controls(controls: Sequence[Finding]) -> str | None:
    """Return why a plan is void, as models known to be clean show; None where they do not.

    They share the sets of answers, so that their p-values are not put together: three times the
    least has to be 0.01 or more. Raises PotstillError for fewer than three, for another test's
    findings and for void ones.
    """
    sound = [one for one in controls if one.test == "twins" and one.void is None]
    if len(sound) < CONTROLS or len(sound) < len(controls):
        raise PotstillError(
            f"twins are tried on {CONTROLS} models at least that are known to be clean, and there "
            f"are {len(sound)} such findings among {len(controls)}; add clean models as controls"
        )
    adjusted = min(0.0, min(one.log10_p for one in sound) + math.log10(CONTROLS))
    if adjusted >= math.log10(_VOID_BELOW):
        return None
    return (
        "clean models rank the served answers above their twins too (3 times the least p is "
        f"{10**adjusted:.1g}), so that the twins were not drawn as the served answers were"
    )


def with_controls(finding: Finding, controls: Sequence[Finding]) -> Finding:
    """Return a finding that is void where its controls say so. Raises as `void_by_controls`."""
    void = void_by_controls(controls)
    return finding if void is None else finding.model_copy(update={"void": void})


@dataclass(frozen=True)
class RankedPrompt:
    """One prompt that counts: the served answer's rank among its twins, and its scores if any."""

    rank: int
    twins: int
    scores: tuple[float, ...]

    @property
    def is_coin(self) -> bool:
        return not self.scores


def ranked_prompts(
    planned: TwinsPlanned, items: Sequence[TwinsItem], digest: str
) -> list[RankedPrompt]:
    """Return the prompts that count, in plan order. Raises as `twins_finding`."""
    _check(planned, items)
    ranked = []
    for item, exchange in zip(items, planned.exchanges, strict=False):
        if len(set(item.texts)) == 1:
            continue
        coin = coin_of(digest, planned.test, planned.configuration, str(item.index))
        scores = _scores(planned, item) if item.answered else ()
        rank = (
            rank_among(scores[0], scores[1:], coin) if scores else int(coin * (exchange.twins + 1))
        )
        ranked.append(RankedPrompt(rank, exchange.twins, scores))
    return ranked


def _scores(planned: TwinsPlanned, item: TwinsItem) -> tuple[float, ...]:
    """Return the m + 1 scores; equal texts have one, their mean, whatever batch each was in."""
    reference = item.reference_logp or (0.0,) * len(item.texts)
    lengths = item.tokens if planned.per_token else (1,) * len(item.texts)
    columns = zip(item.texts, item.suspect_logp, reference, lengths, strict=True)
    by_text: dict[str, list[float]] = defaultdict(list)
    for text, suspect, other, length in columns:
        by_text[text].append((suspect - other) / length)
    mean = {text: math.fsum(sorted(scores)) / len(scores) for text, scores in by_text.items()}
    return tuple(mean[text] for text in item.texts)


def _bets(planned: TwinsPlanned, ranked: Sequence[RankedPrompt]) -> Sequence[float]:
    """Return ln of the bet on each prompt that counts; none is placed on scores that are not."""

    def bet(one: RankedPrompt, steepness: float) -> float:
        if planned.bet_on == "rank":
            return rank_log_e(one.rank, one.twins, steepness)
        return softmax_log_e(one.scores, steepness) if one.scores else 0.0

    if planned.steepness is not None:
        return [bet(one, planned.steepness) for one in ranked]
    if not ranked:
        return []
    table = [[bet(one, steepness) for steepness in STEEPNESSES] for one in ranked]
    return list(learnt_log_e(table).tolist())


def _assumed(planned: TwinsPlanned, items: Sequence[TwinsItem], counted: int) -> tuple[str, ...]:
    said = [
        "Twins were drawn by the same snapshot, engine, template, sampling and filters as the "
        "served answers; served batches cannot be drawn again in the same waves.",
        "No answer entered the log, or left it, for what its reader made of it (regenerated, "
        "rated, edited).",
        "The served answers were not published: who learnt them from there learnt them too.",
        "One answer to a first message of each conversation is ranked, since what follows may "
        "quote it.",
    ]
    if planned.drawn_elsewhere:
        said.append(
            "The engine that served drew the twins, by the seeds that follow from the plan, and "
            "they are given as they came: that is the owner's word, which whoever has the engine "
            "can check."
        )
    if equal := len(items) - counted:
        said.append(f"Prompts left out, since all their answers are equal: {equal:,}.")
    return tuple(said)


def _check(planned: TwinsPlanned, items: Sequence[TwinsItem]) -> None:
    check_order(items, len(planned.exchanges), whole=not planned.sequential)
    for item, exchange in zip(items, planned.exchanges, strict=False):
        if item.texts and item.texts[0] != exchange.served:
            raise refuse_record(item.index, "ranks another answer than the one that was served")
        if not item.answered:
            continue
        if len(item.texts) != exchange.twins + 1:
            raise refuse_record(item.index, f"does not have the {exchange.twins} twins planned")
        if bool(item.reference_logp) != (planned.reference is not None):
            raise refuse_record(item.index, "is not scored against the reference of the plan")
        if planned.per_token and not item.tokens:
            raise refuse_record(item.index, "does not say how long its answers are")
