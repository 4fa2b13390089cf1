"""The plan of a run's prompts: made once, from its sources or its log of calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.collect.calls import prompts_from_calls
from potstill.collect.magpie import written_prompts
from potstill.collect.prompts import SourceReader, plan_prompts, read_prompts
from potstill.collect.sources import MAGPIE
from potstill.collect.task_rows import read_known
from potstill.logs.reading import Log
from potstill.progress import Progress
from potstill.recipe import PromptsConfig, TaskConfig
from potstill.terms.gate import TermsDecision
from potstill.text.turns import Turns
from potstill.work.access import Author, PastCalls
from potstill.work.opened import Opened
from potstill.work.plan import KnownRow, PromptPlan
from potstill.work.speaking import AnswerRoom, AskablePlan, askable


@dataclass(frozen=True)
class Planning:
    """What a recipe says of its prompts.

    `gold`: rows are learnt as they are, by the right answers that they came with. `room` is what
    is kept for answers.
    """

    prompts: PromptsConfig
    task: TaskConfig | None
    gold: bool
    room: AnswerRoom
    seed: int

    @property
    def columns(self) -> list[str | None]:
        """The columns that a plan's right answers and slices are from."""
        return [] if self.task is None else [self.task.gold, self.task.slice]


def known_before(author: Author, prompts: PromptsConfig) -> bool:
    """Tell whether prompts can be planned before anybody is asked.

    Not where the teacher has to write them first, nor where calls come with their answers.
    """
    written = MAGPIE in (*prompts.sources, *(prompts.held_out_sources or ()))
    return not written and not isinstance(author, PastCalls)


def new_plan(
    planning: Planning, log: Log | None, read: SourceReader, opened: Opened, progress: Progress
) -> AskablePlan:
    """Return the plan of the sources that `read` reads, or of what a `log` asked; says its notes.

    Prompts know the right answers that their rows came with; those that leave the student no room
    for an answer are left out. Raises PotstillError where too few are left.
    """
    if log is not None:
        plan = prompts_from_calls(log, planning.prompts, seed=planning.seed).plan
    else:
        plan = plan_prompts(planning.prompts, seed=planning.seed, read=read)
    plan = told(plan, planning)
    for note in plan.notes:
        progress.note(note)
    return askable(plan, opened, planning.room, progress)


def told(plan: PromptPlan, planning: Planning) -> PromptPlan:
    """Return the plan with the right answers and slices that its rows came with."""
    task, prompts = planning.task, planning.prompts
    if task is None or (task.gold is None and task.slice is None):
        return plan
    # Only rows that are scored, or trained on as they are, need a right answer.
    unlabelled = prompts.held_out is not None and not planning.gold
    found = [read_known(prompts.sources, prompts, task, unlabelled=unlabelled)]
    others = prompts.held_out_sources
    if others is not None and others != prompts.sources:
        found.append(read_known(others, prompts, task))
    known = {key: value for rows in found for key, value in rows.items()}
    return plan.knowing(known, [note for rows in found for note in rows.notes])


def told_anew(plan: PromptPlan, planning: Planning) -> PromptPlan:
    """Return a plan with the right answers of the columns named now, and none of those before."""
    return told(plan.knowing({p.prompt_id: KnownRow(None, None) for p in plan.prompts}), planning)


def reading(
    opened: Opened, decision: TermsDecision, *, seed: int, slots: int, progress: Progress
) -> SourceReader:
    """Return what reads a source of prompts; the teacher is asked to write those of magpie."""

    def read(source: str, config: PromptsConfig) -> Sequence[Turns]:
        if source != MAGPIE:
            return read_prompts(source, config)
        head = [{"role": "system", "content": config.system}] if config.system else []
        written = written_prompts(
            opened.teacher,
            config.magpie,
            decision,
            seed=seed,
            slots=slots,
            system=config.system,
            progress=progress,
        )
        return [Turns((*head, {"role": "user", "content": text})) for text in written]

    return read
