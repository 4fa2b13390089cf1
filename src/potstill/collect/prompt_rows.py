"""One row of a prompt source as what a model is asked, with the row's place in every complaint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from potstill.errors import PotstillError
from potstill.logs.conversations import (
    INSTRUCTION,
    SYSTEM_COLUMNS,
    asked,
    chat_of_row,
    column_showing,
    like_message,
    messages_of,
    order_of,
)
from potstill.logs.rows import SourceRow
from potstill.logs.template import template_columns
from potstill.logs.turns import Chat, Unfit, text_of
from potstill.recipe import PromptsConfig
from potstill.text.counts import by_number
from potstill.text.tool_calls import Flaw, may_be_filled_in, spelled, tools_in
from potstill.text.turns import Message, Turns, prompt_id_of

T = TypeVar("T")

TOOLS_COLUMN = "tools"
_PLAIN_NAME = re.compile(r"\w[\w.-]*(?: [\w.-]+)?")
_MOST_NAMED = 12
_DEFAULT_COLUMN = PromptsConfig().column


class Said(StrEnum):
    """What is done with a row that its reader may not expect; a note counts each."""

    OWN_SYSTEM = "have a system message of their own; prompts.system is not put before them"
    ANSWERED = "end with an answer, which is not asked"
    JSON_TEXT = "hold a conversation as text, which is read"
    UNUSED_SYSTEM = "have a system message that prompts.template does not name; it is not asked"


# The same of a single row.
_SAID_OF_ONE = {
    Said.OWN_SYSTEM: "has a system message of its own; prompts.system is not put before it",
    Said.ANSWERED: "ends with an answer, which is not asked",
    Said.JSON_TEXT: "holds a conversation as text, which is read",
    Said.UNUSED_SYSTEM: "has a system message that prompts.template does not name; it is not asked",
}


def said_of(count: int, name: str, said: Said) -> str:
    """Return the note on so many rows of a source that something is done with."""
    one = f"prompt of {name} {_SAID_OF_ONE[said]}"
    return by_number(count, one, f"prompts of {name} {said}")


@dataclass(frozen=True)
class AskedRow:
    """What a row asks; `column` is where it stands, if the recipe does not say so."""

    row: SourceRow
    turns: Turns
    said: tuple[Said, ...] = ()
    column: str | None = None


@dataclass(frozen=True)
class Left:
    """A row whose speakers are not known, and `problem`: where it is, and what is said instead."""

    problem: str


@dataclass(frozen=True)
class RowReader:
    """How the rows of one source are read; `column` is the recipe's, or what the source decides."""

    config: PromptsConfig
    column: str
    fields: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: PromptsConfig, column: str | None) -> RowReader:
        """Return the reader that a recipe asks for. Raises PotstillError for a broken template."""
        fields = (
            () if config.template is None else template_columns(config.template, "prompts.template")
        )
        return cls(config, column or config.column, fields)

    def read(self, row: SourceRow) -> AskedRow | Left:
        """Return what a row asks, or that nobody known speaks in it.

        Raises PotstillError, with its place, where it does not fit.
        """
        if self.config.template is not None:
            return self._by_template(row, self.config.template.strip())
        column, found = self.column, None
        if column not in row.values or self._is_elsewhere(row):
            column = found = self._showing(row)
        cell = row.values[column]
        if row.structs and may_be_filled_in([cell, row.values.get(TOOLS_COLUMN)]):
            raise PotstillError(
                f"{row.place}: calls or tools stand in struct columns, which fill absent keys "
                f"in with null; write {column} and {TOOLS_COLUMN} as .jsonl, or tools and "
                "arguments as JSON text"
            )
        found_chat = chat_of_row(row.values, column)
        if isinstance(found_chat, Unfit) and found_chat.trouble == "speaker":
            return Left(f"{row.place}: {found_chat}")
        chat = _fit(found_chat, row)
        every = _fit(messages_of(chat), row)
        messages = asked(every)
        said = [Said.ANSWERED] if len(messages) < len(every) else []
        if isinstance(cell, str) and chat.turns and chat.form in ("chat", "sharegpt"):
            said.append(Said.JSON_TEXT)
        beside = bool(chat.fields) and chat.fields[0] in SYSTEM_COLUMNS
        if messages[beside:]:
            _fit(order_of(messages, column), row)
        else:
            messages = ({"role": "user", "content": ""},)
        tools = self._tools(row, chat, column)
        return self._with_system(row, messages, tools, said, found)

    def _by_template(self, row: SourceRow, template: str) -> AskedRow:
        values = {field: _text_value(row, field) for field in self.fields}
        text = _fit(text_of(template.format(**values), "the prompt"), row)
        tools = None if TOOLS_COLUMN in self.fields else tools_of(row, must_be=False)
        unnamed = [key for key in SYSTEM_COLUMNS if key not in self.fields]
        said = [Said.UNUSED_SYSTEM] if any(row.values.get(key) for key in unnamed) else []
        return self._with_system(row, ({"role": "user", "content": text},), tools, said, None)

    def _with_system(
        self,
        row: SourceRow,
        messages: tuple[Message, ...],
        tools: str | None,
        said: list[Said],
        column: str | None,
    ) -> AskedRow:
        system = self.config.system
        if system is not None:
            if messages[0]["role"] != "system":
                messages = ({"role": "system", "content": system}, *messages)
            elif messages[0]["content"] != system:
                said.append(Said.OWN_SYSTEM)
        return AskedRow(row, Turns(messages, tools), tuple(said), column)

    def _is_elsewhere(self, row: SourceRow) -> bool:
        """Tell whether a row's null comes from other rows' columns, as in a table of two kinds."""
        empty = self.column == _DEFAULT_COLUMN and row.values[self.column] is None
        return empty and isinstance(column_showing(row.values), str)

    def _showing(self, row: SourceRow) -> str:
        """Return the column of a row that lacks the recipe's, where it can be only one."""
        found = column_showing(row.values) if self.column == _DEFAULT_COLUMN else None
        if isinstance(found, str):
            return found
        if found is None or (found.trouble == "form" and found.field == "the row"):
            value_of(row, self.column)
        raise PotstillError(f"{row.place}: {found}, with prompts.column")

    def _tools(self, row: SourceRow, chat: Chat, column: str) -> str | None:
        if chat.tools is not None:
            return tools_of(SourceRow({TOOLS_COLUMN: chat.tools}, row.place), must_be=True)
        if column == TOOLS_COLUMN:
            return None
        return tools_of(row, must_be=chat.form in ("chat", "sharegpt"))


def is_blank(turns: Turns) -> bool:
    """Tell whether nothing is asked: the last message is the user's, and says nothing."""
    last = turns.messages[-1]
    return last["role"] == "user" and not last["content"].strip()


def same_prompt(turns: Turns) -> str:
    """Return what equals that of a prompt that differs in white space around it alone.

    It is the prompt's own id where there is none.
    """
    bare = tuple(m | {"content": m["content"].strip()} for m in turns.messages)
    return prompt_id_of(bare, turns.tools)


def value_of(row: SourceRow, column: str, field: str = "prompts.column or prompts.template") -> Any:
    """Return a cell. Raises PotstillError, which says to set `field`, where there is none."""
    if column not in row.values:
        raise PotstillError(
            f"{row.place}, has no column {column}; the columns there are: {_columns(row)}. "
            f"Set {field}"
        )
    return row.values[column]


def _columns(row: SourceRow) -> str:
    """Return the columns of a row in words; a table without a header has text in their place."""
    plain = [name for name in sorted(map(str, row.values)) if _PLAIN_NAME.fullmatch(name)]
    shown, others = plain[:_MOST_NAMED], len(row.values) - len(plain[:_MOST_NAMED])
    if not others:
        return ", ".join(shown) or "none"
    named = f"{', '.join(shown)} and " if shown else ""
    return f"{named}{others} more" + ("" if plain else " (is the first line a header?)")


def tools_of(row: SourceRow, *, must_be: bool) -> str | None:
    """Return the tools that a row's column `tools` offers, as JSON text; None where it has none.

    Beside messages it `must_be` tools, and PotstillError is raised where they cannot be read;
    beside text another thing of that name may stand there, as any other column.
    """
    tools = tools_in(row.values.get(TOOLS_COLUMN))
    if not isinstance(tools, Flaw):
        return spelled(tools)
    if not must_be:
        return None
    raise PotstillError(
        f"{row.place}: the column {TOOLS_COLUMN} holds {tools}; write them as in a chat request, "
        '[{"type": "function", "function": {"name": ...}}], or rename the column'
    )


def form_words(column: str) -> str:
    """Return what a column that the recipe does not name is read as."""
    if column == INSTRUCTION:
        return f"{INSTRUCTION} and input (or context), as one prompt"
    return f"the conversation in {column}"


def _fit(found: T | Unfit, row: SourceRow) -> T:
    if isinstance(found, Unfit):
        raise PotstillError(f"{row.place}: {found}")
    return found


def _text_value(row: SourceRow, column: str) -> str:
    value = value_of(row, column)
    if isinstance(value, list) and any(map(like_message, value)):
        raise PotstillError(
            f"{row.place}: {column} holds a list of messages, which a template cannot write; name "
            "it in prompts.column, or write it as text"
        )
    return "" if value is None else str(value)
