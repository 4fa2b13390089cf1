"""Curate: which of the answers the student learns from, by what the run has open."""

from __future__ import annotations

from functools import partial

from potstill.collect.prompts import read_prompts
from potstill.collect.served.step import read_answers
from potstill.curate.asking import asked_in_batches
from potstill.curate.judge import Judge
from potstill.curate.stage import Grounds, curate_answers
from potstill.exchanges.exchange import Split
from potstill.exchanges.overlap import prompt_text
from potstill.progress import Progress
from potstill.recipe import DecontaminateConfig, PromptsConfig
from potstill.runs.collecting import text_reader
from potstill.runs.parts import Parts
from potstill.work.access import Weights
from potstill.work.speaking import unlearnable
from potstill.work.stage_records import UNMEASURED, CurateRecord


def curate_stored(parts: Parts) -> CurateRecord:
    """Mark every stored answer as kept or dropped, and have a server read what it has to."""
    recipe, opened, progress = parts.recipe, parts.opened, parts.progress
    config = recipe.curate
    rows = parts.store.read()
    beyond = unlearnable(
        rows,
        parts.access,
        opened.conversation,
        opened.context,
        config.reasoning,
        progress,
        cut=parts.cut,
    )
    known = Grounds(
        gold={p.prompt_id: p.gold for p in parts.plan.prompts if p.gold is not None},
        evaluation_texts=evaluation_texts(config.decontaminate, progress),
        judge=_judge(parts),
        unlearnable=beyond,
        text_only=recipe.train.cross_entropy == 1,
    )
    needed: dict[Split, str] = {"held_out": "held-out"}
    if recipe.cuts:
        needed["validation"] = "validation"
    found = curate_answers(
        parts.store,
        rows,
        config,
        known,
        needed=needed,
        measured_on=parts.corpus.measured_on,
        progress=progress,
    )
    values = {**found.record(), **UNMEASURED}
    reader = text_reader(parts)
    if reader is not None:
        values["reading"] = read_answers(
            reader, parts.corpus, currency=recipe.cost.currency, progress=progress
        )
    return CurateRecord.model_validate(values)


def evaluation_texts(config: DecontaminateConfig, progress: Progress | None = None) -> list[str]:
    """Return the texts of the evaluation sets that training must stay clear of.

    How they were read is said where there is a `progress` to say it.
    """
    wanted = PromptsConfig(column=config.column)
    texts = []
    for source in config.sources:
        found = read_prompts(source, wanted)
        if progress is not None:
            for note in found.notes:
                progress.note(f"curate: {note}")
        texts += [prompt_text(turns.messages) for turns in found]
    return texts


def judge_of(named: str, parts: Parts) -> Judge:
    """Return the judge of that name, loaded, which asks in batches."""
    model = parts.compute.load(Weights(named))
    ask = partial(asked_in_batches, model, parts.progress)
    return Judge(named, model.identity, ask, kept=parts.run.judge_scores_path)


def _judge(parts: Parts) -> Judge | None:
    """Return the judge that the recipe names, if it names one."""
    named = parts.recipe.curate.judge.model
    if named is None:
        return None
    with parts.progress.step("load judge"):
        judge = judge_of(named, parts)
    parts.require_checked("curate.judge.model", judge.identity)
    return judge
