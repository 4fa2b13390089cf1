"""What was asked and answered, named by digests: from rows at hand, or as they lie in a run."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from potstill.canonical import digest_of, labelled
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
    import pyarrow.parquet as pq

    seen: set[str] = set()
    for path in sorted((root / "exchanges").glob("part-*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[*_COLUMNS, "messages"]):
                columns = [batch.column(name).to_pylist() for name in (*_COLUMNS, "messages")]
                for exchange_id, prompt_id, split, messages in zip(*columns, strict=True):
                    if exchange_id not in seen:
                        seen.add(exchange_id)
                        asked = tuple(json.loads(messages))
                        yield AnsweredPrompt(exchange_id, prompt_id, split, asked)


def _of(ids: Iterable[str]) -> str:
    return labelled(digest_of(sorted(set(ids)), 32))
