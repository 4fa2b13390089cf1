"""What a run has collected, and the same in the ids of the model that learns it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Split
from potstill.exchanges.specs import HIDDEN_FP16, HIDDEN_INT8, TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import HiddenStates
from potstill.models.alignment import Alignment
from potstill.models.conversation import Conversation, Reply
from potstill.models.load import context_length
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap
from potstill.text.reasoning import answer_of, split_trace
from potstill.text.tool_calls import spelled
from potstill.text.turns import Message
from potstill.work.access import Server, Weights
from potstill.work.opened import Opened

# Reasoning that begins with its mark, or whose mark was opened in the prompt and closes a line.
_REASONS = re.compile(
    r"\s*<(think|thinking)>|(?s:(?!.*<(?:think|thinking)>).*?\n</(?:think|thinking)>\s*(?:\n|\Z))"
)
_LEAD = re.compile(r"\A(?:[ \t]*\n){0,2}")


@dataclass(frozen=True)
class Text:
    """One exchange in the student's ids; `unchanged` where these are the teacher's, one to one."""

    exchange: Exchange
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    unchanged: bool


def tokenised(row: Exchange, spoken: Conversation, reasoning: Literal["keep", "leave_out"]) -> Text:
    """Return an exchange in the ids of who learns it, ended where the teacher ended.

    Raises PotstillError where the chat template cannot lay it out.
    """
    reply = reply_in(row)
    tools = row.tool_list
    response = spoken.reply_ids(
        row.messages, reply, tools, reasoning=reasoning, whole=row.finish_reason == "stop"
    )
    return Text(row, spoken.prompt_ids(row.messages, tools), response, unchanged=False)


Cutter = Callable[[Exchange, Conversation, Literal["keep", "leave_out"]], Text]
"""What cuts an exchange into the ids of who learns it, as `tokenised` does."""


def reply_in(row: Exchange) -> Reply:
    """Return what an exchange says, its reasoning apart wherever it stands."""
    thought, text = _apart(row.response)
    reasoning = "\n".join(part for part in (row.reasoning or "", thought) if part)
    return Reply(text, reasoning or None, row.tool_calls)


def reply_of(message: Message) -> Reply:
    """Return what an assistant's message in a talk says."""
    content = str(message.get("content") or "")
    thought, text = _apart(content)
    calls = message.get("tool_calls")
    reasoning = str(message.get("reasoning_content") or "") or thought
    return Reply(text, reasoning or None, spelled(calls) if calls else None)


def _apart(response: str) -> tuple[str, str]:
    """Return reasoning and answer of a response, the answer's characters as they are.

    Only what stands between the marks of reasoning is laid out anew: an answer in tags of its own,
    or one that speaks of a mark, is all answer.
    """
    trace = split_trace(response)
    if not trace.closed_at or not _REASONS.match(response):
        return "", response
    answer = response[trace.closed_at :]
    return trace.reasoning, _LEAD.sub("", answer, count=1)


def fitting(texts: Sequence[Text], student: LoadedModel) -> tuple[list[Text], int]:
    """Return the texts that a student can read at once, and how many others there are.

    Raises PotstillError where there are only others.
    """
    room = context_length(student)
    kept = [t for t in texts if len(t.prompt_ids) + len(t.response_ids) <= room]
    if texts and not kept:
        raise PotstillError(
            f"all {len(texts)} answers are longer than the {room:,} tokens that the student reads "
            "at once; shorten prompts and answers, or take a student with a longer context"
        )
    return kept, len(texts) - len(kept)


def every_answer(row: Exchange) -> bool:
    """Take each held-out answer as one that is asked for."""
    return True


@dataclass(frozen=True)
class Corpus:
    """The answers that a run has stored, as its stages read them.

    `author_identity` is whose states are stored; `spec` the form of targets that training learns
    from, None for text alone; `measured_on` tells which held-out answers the recipe asks for now.
    `cut` cuts texts into ids. What was read of the store is held as long as the corpus is.
    """

    store: ExchangeStore
    opened: Opened
    author_identity: str
    spec: TargetSpec | None = None
    reasoning: Literal["keep", "leave_out"] = "keep"
    measured_on: Callable[[Exchange], bool] = every_answer
    cut: Cutter = tokenised
    _read: dict[Split, list[Exchange]] = field(default_factory=dict, init=False, repr=False)
    _kept: dict[Split, list[Exchange]] = field(default_factory=dict, init=False, repr=False)

    @property
    def scorer_identity(self) -> str:
        """The identity of whose distributions are learnt from: another's, where a server read."""
        server = self.opened.access.server
        return self.author_identity if server is None else server.identity

    def exchanges(self, split: Split) -> list[Exchange]:
        """Return the exchanges of a split that curation kept, by exchange id.

        Held out, those that are asked for now.
        """
        if split not in self._kept:
            dropped = self.store.dropped()
            rows = [row for row in self.stored(split) if row.exchange_id not in dropped]
            asked = [row for row in rows if row.split != "held_out" or self.measured_on(row)]
            self._kept[split] = asked
        return self._kept[split]

    def stored(self, split: Split) -> list[Exchange]:
        """Return all stored exchanges of a split, dropped ones too, by exchange id; read once."""
        if split not in self._read:
            self._read[split] = self.store.read(split)
        return self._read[split]

    def texts(
        self,
        rows: Sequence[Exchange],
        student: LoadedModel,
        vocabulary: VocabularyMap | None = None,
    ) -> list[Text]:
        """Return exchanges in the student's ids, whose `vocabulary` was trimmed where it is given.

        Responses keep the teacher's tokens wherever they survive; prompts are tokenised as the
        student will meet them. What a teacher without weights wrote is tokenised as a whole,
        unless its server told which tokens they were.
        """
        if not isinstance(self.opened.access.author, Weights):
            read = self._with_server_targets()
            return [
                self._served_text(row, student, vocabulary, row.exchange_id in read) for row in rows
            ]
        if vocabulary is None:
            return [Text(row, *row.ids, True) for row in rows]
        teachers = self.opened.conversation.tokenizer
        alignment = Alignment.of(teachers, student.tokenizer, vocabulary)
        texts = []
        for row in rows:
            prompt = student.conversation.prompt_ids(row.messages, row.tool_list)
            response = alignment.to_student(row.ids[1])
            same = (alignment.to_teacher(prompt), alignment.to_teacher(response)) == row.ids
            texts.append(Text(row, prompt, response, same))
        return texts

    def _served_text(
        self, row: Exchange, student: LoadedModel, vocabulary: VocabularyMap | None, read: bool
    ) -> Text:
        """Return what a teacher without weights wrote, by its own ids where these are known.

        Targets stand at the server's tokens: the same text may be cut up in another way. Text that
        was `read` by the server has them at the tokens that it is cut up into here.
        """
        tokens, how = self.opened.served_tokens, self.reasoning
        if self.learnt_whole(row) and tokens is not None and vocabulary is None:
            if row.tokenizer == tokens.tokenizer_id:
                prompt = student.conversation.prompt_ids(row.messages, row.tool_list)
                return Text(row, prompt, row.ids[1], True)
            if read and row.response_token_ids is None:
                return replace(self.cut(row, student.conversation, how), unchanged=True)
        return self.cut(row, student.conversation, how)

    def learnt_whole(self, row: Exchange) -> bool:
        """Tell whether nothing of an answer is left out (reasoning) of what is learnt."""
        if row.reasoning:
            return False
        return self.reasoning == "keep" or answer_of(row) == row.response

    def parent_ids(self, split: Split) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Return (prompt ids, response ids) of a split in the tokens of the student's parent."""
        rows = self.exchanges(split)
        if isinstance(self.opened.access.author, Weights):
            return [row.ids for row in rows]
        return [(t.prompt_ids, t.response_ids) for t in self.texts(rows, self.opened.parent)]

    def hidden(self, rows: Sequence[Exchange]) -> list[Tensor | None]:
        """Return the stored states hidden_RD of exchanges, None where there are none."""
        found: dict[str, Tensor] = {}
        ids = [row.exchange_id for row in rows]
        for spec in (HIDDEN_INT8, HIDDEN_FP16):
            known = self.store.with_targets(self.author_identity, spec, ids)
            values = self.store.targets(self.author_identity, spec, known)
            for key, value in zip(known, values, strict=True):
                assert isinstance(value, HiddenStates)
                found[key] = value.hidden_RD
        return [found.get(r.exchange_id) for r in rows]

    def _with_server_targets(self) -> set[str]:
        """Return the exchanges that have targets, where a server reads given text at all."""
        scorer = self.opened.access.scorer
        if not isinstance(scorer, Server) or not scorer.reads_given_text or self.spec is None:
            return set()
        return self.store.target_ids(scorer.identity, self.spec)
