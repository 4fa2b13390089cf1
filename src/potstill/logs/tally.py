"""What reading a log left out, and what the log does not say: counts, places, sentences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from potstill.logs.call import LoggedCall, Reason
from potstill.text.counts import by_number
from potstill.text.finish import Ending, ending_of

_MOST_PLACES = 5
# What can be done about rows that are left out, where it is not plain.
WAYS_OUT = {
    Reason.LAST_TURN: "LiteLLM's setting latest_turn leaves such rows: if the proxy stored whole "
    "requests, set collect.calls.whole_requests to true",
}


@dataclass(frozen=True)
class CallsReport:
    """What became of the rows of a log.

    `rows` (of a batch: answers, and requests without one) were read and gave `calls`, `repeats`
    not counted; `used` of these became exchanges (or prompts). `left_out` counts rows and answers
    by reason, `places` names the first of each. `missing` counts, of what is used, how many lack
    a field; `finish_reasons` counts them by how they ended. `models` counts rows by name, of
    models not wanted too, `returned_models` what is used; `spend` is the sum the log states, a row
    that comes twice counted once. `passed_over` are files of a folder that are no logs.
    """

    form: str
    why: str
    rows: int
    calls: int
    repeats: int
    used: int
    left_out: dict[str, int]
    places: dict[str, tuple[str, ...]]
    missing: dict[str, int]
    finish_reasons: dict[str, int]
    models: dict[str, int]
    returned_models: dict[str, int]
    spend: float | None
    passed_over: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)

    def notes(self) -> tuple[str, ...]:
        """Return in sentences what was left out, merged and missing, for the run's report."""
        notes = [f"the log is read as {self.form} ({self.why})"]
        for reason, count in self.left_out.items():
            way = WAYS_OUT.get(Reason(reason))
            more = f"; {way}" if way else ""
            notes.append(f"{count} left out: {reason}{_places(self.places[reason], count)}{more}")
        if self.repeats:
            repeats = by_number(self.repeats, "exact repeat counts", "exact repeats count")
            notes.append(f"{repeats} once")
        lacking = [f"{name} ({count})" for name, count in self.missing.items()]
        if lacking:
            notes.append(f"of {self.used} used, the log does not state {', '.join(lacking)}")
        if self.spend is not None:
            notes.append(f"the log states a spend of {self.spend:g}, each of its rows counted once")
        unknown = self.finish_reasons.get(Ending.UNSTATED, 0)
        if unknown:
            notes.append(
                f"how {unknown} of {self.used} responses ended is not known, since nothing in "
                "this form says so; they are taken as whole"
            )
        if self.passed_over:
            others = by_number(
                len(self.passed_over),
                "other file in the folder is no log and was passed over",
                "other files in the folder are no logs and were passed over",
            )
            notes.append(f"{others}: {', '.join(self.passed_over[:_MOST_PLACES])}")
        if len(self.returned_models) > 1:
            notes.append(
                f"the log names several answering models: {', '.join(self.returned_models)}"
            )
        return tuple(notes)


class Tally:
    """Counts while a log is read."""

    def __init__(self) -> None:
        self.rows = 0
        self.repeats = 0
        self._left_out: Counter[Reason] = Counter()
        self._places: defaultdict[Reason, list[str]] = defaultdict(list)
        self._models: Counter[str] = Counter()
        self._spend: list[float] = []
        self._spend_of: dict[str, float] = {}
        self.passed_over: tuple[str, ...] = ()

    def leave_out(self, reason: Reason, place: str | None = None, count: int = 1) -> None:
        """Count rows or answers that are not used."""
        self._left_out[reason] += count
        if place is not None and len(self._places[reason]) < _MOST_PLACES:
            self._places[reason].append(place)

    def saw(self, model: str | None) -> None:
        """Count a row of a model, wanted or not."""
        if model is not None:
            self._models[model] += 1

    def spent(self, spend: float | None, row_id: str | None = None) -> None:
        """Add what a row of a wanted model cost, where the log says; equal ids count once."""
        if spend is None:
            return
        if row_id is None:
            self._spend.append(spend)
        else:
            self._spend_of[row_id] = max(spend, self._spend_of.get(row_id, spend))

    def first_place(self, reason: Reason) -> str | None:
        """Return the first place of a reason, None where it has none."""
        return next(iter(self._places.get(reason, ())), None)

    @property
    def models(self) -> dict[str, int]:
        """Rows for each model that the log names, the most frequent first."""
        return _by_count(self._models)

    @property
    def left_out(self) -> dict[str, int]:
        """Rows and answers left out for each reason, the most frequent first."""
        return _by_count(Counter({str(k): v for k, v in self._left_out.items()}))

    def report(
        self,
        form: str,
        why: str,
        calls: int,
        used: Sequence[LoggedCall],
        *,
        prompts: int | None = None,
    ) -> CallsReport:
        """Return the report, when `used` of `calls` became exchanges (or `prompts` prompts)."""
        spend = [*self._spend, *self._spend_of.values()]
        endings = Counter(str(ending_of(c.answer.finish_reason)) for c in used)
        returned = Counter(c.facts.returned_model for c in used if c.facts.returned_model)
        return CallsReport(
            form=form,
            why=why,
            rows=self.rows,
            calls=calls,
            repeats=self.repeats,
            used=len(used) if prompts is None else prompts,
            left_out=self.left_out,
            places={str(k): tuple(self._places.get(k, ())) for k in self._left_out},
            missing=_missing(used),
            finish_reasons=_by_count(endings),
            models=self.models,
            returned_models=_by_count(returned),
            spend=round(sum(sorted(spend)), 6) if spend else None,
            passed_over=self.passed_over,
        )


def _missing(used: Sequence[LoggedCall]) -> dict[str, int]:
    """Return how many calls lack each field, those that all have left out."""
    counts: Counter[str] = Counter()
    for call in used:
        facts = call.facts
        known: dict[str, Any] = {
            "model": facts.model,
            "returned_model": facts.returned_model,
            "created_at": facts.created_at,
            "latency_s": facts.latency_s,
            "usage": facts.usage or None,
            "finish_reason": call.answer.finish_reason,
            **{f"sampling.{key}": value for key, value in call.ask.sampling.items()},
        }
        if call.answer.tool_calls or any(m.get("tool_calls") for m in call.ask.messages):
            # Where no tool is called none may have been on offer.
            known["tools"] = call.ask.tools
        counts.update(key for key, value in known.items() if value is None)
    return _by_count(counts)


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _places(places: Sequence[str], count: int) -> str:
    if not places:
        return ""
    more = f" and {count - len(places)} more" if count > len(places) else ""
    return f" ({'; '.join(places)}{more})"
