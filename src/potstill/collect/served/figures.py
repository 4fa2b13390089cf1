"""What one call of endpoint collection did, in figures and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from potstill.endpoint.many import Stopped
from potstill.work.stage_records import ServedAnswers


@dataclass(frozen=True)
class EndpointFigures:
    """What one call of `collect_from_endpoint` did.

    `wanted` responses were looked for, `before` of them stored already, `stored` came now.
    `failures` lists prompts as (prompt id, reason); the next call asks them again. `stopped` says
    why not everything was asked: the `budget`, or `failures` of everything. Tokens and money are
    this call's; those of tries that brought nothing but may have been charged for are in
    `uncertain_*`, at their most. Money is None without prices, latency without an answer.
    `targets` responses have targets, `without_targets` counts the others by reason, where any
    were wanted. `charged` counts answers by where their tokens' number comes from (`Basis`).
    `at_limit` responses are called whole and are as long as one may be. Of `compared` prompts
    with a known number of tokens the server read fewer of `cut_prompts`, by up to `most_cut`.
    """

    wanted: int
    before: int
    stored: int
    failures: tuple[tuple[str, str], ...]
    stopped: Stopped | None
    requests: int
    retries: int
    prompt_tokens: int
    response_tokens: int
    money: float | None
    uncertain_tokens: int
    uncertain_money: float | None
    seconds: float
    most_in_flight: int
    median_latency_s: float | None
    returned_models: dict[str, int]
    fingerprints: dict[str, int]
    targets: int = 0
    without_targets: dict[str, int] = field(default_factory=dict)
    charged: dict[str, int] = field(default_factory=dict)
    at_limit: int = 0
    compared: int = 0
    cut_prompts: int = 0
    most_cut: int = 0

    @property
    def failed(self) -> dict[str, int]:
        """How many prompts failed, by reason, the most frequent first."""
        return dict(Counter(reason for _, reason in self.failures).most_common())

    @property
    def tokens_per_s(self) -> float:
        """Response tokens a second."""
        return self.response_tokens / self.seconds if self.seconds else 0.0

    def record(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        failures = [list(pair) for pair in self.failures]
        more = {"failed": self.failed, "tokens_per_s": self.tokens_per_s}
        return asdict(self) | more | {"failures": failures}

    def sentences(self, label: str, currency: str) -> list[str]:
        """Return what a person wants to know at the end, a line each."""
        if not self.requests:
            return []
        most = "at most " if self.charged.get("unknown") or self.charged.get("estimated") else ""
        cost = "" if self.money is None else f", {most}{amount(self.money, currency)}"
        lines = [
            f"{label}: {self.stored} responses, {most}{self.response_tokens} tokens, "
            f"{self.tokens_per_s:.0f} tokens/s, at most {self.most_in_flight} in flight, "
            f"{self.retries} retries{cost}"
        ]
        if self.failures:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in self.failed.items())
            lines.append(
                f"{label}: {len(self.failures)} prompts failed: {reasons}; run the same command "
                "again to ask them again"
            )
        if self.without_targets:
            reasons = ", ".join(f"{why} ({count})" for why, count in self.without_targets.items())
            lines.append(
                f"{label}: {self.targets} responses have targets, the others none: {reasons}"
            )
        lines += [f"{label}: {note}" for note in self.notes()]
        left = self.wanted - self.before - self.stored
        if self.stopped == "budget":
            lines.append(
                f"{label}: stopped before the budget could be exceeded, {left} responses are "
                "missing; raise teacher.endpoint.budget or budget_tokens and run it again"
            )
        if self.stopped == "failures":
            lines.append(
                f"{label}: stopped since every request failed, {left} responses are missing; look "
                "after the server and run the same command again"
            )
        return lines

    def notes(self) -> list[str]:
        """Return what is in doubt of what came, for the run's report."""
        notes = []
        if unknown := self.charged.get("unknown"):
            notes.append(
                f"the server did not say what {unknown} answers took: their tokens are not known, "
                "and count as the most that they can be"
            )
        if counted := self.charged.get("counted"):
            notes.append(
                f"the server's figures were not all of {counted} answers' tokens: those that came "
                "are counted"
            )
        if estimated := self.charged.get("estimated"):
            notes.append(
                f"the server's figures were not all of {estimated} answers' tokens: they are "
                "estimated from the text, upwards"
            )
        if self.at_limit:
            notes.append(
                f"{self.at_limit} responses are as long as they may be, and the server calls them "
                "whole: some may be cut off; raise collect.max_tokens"
            )
        if self.cut_prompts:
            notes.append(
                f"of {self.cut_prompts} of {self.compared} prompts the server read fewer tokens "
                f"than they have by the tokenizer's template, up to {self.most_cut} fewer: it cuts "
                "them, or has another template"
            )
        return notes


def together(found: Sequence[EndpointFigures], notes: Sequence[str] = ()) -> ServedAnswers:
    """Return the figures of all that a server was asked as one collection's, with more notes."""
    seconds = sum(f.seconds for f in found)
    tokens = sum(f.response_tokens for f in found)
    prices = [f.money for f in found if f.money is not None]
    failed: Counter[str] = Counter()
    for figures in found:
        failed.update(figures.failed)
    models = sorted({name for f in found for name in f.returned_models})
    return ServedAnswers(
        exchanges=sum(f.before + f.stored for f in found),
        computed=sum(f.stored for f in found),
        response_tokens=tokens,
        seconds=seconds,
        tokens_per_s=tokens / seconds if seconds else 0.0,
        money=sum(prices) if prices else None,
        failed=dict(failed),
        failures=tuple(pair for f in found for pair in f.failures),
        notes=(
            *([f"the server called its model {' and '.join(models)}"] if models else []),
            *(note for figures in found for note in figures.notes()),
            *notes,
        ),
    )


def without_targets(found: Sequence[EndpointFigures], having: int, answers: int) -> str:
    """Return in a sentence how many answers have targets, and why the others have none.

    The reasons are those of these calls: what an earlier one stored is not judged again.
    """
    reasons: Counter[str] = Counter()
    for figures in found:
        reasons.update(figures.without_targets)
    earlier = answers - having - reasons.total()
    if earlier > 0:
        reasons["stored by an earlier call"] = earlier
    others = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    more = f"; the others have none: {others}" if others else ""
    return f"{having} of {answers} answers have the server's likeliest tokens{more}"


def amount(money: float, currency: str) -> str:
    """Return money as it is shown, to three digits."""
    return f"{money:.3g} {currency}"
