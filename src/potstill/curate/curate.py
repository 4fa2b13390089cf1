"""Judging stored exchanges: which of them the student learns from, and why not the others.

Filters run in the order of `filter_order`: first what a row shows by itself, then what compares
rows, so that what stays of several alike is a row that passed everything before. A row's mark names
the first filter that drops it. Nothing is deleted, and curating again replaces the marks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from potstill.curate.choose import not_shortest
from potstill.curate.curation import SPLITS, CurationResult, Verified
from potstill.curate.decontaminate import contaminated, evaluation_runs
from potstill.curate.duplicates import exact_duplicates, near_duplicates, shingled
from potstill.curate.judge import Judge, refuse_partial_judge, scores
from potstill.curate.registry import RowFilter, filter_order, row_filters
from potstill.curate.spent import generated_tokens
from potstill.curate.verify import AnswerVerdict, Verifier, verifier
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.rows import Mark
from potstill.exchanges.store import ExchangeStore
from potstill.extras import extra_package
from potstill.recipe import CurateConfig
from potstill.text.language import known_languages

MARKER = "curate"
# The others would make held-out figures those of an easier task.
_FOR_EVERY_SPLIT = ("invalid", "empty", "unrenderable", "too_long")
# These choose between rows, so they may only see what is left.
_COMPARES = ("duplicate", "near_duplicate", "sample")

Reasons = dict[str, str]
"""exchange_id of each row that is dropped: why."""
Find = Callable[[Sequence[Exchange]], Reasons]


def check(config: CurateConfig, gold: Mapping[str, str] | None = None) -> None:
    """Refuse what `curate` would, before anything is collected: a missing package, a malformed
    schema, unknown languages, gold answers that cannot be right."""
    verifier(config.verify, gold)
    if config.languages:
        require_languages(config.languages)
    if config.near_duplicates is not None:
        extra_package("datasketch", "curate.near_duplicates")


def require_languages(languages: Sequence[str]) -> None:
    """Refuse languages that cannot be identified, and a missing package."""
    known = known_languages(needed_by="curate.languages")
    unknown = [language for language in languages if language not in known]
    if unknown:
        raise PotstillError(
            f"curate.languages holds {', '.join(unknown)}, which py3langid cannot identify; use "
            "ISO 639-1 codes in lower case, such as en or de"
        )


def curate(
    rows: Sequence[Exchange],
    config: CurateConfig,
    *,
    gold: Mapping[str, str] | None = None,
    evaluation_texts: Sequence[str] = (),
    judge: Judge | None = None,
    text_only: bool,
    unlearnable: Mapping[str, Reasons] | None = None,
) -> CurationResult:
    """Judge exchanges; the order of rows changes nothing.

    `gold` maps prompt_id to the gold answer. `evaluation_texts` are those that training must stay
    clear of. `judge` is asked about training rows that pass everything before it. `text_only`:
    the student learns from text, not from targets. `unlearnable` says, by filter, what the student
    cannot read. Rows held out and for validation are dropped only where they are invalid, empty or
    unlearnable. Raises PotstillError as `check` does, and for a judge
    that is the teacher.
    """
    check(config, gold)
    unique = {row.exchange_id: row for row in rows}
    ordered = [unique[key] for key in sorted(unique)]
    train = [row for row in ordered if row.split == "train"]
    right = verifier(config.verify, gold)
    verdicts = _verdicts(train, right, gold)
    _refuse_unused_gold(config, verdicts, gold)
    if judge is not None:
        refuse_partial_judge(
            judge, {row.teacher for row in train}, allowed=config.judge.judge_may_be_teacher
        )
    found_scores: dict[str, float | None] = {}
    finds = _finds(train, config, evaluation_texts, verdicts, judge, found_scores, text_only)
    for name, why in (unlearnable or {}).items():
        finds[name] = partial(_known, reasons=why)
    reasons: Reasons = {}
    alone: dict[str, int] = {}
    for name in filter_order():
        find = finds.get(name)
        if find is None:
            continue
        scope = ordered if name in _FOR_EVERY_SPLIT else train
        left = [row for row in scope if row.exchange_id not in reasons]
        # Asking a judge about rows that are dropped already would cost and tell nothing.
        by_itself = find(left if name == "judge" else scope)
        found = find(left) if name in _COMPARES else by_itself
        found = {key: why for key, why in found.items() if key not in reasons}
        alone[name] = sum(row.exchange_id in by_itself for row in train)
        reasons |= {key: f"{name}: {why}" for key, why in found.items()}
    by_split = {split: _by_filter(ordered, reasons, split) for split in SPLITS}
    kept = [row for row in train if row.exchange_id not in reasons]
    return CurationResult(
        marks=tuple(_mark(row, reasons) for row in ordered),
        train=len(train),
        train_kept=len(kept),
        dropped={name: by_split["train"][name] for name in filter_order() if name in alone},
        elsewhere={s: dict(found) for s, found in by_split.items() if s != "train" and found},
        alone=alone,
        examples=_examples(reasons, config.examples),
        verified=_verified(train, verdicts) if right is not None else None,
        judge=judge.name if judge is not None else None,
        scores=found_scores,
        notes=tuple(_notes(train, alone, verdicts, found_scores, judge)),
    )


def write_marks(store: ExchangeStore, curation: CurationResult) -> None:
    """Store every mark, durable on return; marks that stand already are not written again."""
    store.mark(curation.marks)


def _finds(
    train: Sequence[Exchange],
    config: CurateConfig,
    evaluation_texts: Sequence[str],
    verdicts: Mapping[str, AnswerVerdict],
    judge: Judge | None,
    found_scores: dict[str, float | None],
    text_only: bool,
) -> dict[str, Find]:
    """Return the filters that the recipe asks for, by name."""
    found: dict[str, Find] = {
        name: partial(_each, check=row_filter)
        for name, row_filter in row_filters(config, text_only).items()
    }
    runs = evaluation_runs(evaluation_texts, config.decontaminate.words)
    if runs:
        found["contaminated"] = partial(contaminated, runs=runs, common=config.decontaminate.common)
    if config.verify.kind != "none":
        found["verify"] = partial(_each, check=lambda row: _wrong(verdicts[row.exchange_id]))
    if config.exact_duplicates:
        found["duplicate"] = partial(exact_duplicates, with_reasoning=config.reasoning == "keep")
    if config.near_duplicates is not None:
        found["near_duplicate"] = _near_finder(train, config.near_duplicates)
    if judge is not None:
        found["judge"] = partial(_judged, judge=judge, config=config, found=found_scores)
    if config.keep_shortest is not None:
        found["sample"] = partial(_sampled, verdicts=verdicts, found=found_scores, config=config)
    return found


def _known(rows: Sequence[Exchange], *, reasons: Reasons) -> Reasons:
    return {r.exchange_id: reasons[r.exchange_id] for r in rows if r.exchange_id in reasons}


def _each(rows: Sequence[Exchange], *, check: RowFilter) -> Reasons:
    found = {row.exchange_id: check(row) for row in rows}
    return {key: why for key, why in found.items() if why is not None}


def _near_finder(train: Sequence[Exchange], threshold: float) -> Find:
    # What is a template's is judged over all rows, and only once.
    known = {one.exchange_id: one for one in shingled(train)}
    return lambda rows: near_duplicates([known[row.exchange_id] for row in rows], threshold)


def _judged(
    rows: Sequence[Exchange], *, judge: Judge, config: CurateConfig, found: dict[str, float | None]
) -> Reasons:
    found.update(scores(rows, judge, config.judge.rubric))
    least = config.judge.threshold
    asked = {row.exchange_id: found[row.exchange_id] for row in rows}
    return {
        key: f"score {score:g} below {least:g}"
        for key, score in asked.items()
        if score is not None and score < least
    }


def _sampled(
    rows: Sequence[Exchange],
    *,
    verdicts: Mapping[str, AnswerVerdict],
    found: Mapping[str, float | None],
    config: CurateConfig,
) -> Reasons:
    assert config.keep_shortest is not None
    if config.verify.kind != "none":
        correct = {key for key, verdict in verdicts.items() if verdict.correct}
    else:
        least = config.judge.threshold
        correct = {key for key, score in found.items() if score is not None and score >= least}
    return not_shortest(rows, correct, config.keep_shortest)


def _verdicts(
    rows: Sequence[Exchange], right: Verifier | None, gold: Mapping[str, str] | None
) -> dict[str, AnswerVerdict]:
    if right is None:
        return {}
    answers = gold or {}
    return {row.exchange_id: _verdict(row, right, answers.get(row.prompt_id)) for row in rows}


def _verdict(row: Exchange, right: Verifier, gold: str | None) -> AnswerVerdict:
    """Return whether an answer is right; a call of a tool is a step to one, which none can tell."""
    return AnswerVerdict(None) if row.calls else right(row.response, gold)


def _refuse_unused_gold(
    config: CurateConfig, verdicts: Mapping[str, AnswerVerdict], gold: Mapping[str, str] | None
) -> None:
    needs_gold = config.verify.kind in ("number", "exact")
    if needs_gold and verdicts and all(v.correct is None for v in verdicts.values()):
        raise PotstillError(
            f"none of the {len(gold or {})} gold answers belongs to a prompt that was answered; "
            "give those of the training prompts"
        )


def _wrong(verdict: AnswerVerdict) -> str | None:
    return verdict.reason if verdict.correct is False else None


def _verified(rows: Sequence[Exchange], verdicts: Mapping[str, AnswerVerdict]) -> Verified:
    checked = [row for row in rows if verdicts[row.exchange_id].correct is not None]
    counts = [generated_tokens(row) for row in checked]
    known = [count for count in counts if count is not None]
    return Verified(
        checked=len(checked),
        correct=sum(bool(verdicts[row.exchange_id].correct) for row in checked),
        unknown=len(rows) - len(checked),
        tokens=sum(known) if len(known) == len(counts) else None,
    )


def _mark(row: Exchange, reasons: Reasons) -> Mark:
    why = reasons.get(row.exchange_id)
    return Mark(row.exchange_id, MARKER, why is None, why or "")


def _by_filter(rows: Sequence[Exchange], reasons: Reasons, split: str) -> Counter[str]:
    """Return how many rows of a split each filter drops."""
    ids = [row.exchange_id for row in rows if row.split == split]
    return Counter(_filter_of(reasons[key]) for key in ids if key in reasons)


def _filter_of(reason: str) -> str:
    return reason.partition(":")[0]


def _examples(reasons: Reasons, count: int) -> dict[str, tuple[str, ...]]:
    ids: dict[str, list[str]] = {}
    for key in sorted(reasons):
        ids.setdefault(_filter_of(reasons[key]), []).append(key)
    return {name: tuple(ids[name][:count]) for name in filter_order() if name in ids}


def _notes(
    train: Sequence[Exchange],
    alone: Mapping[str, int],
    verdicts: Mapping[str, AnswerVerdict],
    found_scores: Mapping[str, float | None],
    judge: Judge | None,
) -> list[str]:
    notes = []
    calling = sum(bool(row.calls) for row in train) if verdicts else 0
    unknown = sum(verdict.correct is None for verdict in verdicts.values()) - calling
    if unknown:
        notes.append(f"{unknown} of {len(train)} training responses have no gold answer: kept")
    if calling:
        notes.append(
            f"{calling} of {len(train)} training responses call a tool, which is not verified: kept"
        )
    unread = sum(score is None for score in found_scores.values())
    if unread and judge is not None:
        notes.append(f"{judge.name} gave {unread} responses no score that can be read: kept")
    shared = alone.get("contaminated", 0)
    if 2 * shared > len(train):
        notes.append(
            f"{shared} of {len(train)} training exchanges share words with an evaluation set; if "
            "those are a template's, set curate.decontaminate.common"
        )
    return notes
