"""The plan of a run's prompts: which are learnt from, which watch, which are measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from potstill.exchanges.exchange import Prompt
from potstill.exchanges.overlap import OverlapReport
from potstill.work.records import PlannedOverlap, Prompts


@dataclass(frozen=True)
class KnownRow:
    """What a row says beside its prompt: the right answer, and the group that it counts in."""

    gold: str | None
    slice: str | None


@dataclass(frozen=True)
class PromptPlan:
    """What is asked, and what for.

    `train` is in the order of collection. `overlap.train` counts the prompts before those that
    resemble a held-out one were dropped. `notes` says in words what was left out, and why.
    """

    train: tuple[Prompt, ...]
    validation: tuple[Prompt, ...]
    held_out: tuple[Prompt, ...]
    overlap: OverlapReport
    notes: tuple[str, ...] = ()

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Every prompt: training, validation, held out."""
        return self.train + self.validation + self.held_out

    def knowing(self, known: Mapping[str, KnownRow], notes: Sequence[str] = ()) -> PromptPlan:
        """Return the plan with what its rows say of each prompt, and with further notes."""

        def told(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
            return tuple(
                replace(p, gold=k.gold, slice=k.slice)
                if (k := known.get(p.prompt_id)) is not None
                else p
                for p in prompts
            )

        return replace(
            self,
            train=told(self.train),
            validation=told(self.validation),
            held_out=told(self.held_out),
            notes=(*self.notes, *notes),
        )

    def kept(self, columns: Sequence[str | None] | None = None) -> Prompts:
        """Return the plan as a run keeps it, from which `of` makes it again.

        `columns` are those that right answers and slices are from; None where there are no rows.
        """
        overlap = PlannedOverlap(**asdict(self.overlap))
        if columns is None:
            return Prompts(prompts=self.prompts, overlap=overlap, notes=self.notes)
        return Prompts(
            prompts=self.prompts, overlap=overlap, notes=self.notes, columns=tuple(columns)
        )

    @classmethod
    def of(cls, kept: Prompts) -> PromptPlan:
        """Return the plan that a run has recorded."""
        return cls(
            train=tuple(p for p in kept.prompts if p.split == "train"),
            validation=tuple(p for p in kept.prompts if p.split == "validation"),
            held_out=tuple(p for p in kept.prompts if p.split == "held_out"),
            overlap=OverlapReport(**kept.overlap.model_dump()),
            notes=kept.notes,
        )
