"""Marked texts as they were served: out of a serving log, a run, or rows of ids."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from potstill.durable import read_lines
from potstill.errors import PotstillError
from potstill.logs.serving import ServedCall, ServedMark
from potstill.logs.serving_file import served_rows
from potstill.trace.marks_in_choices import MarkedText
from potstill.trace.served import is_run
from potstill.watermark.schemes import GreenList, Gumbel

_SALT_BYTES = 16
Ids = tuple[tuple[int, ...], tuple[int, ...]]


def marked_texts(source: str, scheme: GreenList | Gumbel) -> list[MarkedText]:
    """Return the texts of a source that carry a scheme's mark, each with a salt of its own.

    Rows of `prompt_ids` and `ids` are taken at their word. Raises PotstillError where none of a
    log's or a run's answers carries the mark.
    """
    found = [
        MarkedText(salt=secrets.token_hex(_SALT_BYTES), prompt_ids=prompt, ids=ids)
        for prompt, ids in _ids_of(source, scheme)
    ]
    if not found:
        raise PotstillError(
            f"{source} holds no answer with token ids that is marked with the key of this trace "
            f"(its digest is {scheme.key_id}); give the log or run that the key marked"
        )
    return found


def _ids_of(source: str, scheme: GreenList | Gumbel) -> Iterator[Ids]:
    if is_run(source):
        yield from _of_run(Path(source).expanduser(), scheme)
    elif (rows := _plain_rows(Path(source).expanduser())) is not None:
        yield from rows
    else:
        yield from _of_log(source, scheme)


def _of_run(root: Path, scheme: GreenList | Gumbel) -> Iterator[Ids]:
    # The store stands on torch.
    from potstill.exchanges.store import ExchangeStore

    for exchange in ExchangeStore(root).read("train"):
        prompt, ids = exchange.prompt_token_ids, exchange.response_token_ids
        if exchange.watermark_key_id == scheme.mark_id and prompt is not None and ids:
            yield tuple(prompt), tuple(ids)


def _of_log(source: str, scheme: GreenList | Gumbel) -> Iterator[Ids]:
    for row, _ in served_rows([source]):
        if not isinstance(row, ServedCall) or not isinstance(row.watermark, ServedMark):
            continue
        own = row.watermark.key_id in (scheme.key_id, scheme.mark_id)
        if own and row.prompt_token_ids and row.response_token_ids:
            yield row.prompt_token_ids, row.response_token_ids


def _plain_rows(path: Path) -> list[Ids] | None:
    """Return rows of ids; None for a file of anything else."""
    if path.suffix != ".jsonl" or not path.is_file():
        return None
    rows = read_lines(path)
    if not rows or not all({"prompt_ids", "ids"} <= row.keys() for row in rows):
        return None
    try:
        texts = [MarkedText.model_validate({"salt": "0" * 16, **row}) for row in rows]
    except ValidationError:
        raise PotstillError(
            f"{path} has rows of prompt_ids and ids that are no lists of token ids; correct them"
        ) from None
    return [(text.prompt_ids, text.ids) for text in texts]
