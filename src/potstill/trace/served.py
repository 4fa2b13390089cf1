"""Served answers that a plan ranks among their twins, and the digests that it names them by.

Nothing here needs torch. What was served comes out of a serving log, or out of the exchanges of a
run, as the same rows.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from potstill.canonical import digest_of
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Split
from potstill.logs.serving import (
    ServedCall,
    ServedEngine,
    ServedMark,
    ServedSampling,
    configuration_of,
    turn_of,
)
from potstill.logs.serving_file import served_rows
from potstill.logs.twin_needs import NoTwin, TwinTally, require_twins, with_twins
from potstill.request_fields import what_changes_draws
from potstill.trace.twins import ServedExchange

_SALT_BYTES = 32
_DIGEST_BYTES = 32
# What a run's exchanges are drawn by, of what they keep.
_DRAWN_BY = ("temperature", "top_p", "top_k", "max_tokens", "seed")


@dataclass(frozen=True)
class TwinSet:
    """One prompt's served answer and its twins, as the teacher's ids."""

    prompt: tuple[int, ...]
    served: tuple[int, ...]
    twins: tuple[tuple[int, ...], ...]

    @property
    def answers(self) -> tuple[tuple[int, ...], ...]:
        """The served answer first, then its twins as drawn."""
        return (self.served, *self.twins)


def new_salt() -> str:
    """Return a salt for a plan's digests, of the system's own randomness."""
    return secrets.token_hex(_SALT_BYTES)


def salted_answer(salt: str, prompt: Sequence[int], answer: Sequence[int]) -> str:
    """Return the digest that names an answer to a prompt, and without the salt tells nothing."""
    return digest_of([salt, list(prompt), list(answer)], _DIGEST_BYTES)


def salted_prompt(salt: str, prompt: Sequence[int]) -> str:
    """Return the digest that names a prompt."""
    return digest_of([salt, list(prompt)], _DIGEST_BYTES)


def served_exchanges(rows: Sequence[ServedCall], twins: int, salt: str) -> list[ServedExchange]:
    """Return what a plan holds of served rows, in their order.

    Raises PotstillError for a row without ids.
    """
    found = []
    for row in rows:
        prompt, served = ids_of_row(row)
        found.append(
            ServedExchange(
                prompt=salted_prompt(salt, prompt),
                served=salted_answer(salt, prompt, served),
                twins=twins,
            )
        )
    return found


def ids_of_row(row: ServedCall) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (prompt ids, response ids). Raises PotstillError where a row has none."""
    if not row.prompt_token_ids or not row.response_token_ids:
        raise PotstillError(
            f"the served answer {row.exchange_id} has no token ids, and no twins could be told "
            "from it; take rows that have them"
        )
    return row.prompt_token_ids, row.response_token_ids


def require_served(
    exchanges: Sequence[ServedExchange],
    answers: Iterable[tuple[Sequence[int], Sequence[int]]],
    salt: str,
) -> None:
    """Raise PotstillError unless (prompt, served answer) are those of a plan, in its order."""
    for number, ((prompt, served), exchange) in enumerate(zip(answers, exchanges, strict=True)):
        if salted_answer(salt, prompt, served) != exchange.served:
            raise PotstillError(
                f"served answer {number} is not the one of the plan; give the served log that it "
                "was made of"
            )


@dataclass(frozen=True)
class ServedLog:
    """Rows that twins can be drawn for, all drawn in one way, and what became of the others.

    `other_ways` counts rows that were drawn in other ways: each way is a configuration of its own.
    """

    rows: tuple[ServedCall, ...]
    configuration: str
    tally: TwinTally
    other_ways: int


def read_served_log(
    path: str,
    *,
    limit: int | None = None,
    needed: int = 1,
    configuration: str | None = None,
    split: Split = "train",
) -> ServedLog:
    """Return what was served, by a serving log or by a run directory (its exchanges of a split).

    Of several ways of drawing the one with the most rows is taken, or `configuration`. Rows stand
    in the log's order, which says nothing of them; at most `limit` are taken, the first. Raises
    PotstillError, naming what is missing, where fewer than `needed` rows can have twins.
    """
    tally = TwinTally()
    rows = list(with_twins(_rows(path, split), tally))
    require_twins(tally, path, needed)
    ways: dict[str, list[ServedCall]] = {}
    for row in rows:
        ways.setdefault(configuration_of(row), []).append(row)
    wanted = configuration or max(ways, key=lambda way: len(ways[way]))
    taken = ways.get(wanted, [])
    if len(taken) < needed:
        raise PotstillError(
            f"{len(taken):,} rows of {path} were drawn in the way {wanted}, and {needed:,} are "
            f"needed; there are {_ways(ways)}"
        )
    return ServedLog(tuple(taken[:limit]), wanted, tally, len(rows) - len(taken))


def row_of_exchange(exchange: Exchange, schemes: dict[str, str]) -> ServedCall:
    """Return an exchange of a store as a row of a serving log.

    `schemes` names the scheme of each mark that the store's run records, by the id that exchanges
    have of it; a mark that is not among them has the scheme `unknown`.
    """
    sampling = exchange.sampling
    mark = exchange.watermark_key_id
    rest = {key: value for key, value in sampling.items() if key not in _DRAWN_BY}
    extra = rest.pop("extra", None)
    rest |= extra if isinstance(extra, dict) else {}
    longest = sampling.get("max_tokens") or 0
    others = [key for key, value in rest.items() if _changes(key, value, longest)]
    known = {key: sampling.get(key) for key in _DRAWN_BY}
    return ServedCall(
        request_id=exchange.exchange_id,
        at=exchange.created_at,
        model=exchange.teacher[:300],
        messages=exchange.messages,
        tools=exchange.tools,
        turn=turn_of(exchange.messages),
        prompt_token_ids=exchange.prompt_token_ids,
        sampling=ServedSampling.model_validate({**known, "others": tuple(sorted(others))}),
        engine=ServedEngine(name=exchange.engine) if exchange.engine else None,
        snapshot=exchange.teacher[:300],
        dtype=exchange.dtype or None,
        tokenizer=exchange.tokenizer,
        response=exchange.response,
        reasoning=exchange.reasoning,
        tool_calls=exchange.tool_calls,
        response_token_ids=exchange.response_token_ids,
        finish_reason=exchange.finish_reason,
        watermark="none"
        if mark is None
        else ServedMark(key_id=mark, scheme=schemes.get(mark, "unknown")),
    )


def _rows(path: str, split: Split) -> Iterator[tuple[ServedCall | NoTwin, str]]:
    if not is_run(path):
        yield from served_rows([path])
        return
    # The store stands on torch.
    from potstill.exchanges.store import ExchangeStore

    schemes = _schemes_of(Path(path).expanduser())
    for exchange in ExchangeStore(Path(path).expanduser()).read(split):
        yield row_of_exchange(exchange, schemes), f"exchange {exchange.exchange_id}"


def is_run(path: str) -> bool:
    """Tell whether a path is a folder with a store of exchanges in it."""
    return (Path(path).expanduser() / "exchanges").is_dir()


def _schemes_of(root: Path) -> dict[str, str]:
    """Return the scheme of the mark that a run records, by the id that its exchanges have of it."""
    from potstill.work.records import Watermark
    from potstill.work.rundir import RunDir

    if not RunDir.header().begins(root):
        return {}
    mark = RunDir.reading(root).done(Watermark)
    return {} if mark is None else {mark.mark_id: mark.scheme}


def _changes(key: str, value: object, longest: int) -> bool:
    return what_changes_draws({key: value}, longest, given=False) is not None


def _ways(ways: dict[str, list[ServedCall]]) -> str:
    return ", ".join(f"{way} ({len(rows):,} rows)" for way, rows in ways.items())
