"""What a run would do: everything is checked, nothing is asked, and nothing is written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from potstill.collect.asked import prompt_sets
from potstill.collect.calls import given_answers, prompts_from_calls
from potstill.collect.served.pending import AskingEstimate, estimate, reading_estimate
from potstill.collect.served.reading_log import own_texts_read, texts_read
from potstill.durable import temporary_folder
from potstill.endpoint.budget import likely_prompt_tokens
from potstill.exchanges.store import ExchangeStore
from potstill.progress import Progress
from potstill.recipe import Recipe
from potstill.recipe.stages import TRAIN, first_stage, from_stage
from potstill.runs.changed_files import note_changed_files
from potstill.runs.checking import check_all
from potstill.runs.collecting import asking, planned_prompts, some_failed
from potstill.runs.minutes.fields import with_stored_plan
from potstill.runs.order import training_begun
from potstill.runs.parts import Parts
from potstill.runs.student_terms import require_terms_of_all
from potstill.text.tool_calls import message_text
from potstill.text.turns import Turns
from potstill.train.rollouts import own_steps
from potstill.work.access import PastCalls, RightAnswers, Server
from potstill.work.plan import PromptPlan
from potstill.work.run_recipe import RECIPE, changes, refuse_changes
from potstill.work.rundir import RunDir, readings_path
from potstill.work.stage_records import CollectRecord, TrainRecord
from potstill.work.workdir import MANIFEST_FILE


@dataclass(frozen=True)
class DryRun:
    """What a run would do: its prompts by split, and what is left to ask a server.

    `prompts` is None where nobody knows them yet, since the teacher would write them.
    """

    prompts: dict[str, int] | None
    asked: tuple[tuple[str, AskingEstimate], ...]


def dry_run(
    recipe: Recipe,
    out: Path | None = None,
    *,
    fresh: bool = False,
    redo: bool = False,
    until: str | None = None,
    progress: Progress,
) -> DryRun:
    """Check all that a run checks before its first question, and return what it would ask.

    The arguments are those of `distill`. Nothing is asked, and nothing is written into the run
    directory. Raises PotstillError for whatever a run would be refused for, then or later.
    """
    root = out or Path("runs") / recipe.name
    recipe = with_stored_plan(recipe, root, fresh=fresh)
    RECIPE.refuse_foreign(root)
    if not fresh:
        refuse_changes(root, changes(root, recipe), redo=redo)
    with checked_apart(recipe, None if fresh else root, progress) as parts:
        plan = planned_prompts(parts)
        asks = parts.run.done(CollectRecord) is None or _asks_again(
            parts, root, redo=redo, until=until
        )
        estimates = _estimates(parts, plan, parts.run.root if fresh else root, asks=asks)
    counts = None if plan is None else Counter(str(prompt.split) for prompt in plan.prompts)
    return DryRun(None if counts is None else dict(counts), tuple(estimates))


@contextmanager
def checked_apart(recipe: Recipe, like: Path | None, progress: Progress) -> Iterator[Parts]:
    """Check all that a run checks first in a directory of its own, which goes afterwards.

    `like` is the run directory that the run would go on in. Raises PotstillError where there is no
    place for such a directory.
    """
    with temporary_folder() as folder, RunDir.open(folder / recipe.name, recipe) as scratch:
        if like is not None:
            scratch.begin_like(like)
        parts = Parts(scratch, recipe, progress)
        try:
            require_terms_of_all(parts)
            note_changed_files(parts)
            check_all(parts)
            yield parts
        finally:
            parts.store.close()


def _asks_again(parts: Parts, root: Path, *, redo: bool, until: str | None) -> bool:
    """Tell whether a run that has collected in `root` asks again what got no answer."""
    found = changes(root, parts.recipe)
    unchanged = (root / MANIFEST_FILE).is_file() and not found
    if unchanged and not redo:
        return False
    all_of_them = unchanged or until == "collect"
    anew = bool(found) and TRAIN in from_stage(first_stage(found))
    begun = training_begun(root) and not anew
    return some_failed(parts, in_vain=all_of_them) and (all_of_them or not begun)


def _estimates(
    parts: Parts, plan: PromptPlan | None, run: Path, *, asks: bool
) -> list[tuple[str, AskingEstimate]]:
    """Return what is left to ask a server and what it takes at most.

    `run` is the run's directory, whose stored responses are not asked again; `asks` tells whether
    the others are. Empty where nothing is asked of a server.
    """
    author, server = parts.access.author, parts.access.server
    if server is None:
        return []
    found = []
    if isinstance(author, Server) and asks:
        assert plan is not None  # a server writes no prompts
        found = _asking(parts.recipe, author, plan, run)
    if server.reads_given_text:
        texts = _texts_to_read(parts, plan)
        done = texts_read(readings_path(run))
        found.append(("answers to read", reading_estimate(server.endpoint, texts, done)))
        own = _own_texts(parts.recipe, texts)
        if own and parts.run.done(TrainRecord) is None:
            done = own_texts_read(readings_path(run))
            found.append(("own answers to read", reading_estimate(server.endpoint, own, done)))
    return found


def _asking(
    recipe: Recipe, server: Server, plan: PromptPlan, run: Path
) -> list[tuple[str, AskingEstimate]]:
    """Return what each set of prompts takes, but for the answers that a run has stored."""
    stored: set[str] = set()
    if run.is_dir():
        store = ExchangeStore(run)
        stored = store.ids()
        store.close()
    how = asking(recipe)
    return [
        (
            part.label,
            estimate(
                server.endpoint,
                server.model,
                part.prompts,
                part.sampling,
                samples=part.samples,
                stored=stored,
            ),
        )
        for part in prompt_sets(plan, how.samplings, how.asked(server))
    ]


def _texts_to_read(parts: Parts, plan: PromptPlan | None) -> Sequence[tuple[Turns, str | int]]:
    """Return the training answers that a server may be given to read, each with its prompt.

    Of a server's own answers nobody knows which will come without log-probabilities, nor how long
    they will be: they are given by the most tokens that they may have.
    """
    recipe = parts.recipe
    match parts.access.author:
        case PastCalls():
            called = prompts_from_calls(parts.calls, recipe.prompts, seed=recipe.seed).plan
            return given_answers(parts.calls, called)
        case RightAnswers():
            assert plan is not None  # rows are read before anybody is asked
            return [(p.turns, p.gold) for p in plan.train if p.gold is not None]
        case _:
            assert plan is not None  # a server writes no prompts
            longest, samples = recipe.collect.max_tokens, recipe.collect.samples
            return [(p.turns, longest) for p in plan.train for _ in range(samples)]


def _own_texts(
    recipe: Recipe, texts: Sequence[tuple[Turns, str | int]]
) -> list[tuple[Turns, str | int]]:
    """Return what a student will write while it is trained on `texts`, about, at its longest.

    Steps are counted from their tokens: how many answers will be kept nobody knows.
    """
    train, own = recipe.train, recipe.train.on_policy
    if own is None or not texts:
        return []
    tokens = sum(
        likely_prompt_tokens(map(message_text, turns.messages))
        + (answer if isinstance(answer, int) else likely_prompt_tokens([answer]))
        for turns, answer in texts
    )
    steps = math.ceil(tokens * train.epochs / train.batch_tokens)
    planned = steps if train.steps is None else min(steps, train.steps)
    count = sum(own_steps(steps, own)[:planned]) * own.prompts
    return [(turns, own.max_tokens) for turns, _ in islice(cycle(texts), count)]
