"""Calls of tools as a template writes them, learnt by rendering, and read back from such text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from potstill.errors import PotstillError
from potstill.models.conversation import layout
from potstill.models.conversation.layout import NEXT, PROBE, SAID, THOUGHT
from potstill.models.conversation.spelling import Controls
from potstill.models.conversation.templates import ChatTemplate, Messages, Tools

Call = Mapping[str, Any]
# A tokenizer may have a template of its own for where tools are on offer.
ANY_TOOLS: Tools = (
    {
        "type": "function",
        "function": {
            "name": "qztoolqz",
            "description": "qz",
            "parameters": {
                "type": "object",
                "properties": {"qz": {"type": "string", "description": "qz"}},
                "required": ["qz"],
            },
        },
    },
)
# A call that nobody makes, with an id as servers give them and one as the strictest template wants.
_NAME, _KEY, _VALUE = "qzcallqz", "qzkeyqz", "qzvalueqz"
_LONG_ID, _NINE_ID = "call_qzqzqzqzqzqzqz", "qzidqz000"
_NINE = re.compile(r"[A-Za-z0-9]{9}")
_IDS = re.compile(rf"{_NINE_ID}|call\d{{5}}")
_ARGUMENTS = re.compile(rf'\{{\s*"{_KEY}"\s*:\s*"{_VALUE}"\s*\}}')


def calls_of(tool_calls: str | None, name: str) -> list[dict[str, Any]]:
    """Return a reply's calls.

    Raises PotstillError where its JSON is no list of them, or arguments are no object.
    """
    if not tool_calls:
        return []
    try:
        calls = json.loads(tool_calls)
        functions = [call["function"] for call in calls]
        well = isinstance(calls, list) and all(
            isinstance(f["name"], str) and f["name"] and isinstance(f["arguments"], Mapping)
            for f in functions
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        well = False
    if not well:
        raise PotstillError(
            f"a reply's tool_calls for {name} must be a JSON list of functions with a name and an "
            "object of arguments; leave out the rows that hold other calls"
        )
    return list(calls)


@dataclass(frozen=True)
class CallForm:
    """In which form a template takes calls.

    `as_text` where it wants arguments as JSON text instead of an object, `numbered` where it takes
    only ids of nine letters and digits: others are then numbered through the conversation.
    """

    as_text: bool = False
    numbered: bool = False

    @classmethod
    def of(cls, template: ChatTemplate, tools: Tools | None) -> CallForm:
        """Return a template's form. Raises PotstillError where it writes no calls."""
        for form in (cls(), cls(numbered=True), cls(as_text=True), cls(True, True)):
            probe = {"role": "assistant", "content": "", "tool_calls": [_probe(_LONG_ID)]}
            try:
                text = template.render([*PROBE, *form.applied([probe])], tools=tools)
            except PotstillError:
                continue
            said = all(word in text for word in (_NAME, _KEY, _VALUE))
            # Python's way to print an object, and JSON text that was made JSON once more.
            if said and f"'{_KEY}'" not in text and f'\\"{_KEY}' not in text:
                return form
        raise PotstillError(
            f"the chat template of {template.name} writes no calls of tools, and there are some; "
            "leave out the rows that call tools, or take a model whose template writes calls"
        )

    def applied(self, messages: Messages) -> list[dict[str, Any]]:
        """Return messages with their calls, and the ids of results, in this form."""
        ids: dict[Any, str] = {}
        found: list[dict[str, Any]] = []
        for message in messages:
            one = dict(message)
            if one.get("tool_calls"):
                one["tool_calls"] = [self._call(call, ids) for call in one["tool_calls"]]
            if self.numbered and one.get("tool_call_id") in ids:
                one["tool_call_id"] = ids[one["tool_call_id"]]
            found.append(one)
        return found

    def _call(self, call: Call, ids: dict[Any, str]) -> dict[str, Any]:
        function = dict(call["function"])
        if self.as_text and not isinstance(function.get("arguments"), str):
            function["arguments"] = json.dumps(function.get("arguments"), ensure_ascii=False)
        one = {**call, "type": "function", "function": function}
        if self.numbered:
            given = call.get("id")
            if not _NINE.fullmatch(str(given)):
                one["id"] = next(n for n in map(_number, count(len(ids))) if n not in ids.values())
            ids[given if given is not None else one["id"]] = one["id"]
        return one


# What may stand before a name where a call is JSON alone.
_JSON_HEAD = re.compile(r"""[\s{}\[\]":,]|\b(?:name|type|function|id|tool_calls)\b""")


def _number(n: int) -> str:
    return f"call{n:05d}"


@dataclass(frozen=True)
class Calling:
    """An answer that calls tools, as its template writes it: behind the prompt, and its end."""

    said: str
    end: str


def calling(
    template: ChatTemplate,
    controls: Controls,
    stop_ids: Sequence[int],
    messages: Messages,
    prompt: str,
    reply: Mapping[str, Any],
    tools: Tools | None,
) -> Calling:
    """Return how a template writes a reply of `text`, `reasoning` and `calls` behind a prompt.

    Raises PotstillError where it leaves out the words beside the calls, or has no way to reason.
    """
    words, thought = str(reply["text"]), str(reply["reasoning"])
    message: dict[str, Any] = {"role": "assistant", "content": SAID if words.strip() else ""}
    message["tool_calls"] = list(reply["calls"])
    named = {**message, **dict.fromkeys(layout.FIELDS, THOUGHT)} if thought else message
    full = template.render([*messages, named], tools=tools)
    _require_all(template, [*messages, named], full, tools)
    opened, said = layout.apart(prompt, full)
    start = len(full) - len(said)
    # The turn's end is what follows the last call's name, with the rest of its call.
    name = str(message["tool_calls"][-1]["function"]["name"])
    cut = said.rfind(name) + len(name)
    middle = _followed(template, [*messages, named], message["tool_calls"], tools)
    if not middle.startswith(full[: start + cut]):
        middle = ""
    rest = layout.end_of(said[cut:], middle[start + cut :], controls, stop_ids) or ""
    last = controls.last_in(rest)
    end = controls.ids[last] if last is not None and last in stop_ids else ""
    body = _opened(template, messages, prompt, tools, opened, said[:cut], thought)
    body += rest.removesuffix(end)
    for place, text in ((SAID, words if words.strip() else ""), (THOUGHT, thought)):
        if text and body.count(place) != 1:
            raise PotstillError(
                f"the chat template of {template.name} does not write the words that stand beside "
                "a call of a tool; leave out the rows that have both, or take a model whose "
                "template writes them"
            )
        body = body.replace(place, text)
    return Calling(body, end)


def _require_all(
    template: ChatTemplate, messages: Messages, full: str, tools: Tools | None
) -> None:
    """Raise PotstillError where a template leaves out one of several calls."""
    *before, last = messages
    calls = last["tool_calls"]
    for n in range(len(calls) if len(calls) > 1 else 0):
        fewer = {**last, "tool_calls": [*calls[:n], *calls[n + 1 :]]}
        if template.render([*before, fewer], tools=tools) == full:
            raise PotstillError(
                f"the chat template of {template.name} writes only one of several calls of tools; "
                "leave out the rows that make several at once, or take a model whose template "
                "writes them all"
            )


def _opened(
    template: ChatTemplate,
    messages: Messages,
    prompt: str,
    tools: Tools | None,
    opened: str,
    said: str,
    thought: str,
) -> str:
    """Return what is said with the reasoning closed that the prompt opened, or laid out where the
    template has no field for it."""
    if opened.strip():
        frame = (layout.reasoned_frame if thought else layout.plain_frame)(
            template, messages, prompt, tools
        )
        return f"{frame.opening}{THOUGHT if thought else ''}{frame.between}{said}"
    if not thought or THOUGHT in said:
        return said
    frame = layout.reasoned_frame(template, messages, prompt, tools)
    plain = layout.plain_frame(template, messages, prompt, tools).opening
    return f"{frame.opening}{THOUGHT}{frame.between}{said.removeprefix(plain)}"


def _followed(
    template: ChatTemplate, messages: Messages, calls: Sequence[Call], tools: Tools | None
) -> str:
    """Return a talk that goes on with the calls' results; empty where the template refuses it."""
    results = [
        {
            "role": "tool",
            "content": NEXT,
            "name": call["function"]["name"],
            **({"tool_call_id": call["id"]} if "id" in call else {}),
        }
        for call in calls
    ]
    try:
        return template.render([*messages, *results], tools=tools)
    except PotstillError:
        return ""


@dataclass(frozen=True)
class CallReader:
    """What stands around the name and the arguments of calls, where arguments are JSON.

    `marked`: a control token stands before a call. `tagged`: that, or words that JSON has none of
    (`<tool_call>` in letters), so that a call is told from what is said before it.
    """

    first: re.Pattern[str]
    between: re.Pattern[str]
    further: re.Pattern[str] | None
    last: re.Pattern[str]
    marked: bool
    tagged: bool

    def apart(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """Return what is said before calls that end a text, and the calls; none where none do."""
        for start in self.first.finditer(text):
            if not self.tagged and text[: start.start()].strip():
                break
            calls = self._calls(text, start.end())
            if calls:
                return text[: start.start()].rstrip(), calls
        return text, []

    def _calls(self, text: str, at: int) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        while True:
            found = self.between.search(text, at)
            if found is None:
                return []
            try:
                arguments, at_end = json.JSONDecoder().raw_decode(text, found.end())
            except ValueError:
                return []
            name = text[at : found.start()]
            if not isinstance(arguments, dict) or not name or "\n" in name:
                return []
            calls.append({"type": "function", "function": {"name": name, "arguments": arguments}})
            further = None if self.further is None else self.further.match(text, at_end)
            if further is None:
                return calls if self.last.fullmatch(text, at_end) else []
            at = further.end()


def call_reader(
    render: Callable[[Sequence[Call]], Calling], controls: Controls, plain: str
) -> CallReader | None:
    """Return what reads a template's calls; None where it does not write arguments as JSON.

    `render` lays out a reply of calls alone; `plain` is what stands before an answer.
    """
    try:
        one = render([_probe(_NINE_ID)]).said.removeprefix(plain)
    except PotstillError:
        return None
    head, found, tail = one.partition(_NAME)
    arguments = _ARGUMENTS.search(tail)
    if not found or arguments is None:
        return None
    between, last = tail[: arguments.start()], tail[arguments.end() :]
    if not between.strip():
        return None
    try:
        two = render([_probe(_NINE_ID), _probe(_NINE_ID)]).said.removeprefix(plain)
        again = next(_ARGUMENTS.finditer(two))
        further = _pattern(controls, two[again.end() :].partition(_NAME)[0])
    except (PotstillError, StopIteration):
        further = None
    return CallReader(
        _pattern(controls, head.lstrip()),
        _pattern(controls, between),
        further,
        _pattern(controls, last.strip(), loose=True),
        bool(controls.pattern.search(head)),
        bool(_JSON_HEAD.sub("", head)),
    )


def _pattern(controls: Controls, text: str, *, loose: bool = False) -> re.Pattern[str]:
    """Return what finds a text in a decoded answer, whatever its white space, numbers and ids."""
    known = controls.bracketed(text)
    pieces = re.split(rf"({_IDS.pattern}|\s+|\d+)", known)
    fitted = "".join(_fitted(piece) for piece in pieces)
    return re.compile(rf"\s*{fitted}\s*" if loose else fitted)


def _fitted(piece: str) -> str:
    if _IDS.fullmatch(piece):
        return r"[\w.:-]+"
    if piece.isspace():
        return r"\s*"
    return r"\d+" if piece.isdigit() else re.escape(piece)


def _probe(call_id: str) -> dict[str, Any]:
    function = {"name": _NAME, "arguments": {_KEY: _VALUE}}
    return {"id": call_id, "type": "function", "function": function}
