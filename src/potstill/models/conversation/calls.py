"""Calls of tools as a template writes them: laid out to train, and read back from what was written.

How a template spells a call (a mark before it, JSON with the name in it or beside it, what ends the
turn) is learnt by rendering one whose name and arguments are markers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blake3 import blake3

from potstill.errors import PotstillError
from potstill.models.conversation import layout
from potstill.models.conversation.layout import NEXT
from potstill.models.conversation.spelling import Controls
from potstill.models.conversation.templates import ChatTemplate, Messages, Tools
from potstill.text.tool_calls import spelled

# Not of nine letters and digits, which some families insist on.
_ID = "qz_call_10"
_NAME, _KEY, _VALUE = "qznameqz", "qzkeyqz", "qzvalueqz"
_ARGUMENTS = {_KEY: _VALUE}
_TOOLS: Tools = (
    {
        "type": "function",
        "function": {
            "name": _NAME,
            "description": "qz",
            "parameters": {
                "type": "object",
                "properties": {_KEY: {"type": "string", "description": "qz"}},
                "required": [_KEY],
            },
        },
    },
)
_OPENS = re.compile(r"[\[{]")
_WORD = r"[A-Za-z_][\w.\-]*"


@dataclass(frozen=True)
class CallForm:
    """How a template takes and writes calls.

    `as_text`: it wants arguments as JSON text. `short_ids`: it wants ids of nine letters and
    digits. A call's turn as it is rendered last ends with `tail`; trained is `end` in its place,
    and `stop` is the id that ends it. `with_text` tells whether words beside calls are written.
    `before` and `between` stand around a call's name where that is not inside JSON; else
    `name_key` and `arguments_key` are the keys of a JSON object, and `before` stands before it.
    """

    as_text: bool
    short_ids: bool
    tail: str
    end: str
    before: str
    between: str | None
    name_key: str | None = None
    arguments_key: str | None = None
    stop: int | None = None
    with_text: bool = True

    @property
    def readable(self) -> bool:
        """Whether calls can be read from what a model wrote."""
        return self.between is not None or self.name_key is not None


def call_form(
    template: ChatTemplate, controls: Controls, stop_ids: Sequence[int]
) -> CallForm | None:
    """Return how a template writes a call; None where it writes none."""
    for as_text in (False, True):
        for short_ids in (False, True):
            form = CallForm(as_text, short_ids, "", "", "", None)
            try:
                text = template.render(prepared([*layout.PROBE, _probe()], form), tools=_TOOLS)
                prompt = template.render(layout.PROBE, tools=_TOOLS, generate=True)
            except PotstillError:
                continue
            _, written = layout.apart(prompt, text)
            if not _as_it_is(written):
                continue
            return _learnt(template, controls, stop_ids, form, written)
    return None


def prepared(messages: Messages, form: CallForm | None) -> list[dict[str, Any]]:
    """Return messages with calls and ids in the form that a template takes.

    Raises PotstillError where there are calls and the template writes none.
    """
    return [_prepared(dict(message), form) for message in messages]


def laid_out(
    template: ChatTemplate,
    form: CallForm,
    messages: Messages,
    prompt: str,
    message: Mapping[str, Any],
    tools: Tools | None,
) -> str:
    """Return what a template writes behind a prompt for an answer with calls, its end included.

    `message` holds markers for words and reasoning. What the prompt has opened is closed first.
    """
    text = template.render(prepared([*messages, message], form), tools=tools)
    opened, rest = layout.apart(prompt, text)
    if opened.strip():
        close = layout.closing_of(opened)
        thought = layout.THOUGHT if layout.FIELDS[0] in message else ""
        if close is None and thought:
            raise layout.closed(template)
        rest = f"{thought}{close or ''}{rest}"
    elif layout.FIELDS[0] in message and layout.THOUGHT not in rest:
        rest = f"{layout.BARE.opening}{layout.THOUGHT}{layout.BARE.between}{rest}"
    wanted = Counter(call["function"]["name"] for call in message["tool_calls"])
    if any(rest.count(name) < count for name, count in wanted.items()):
        raise PotstillError(
            f"the chat template of {template.name} does not write every call of an answer that "
            "calls several tools at once; take a model whose template does, or leave such answers "
            "out"
        )
    return rest.removesuffix(form.tail) + form.end


def calls_in_text(
    text: str, form: CallForm, controls: Controls, *, offered: bool
) -> tuple[str, str] | None:
    """Return the words before the calls in what a model wrote, and the calls as JSON text.

    `text` is in the form of `Controls.decode`. None where it holds no call. A form without a mark
    of its own is read only where tools were `offered`: any JSON would look like a call.
    """
    mark = controls.bracketed(form.before.strip())
    if not mark and not offered:
        return None
    start = text.find(mark) if mark else 0
    if start < 0 or not form.readable:
        return None
    rest = text[start:]
    if not mark and not rest.lstrip().startswith(("{", "[")) and form.between is None:
        return None
    found = _beside(rest, form, controls) if form.between is not None else _inside(rest, form)
    calls = [
        {"type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in found
    ]
    said = spelled(calls)
    return None if said is None else (text[:start], said)


def _probe(**more: Any) -> dict[str, Any]:
    function = {"name": _NAME, "arguments": _ARGUMENTS}
    call = {"id": _ID, "type": "function", "function": function}
    return {"role": "assistant", "content": "", "tool_calls": [call], **more}


def _as_it_is(written: str) -> bool:
    """Tell whether a call's name and arguments stand in a text, and not as Python prints them."""
    escaped = f'\\"{_KEY}' in written or f"'{_KEY}'" in written
    return all(word in written for word in (_NAME, _KEY, _VALUE)) and not escaped


def _learnt(
    template: ChatTemplate,
    controls: Controls,
    stop_ids: Sequence[int],
    form: CallForm,
    written: str,
) -> CallForm:
    last = written.rpartition(_VALUE)[2]
    result = {"role": "tool", "content": NEXT, "tool_call_id": _ID, "name": _NAME}
    middle = ""
    try:
        talk = template.render(prepared([*layout.PROBE, _probe(), result], form), tools=_TOOLS)
        middle = talk.rpartition(_VALUE)[2].partition(NEXT)[0] if NEXT in talk else ""
    except PotstillError:
        pass
    end = layout.end_of(last, middle, controls, stop_ids) or ""
    kept = len(end) if last.startswith(end) else len(last)
    tail, added = last[kept:], end[kept:] if end.startswith(last) else ""
    if not last.startswith(end) and not end.startswith(last):
        # It goes on behind white space that the last turn ends with.
        tail, added = last[len(last.rstrip()) :], end[len(last.rstrip()) :]
    beside = template.render(
        prepared([*layout.PROBE, _probe(content=layout.SAID)], form), tools=_TOOLS
    )
    return replace(
        _spelling(form, written),
        tail=tail,
        end=added,
        stop=controls.last_in(end),
        with_text=layout.SAID in beside,
    )


def _spelling(form: CallForm, written: str) -> CallForm:
    """Return a form with what stands around a call's name and arguments."""
    for start, value in _json_in(written):
        keys = _keys_of(value)
        if keys is not None:
            return replace(form, before=written[:start], name_key=keys[0], arguments_key=keys[1])
    before, _, behind = written.partition(_NAME)
    for start, value in _json_in(behind):
        if value == _ARGUMENTS:
            return replace(form, before=before, between=behind[:start])
    return replace(form, before=before)


def _keys_of(value: Any) -> tuple[str, str] | None:
    """Return under which keys a JSON object (or the first of a list) has name and arguments."""
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, dict):
        return None
    name = next((k for k, v in first.items() if v == _NAME), None)
    arguments = next(
        (k for k, v in first.items() if v in (_ARGUMENTS, json.dumps(_ARGUMENTS))), None
    )
    return None if name is None or arguments is None else (name, arguments)


def _json_in(text: str) -> Iterator[tuple[int, Any]]:
    """Yield every JSON object or list in a text that is in no other, with where it starts."""
    decoder = json.JSONDecoder()
    match = _OPENS.search(text)
    while match is not None:
        at = match.start() + 1
        try:
            value, at = decoder.raw_decode(text, match.start())
            yield match.start(), value
        except (ValueError, RecursionError):
            pass
        match = _OPENS.search(text, at)


def _inside(text: str, form: CallForm) -> list[tuple[str, Any]]:
    """Return (name, arguments) of every JSON object in a text that is a call."""
    found = []
    for _, value in _json_in(text):
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, dict) or not isinstance(item.get(form.name_key), str):
                continue
            found.append((item[form.name_key], _parsed(item.get(form.arguments_key, {}))))
    return found


def _beside(text: str, form: CallForm, controls: Controls) -> list[tuple[str, Any]]:
    """Return (name, arguments) of every name that is followed by its arguments."""
    assert form.between is not None
    lead = controls.last_part(re.split(r"\s", controls.bracketed(form.before))[-1])
    middle = r"\s*".join(map(re.escape, controls.bracketed(form.between).split()))
    space = r"\s*" if middle else r"\s+"
    pattern = re.compile(rf"{re.escape(lead)}({_WORD}){space}{middle}\s*")
    found, match = [], pattern.search(text)
    while match is not None:
        at = match.end()
        try:
            value, behind = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError):
            value, behind = None, at
        if isinstance(value, dict):
            found.append((match[1], value))
            at = behind
        match = pattern.search(text, at)
    return found


def _parsed(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _prepared(message: dict[str, Any], form: CallForm | None) -> dict[str, Any]:
    if message.get("role") == "tool" and form is not None and form.short_ids:
        return {**message, "tool_call_id": _short(message.get("tool_call_id"), 0)}
    calls = message.get("tool_calls")
    if not calls:
        return message
    if form is None:
        raise PotstillError(
            "the chat template does not write calls of tools, and an answer holds some; take a "
            "model whose template does, or leave these rows out"
        )
    return {**message, "tool_calls": [_call(call, form, n) for n, call in enumerate(calls)]}


def _call(call: Mapping[str, Any], form: CallForm, number: int) -> dict[str, Any]:
    function = dict(call["function"])
    if form.as_text and not isinstance(function["arguments"], str):
        function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    given = {**call, "function": function}
    return {**given, "id": _short(call.get("id"), number)} if form.short_ids else given


def _short(call_id: Any, number: int) -> str:
    """Return an id of nine letters and digits for any other."""
    if isinstance(call_id, str) and re.fullmatch(r"[A-Za-z0-9]{9}", call_id):
        return call_id
    return blake3(str(call_id or number).encode()).hexdigest()[:9]
