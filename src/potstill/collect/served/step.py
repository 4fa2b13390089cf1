"""Read: a server reads the answers that were kept and of which there are no targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from potstill.collect.served.pending import spent_on
from potstill.collect.served.reading import GivenText, require_reading, score_by_endpoint
from potstill.collect.served.reading_log import ReadingLog
from potstill.endpoint.budget import Tokens
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Progress
from potstill.terms.gate import TermsDecision
from potstill.work.access import Server
from potstill.work.corpus import Corpus
from potstill.work.stage_records import ReadAnswers


@dataclass(frozen=True)
class TextReader:
    """A server that reads given text, how its tokens are known, and what it has read so far.

    `decision` is the terms gate's about the server's model.
    """

    server: Server
    tokens: TeacherTokens
    spec: TargetSpec
    log: ReadingLog
    decision: TermsDecision

    @classmethod
    def of(
        cls,
        server: Server | None,
        tokens: TeacherTokens | None,
        spec: TargetSpec | None,
        path: Path,
        decision: TermsDecision,
    ) -> TextReader | None:
        """Return the server as a reader, whose log is at `path`; None where it reads nothing.

        Raises PotstillError where it has read under another tokenizer.
        """
        if server is None or not server.reads_given_text or tokens is None or spec is None:
            return None
        return cls(server, tokens, spec, ReadingLog(path, tokens.tokenizer_id), decision)

    @property
    def spent(self) -> Tokens:
        """What reading was charged with so far."""
        return self.log.spent


def check_reading(reader: TextReader, store: ExchangeStore) -> None:
    """Raise PotstillError where the server turns out to read nothing; asked once in a run."""
    if reader.log.reads:
        return
    require_reading(
        reader.server.endpoint,
        reader.server.model,
        reader.tokens,
        reader.spec,
        reader.log,
        reader.decision,
        spent=spent_on(_answered(store, reader.server)),
    )


def read_answers(
    reader: TextReader, corpus: Corpus, *, currency: str, progress: Progress
) -> ReadAnswers:
    """Have the server read the training answers without targets; return the figures.

    Answers with reasoning or tool calls are not given to it: what it would have gone on from is
    more than their text.
    """
    rows = [row for row in corpus.exchanges("train") if row.response_token_ids is None]
    whole = [row for row in rows if _is_all(row) and corpus.learnt_whole(row)]
    texts = [
        GivenText(t.exchange.exchange_id, t.prompt_ids, t.response_ids)
        for t in corpus.texts(whole, corpus.opened.parent)
    ]
    figures = score_by_endpoint(
        reader.server.endpoint,
        reader.server.model,
        texts,
        reader.tokens,
        reader.spec,
        corpus.store,
        reader.log,
        reader.decision,
        spent=spent_on(_answered(corpus.store, reader.server)),
        progress=progress,
    )
    note = figures.sentence(currency)
    if len(rows) > len(whole):
        note += f"; {len(rows) - len(whole)} with reasoning or tool calls were not read"
    progress.note(f"read: {note}")
    return ReadAnswers(**figures.record(), note=note)


def _is_all(row: Exchange) -> bool:
    return not row.reasoning and not row.calls


def _answered(store: ExchangeStore, server: Server) -> list[Exchange]:
    """Return the answers that the server gave itself, which were charged for."""
    return [row for row in store.read() if row.teacher == server.identity]
