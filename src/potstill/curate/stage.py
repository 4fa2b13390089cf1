"""Curate: which of the answers the student learns from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from potstill.curate.curate import Reasons, curate, write_marks
from potstill.curate.curation import CurationResult
from potstill.curate.judge import Judge
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Split
from potstill.exchanges.store import ExchangeStore
from potstill.progress import Progress, Silent
from potstill.recipe import CurateConfig
from potstill.work.corpus import every_answer
from potstill.work.left_out import WHY


@dataclass(frozen=True)
class Grounds:
    """What curation goes by beside the answers.

    `gold` maps prompt ids to right answers, `evaluation_texts` are those that training must stay
    clear of, `judge` is asked, where there is one, and `unlearnable` says by filter which answers
    the student cannot read, and why. `text_only`: the student learns from text, not from targets.
    """

    gold: Mapping[str, str] = field(default_factory=dict)
    evaluation_texts: Sequence[str] = ()
    judge: Judge | None = None
    unlearnable: Mapping[str, Reasons] = field(default_factory=dict)
    text_only: bool = False


def curate_answers(
    store: ExchangeStore,
    rows: Sequence[Exchange],
    config: CurateConfig,
    known: Grounds = Grounds(),
    *,
    needed: Mapping[Split, str] | None = None,
    measured_on: Callable[[Exchange], bool] = every_answer,
    progress: Progress = Silent(),
) -> CurationResult:
    """Mark every stored answer as kept or dropped, durable on return, and return the counts.

    `rows` are all that the store holds. `needed` names the splits, in words, without which a later
    stage has nothing to measure on, and `measured_on` tells which held-out answers it takes. Raises
    PotstillError where curation leaves no training answer, or none of one of those.
    """
    found = curate(
        rows,
        config,
        gold=known.gold or None,
        evaluation_texts=known.evaluation_texts,
        judge=known.judge,
        text_only=known.text_only,
        unlearnable=known.unlearnable,
    )
    for note in _elsewhere(found):
        progress.note(note)
    found.require_training_rows()
    write_marks(store, found)
    dropped_ids = store.dropped()
    kept = [row for row in rows if row.exchange_id not in dropped_ids]
    measured = {row.split for row in kept if row.split != "held_out" or measured_on(row)}
    _require_measured_rows(measured, needed or {})
    for note in found.notes:
        progress.note(f"curate: {note}")
    dropped = ", ".join(f"{count} {name}" for name, count in found.dropped.items() if count)
    if dropped:
        progress.note(
            f"curate: {found.train_kept} of {found.train} training answers kept ({dropped})"
        )
    return found


def _require_measured_rows(kept: Collection[Split], needed: Mapping[Split, str]) -> None:
    """Refuse to go on without what a later stage cannot do without: nothing is trained in vain."""
    for split, name in needed.items():
        if split not in kept:
            raise PotstillError(
                f"there is no answer to a {name} prompt to measure the student on: none came, or "
                "curation left none; run the same command again to ask for what failed, or raise "
                f"prompts.{split}_count in a recipe for another directory"
            )


def _elsewhere(found: CurationResult) -> list[str]:
    """Return in sentences how many rows that nothing is trained on are left out, and why."""
    return [
        f"curate: {count} {split.replace('_', '-')} answers left out: {WHY.get(name, name)}"
        for split, dropped in found.elsewhere.items()
        for name, count in dropped.items()
    ]
