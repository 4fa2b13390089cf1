"""What a template writes around the words of an answer, learnt by rendering markers.

What is trained has to follow the prompt that is asked. A template may begin an answer in that
prompt (it opens the reasoning, or closes it unused) and write earlier answers in another way: both
texts are rendered and held against each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.errors import PotstillError
from potstill.models.conversation.spelling import Controls
from potstill.models.conversation.templates import ChatTemplate, Messages, Tools

# Words that no message holds.
ASKED, SAID, THOUGHT, NEXT = ("qzaskedqz", "qzsaidqz", "qzthoughtqz", "qznextqz")
PROBE: Messages = ({"role": "user", "content": ASKED},)
# Names under which templates read a message's reasoning.
FIELDS = ("reasoning_content", "thinking", "reasoning")
# How reasoning is written where a template has no way of its own.
_OPEN, _CLOSE = "<think>\n", "\n</think>\n\n"
# What opens and what closes, in the ways that families spell a pair of marks.
_PAIRS = (
    (re.compile(r"<\|START_(\w+)\|>"), "<|END_{}|>"),
    (re.compile(r"<\|(\w+)>"), "<{}|>"),
    (re.compile(r"<([A-Za-z][\w:.-]*)>"), "</{}>"),
    (re.compile(r"\[([A-Z][A-Z_]*)\]"), "[/{}]"),
    (re.compile(r"◁([a-z]+)▷"), "◁/{}▷"),
)


_PRINTED = re.compile(r"""\[\{["']type["']""")
# What is never cut apart where two texts begin alike.
_MARK = re.compile(r"<[^<>\n]*>|\[/?[A-Z_]+\]|◁[^◁▷]*▷")


@dataclass(frozen=True)
class Frame:
    """What stands around the words of an answer, from where the prompt ends.

    `opening` stands before the reasoning where there is some, else before the answer; `between`
    stands between the two.
    """

    opening: str
    between: str = ""


# Reasoning where there is no template at all.
BARE = Frame(_OPEN, _CLOSE)


def plain_frame(
    template: ChatTemplate, messages: Messages, prompt: str, tools: Tools | None = None
) -> Frame:
    """Return what stands before an answer without reasoning: the end of what the prompt opened."""
    head, _ = split(template, _answered(template, messages, {"content": SAID}, tools))
    opened, plain = apart(prompt, head)
    if not opened or not (opened + plain).strip():
        return Frame(plain)
    if not any(pattern.search(opened) for pattern, _ in _PAIRS):
        # Nothing of reasoning: what it opens, an answer of others would repeat.
        raise _unlike(template)
    close = _closing_of(opened, template) or ""
    if not plain.strip():
        return Frame(close)
    if plain.strip() != close.strip():
        raise _unlike(template)
    return Frame(plain)


def reasoned_frame(
    template: ChatTemplate, messages: Messages, prompt: str, tools: Tools | None = None
) -> Frame:
    """Return what stands around reasoning and before the answer.

    Raises PotstillError where the prompt has closed the reasoning before an answer begins.
    """
    for message in _reasoned_messages():
        try:
            text = _answered(template, messages, message, tools)
        except PotstillError:
            continue
        before, _, behind = text.partition(THOUGHT)
        opened, opening = apart(prompt, before)
        # A template that knows only text prints parts of content, as Python or as JSON does.
        if behind.count(SAID) == 1 and not _PRINTED.search(opening):
            if opened.strip():
                raise _closed(template)
            return Frame(opening, behind.partition(SAID)[0])
    # The template takes reasoning out of what was said, or does not know any.
    head, _ = split(template, _answered(template, messages, {"content": SAID}, tools))
    opened, plain = apart(prompt, head)
    if not opened.strip():
        generated = prompt[_shared(prompt, template.render(messages, tools=tools)) :]
        if any(mark.strip() in generated for mark in (_OPEN, _CLOSE)):  # closed before any answer
            raise _closed(template)
        return Frame(plain + _OPEN, _CLOSE)
    close = _closing_of(opened, template)
    if close is None or plain.strip() not in ("", close.strip()):
        raise _closed(template)
    return Frame("", plain if plain.strip() else close)


def turns_end(template: ChatTemplate, controls: Controls, stop_ids: Sequence[int]) -> str | None:
    """Return what a template writes behind an answer's words, up to where its turn ends.

    None where it writes nothing that could end a turn.
    """
    reply = {"content": SAID}
    _, last = split(template, _answered(template, PROBE, reply, None))
    following = {"role": "user", "content": NEXT}
    return end_of(last, behind(template, reply, following, SAID), controls, stop_ids)


def end_of(last: str, middle: str, controls: Controls, stop_ids: Sequence[int]) -> str | None:
    """Return what ends a turn, from what follows the last one and one in the `middle` of a talk.

    A token that stops the model goes before others, and what both have in common before what stands
    behind the last turn alone. Some families end a turn with what begins the next.
    """
    stops = {controls.ids.get(i) for i in stop_ids}
    shared = last[: _shared_marks(last, middle, controls.pattern)] if middle else last
    in_shared = list(controls.pattern.finditer(shared))
    in_rest = list(controls.pattern.finditer(last, len(shared)))
    ahead = middle[len(shared) :]
    following = controls.pattern.match(ahead.lstrip())
    chosen = next((m for m in in_shared if m[0] in stops), None)
    in_last = next((m for m in in_rest if m[0] in stops), None)
    if chosen is None and in_last is None and following is not None and following[0] in stops:
        return shared + ahead[: len(ahead) - len(ahead.lstrip())] + following[0]
    chosen = chosen or (in_shared[-1] if in_shared else in_last)
    if chosen is not None:
        return last[: chosen.end()]
    # What a template writes only behind the last message begins the next answer: no end.
    return shared.rstrip() or None


def behind(
    template: ChatTemplate,
    reply: Mapping[str, Any],
    following: Mapping[str, Any],
    marker: str,
    tools: Tools | None = None,
) -> str:
    """Return what stands between `marker` in an answer and the words of the message that follows.

    Empty where the template refuses such a talk.
    """
    try:
        text = template.render([*PROBE, {"role": "assistant", **reply}, following], tools=tools)
    except PotstillError:
        return ""
    rest = text.rpartition(marker)[2]
    return rest.partition(NEXT)[0] if NEXT in rest else ""


def split(template: ChatTemplate, text: str) -> tuple[str, str]:
    """Return what a template writes before and behind the marker of an answer's words."""
    if text.count(SAID) != 1:
        raise PotstillError(
            f"the chat template of {template.name} does not write an assistant's message as it is "
            "given, so that there is nothing to train; take a model whose template does"
        )
    head, _, tail = text.partition(SAID)
    return head, tail


def _answered(
    template: ChatTemplate, messages: Messages, reply: Mapping[str, Any], tools: Tools | None
) -> str:
    return template.render([*messages, {"role": "assistant", **reply}], tools=tools)


def _reasoned_messages() -> list[dict[str, Any]]:
    """Return an answer with reasoning in every form that templates read it in."""
    answer = {"type": "text", "text": SAID}
    return [
        {"content": SAID, **dict.fromkeys(FIELDS, THOUGHT)},
        {"content": [{"type": "thinking", "thinking": THOUGHT}, answer]},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
                answer,
            ]
        },
    ]


def apart(prompt: str, head: str) -> tuple[str, str]:
    """Return what the prompt has of an answer that `head` lacks, and the other way round."""
    shared = _shared_marks(prompt, head)
    return prompt[shared:], head[shared:]


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    for count, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return count
    return min(len(one), len(other))


def _shared_marks(one: str, other: str, pattern: re.Pattern[str] = _MARK) -> int:
    """Return how many characters two texts begin with alike, nothing of a pattern cut apart."""
    count = _shared(one, other)
    for text in (one, other):
        for match in pattern.finditer(text):
            if match.start() < count < match.end():
                count = match.start()
    return count


def _closing_of(opened: str, template: ChatTemplate) -> str | None:
    """Return what closes the reasoning that a prompt has opened; None where nothing is open.

    A mark such as [SEP] opens nothing where neither tokenizer nor template know what closes it.
    """
    for pattern, closing in _PAIRS:
        for match in reversed(list(pattern.finditer(opened))):
            close = closing.format(match[1])
            if close in opened[match.end() :] or not _knows(template, close):
                continue
            # Laid out as it was opened: marks on lines of their own, or within the line.
            lines = opened[match.end() :].startswith("\n")
            return f"\n{close}\n\n" if lines else close
    return None


def _knows(template: ChatTemplate, close: str) -> bool:
    known = (_CLOSE.strip(), *template.tokenizer.get_added_vocab())
    return close in known or close in template.source()


def _closed(template: ChatTemplate) -> PotstillError:
    return PotstillError(
        f"the chat template of {template.name} closes the reasoning before an answer begins, and "
        "there is reasoning to train; set curate.reasoning to leave_out, or template_arguments so "
        "that the model reasons"
    )


def _unlike(template: ChatTemplate) -> PotstillError:
    return PotstillError(
        f"the chat template of {template.name} begins an answer in another way than it writes one "
        "that was given, so that what is trained would not be what is asked for; mend its "
        "chat_template.jinja, or set template_arguments so that both are alike"
    )
