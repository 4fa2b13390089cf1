"""A row or a cell, in the forms that people have, as one list of messages.

Known are OpenAI's messages, ShareGPT (`conversations` of `from` and `value`), Alpaca
(`instruction`, `input`, `output`), Dolly (`context` in place of `input`), TRL
(`prompt` and `completion`) and each of them as JSON text in a cell. Everything here is pure: what
fits no form comes back as `Unfit`, with the field, and never quotes a text. Text is kept byte for
byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from potstill.canonical import parsed
from potstill.logs.list_text import is_damaged_list, python_value
from potstill.logs.turns import Chat, Unfit, text_of, turns_of
from potstill.text.tool_calls import Flaw, calls_in, results_have_calls
from potstill.text.turns import Message

INSTRUCTION = "instruction"
_INPUTS = ("input", "context")  # of Alpaca and of Dolly: what an instruction is about
# Columns that hold one conversation or prompt each, and so show the form of a row.
COLUMNS = ("messages", "conversations", "conversation", "prompt", INSTRUCTION)
SYSTEM_COLUMNS = ("system", "system_prompt")
ANSWER_COLUMNS = {"prompt": "completion", INSTRUCTION: "output"}
_CHATS = ("messages", "conversations", "conversation")


def chat_of_row(
    row: Mapping[str, Any], column: str | None = None, *, answers: bool = False
) -> Chat | Unfit:
    """Return the conversation that a row holds in a column, or in the one that shows its form.

    Text in `system` (or `system_prompt`) beside it is its first message, and Alpaca's `input`
    (Dolly's `context`) goes with `instruction`. With `answers`, what `completion` and `output` hold
    are its last turns; otherwise they are not looked at.
    """
    if column is None:
        found = column_showing(row)
        if isinstance(found, Unfit):
            return found
        column = found
    if answers and row.get("chosen") is not None:
        return Unfit(
            "chosen",
            "and rejected are answers to choose between, not one that a model gave; name the "
            "column of the answer that is meant, or write it as completion",
            "preference",
        )
    cell = row.get(column)
    chat = _alpaca(row) if column == INSTRUCTION else chat_of_cell(cell, column)
    if isinstance(chat, Unfit):
        return chat
    if answers and row.get(ANSWER_COLUMNS.get(column, "")) is not None:
        chat = _answered(chat, row[ANSWER_COLUMNS[column]], ANSWER_COLUMNS[column])
    return chat if isinstance(chat, Unfit) else _with_system(chat, row, but=column)


def chat_of_cell(cell: Any, field: str) -> Chat | Unfit:
    """Return the conversation that a cell is: text is the user's message, null a blank one.

    JSON text (or Python's spelling of it) of a list of messages is that list, and an object with
    `messages` is what is in it.
    """
    if isinstance(cell, str):
        found = written_messages(cell, field)
        if isinstance(found, Unfit):
            return found
        cell = cell if found is None else found
    if cell is None or isinstance(cell, str):
        return Chat(({"role": "user", "content": cell or ""},), (field,), "text")
    if isinstance(cell, Mapping):
        return _in_object(cell, field)
    if not isinstance(cell, list | tuple):
        return Unfit(
            field,
            f"holds {type(cell).__name__}, where text or a list of messages is needed",
            "form",
        )
    return turns_of(cell, field)


def written_messages(text: str, field: str) -> list[Any] | dict[str, Any] | Unfit | None:
    """Return the messages, or the object with messages, that text spells; None for other text.

    Text that would be messages but for a flaw is unfit, for asked as it stands it would hold its
    own answer. Text that only begins with a list of them, and goes on in words, is text.
    """
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    value = _read(text)
    if isinstance(value, list) and (not value or any(map(like_message, value))):
        return value
    if isinstance(value, dict) and any(
        isinstance(value.get(key), list) and any(map(like_message, value[key])) for key in _CHATS
    ):
        return value
    if value is None and is_damaged_list(text):
        return Unfit(
            field,
            "begins like a list of messages, but cannot be read as JSON; write the list as JSON",
            "form",
        )
    return None


def messages_of(chat: Chat) -> tuple[Message, ...] | Unfit:
    """Return the turns of a chat as messages: texts joined, calls in one form, all else left out.

    An assistant's message may have `tool_calls`, `reasoning_content` and `weight` 0; a tool's
    result `tool_call_id` and `name`.
    """
    messages: list[Message] = []
    for turn, field in zip(chat.turns, chat.fields, strict=True):
        message = message_of(turn, field)
        if isinstance(message, Unfit):
            return message
        messages.append(message)
    return tuple(messages)


def message_of(turn: Mapping[str, Any], field: str) -> Message | Unfit:
    """Return one turn, whose text stands in `field`, as a message."""
    role = turn["role"]
    at = field.removesuffix(".content").removesuffix(".value")
    calls = calls_in(turn.get("tool_calls") or turn.get("function_call"))
    if role != "assistant":
        calls = []
    if isinstance(calls, Flaw):
        return Unfit(at, f"has {calls}; correct it, or remove the row", "calls", calls)
    content = turn.get("content")
    if content is None and not calls:
        return Unfit(field, "is missing; correct it, or remove the row", "content")
    text = text_of("" if content is None else content, field)
    if isinstance(text, Unfit):
        return text
    message: Message = {"role": role, "content": text}
    if role == "tool":
        keys: tuple[str, ...] = ("tool_call_id", "name")
    else:
        keys = ("reasoning_content",) if role == "assistant" else ()
    values = {**turn, "reasoning_content": turn.get("reasoning_content") or turn.get("reasoning")}
    for key in keys:
        value = values.get(key)
        if isinstance(value, str) and value:
            checked = text_of(value, f"{at}.{key}")
            if isinstance(checked, Unfit):
                return checked
            message[key] = checked
    if role == "assistant" and turn.get("weight") == 0:
        message["weight"] = 0  # its words are no example: train.turns passes them over
    return message | {"tool_calls": calls} if calls else message


def asked(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the messages without the assistant's at the end, which are answers."""
    end = len(messages)
    while end and messages[end - 1]["role"] == "assistant":
        end -= 1
    return tuple(messages[:end])


def order_of(messages: Sequence[Message], field: str) -> Unfit | None:
    """Return what keeps messages from being asked: how they end, or a result without its call."""
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        return Unfit(
            field,
            "does not end with a message of the user or of a tool; add what is "
            "asked, or remove the row",
            "order",
        )
    if not results_have_calls(messages):
        return Unfit(
            field,
            "holds a tool's result that follows no call of it; put the assistant's message with "
            "its tool_calls before it, or remove the row",
            "order",
        )
    return None


def column_showing(row: Mapping[str, Any]) -> str | Unfit:
    """Return the column that shows a row's form: the one of `COLUMNS` that it has."""
    found = [name for name in COLUMNS if row.get(name) is not None]
    if len(found) == 1:
        return found[0]
    if found:
        return Unfit(" and ".join(found), "stand in one row; name the column that is meant", "form")
    if row.get("chosen") is not None:
        return Unfit(
            "chosen",
            "and rejected answers stand there without their prompt; put it into a column prompt",
            "preference",
        )
    return Unfit("the row", f"has none of the columns {', '.join(COLUMNS)}", "form")


def like_message(item: Any) -> bool:
    """Tell whether a value has the keys of a message, and is not just any object."""
    if not isinstance(item, Mapping):
        return False
    said = item.keys() & {"content", "value", "tool_calls", "function_call"}
    return bool(item.keys() & {"role", "from"} and said)


def without_nulls(value: Any) -> Any:
    """Return a value without the keys that are null, however deep.

    A typed column (Arrow's, Parquet's) gives every object the keys of all others.
    """
    if isinstance(value, Mapping):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(inner) for inner in value]
    return value


def _alpaca(row: Mapping[str, Any]) -> Chat | Unfit:
    texts = []
    for key in (INSTRUCTION, *_INPUTS):
        text = text_of(row.get(key) if row.get(key) is not None else "", key)
        if isinstance(text, Unfit):
            return text
        if text.strip():
            texts.append(text)
    if all(row.get(key) for key in _INPUTS):
        return Unfit(
            " and ".join(_INPUTS),
            f"stand in one row beside {INSTRUCTION}; write what is asked with a template",
            "form",
        )
    if row.get("history"):
        return Unfit("history", "holds earlier turns; write the row as messages", "form")
    prompt = {"role": "user", "content": "\n\n".join(texts)}
    return Chat((prompt,), (INSTRUCTION,), "alpaca")


def _answered(chat: Chat, answer: Any, field: str) -> Chat | Unfit:
    """Return a chat with the answer of another column as its last turns."""
    end = Chat(({"role": "assistant", "content": answer},), (field,), chat.form)
    given = turns_of(answer, field) if isinstance(answer, list | tuple) else end
    if isinstance(given, Unfit):
        return given
    return replace(chat, turns=chat.turns + given.turns, fields=chat.fields + given.fields)


def _with_system(chat: Chat, row: Mapping[str, Any], *, but: str, field: str = "") -> Chat | Unfit:
    """Return a chat with the system message that stands beside it as its first turn."""
    stated: dict[str, str] = {}
    for key in SYSTEM_COLUMNS:
        if key == but or row.get(key) is None:
            continue
        text = text_of(row[key], field + key)
        if isinstance(text, Unfit):
            return replace(text, problem=f"{text.problem}; rename it if it is no system message")
        if text.strip():
            stated[field + key] = text
    if not stated:
        return chat
    key, text = next(iter(stated.items()))
    if len(set(stated.values())) > 1:
        return Unfit(" and ".join(stated), "differ; keep one system message", "system")
    own = [turn for turn in chat.turns if turn["role"] == "system"]
    if not own:
        turn = {"role": "system", "content": text}
        return replace(chat, turns=(turn, *chat.turns), fields=(key, *chat.fields))
    if len(own) == 1 and text_of(own[0].get("content"), key) == text:
        return chat
    return Unfit(
        key, "stands beside messages that have a system message of their own; keep one", "system"
    )


def _in_object(cell: Mapping[str, Any], field: str) -> Chat | Unfit:
    """Return the conversation that an object holds, with its system message and its tools."""
    keys = [key for key in _CHATS if isinstance(cell.get(key), list | tuple)]
    if len(keys) != 1:
        return Unfit(field, "holds an object, where text or a list of messages is needed", "form")
    chat = turns_of(cell[keys[0]], f"{field}.{keys[0]}")
    if isinstance(chat, Unfit):
        return chat
    chat = replace(chat, tools=cell.get("tools") or cell.get("functions"))
    return _with_system(chat, cell, but=keys[0], field=f"{field}.")


def _read(text: str) -> Any:
    """Return the value of JSON text, or of a list in Python's spelling; None for other text."""
    try:
        return parsed(text)
    except ValueError:
        return python_value(text)
