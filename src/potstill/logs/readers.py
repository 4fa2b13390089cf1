"""One row of each form as a record: pure functions over parsed values.

Only what is named here is taken from a row: keys, headers, addresses and users stay in the log.
Who called is another question, of whoever asks it (`potstill.logs.accounts`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from potstill.logs import anthropic, responses_api
from potstill.logs.call import BatchRequest, CallFacts, LoggedAnswer, Reason, Record, Values
from potstill.logs.chat_parts import (
    answer_of_message,
    answers_of,
    ask_of,
    ask_of_turns,
    holds_answers,
    reason_of,
    record_of,
)
from potstill.logs.conversations import SYSTEM_COLUMNS, chat_of_cell, chat_of_row, written_messages
from potstill.logs.endings import NO_PLACE, row_failed, stated_in
from potstill.logs.facts import completion_facts, stated_facts
from potstill.logs.template import filled_in, template_columns
from potstill.logs.turns import Chat, Unfit
from potstill.logs.values import as_dict, name, structured

_TOOLS = ("tools", "functions")  # may stand beside a request instead of in it
_MESSAGE = {"content", "tool_calls", "function_call"}  # what shows a message by itself
# Ends of the addresses that a batch's requests for texts are sent to.
_CHAT_URLS = ("/chat/completions", "/responses", "/messages")
CONVERSATIONS = ("conversations", "conversation")


@dataclass(frozen=True)
class Columns:
    """Where a table has its prompt, or the template that makes it, and its response."""

    prompt: str = "prompt"
    response: str = "response"
    template: str | None = None

    @property
    def stated(self) -> bool:
        """Whether the recipe names them, so that a table is meant."""
        return self != Columns()


def read_chat(row: Values) -> Record:
    """Read `{"request", "response"}`, a stored response, or a fine-tuning example.

    A stored response has what was asked beside it (`messages` and `choices`, `input` and
    `output`); a fine-tuning example has `messages` whose last turn, the assistant's, is the
    response (or else text in `response`).
    """
    if row.get("request") or isinstance(row.get("response"), dict):
        return _pair(row)
    asked = responses_api.is_request(row) or "messages" in row
    if "choices" in row or (
        asked and (responses_api.is_response(row) or anthropic.is_message(row))
    ):
        return record_of(ask_of(row), answers_of(row), completion_facts(row, row))
    if not isinstance(structured(row.get("messages")), list | dict):
        return Record(Reason.NO_CALL, (Reason.NO_CALL,))
    return _example(row, "messages")


def read_sharegpt(row: Values) -> Record:
    """Read `conversations` of `from` and `value`; the last turn, the assistant's, is the
    response."""
    column = next((c for c in CONVERSATIONS if row.get(c)), CONVERSATIONS[0])
    return _example(row, column)


def read_alpaca(row: Values) -> Record:
    """Read `instruction`, its `input` and its `output`."""
    return _example(row, "instruction")


def read_completion(row: Values) -> Record:
    """Read a `prompt` and its `completion`, each text or a list of messages."""
    asked = chat_of_cell(row.get("prompt"), "prompt")
    if isinstance(asked, Chat):
        row = {**row, "completion": _as_messages(row.get("completion"), asked)}
    return _example(row, "prompt")


def read_table(row: Values, columns: Columns) -> Record:
    """Read a prompt and a response from their columns.

    A prompt that is a conversation holds its own response where there is no column of it. The
    columns tools, tool_calls, model, finish_reason, reasoning, created_at and latency_s are used
    where they are, and `system` beside a prompt without a system message.
    """
    facts = stated_facts(row)
    chat = _asked(row, columns)
    if isinstance(chat, Reason | Unfit):
        return _unfit(chat, facts)
    response = row.get(columns.response)
    if columns.response not in row and _answered(chat):
        return _whole(row, chat, facts)
    ask = ask_of_turns(chat, {"tools": row.get("tools")})
    return record_of(ask, (_cell_answer(row, response, chat),), facts)


def read_batch_request(row: Values) -> BatchRequest:
    """Read a line of a batch's input: OpenAI's `body`, or Anthropic's `params`."""
    body = as_dict(row["body"] if "body" in row else row.get("params"))
    url = row.get("url")
    if isinstance(url, str) and not url.rstrip("/").endswith(_CHAT_URLS):
        return BatchRequest(Reason.NO_CALL, name(body.get("model")))
    ask = ask_of(body)
    return BatchRequest(reason_of(ask) if isinstance(ask, Unfit) else ask, name(body.get("model")))


def read_batch_output(request: BatchRequest | None, row: Values) -> Record:
    """Read a line of a batch's output, with the request that has its custom_id."""
    result = as_dict(row.get("result"))
    response = as_dict(row.get("response"))
    body = as_dict(result.get("message") if result else response.get("body"))
    ask = Reason.NO_REQUEST if request is None else request.ask
    facts = completion_facts({"model": request.model if request else None}, body)
    if row_failed(row) or row_failed(response) or result.get("type", "succeeded") != "succeeded":
        return Record(ask, (Reason.ERROR,), facts)
    return Record(ask, answers_of(body), facts)


def _pair(row: Values) -> Record:
    given = structured(row.get("request")) or row
    request = {"messages": given} if isinstance(given, list) else as_dict(given)
    request = as_dict(request.get("body") or request)
    request = {**{key: row[key] for key in _TOOLS if row.get(key)}, **request}
    raw = row.get("response")
    response = as_dict(raw)
    body = as_dict(response.get("body") or response)
    ask, facts = ask_of(request), completion_facts({**row, **request}, body)
    if row_failed(row) or row_failed(response):
        return record_of(ask, (Reason.ERROR,), facts)
    if holds_answers(body):
        return record_of(ask, answers_of(body), facts)
    if body.keys() & _MESSAGE and not (isinstance(raw, str) and "role" not in body):
        return record_of(ask, (answer_of_message(body, stated_in(body, row)),), facts)
    inner = body.get("message")  # Ollama's own form, and Cohere's
    if isinstance(inner, dict) and inner.get("role") == "assistant":
        stated = stated_in(body)
        ended = None if stated is NO_PLACE else stated
        return record_of(ask, (answer_of_message(inner, ended),), facts)
    # A response in plain text may be JSON that the model wrote.
    content = raw if isinstance(raw, str | list) and raw else None
    if content is None:
        return record_of(ask, (Reason.NO_RESPONSE,), facts)
    return record_of(ask, (answer_of_message({"content": content}, stated_in(row)),), facts)


def _example(row: Values, column: str) -> Record:
    """Read a conversation that holds its own response."""
    facts = stated_facts(row)
    chat = chat_of_row(row, column, answers=True)
    if isinstance(chat, Unfit):
        return _unfit(chat, facts)
    if _answered(chat):
        return _whole(row, chat, facts)
    ask, text = ask_of_turns(chat, row), row.get("response")
    beside = column == "messages" and isinstance(text, str)
    answer = answer_of_message({"content": text}, stated_in(row)) if beside else None
    failed = Reason.ERROR if row_failed(row) else None
    return record_of(ask, (failed or answer or Reason.NO_RESPONSE,), facts)


def _whole(row: Values, chat: Chat, facts: CallFacts) -> Record:
    """Return a conversation as what was asked and its last turn, the assistant's."""
    last = chat.turns[-1]
    ask = ask_of_turns(replace(chat, turns=chat.turns[:-1], fields=chat.fields[:-1]), row)
    if row_failed(row):
        return record_of(ask, (Reason.ERROR,), facts)
    if last.get("weight") == 0:
        return record_of(ask, (Reason.WEIGHT_ZERO,), facts)
    return record_of(ask, (answer_of_message(last, stated_in(last, row)),), facts)


def _asked(row: Values, columns: Columns) -> Chat | Unfit | Reason:
    """Return what a table's row asks."""
    if columns.template is None:
        return chat_of_row(row, columns.prompt)
    text = filled_in(columns.template, row)
    if text is None:
        return Reason.NO_COLUMN
    used = template_columns(columns.template)
    beside = {key: row.get(key) for key in SYSTEM_COLUMNS if key not in used}
    return chat_of_row({**beside, "template": text}, "template")


def _cell_answer(row: Values, response: Any, chat: Chat) -> LoggedAnswer | Reason:
    """Return the answer in a table's cell: text, or an assistant's message where all else is."""
    stated = stated_in(row)
    if row_failed(row):
        return Reason.ERROR
    response = _as_messages(response, chat)
    if isinstance(response, list | dict):
        given = chat_of_cell([response] if isinstance(response, dict) else response, "response")
        if isinstance(given, Unfit):
            return reason_of(given)
        return answer_of_message(given.turns[0], stated) if _one(given) else Reason.NO_CALL
    if response is None and not row.get("tool_calls"):
        return Reason.NO_RESPONSE
    if not isinstance(response, str | None):
        return Reason.NOT_TEXT
    parts = {key: row.get(key) for key in ("reasoning", "tool_calls")}
    return answer_of_message({"content": response, **parts}, stated)


def _as_messages(response: Any, asked: Chat) -> Any:
    """Return the messages that a text spells, where what was asked was messages too.

    Beside a prompt in plain text it may be JSON that the model wrote.
    """
    if asked.form == "text" or not isinstance(response, str):
        return response
    found = written_messages(response, "response")
    return response if found is None or isinstance(found, Unfit) else found


def _one(chat: Chat) -> bool:
    return len(chat.turns) == 1 and _answered(chat)


def _answered(chat: Chat) -> bool:
    return bool(chat.turns) and chat.turns[-1]["role"] == "assistant"


def _unfit(found: Unfit | Reason, facts: CallFacts) -> Record:
    return record_of(found, (Reason.NO_PROMPT,), facts)
