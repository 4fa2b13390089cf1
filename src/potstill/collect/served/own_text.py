"""A server reads what a student writes while it is trained, and tells its likeliest tokens there.

The way is that of stored text (`reading`): ids are sent, and what comes back is kept where it is of
these ids, spelt as they are here, and a distribution. A group is told whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from blake3 import blake3

from potstill.collect.served.own_targets import OwnTargets
from potstill.collect.served.paid import paid_for_nothing
from potstill.collect.served.pending import spent_on
from potstill.collect.served.reading import GivenText, ReadingTexts
from potstill.collect.served.reading_log import OWN, OWN_UNCERTAIN, Reading
from potstill.collect.served.step import TextReader
from potstill.endpoint.budget import Tokens
from potstill.endpoint.client import client_for
from potstill.endpoint.identity import Served
from potstill.endpoint.open_files import in_flight_allowed
from potstill.endpoint.refusals import TOO_LONG
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import LikeliestTokens
from potstill.models.score import PromptAndResponse
from potstill.progress import Progress, Silent
from potstill.work.stated import server_settings


@dataclass(frozen=True)
class OwnReadFigures:
    """What all calls of a run had a server read of its student's own text: texts and tokens.

    `money` is None without prices.
    """

    texts: int
    prompt_tokens: int
    response_tokens: int
    money: float | None


class OwnTextReader:
    """A server that reads a student's own text; `count` likeliest tokens are told a position.

    What it told is kept in `folder`. Stored answers that it gave itself, and what `paid` holds of
    it, count towards the budget, as does all that it was given to read. Raises PotstillError where
    the terms gate's decision about its model does not permit asking.
    """

    def __init__(
        self,
        reader: TextReader,
        store: ExchangeStore,
        folder: Path,
        *,
        paid: Path | None = None,
        progress: Progress = Silent(),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        reader.decision.require(asks=True)
        assert reader.spec.count is not None
        self.count = reader.spec.count
        self._reader, self._store, self._paid = reader, store, paid
        self._told, self._progress, self._environ = OwnTargets(folder), progress, environ
        self._settings = server_settings(reader.server.endpoint)
        self._served = Served()

    def check(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> None:
        """Have one text read, once in a run, that stands for all: as long as any may be.

        Raises PotstillError where nothing is told of it, as `read` does.
        """
        known = self._reader.log.readings.get(_key(prompt_ids, response_ids))
        if known is None or known.reason is not None:
            self.read([(prompt_ids, response_ids)], 0)

    def read(self, texts: Sequence[PromptAndResponse], group: int) -> list[LikeliestTokens]:
        """Return what the server tells at the response tokens of (prompt ids, response ids).

        It is asked only for what it has not told in this run. Raises PotstillError where any text
        stays without: the budget is used up, the server does not answer or tells nothing of it.
        """
        keys = [_key(*text) for text in texts]
        identity, spec = self._reader.server.identity, self._reader.spec
        having = self._told.target_ids(identity, spec)
        left = {
            key: GivenText(key, tuple(prompt), tuple(response))
            for key, (prompt, response) in zip(keys, texts, strict=True)
            if key not in having
        }
        if left:
            self._told.begin(group)
            self._ask(list(left.values()))
        return self._told.targets(identity, spec, keys)

    def forget_before(self, group: int) -> None:
        """Delete what was told of earlier groups, which no checkpoint needs."""
        self._told.forget_before(group)

    def figures(self) -> OwnReadFigures:
        """Return what all of it took so far."""
        log = self._reader.log
        return OwnReadFigures(
            texts=log.own_texts,
            prompt_tokens=log.spent_on_own.prompt,
            response_tokens=log.spent_on_own.response,
            money=self._settings.prices.of(log.spent_on_own),
        )

    def _ask(self, texts: list[GivenText]) -> None:
        """Have texts read and keep what is told of them; what came stays, whatever is raised."""
        reader = self._reader
        reader.decision.require(asks=True)
        client = client_for(
            self._settings,
            reader.server.model,
            spent=self._spent_before + reader.log.spent,
            environ=self._environ,
            max_in_flight=self._at_once,
        )
        with Silent().step("read") as step:
            work = ReadingTexts(
                client,
                reader.server.identity,
                reader.tokens,
                reader.spec,
                self._told,
                reader.log,
                self._progress,
                step,
                served=self._served,
                needed=_not_told,
            )
            try:
                work.score_all(texts)
            finally:
                # A later group's budget has to know of it.
                if client.uncertain.total:
                    reader.log.add({OWN_UNCERTAIN: Reading(client.uncertain)})

    @cached_property
    def _at_once(self) -> int:
        return in_flight_allowed(self._settings, self._progress)

    @cached_property
    def _spent_before(self) -> Tokens:
        identity = self._reader.server.identity
        answered = [row for row in self._store.read() if row.teacher == identity]
        return spent_on(answered) + paid_for_nothing(self._paid, identity)


def _key(prompt_ids: Sequence[int], response_ids: Sequence[int]) -> str:
    """Return the key of a text: it says which ids were read, and where the response begins."""
    return OWN + blake3(repr((list(prompt_ids), list(response_ids))).encode()).hexdigest(length=16)


def _not_told(reason: str) -> PotstillError:
    """Return why a text that has to be told of cannot be, with the way out."""
    if reason == TOO_LONG:
        return PotstillError(
            "what the student writes may be longer than the context of the server that is to read "
            "it; start the server with a longer one (vLLM's --max-model-len), lower "
            "train.on_policy.max_tokens, leave longer prompts out, or take train.on_policy out"
        )
    return PotstillError(
        f"the server tells nothing to learn from of text that the student wrote ({reason}); take a "
        "server that has vLLM's prompt_logprobs, for as many as teacher.endpoint.top_logprobs, and "
        "a student.model with its tokenizer, or take train.on_policy out"
    )
