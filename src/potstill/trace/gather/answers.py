"""Have a suspect answer the prompts of a plan, or read what it answered before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from potstill.canonical import digest_of_file
from potstill.durable import no_file
from potstill.endpoint.client import Answered, EndpointClient, Failure
from potstill.endpoint.wire import ANSWERED_IN_VAIN, BLANK, ChatAnswer, ChatRequest
from potstill.errors import PotstillError
from potstill.logs.written import WrittenText, read_written
from potstill.models.chat import prompt_ids, reply_of
from potstill.models.generate import Completion, Request
from potstill.models.load import context_length
from potstill.models.sampling import Sampling
from potstill.progress import Progress, Step
from potstill.trace.gather.local import LocalModel, answered, waves
from potstill.trace.gather.remote import RemoteAsker, RemoteModel, SpooledReply
from potstill.trace.gather.seeds import request_key, request_seed
from potstill.trace.items import Outcome
from potstill.trace.marks_in_text import AnswerItem, MarksInTextPlanned, answer_scores
from potstill.trace.suspect import TextsSuspect
from potstill.watermark.schemes import Scheme

Encode = Callable[[str], Sequence[int]]
"""From a text to the teacher's ids, without any that a template puts around it."""
# Questions to a server between two looks at whether there is enough.
_AT_ONCE = 256


@dataclass(frozen=True)
class _TextQuestion:
    """One question: its place in the plan, and the message that is sent."""

    number: int
    prompt: int
    sample: int
    text: str
    key: str


class _TextReply(SpooledReply):
    """What a server answered."""

    text: str | None = None


@dataclass(frozen=True)
class _Making:
    """How items are made of what came."""

    planned: MarksInTextPlanned
    scheme: Scheme
    encode: Encode

    def item(
        self, number: int, outcome: Outcome, text: str | None, ids: Sequence[int] | None = None
    ) -> AnswerItem:
        """Return an item; ids that are not known are made of the text."""
        prompts = len(self.planned.prompts)
        sample, prompt = divmod(number, prompts) if prompts else (None, None)
        if outcome == "answered" and ids is None:
            ids = self.encode(text or "")
        found = tuple(ids or ()) if outcome == "answered" else ()
        if outcome == "answered" and not found:
            outcome = "empty"
        if max(found, default=0) >= self.planned.mark.vocabulary:
            outcome, found = "unreadable", ()
        return AnswerItem(
            index=number,
            outcome=outcome,
            prompt=prompt,
            sample=sample,
            text=text,
            ids=found,
            scores=answer_scores(self.scheme, found) if found else (),
        )


def gather_answers(
    planned: MarksInTextPlanned,
    asked: LocalModel | RemoteModel | TextsSuspect,
    scheme: Scheme,
    encode: Encode,
    digest: str,
    done: Sequence[AnswerItem],
    append: Callable[[AnswerItem], None],
    *,
    enough: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    step: Step | None = None,
) -> None:
    """Append an item for each question of the plan that has none yet, in plan order.

    `done` are the items that are there, `digest` the plan's: every answer's seed follows from it.
    What the suspect refuses, errs at or leaves empty has an item that says so, without figures.
    Ids are the suspect's own where it has the teacher's tokenizer, else its text's by `encode`.
    `enough` is asked between groups of items, and ends a sequential plan. Raises PotstillError for
    a key that is not the plan's, a server that answers nothing at all, a budget that is used up,
    and collected texts that are not those of the plan.
    """
    planned.mark.check(scheme)
    if isinstance(asked, TextsSuspect) is bool(planned.prompts):
        raise PotstillError(
            f"the plan's {planned.test} "
            + (
                "asks prompts, and the suspect is a file of collected texts; give a model that can "
                "be asked"
                if planned.prompts
                else "reads collected texts, and the suspect is a model; give the files"
            )
            + ", or make another plan"
        )
    making = _Making(planned, scheme, encode)
    if isinstance(asked, TextsSuspect):
        groups = _collected(planned, asked, making)
    elif isinstance(asked, RemoteModel):
        groups = _served(planned, asked, making, digest, len(done), progress)
    else:
        groups = _drawn(planned, asked, making, digest, len(done))
    for group in groups:
        if enough():
            return
        for item in group:
            if item.index >= len(done):
                append(item)
                if step is not None:
                    step.advance(1)


def _questions(planned: MarksInTextPlanned, digest: str) -> list[_TextQuestion]:
    count = len(planned.prompts)
    return [
        _TextQuestion(
            number,
            number % count,
            number // count,
            planned.prompts[number % count],
            request_key(digest, planned.test, planned.configuration, number),
        )
        for number in range(planned.questions)
    ]


def _drawn(
    planned: MarksInTextPlanned, local: LocalModel, making: _Making, digest: str, done: int
) -> Iterator[list[AnswerItem]]:
    """Yield what a model in memory answers, wave by wave."""
    model = local.model
    sampling = Sampling(planned.temperature, max_tokens=planned.max_tokens)
    own = model.tokenizer_id == planned.mark.tokenizer
    for wave, before in waves(_questions(planned, digest), local.wave_size, done):
        ids = {
            q.number: tuple(prompt_ids(model, ({"role": "user", "content": q.text},))) for q in wave
        }
        fits = [q for q in wave if len(ids[q.number]) < context_length(model)]
        found = answered(local, [Request(q.key, ids[q.number]) for q in fits], sampling)
        by_number = dict(zip((q.number for q in fits), found, strict=True))
        yield [_drawn_item(local, making, q, by_number.get(q.number), own) for q in wave[before:]]


def _drawn_item(
    local: LocalModel, making: _Making, question: _TextQuestion, done: Completion | None, own: bool
) -> AnswerItem:
    if done is None:  # its context has no room for this prompt
        return making.item(question.number, "error", None)
    reply = reply_of(local.model, done.token_ids)
    text = "\n".join(part for part in (reply.reasoning, reply.text) if part)
    if not text.strip():
        return making.item(question.number, "empty", None)
    return making.item(question.number, "answered", text, done.token_ids if own else None)


def _served(
    planned: MarksInTextPlanned,
    remote: RemoteModel,
    making: _Making,
    digest: str,
    done: int,
    progress: Progress | None,
) -> Iterator[list[AnswerItem]]:
    """Yield what a server answers, some questions at a time."""

    async def ask(
        client: EndpointClient, question: _TextQuestion
    ) -> Answered[ChatAnswer] | Failure:
        messages = ({"role": "user", "content": question.text},)
        return await client.ask(ChatRequest(messages, sampling, request_seed(question.key)))

    sampling = Sampling(planned.temperature, max_tokens=planned.max_tokens)
    asker = RemoteAsker(remote, _TextReply, ask, _read, progress)
    left = _questions(planned, digest)[done:]
    for start in range(0, len(left), _AT_ONCE):
        some = left[start : start + _AT_ONCE]
        yield [making.item(r.number, r.outcome, r.text) for r in asker.replies(some)]


def _read(question: _TextQuestion, answer: ChatAnswer) -> _TextReply:
    """Return what an answer's one choice says, or why there is none."""
    if not answer.choices:
        why = answer.unusable[0] if answer.unusable else "no choices in the response"
        outcome: Outcome = "unreadable"
        if why in ANSWERED_IN_VAIN:
            outcome = "empty" if why == BLANK else "refused"
        return _TextReply(number=question.number, outcome=outcome, why=why)
    choice = answer.choices[0]
    text = "\n".join(part for part in (choice.reasoning, choice.text) if part)
    if not text.strip():
        return _TextReply(number=question.number, outcome="empty", why=BLANK)
    return _TextReply(number=question.number, outcome="answered", text=text)


def _collected(
    planned: MarksInTextPlanned, texts: TextsSuspect, making: _Making
) -> Iterator[list[AnswerItem]]:
    """Yield the texts of files."""
    found = read_collected(texts, planned.mark.tokenizer)
    if len(found) != planned.collected:
        raise PotstillError(
            f"the files of the suspect {texts.name} hold {len(found):,} texts, and the plan was "
            f"made for {planned.collected:,}; give the files as they were, or make another plan"
        )
    yield [
        making.item(number, "answered", None if text.ids else text.text, text.ids)
        for number, text in enumerate(found)
    ]


def read_collected(texts: TextsSuspect, tokenizer: str) -> list[WrittenText]:
    """Return the texts of a suspect's files, in their order.

    Raises PotstillError where a file is not the one that the plan fixes, and where ids are stored
    in place of text that are not the teacher's.
    """
    for path, planned in zip(texts.paths, texts.digests, strict=bool(texts.digests)):
        if digest_of_text_file(path) != planned:
            raise PotstillError(
                f"the file {path} of the suspect {texts.name} is not the one of the plan; give "
                "it as it was, or make another plan"
            )
    written = read_written(texts.paths)
    if written.tokenizers - {tokenizer}:
        raise PotstillError(
            f"the files of the suspect {texts.name} hold token ids of another tokenizer than the "
            "teacher's; give its texts in place of ids"
        )
    return written.texts


def digest_of_text_file(path: str) -> str:
    """Return the digest of a file of texts, as a plan fixes it: 64 digits.

    Raises PotstillError where there is no such file.
    """
    file = Path(path).expanduser()
    if (wrong := no_file(file)) is not None:
        raise PotstillError(f"the text {path} {wrong}; check its path")
    return digest_of_file(file, 32)
