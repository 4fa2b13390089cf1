"""The one way in which messages become ids, and ids an answer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date as Date
from functools import cached_property
from typing import Any, Literal

from potstill.errors import PotstillError
from potstill.models.conversation import layout, written
from potstill.models.conversation.calls import (
    ANY_TOOLS,
    CallForm,
    Calling,
    CallReader,
    call_reader,
    calling,
    calls_of,
)
from potstill.models.conversation.layout import Frame
from potstill.models.conversation.spelling import Controls
from potstill.models.conversation.templates import ChatTemplate, Messages, Tools
from potstill.text.tool_calls import message_text, spelled

# Bumped when the same messages would become other ids: what older runs stored is not theirs then.
VERSION = 1


@dataclass(frozen=True)
class Reply:
    """What an assistant says: its answer, and reasoning and tool calls where there are some.

    `tool_calls` is JSON text: a list of `{"type": "function", "function": {"name", "arguments"}}`.
    """

    text: str
    reasoning: str | None = None
    tool_calls: str | None = None


@dataclass(frozen=True)
class Conversation:
    """How one tokenizer speaks: by its chat template, or as plain text where it has none.

    `stop_ids` end an answer; the first is the one that training ends an answer with. `name` says
    whose template it is, in errors.
    """

    tokenizer: Any
    template: ChatTemplate | None
    controls: Controls = field(repr=False)
    end: str
    stop_ids: tuple[int, ...]
    name: str = "the model"

    @classmethod
    def of(
        cls,
        tokenizer: Any,
        *,
        stop_ids: Sequence[int] = (),
        arguments: Mapping[str, Any] | None = None,
        date: str | None = None,
        name: str = "the model",
    ) -> Conversation:
        """Return how a tokenizer speaks, learnt from its own template.

        `stop_ids` are those that its model is known to stop at. `arguments` go to the template;
        `date` (ISO 8601, today's if left out) stands for every date that it writes. Raises
        PotstillError where the template is broken, cannot take an answer or does not use an
        argument, and where nothing ends an answer.
        """
        given = [*([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]), *stop_ids]
        stops = tuple(dict.fromkeys(int(i) for i in given))
        if not tokenizer.chat_template:
            if arguments:
                raise PotstillError(
                    f"{name} has no chat template that could use template_arguments; remove them"
                )
            return cls(tokenizer, None, Controls.of(tokenizer), "", _some(stops, name), name)
        today = Date.today() if date is None else Date.fromisoformat(date)
        template = ChatTemplate(tokenizer, dict(arguments or {}), today, name)
        probe = [*layout.PROBE, {"role": "assistant", "content": layout.SAID}, *layout.PROBE]
        texts = [template.render(layout.PROBE, generate=True), template.render(probe[:2])]
        controls = Controls.of(tokenizer, [*texts, template.source()])
        end = layout.turns_end(template, controls, stops) or ""
        written.require_as_given(template, layout.SAID, layout.PROBE)
        last = controls.last_in(end)
        if last is None:
            # Nothing that a model could stop at: the end token follows what the template writes.
            return cls(tokenizer, template, controls, end, _some(stops, name), name)
        ordered = tuple(dict.fromkeys((last, *stops)))
        return cls(tokenizer, template, controls, end, ordered, name)

    def with_tokenizer(self, tokenizer: Any, stop_ids: Sequence[int]) -> Conversation:
        """Return the same way to speak with another tokenizer, which has other ids."""
        return Conversation.of(
            tokenizer,
            stop_ids=stop_ids,
            arguments=self.arguments,
            date=None if self.template is None else self.template.today.isoformat(),
            name=self.name,
        )

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What the template is given beside the messages."""
        return {} if self.template is None else self.template.arguments

    def key(self) -> dict[str, Any]:
        """Return what of it decides an answer beside messages: a part of an exchange's identity."""
        found: dict[str, Any] = {}
        if self.arguments:
            found["template_arguments"] = dict(self.arguments)
        if self.template is not None and self.template.dated:
            found["date"] = self.template.today.isoformat()
        return found

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The ids that training ends an answer with: the turn's end, by the template."""
        ids = tuple(self.controls.encode(self.end)) if self.end else ()
        return ids if ids and ids[-1] == self.stop_ids[0] else (*ids, self.stop_ids[0])

    def prompt_text(self, messages: Messages, tools: Tools | None = None) -> str:
        """Return the text that precedes an answer."""
        if self.template is None:
            return "\n".join(map(message_text, messages)) + "\n"
        shape = written.shape_of(messages, tools)
        if shape not in self._whole:
            talk = self._called(written.marked(messages), tools)
            written.require_whole(self.template, talk, tools)
            self._whole.add(shape)
        return self.template.render(self._called(messages, tools), tools=tools, generate=True)

    def prompt_ids(self, messages: Messages, tools: Tools | None = None) -> tuple[int, ...]:
        """Return the ids that precede an answer; control tokens that a message spells are text."""
        mark = self.controls.mark_for(messages, tools)
        hidden, hidden_tools = self._hidden(messages, tools, mark)
        return self._prompt(self.prompt_text(hidden, hidden_tools), mark)

    def reply_ids(
        self,
        messages: Messages,
        reply: Reply,
        tools: Tools | None = None,
        *,
        reasoning: Literal["keep", "leave_out"] = "keep",
        whole: bool = True,
    ) -> tuple[int, ...]:
        """Return the ids of an answer behind those of its prompt, its words as they are given.

        Its turn's end is among them where the answer is `whole`. Raises PotstillError where the
        template cannot lay this answer out.
        """
        calls = calls_of(reply.tool_calls, self.name)
        mark = self.controls.mark_for(messages, tools, reply.text, reply.reasoning, calls)
        hidden, hidden_tools = self._hidden(messages, tools, mark)
        prompt = self.prompt_text(hidden, hidden_tools)
        thought = reply.reasoning if reasoning == "keep" and reply.reasoning else ""
        if calls:
            said = self._calling(
                hidden,
                prompt,
                self.controls.hidden(
                    {"text": reply.text, "reasoning": thought, "calls": calls}, mark
                ),
                hidden_tools,
            )
            ids = self.controls.behind(
                prompt, said.said + (said.end if whole else ""), mark, self.name
            )
            return (*ids, self.stop_ids[0]) if whole and not said.end else ids
        frame = self._frame(hidden, prompt, hidden_tools, reasoned=bool(thought))
        text = frame.opening
        if thought:
            cut = not whole and not reply.text
            text += self.controls.hidden(thought, mark) + ("" if cut else frame.between)
        text += self.controls.hidden(reply.text, mark)
        ends = self.end if whole else ""
        ids = self.controls.behind(prompt, text + ends, mark, self.name)
        if whole and (not ids or ids[-1] != self.stop_ids[0]):
            ids = (*ids, self.stop_ids[0])
        return ids

    @property
    def reads_calls(self) -> bool:
        """Whether calls of tools can be told in what a model wrote."""
        return self._call_reader is not None

    def read(self, ids: Sequence[int], *, tools: bool = False) -> Reply:
        """Return what a model says with ids that it wrote behind a prompt; stops are left out.

        `tools` tells whether some were on offer: a call without a mark of its own is one only then.
        """
        kept = list(ids)
        while kept and kept[-1] in self.stop_ids:
            kept.pop()
        text = self.controls.decode(kept, behind_control=self._behind_control)
        if self._call_reader is None or not (tools or self._call_reader.marked):
            return self._read_words(text)
        words, calls = self._call_reader.apart(text)
        said = self._read_words(words)
        return replace(said, tool_calls=spelled(calls)) if calls else said

    def _read_words(self, text: str) -> Reply:
        for frame in self._reasoned:
            opening, close = self._core(frame.opening), self._core(frame.between)
            inside = _after(text, opening)
            if inside is None or (not opening and not self._opens and close not in text):
                continue
            thought, found, answer = inside.partition(close)
            if found or opening or self._opens:
                answer = _without_lead(answer, frame.between.rpartition(frame.between.strip())[2])
                return self._reply(answer, thought.strip())
        return self._reply(self._unframed(text))

    def opening_ids(self, system: str | None = None) -> list[int]:
        """Return the ids that precede a user's first message.

        Raises PotstillError where there is no template that would open one.
        """
        if self.template is None:
            raise PotstillError(
                f"{self.name} has no chat template that opens a user's message; give a file of "
                "prompts instead of magpie"
            )
        head = [{"role": "system", "content": system}] if system else []
        mark = self.controls.mark_for(head)
        hidden, _ = self._hidden([*head, *layout.PROBE], None, mark)
        opening = self.template.render(hidden).partition(layout.ASKED)[0]
        return self.controls.encode(opening, mark)

    def _reply(self, answer: str, thought: str = "") -> Reply:
        bare = self.controls.bare
        # What the template writes before the token that ends a turn is not the answer's.
        tail = self.controls.bracketed(self.end)
        last = self.controls.bracketed(self.controls.ids.get(self.stop_ids[0], ""))
        return Reply(bare(answer.removesuffix(tail.removesuffix(last))), bare(thought) or None)

    def _unframed(self, text: str) -> str:
        """Return an answer without what the template writes before one, white space included."""
        opening = self._plain.opening
        core = self._core(opening)
        inside = _after(text, core)
        if not core or inside is None:
            return text.removeprefix(opening)
        return _without_lead(inside, opening[len(opening.rstrip()) :])

    def _core(self, text: str) -> str:
        return self.controls.bracketed(text.strip())

    @cached_property
    def writes_tools(self) -> bool:
        """Whether the template writes which tools are on offer."""
        return self.template is not None and written.writes_tools(
            self.template, layout.PROBE, ANY_TOOLS
        )

    @cached_property
    def _whole(self) -> set[Hashable]:
        """The shapes of talks that the template was seen to write whole."""
        return set()

    @cached_property
    def _plain(self) -> Frame:
        if self.template is None:
            return Frame("")
        prompt = self.prompt_text(layout.PROBE)
        return layout.plain_frame(self.template, layout.PROBE, prompt)

    @cached_property
    def _reasoned(self) -> tuple[Frame, ...]:
        """How reasoning may be laid out; none where the prompt closes it before it begins."""
        if self.template is None:
            return (layout.BARE,)
        try:
            prompt = self.prompt_text(layout.PROBE)
            return (layout.reasoned_frame(self.template, layout.PROBE, prompt),)
        except PotstillError:
            return ()

    @cached_property
    def _behind_control(self) -> bool:
        """Whether an answer stands right behind a control token."""
        prompt = self.controls.encode(self.prompt_text(layout.PROBE))
        return bool(prompt) and prompt[-1] in self.controls.ids

    @cached_property
    def _opens(self) -> bool:
        """Whether the prompt itself has opened the reasoning."""
        return any(
            not frame.opening.strip() and frame.between.strip() in self._plain.opening
            for frame in self._reasoned
        )

    def _frame(
        self, messages: Messages, prompt: str, tools: Tools | None, *, reasoned: bool
    ) -> Frame:
        if self.template is None:
            return layout.BARE if reasoned else Frame("")
        make = layout.reasoned_frame if reasoned else layout.plain_frame
        return make(self.template, messages, prompt, tools)

    def _called(self, messages: Messages, tools: Tools | None) -> Messages:
        """Return messages whose calls are in the form that the template takes."""
        if self.template is None or not any(m.get("tool_calls") for m in messages):
            return messages
        return self._call_form.applied(messages)

    def _calling(
        self,
        messages: Messages,
        prompt: str,
        reply: Mapping[str, Any],
        tools: Tools | None,
    ) -> Calling:
        """Return how the template writes a reply that calls tools."""
        if self.template is None:
            raise PotstillError(
                f"{self.name} has no chat template that writes calls of tools, and there are "
                "some; leave out the rows that call tools, or take a model with a template"
            )
        form = self._call_form
        *before, last = form.applied([*messages, {"tool_calls": reply["calls"]}])
        formed = {**reply, "calls": last["tool_calls"]}
        stops = self.stop_ids
        return calling(self.template, self.controls, stops, before, prompt, formed, tools)

    @cached_property
    def _call_form(self) -> CallForm:
        """In which form the template takes calls; raises PotstillError where it writes none."""
        assert self.template is not None
        return CallForm.of(self.template, ANY_TOOLS)

    @cached_property
    def _call_reader(self) -> CallReader | None:
        if self.template is None:
            return None
        prompt = self.template.render(layout.PROBE, tools=ANY_TOOLS, generate=True)
        empty = {"text": "", "reasoning": ""}
        return call_reader(
            lambda calls: self._calling(layout.PROBE, prompt, {**empty, "calls": calls}, ANY_TOOLS),
            self.controls,
            self._plain.opening,
        )

    def _hidden(
        self, messages: Messages, tools: Tools | None, mark: str
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
        """Return messages and tools in which spelled control tokens are marked, but for roles."""
        hide = self.controls.hidden
        hidden = [
            {**hide(dict(m), mark, spoken=m["role"] == "assistant"), "role": m["role"]}
            for m in messages
        ]
        hidden_tools = None if tools is None else [hide(dict(tool), mark) for tool in tools]
        return list(map(dict, self._called(hidden, hidden_tools))), hidden_tools

    def _prompt(self, text: str, mark: str) -> tuple[int, ...]:
        ids = self.controls.encode(text, mark)
        return tuple(ids) if self.template is not None else (*self._head, *ids)

    @cached_property
    def _head(self) -> tuple[int, ...]:
        """The ids that the tokenizer puts before a text; what it puts behind one is no prompt's."""
        word = "a"
        plain = self.tokenizer(word, add_special_tokens=False)["input_ids"]
        full = self.tokenizer(word)["input_ids"]
        for start in range(len(full) - len(plain) + 1):
            if full[start : start + len(plain)] == plain:
                return tuple(full[:start])
        return ()


def _some(stops: tuple[int, ...], name: str) -> tuple[int, ...]:
    if not stops:
        raise PotstillError(
            f"{name} names no token that ends an answer; set eos_token in its tokenizer_config.json"
        )
    return stops


def _after(text: str, opening: str) -> str | None:
    """Return what follows an opening, after any white space; None where it is not there."""
    if not opening:
        return text
    found = text.lstrip()
    return found[len(opening) :] if found.startswith(opening) else None


def _without_lead(text: str, lead: str) -> str:
    """Return a text without as much of the white space `lead` as it begins with."""
    for expected in lead:
        if not text.startswith(expected):
            break
        text = text[1:]
    return text
