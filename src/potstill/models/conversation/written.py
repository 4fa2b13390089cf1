"""Whether a template writes all that it is given: what it leaves out, nobody would be asked."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from potstill.errors import PotstillError
from potstill.models.conversation.templates import ChatTemplate, Messages, Tools

_WHAT = {
    "system": "a system message",
    "user": "what a user says",
    "assistant": "an earlier answer",
    "tool": "what a tool returned",
}
_ODD = "\"<&'\\"  # what a template may escape


def shape_of(messages: Messages, tools: Tools | None) -> Hashable:
    """Return what decides whether a talk is written whole: its roles, and what each holds."""
    turns = tuple(
        (m.get("role"), bool(_words(m)), len(m.get("tool_calls") or ())) for m in messages
    )
    return turns, bool(tools)


def marked(messages: Messages) -> list[dict[str, Any]]:
    """Return a talk of the same shape, whose words are markers."""
    return [{**m, "content": _marker(n)} if _words(m) else dict(m) for n, m in enumerate(messages)]


def require_whole(template: ChatTemplate, messages: Messages, tools: Tools | None) -> None:
    """Raise PotstillError where a template leaves out a message of `marked`.

    A template that refuses such a talk is not judged by it.
    """
    try:
        text = template.render(messages, tools=tools, generate=True)
    except PotstillError:
        return
    for n, message in enumerate(messages):
        if _words(message) and _marker(n) not in text:
            raise _left_out(template, _WHAT.get(str(message.get("role")), "a message"))


def writes_tools(template: ChatTemplate, talk: Messages, tools: Tools) -> bool:
    """Tell whether a template writes the tools that are on offer in a talk."""
    text = template.render(talk, tools=tools, generate=True)
    return all(str(tool["function"]["name"]) in text for tool in tools)


def require_as_given(template: ChatTemplate, answer: str, talk: Messages) -> None:
    """Raise PotstillError where a template does not write an answer's characters as they are.

    `talk` ends before the answer, which is probed with `answer` between characters that are often
    escaped.
    """
    said = f"{answer} {_ODD} {answer}"
    if said not in template.render([*talk, {"role": "assistant", "content": said}]):
        raise PotstillError(
            f"the chat template of {template.name} escapes or changes what an assistant says, so "
            "that an answer cannot be trained as it was given; take a model whose template writes "
            "it as it is"
        )


def _words(message: Any) -> bool:
    return bool(str(message.get("content") or "").strip())


def _marker(number: int) -> str:
    return f"qzword{number}qz"


def _left_out(template: ChatTemplate, what: str) -> PotstillError:
    return PotstillError(
        f"the chat template of {template.name} leaves {what} out without a word; take such rows "
        "(or prompts.system) out, or take a model whose template writes it"
    )
