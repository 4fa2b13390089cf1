"""From a source of prompts to the plan of a run: training, validation, held out.

What is held out is decided by digest, never by order or seed: the same prompt is on the same
side whenever and wherever the plan is made, and no training prompt equals or nearly equals it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from blake3 import blake3

from potstill.collect.prompt_rows import (
    AskedRow,
    Left,
    RowReader,
    Said,
    form_words,
    is_blank,
    said_of,
    same_prompt,
)
from potstill.collect.small_files import way_out
from potstill.collect.sources import STARTER, STARTER_HELD_OUT, read_rows, source_name
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Prompt, Split
from potstill.exchanges.overlap import OverlapReport
from potstill.recipe import PromptsConfig
from potstill.text.counts import by_number
from potstill.text.turns import Turns, prompt_id_of
from potstill.work.plan import PromptPlan
from potstill.work.shared_prompts import shared_prompts

SourceReader = Callable[[str, PromptsConfig], Sequence[Turns]]


class ReadPrompts(list[Turns]):
    """What is asked, row by row, and in `notes` what is to be said of how it was read."""

    def __init__(self, turns: Iterable[Turns] = (), notes: Iterable[str] = ()) -> None:
        super().__init__(turns)
        self.notes = tuple(notes)


def read_prompts(source: str, config: PromptsConfig) -> ReadPrompts:
    """Return the messages of every row of a source with its tools, blank ones included.

    The column holds text (one user message) or a conversation in any form that
    `potstill.logs.conversations` knows, also as JSON text; assistant turns at its end are answers,
    not prompts, and are cut off. Where no row has the default column, the one that shows the
    row's form counts. `config.template` makes text from columns. Text stays as it is, outer
    white space too. The column `tools` holds the tools on offer, where there are any: as a list,
    or as its JSON text. A column `system` beside a conversation or text is its system message;
    `config.system` goes before every prompt that has none of its own. The two starter files and
    .txt files always have the column `prompt`. Rows with speakers that are not known are left out
    and counted. Raises PotstillError, with the line, where a row does not fit, and where none is
    left.
    """
    notes, each = rows_and_prompts(source, config)
    return ReadPrompts((one.turns for one in each), notes)


def rows_and_prompts(source: str, config: PromptsConfig) -> tuple[tuple[str, ...], list[AskedRow]]:
    """Return notes on a source, and its rows with what is asked, as `read_prompts` makes it."""
    rows = read_rows(source, _field_of(source, config))
    reader = RowReader.of(config, rows.column)
    read = [reader.read(row) for row in rows]
    each = [one for one in read if isinstance(one, AskedRow)]
    left = [one.problem for one in read if isinstance(one, Left)]
    if left and not each:
        raise PotstillError(left[0])
    name, notes = source_name(source), list(rows.notes)
    columns = Counter(one.column for one in each if one.column is not None)
    said = Counter(word for one in each for word in one.said)
    for column, count in columns.items():
        rows_are = by_number(count, f"row of {name} is", f"rows of {name} are")
        notes.append(f"{rows_are} read by {form_words(column)}")
    notes += [said_of(said[word], name, word) for word in Said if said[word]]
    if left:
        rows_are = by_number(len(left), f"row of {name} is", f"rows of {name} are")
        notes.append(
            f"{rows_are} left out, since who speaks there, or what is called, is not known "
            f"(the first: {left[0]})"
        )
    return tuple(notes), each


def _field_of(source: str, config: PromptsConfig) -> str:
    """Return the setting that names a source, for errors."""
    if source in config.sources:
        return "prompts.source"
    if source in (config.held_out_sources or ()):
        return "prompts.held_out"
    return "curate.decontaminate.sources"


def plan_prompts(
    config: PromptsConfig, *, seed: int, read: SourceReader = read_prompts
) -> PromptPlan:
    """Return the plan of a run.

    `read(source, config)` gives the messages of a source; pass your own for sources that are
    not read but made (`magpie`). Prompts with equal messages count once. Raises PotstillError
    where too few prompts are left to train on.
    """
    notes: list[str] = []
    pool = _distinct(config.sources, config, read, notes)
    held_out_sources, distinct = config.held_out_sources, len(pool)
    if held_out_sources is None and config.sources == (STARTER,):
        held_out_sources = (STARTER_HELD_OUT,)
    if held_out_sources is None:
        held_out, pool = _split(pool, config.held_out_count, "held_out")
    else:
        others = _distinct(held_out_sources, config, read, notes)
        held_out, _ = _split(others, config.held_out_count, "held_out")
    if len(held_out) < config.held_out_count:
        held = by_number(len(held_out), "prompt is", "prompts are")
        notes.append(f"only {held} held out, where {config.held_out_count} were asked")
    pool, found = _without_overlap(pool, held_out, config.template)
    if found.dropped_from_training:
        notes.append(
            by_number(
                found.dropped_from_training,
                "training prompt was dropped, since it equals or nearly equals a held-out one",
                "training prompts were dropped, since they equal or nearly equal a held-out one",
            )
        )
    validation, train = _split(pool, config.validation_count, "validation")
    if not train:
        raise PotstillError(
            f"the prompt source {_named(config.sources)} leaves no prompt to train on, after "
            f"{len(held_out)} held out, {found.dropped_from_training} dropped as near-duplicates "
            f"of those and {len(validation)} for validation; "
            + way_out(
                distinct,
                own_held_out=held_out_sources is not None,
                taken=config.validation_count + (0 if held_out_sources else len(held_out)),
            )
        )
    train = _ordered(train, f"train:{seed}")[: config.limit]
    train, again = _without_overlap(train, held_out, config.template)
    return PromptPlan(
        train=_in_split(train, "train"),
        validation=_in_split(validation, "validation"),
        held_out=_in_split(held_out, "held_out"),
        overlap=_joined(found, again),
        notes=tuple(notes),
    )


def _named(sources: Sequence[str]) -> str:
    return (
        " and ".join(sources) if len(sources) < 3 else f"{sources[0]} and {len(sources) - 1} more"
    )


def _distinct(
    sources: Sequence[str], config: PromptsConfig, read: SourceReader, notes: list[str]
) -> list[Prompt]:
    """Return the prompts of sources that are neither blank nor repeated.

    White space around them tells no two apart; the first one stands as it is.
    """
    prompts: dict[str, Prompt] = {}
    for source in sources:
        found, name, blank, before = read(source, config), source_name(source), 0, len(prompts)
        notes += [note for note in getattr(found, "notes", ()) if note not in notes]
        for turns in found:
            if is_blank(turns):
                blank += 1
                continue
            key = prompt_id_of(turns.messages, turns.tools)
            prompt = Prompt(key, turns.messages, "train", name, tools=turns.tools)
            prompts.setdefault(same_prompt(turns), prompt)
        repeated = len(found) - blank - (len(prompts) - before)
        if blank:
            words = f"blank prompt of {name} was", f"blank prompts of {name} were"
            notes.append(f"{by_number(blank, *words)} left out")
        if repeated:
            words = f"repeated prompt of {name} was", f"repeated prompts of {name} were"
            notes.append(f"{by_number(repeated, *words)} left out")
    if not prompts:
        raise PotstillError(f"the prompt source {_named(sources)} has no prompt that is not blank")
    if len(sources) > 1:
        read_are = by_number(len(prompts), "prompt was", "prompts were")
        notes.append(f"{read_are} read from {len(sources)} sources")
    return list(prompts.values())


def _ordered(prompts: Sequence[Prompt], purpose: str) -> list[Prompt]:
    """Return the prompts in an order that depends on nothing but them and the purpose."""
    return sorted(prompts, key=lambda p: blake3(f"{purpose}:{p.prompt_id}".encode()).digest())


def _split(
    prompts: Sequence[Prompt], count: int, purpose: str
) -> tuple[list[Prompt], list[Prompt]]:
    """Return `count` prompts chosen by digest, and the others."""
    ordered = _ordered(prompts, purpose)
    return ordered[:count], ordered[count:]


def _without_overlap(
    train: Sequence[Prompt], held_out: Sequence[Prompt], template: str | None
) -> tuple[list[Prompt], OverlapReport]:
    """Return the training prompts that resemble no held-out one, and what was found."""
    kept: list[Prompt] = list(train)
    total: OverlapReport | None = None
    while True:
        found = shared_prompts([p.messages for p in kept], [p.messages for p in held_out], template)
        total = _counted(found) if total is None else _joined(total, found)
        if not found.train_indices:
            return kept, total
        # What is typical of a template is judged over all prompts, so dropping some can show
        # more: go on until a check of what is left finds nothing.
        drop = set(found.train_indices)
        kept = [p for i, p in enumerate(kept) if i not in drop]


def _counted(found: OverlapReport) -> OverlapReport:
    return replace(found, dropped_from_training=len(found.train_indices), train_indices=())


def _joined(first: OverlapReport, then: OverlapReport) -> OverlapReport:
    """Add what a later check of the same prompts found."""
    return replace(
        first,
        exact=first.exact + then.exact,
        near=first.near + then.near,
        dropped_from_training=first.exact + first.near + then.exact + then.near,
    )


def _in_split(prompts: Sequence[Prompt], split: Split) -> tuple[Prompt, ...]:
    return tuple(replace(p, split=split) for p in prompts)
