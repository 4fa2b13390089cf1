"""What was asked and answered, named by digests: from rows at hand, or as they lie in a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.canonical import digest_of, labelled, parsed
from potstill.errors import PotstillError
from potstill.lineage.document import DataFacts, SplitFacts
from potstill.text.turns import Message

_COLUMNS = ("exchange_id", "prompt_id", "split")


@dataclass(frozen=True)
class AnsweredPrompt:
    """A stored answer by its id, its prompt's id and its split, with what was asked."""

    exchange_id: str
    prompt_id: str
    split: str
    messages: tuple[Message, ...] = ()


def data_facts(rows: Iterable[AnsweredPrompt]) -> DataFacts:
    """Return the digests of prompts and answers: all together, and those of each split.

    A digest is over the sorted ids, so that it tells of no single one, and of no order.
    """
    splits: dict[str, list[AnsweredPrompt]] = defaultdict(list)
    for row in rows:
        splits[row.split].append(row)
    every = [row for some in splits.values() for row in some]
    return DataFacts(
        prompts=_of(row.prompt_id for row in every),
        exchanges=_of(row.exchange_id for row in every),
        splits={
            name: SplitFacts(
                rows=len(some),
                prompts=_of(row.prompt_id for row in some),
                exchanges=_of(row.exchange_id for row in some),
            )
            for name, some in sorted(splits.items())
        },
    )


def stored_answers(root: Path) -> Iterator[AnsweredPrompt]:
    """Yield the answers in the shards of a finished run, each once; no model and no torch."""
    seen: set[str] = set()
    for path in sorted((root / "exchanges").glob("part-*.parquet")):
        try:
            for row in _rows(path):
                if row.exchange_id not in seen:
                    seen.add(row.exchange_id)
                    yield row
        # pyarrow's errors of a damaged file are ValueErrors, some are OSErrors.
        except (ValueError, KeyError, TypeError, OSError):
            raise PotstillError(
                f"exchanges/{path.name} holds no answers that this version of potstill reads; get "
                "the directory as it was from whoever made it"
            ) from None


def _rows(path: Path) -> Iterator[AnsweredPrompt]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=[*_COLUMNS, "messages"]):
            columns = [batch.column(name).to_pylist() for name in (*_COLUMNS, "messages")]
            for exchange_id, prompt_id, split, messages in zip(*columns, strict=True):
                asked, named = parsed(messages), (exchange_id, prompt_id, split)
                if not all(isinstance(name, str) for name in named) or not _are_turns(asked):
                    raise ValueError("no answer to messages")
                yield AnsweredPrompt(exchange_id, prompt_id, split, tuple(asked))


def _are_turns(asked: Any) -> bool:
    return isinstance(asked, list) and all(isinstance(one, dict) for one in asked)


def _of(ids: Iterable[str]) -> str:
    return labelled(digest_of(sorted(set(ids)), 32))
