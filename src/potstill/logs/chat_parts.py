"""The parts of a call: messages, a request's body, a response's answers.

OpenAI's chat is the form that everything is brought to; Anthropic's Messages and OpenAI's
Responses are told from their bodies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from potstill.logs import anthropic, responses_api
from potstill.logs.call import Ask, CallFacts, LoggedAnswer, Reason, Record
from potstill.logs.content import other_than_text, unusable
from potstill.logs.conversations import chat_of_row, message_of
from potstill.logs.endings import NO_PLACE, flaw_of, stated_in, word_of
from potstill.logs.turns import Chat, Trouble, Unfit
from potstill.logs.values import sampling_of
from potstill.text.finish import Ending, ending_of
from potstill.text.tool_calls import Flaw, results_have_calls, spelled, strings_in, tools_in
from potstill.text.turns import Message

_THINKING = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_FLAWS = {
    Flaw.KIND: Reason.TOOL_KIND,
    Flaw.NAME: Reason.CALL_NAME,
    Flaw.ARGUMENTS: Reason.CALL_ARGUMENTS,
    Flaw.TOOLS: Reason.TOOLS_UNREADABLE,
    Flaw.TEXT: Reason.NOT_TEXT,
}
_TROUBLES: dict[Trouble, Reason] = {
    "form": Reason.NO_PROMPT,
    "speaker": Reason.NO_PROMPT,
    "content": Reason.NOT_TEXT,
    "text": Reason.NOT_TEXT,
    "system": Reason.SYSTEM_TWICE,
    "preference": Reason.PREFERENCE,
    "order": Reason.OPEN_PROMPT,
}


def reason_of(unfit: Unfit) -> Reason:
    """Return the reason that what is no conversation is counted under."""
    if unfit.flaw is not None:
        return _FLAWS[unfit.flaw]
    return _TROUBLES.get(unfit.trouble, Reason.NO_PROMPT)


def record_of(
    ask: Ask | Unfit | Reason,
    answers: tuple[LoggedAnswer | Reason, ...],
    facts: CallFacts,
    *,
    row_id: str | None = None,
) -> Record:
    """Return a row's record; what is no conversation is counted with the field that shows it."""
    if isinstance(ask, Unfit):
        return Record(reason_of(ask), answers, facts, str(ask), row_id)
    return Record(ask, answers, facts, None, row_id)


def prompt_of(chat: Chat) -> tuple[Message, ...] | Unfit | Reason:
    """Return what was asked, from turns; the last is the user's or a tool's result.

    Texts keep the white space around them.
    """
    messages: list[Message] = []
    for turn, field in zip(chat.turns, chat.fields, strict=True):
        parts = anthropic.turns_of(turn)
        for part in [parts] if isinstance(parts, Reason) else parts:
            message = part if isinstance(part, Reason) else _message(part, field)
            if isinstance(message, Reason | Unfit):
                return message
            messages.append(message)
    if not messages:
        return Reason.NO_PROMPT
    if not results_have_calls(messages):
        return Reason.RESULT_WITHOUT_CALL
    last = messages[-1]
    if last["role"] not in ("user", "tool"):
        return Reason.OPEN_PROMPT
    asks = last["content"].strip() or last["role"] == "tool"
    return tuple(messages) if asks else Reason.NO_PROMPT


def ask_of(request: Mapping[str, Any]) -> Ask | Unfit | Reason:
    """Return what a request's body asks: by `messages`, or by the Responses API's `input`."""
    if responses_api.is_request(request):
        chat = responses_api.chat_of(request)
        if isinstance(chat, Reason):
            return chat
        request = chat
    found = chat_of_row(request, "messages")
    if isinstance(found, Unfit):
        return found
    return Reason.NO_PROMPT if found.form == "text" else ask_of_turns(found, request)


def ask_of_turns(chat: Chat, request: Mapping[str, Any]) -> Ask | Unfit | Reason:
    """Return what the turns of a chat ask; tools and sampling are in the request's body."""
    prompt = prompt_of(chat)
    if isinstance(prompt, Reason | Unfit):
        return prompt
    offered = request.get("tools") or request.get("functions") or chat.tools
    wrong = unusable(*strings_in(offered))
    if wrong is not None:
        return wrong
    tools = tools_in(offered)
    if isinstance(tools, Flaw):
        return _FLAWS[tools]
    return Ask(prompt, sampling_of(request), spelled(tools))


def answers_of(response: Mapping[str, Any]) -> tuple[LoggedAnswer | Reason, ...]:
    """Return the answers in a response's body; a chat completion has one for each choice."""
    if response.get("error"):
        return (Reason.ERROR,)
    choices = response.get("choices")
    if isinstance(choices, list | tuple) and choices:
        return tuple(_choice(choice) for choice in choices)
    if responses_api.is_response(response):
        message, stated = responses_api.answer_in(response)
        if isinstance(message, Reason):
            return (flaw_of(stated) or message,)
        return (answer_of_message(message, stated),)
    if anthropic.is_message(response):
        return (answer_of_message(response, response.get("stop_reason")),)
    return (Reason.NO_RESPONSE,)


def holds_answers(response: Mapping[str, Any]) -> bool:
    """Tell whether a response's body is of a kind that `answers_of` reads."""
    return (
        bool(response.keys() & {"choices", "error"})
        or responses_api.is_response(response)
        or anthropic.is_message(response)
    )


def answer_of_message(message: Mapping[str, Any], stated: Any = NO_PLACE) -> LoggedAnswer | Reason:
    """Return the answer that an assistant's message is.

    `stated` is what the log says of its end, `NO_PLACE` where its form says nothing of ends. What
    is known to be neither whole nor cut at a length is no answer.
    """
    flaw = Reason.ERROR if message.get("error") else flaw_of(stated)
    if flaw is not None:
        return flaw
    turns = anthropic.turns_of({**message, "role": "assistant"})
    found = turns if isinstance(turns, Reason) else _message(turns[0], "message")
    if isinstance(found, Reason | Unfit):
        return reason_of(found) if isinstance(found, Unfit) else found
    calls = found.get("tool_calls")
    if not calls and ending_of(None if stated is NO_PLACE else stated) is Ending.CALLS:
        return Reason.CALL_NOT_STORED
    if message.get("refusal"):
        return Reason.REFUSED
    return answer_of_text(
        found["content"],
        reasoning=found.get("reasoning_content"),
        tool_calls=spelled(calls),
        finish_reason=word_of(stated),
    )


def answer_of_text(
    text: str,
    *,
    reasoning: str | None = None,
    tool_calls: str | None = None,
    finish_reason: str | None = None,
) -> LoggedAnswer | Reason:
    """Return the answer that a text is; a leading `<think>` block is kept apart as reasoning.

    One that is not closed was cut off before there was an answer. With calls of tools there need
    be no text.
    """
    thought = _THINKING.match(text)
    if thought is not None:
        text = text[thought.end() :]
        reasoning = reasoning or thought[1].strip()
    if not (text.strip() or tool_calls) or text.lstrip().startswith("<think>"):
        return Reason.NO_RESPONSE
    wrong = unusable(text, reasoning or "")
    if wrong is not None:
        return wrong
    return LoggedAnswer(text, reasoning or None, tool_calls, finish_reason)


def _choice(choice: Any) -> LoggedAnswer | Reason:
    if not isinstance(choice, dict):
        return Reason.NO_RESPONSE
    if choice.get("error"):
        return Reason.ERROR
    message = choice.get("message")
    if not isinstance(message, dict):
        return Reason.NO_RESPONSE
    stated = stated_in(choice)
    return answer_of_message(message, None if stated is NO_PLACE else stated)


def _message(turn: Mapping[str, Any], field: str) -> Message | Unfit | Reason:
    """Return one turn as a message, its texts as they were logged."""
    beside = other_than_text(turn.get("content"))
    if beside is not None:
        return beside
    given = turn.get("tool_calls") or turn.get("function_call")
    wrong = unusable(*strings_in(given))
    if wrong is not None:
        return wrong
    content = turn.get("content")
    found = message_of({**turn, "content": "" if content is None else content}, field)
    if isinstance(found, Unfit):
        return found
    named = [found[key] for key in ("tool_call_id", "name") if key in found]
    return unusable(found["content"], found.get("reasoning_content", ""), *named) or found
