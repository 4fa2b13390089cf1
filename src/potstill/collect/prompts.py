"""From a source of prompts to the plan of a run: training, validation, held out.

What is held out is decided by digest, never by order or seed: the same prompt is on the same
side whenever and wherever the plan is made, and no training prompt equals or nearly equals it.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from blake3 import blake3

from potstill.collect.prompt_messages import messages_of, tools_of, user_message
from potstill.collect.small_files import way_out
from potstill.collect.sources import STARTER, STARTER_HELD_OUT, Row, read_rows, source_name
from potstill.errors import PotstillError
from potstill.exchanges.exchange import (
    Message,
    Prompt,
    Split,
    Turns,
    prompt_id_of,
)
from potstill.exchanges.overlap import OverlapReport, overlap, prompt_text
from potstill.recipe import PromptsConfig
from potstill.text.tool_calls import may_be_filled_in

Messages = tuple[Message, ...]
Reader = Callable[[str, PromptsConfig], Sequence[Turns]]

TOOLS_COLUMN = "tools"


@dataclass(frozen=True)
class Known:
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

    def knowing(self, known: Mapping[str, Known]) -> PromptPlan:
        """Return the plan with what its rows say of each prompt."""

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
        )

    def record(self) -> dict[str, Any]:
        """Return the plan as JSON values, from which `from_record` makes it again."""
        return {
            "prompts": [asdict(prompt) for prompt in self.prompts],
            "overlap": asdict(self.overlap),
            "notes": list(self.notes),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> PromptPlan:
        """Return the plan that `record` was made from."""
        prompts = [
            Prompt(**{**values, "messages": tuple(values["messages"])})
            for values in record["prompts"]
        ]
        found = record["overlap"]
        return cls(
            train=tuple(p for p in prompts if p.split == "train"),
            validation=tuple(p for p in prompts if p.split == "validation"),
            held_out=tuple(p for p in prompts if p.split == "held_out"),
            overlap=OverlapReport(**{**found, "train_indices": tuple(found["train_indices"])}),
            notes=tuple(record["notes"]),
        )


def read_prompts(source: str, config: PromptsConfig) -> list[Turns]:
    """Return the messages of every row of a source with its tools, blank ones included.

    The column holds text (one user message) or a list of messages; assistant turns at its end
    are answers, not prompts, and are cut off. `config.template` makes text from columns. The
    column `tools` holds the tools on offer, where there are any: as a list, or as its JSON text.
    `config.system` goes before every prompt that has no system message of its own. The two
    starter files and .txt files always have the column `prompt`. Raises PotstillError, with
    the line, where a row does not fit.
    """
    return [turns for _, turns in rows_and_prompts(source, config)]


def rows_and_prompts(source: str, config: PromptsConfig) -> Iterator[tuple[Row, Turns]]:
    """Yield every row of a source with what is asked, as `read_prompts` makes it."""
    plain = source in (STARTER, STARTER_HELD_OUT) or source.lower().endswith(".txt")
    column = "prompt" if plain else config.column
    fields = _template_fields(config.template) if config.template is not None else None
    for row in read_rows(source):
        if config.template is not None and fields is not None:
            values = {field: _text_value(row, field) for field in fields}
            messages: Messages = (user_message(config.template.format(**values), row.place),)
            tools = None if TOOLS_COLUMN in fields else _tools(row, stated=False)
        else:
            cell = value_of(row, column)
            if row.structs and may_be_filled_in([cell, row.values.get(TOOLS_COLUMN)]):
                raise PotstillError(
                    f"{row.place}: calls or tools stand in struct columns, which fill absent keys "
                    f"in with null; write {column} and {TOOLS_COLUMN} as .jsonl, or tools and "
                    "arguments as JSON text"
                )
            messages = messages_of(cell, column, row.place)
            tools = None if column == TOOLS_COLUMN else _tools(row, stated=isinstance(cell, list))
        if config.system is not None and messages[0]["role"] != "system":
            messages = ({"role": "system", "content": config.system}, *messages)
        yield row, Turns(messages, tools)


def is_blank(turns: Turns) -> bool:
    """Tell whether nothing is asked: the last message is the user's, and says nothing."""
    last = turns.messages[-1]
    return last["role"] == "user" and not last["content"]


def plan_prompts(config: PromptsConfig, *, seed: int, read: Reader = read_prompts) -> PromptPlan:
    """Return the plan of a run.

    `read(source, config)` gives the messages of a source; pass your own for sources that are
    not read but made (`magpie`). Prompts with equal messages count once. Raises PotstillError
    where too few prompts are left to train on.
    """
    notes: list[str] = []
    pool = _distinct(config.source, read(config.source, config), notes)
    held_out_source, distinct = config.held_out, len(pool)
    if held_out_source is None and config.source == STARTER:
        held_out_source = STARTER_HELD_OUT
    if held_out_source is None:
        held_out, pool = _split(pool, config.held_out_count, "held_out")
    else:
        others = _distinct(held_out_source, read(held_out_source, config), notes)
        held_out, _ = _split(others, config.held_out_count, "held_out")
    if len(held_out) < config.held_out_count:
        notes.append(
            f"only {len(held_out)} prompts are held out, where {config.held_out_count} were asked"
        )
    pool, found = _without_overlap(pool, held_out)
    if found.dropped_from_training:
        notes.append(
            f"{found.dropped_from_training} training prompts were dropped, since they equal or "
            "nearly equal a held-out one"
        )
    validation, train = _split(pool, config.validation_count, "validation")
    if not train:
        raise PotstillError(
            f"the prompt source {config.source} leaves no prompt to train on, after "
            f"{len(held_out)} held out, {found.dropped_from_training} dropped as near-duplicates "
            f"of those and {len(validation)} for validation; "
            + way_out(distinct, own_held_out=held_out_source is not None)
        )
    train = _ordered(train, f"train:{seed}")[: config.limit]
    train, again = _without_overlap(train, held_out)
    return PromptPlan(
        train=_in_split(train, "train"),
        validation=_in_split(validation, "validation"),
        held_out=_in_split(held_out, "held_out"),
        overlap=_joined(found, again),
        notes=tuple(notes),
    )


def value_of(row: Row, column: str, field: str = "prompts.column or prompts.template") -> Any:
    if column not in row.values:
        there = ", ".join(sorted(str(name) for name in row.values)) or "none"
        raise PotstillError(
            f"{row.place}, has no column {column}; the columns there are: {there}. Set {field}"
        )
    return row.values[column]


def _tools(row: Row, *, stated: bool) -> str | None:
    """Return the tools that a row's column `tools` offers, as JSON text.

    Beside messages (`stated`) it must hold tools; beside text another thing of that name may
    stand there, as any other column.
    """
    return tools_of(row.values.get(TOOLS_COLUMN), TOOLS_COLUMN, row.place, must_be=stated)


def _text_value(row: Row, column: str) -> str:
    value = value_of(row, column)
    return "" if value is None else str(value)


def _template_fields(template: str) -> tuple[str, ...]:
    """Return the columns that a template names."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise PotstillError(
            f"prompts.template cannot be read ({error}); write columns as {{name}} and double "
            "the braces that are meant as text"
        ) from None
    fields = [field for _, field, _, _ in parts if field is not None]
    # Plain names only: `{a.b}` and `{a[0]}` would reach into Python objects.
    if any(not f.isidentifier() or spec or conv for _, f, spec, conv in parts if f is not None):
        raise PotstillError(
            "prompts.template may only hold plain column names, like {body}; double the braces "
            "that are meant as text"
        )
    if not fields:
        raise PotstillError("prompts.template names no column; write columns as {name}")
    return tuple(dict.fromkeys(fields))


def _distinct(source: str, read: Sequence[Turns], notes: list[str]) -> list[Prompt]:
    """Return the prompts of a source that are neither blank nor repeated."""
    prompts: dict[str, Prompt] = {}
    blank = 0
    for turns in read:
        if is_blank(turns):
            blank += 1
            continue
        key = prompt_id_of(turns.messages, turns.tools)
        prompt = Prompt(key, turns.messages, "train", source_name(source), tools=turns.tools)
        prompts.setdefault(key, prompt)
    repeated = len(read) - blank - len(prompts)
    if blank:
        notes.append(f"{blank} blank prompts of {source_name(source)} were left out")
    if repeated:
        notes.append(f"{repeated} repeated prompts of {source_name(source)} were left out")
    if not prompts:
        raise PotstillError(f"the prompt source {source} has no prompt that is not blank")
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


def _texts(prompts: Sequence[Prompt]) -> list[str]:
    return [prompt_text(p.messages) for p in prompts]


def _without_overlap(
    train: Sequence[Prompt], held_out: Sequence[Prompt]
) -> tuple[list[Prompt], OverlapReport]:
    """Return the training prompts that resemble no held-out one, and what was found."""
    kept: list[Prompt] = list(train)
    total: OverlapReport | None = None
    while True:
        found = overlap(_texts(kept), _texts(held_out))
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
