"""The requests of a group on a day: who asks when, for what, and what is tried again."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from potstill.simulator.covers import COVERS, USUAL, Cover, hour_shares
from potstill.simulator.groups import Group
from potstill.simulator.hashing import Keys, digit, keyed, mixed
from potstill.simulator.people import DAY_S, PLACES, People
from potstill.simulator.spec import LANGUAGES, Look, Relation

Rng = np.random.Generator
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_OFFSET_H = np.array([place[2] for place in PLACES])
# A refusal is tried again by half of the clients.
_RETRIED = 0.5
_BURST = 10.0
_COMMON = 0.1
OK, REFUSED, REVOKED = 200, 429, 403


@dataclass(frozen=True)
class Rows:
    """Requests, one row each."""

    second: Floats
    """Seconds from the start of the day, UTC."""
    account: NDArray[np.int32]
    family: NDArray[np.int32]
    language: NDArray[np.int8]
    item: Keys
    sweep: NDArray[np.int32]
    status: NDArray[np.int16]
    """429 for refusals, 403 for a key's last call, else 200: other failures come later."""
    adopts: NDArray[np.bool_]
    related: NDArray[np.bool_]
    """Part of what the group is for; unrelated and ordinary otherwise."""

    def __len__(self) -> int:
        return len(self.second)


def joined(parts: list[Rows]) -> Rows:
    """Return all parts as one, in order."""
    return Rows(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Rows)}
    )


def taken(rows: Rows, order: Ints) -> Rows:
    """Return rows in an order."""
    return Rows(**{f.name: getattr(rows, f.name)[order] for f in fields(Rows)})


def day_weight(cover: Cover, day: int) -> float:
    """Return how much is asked on a day of the week (0 is Monday), on average 1."""
    return (cover.weekend if day % 7 > 4 else 1.0) * 7 / (5 + 2 * cover.weekend)


def counts(rng: Rng, group: Group, who: People, day: int) -> tuple[Ints, Ints]:
    """Draw how many related and how many unrelated requests each account makes on a day."""
    look, total = group.look, group.relation.generations
    if not look.first_day <= day < look.first_day + look.days:
        return np.zeros(len(who), dtype=np.int64), np.zeros(len(who), dtype=np.int64)
    rate = look.rate * who.weight * day_weight(COVERS[look.cover], day)
    if total > 1:
        # A generation has its part of the group's time, and asks as much more in it.
        rate = rate * total * _overlap(look, total, who.generation, day)
    return rng.poisson(rate * (1 - look.mix)), rng.poisson(rate * look.mix)


def _life(look: Look, total: int, generation: NDArray[np.int8]) -> tuple[Floats, Floats]:
    """Return from when to when accounts are used, in days: whole ones where these suffice."""
    start = look.days * generation.astype(np.float64) / total
    end = look.days * (generation + 1.0) / total
    if look.days >= total:
        start, end = np.floor(start), np.floor(end)
    return look.first_day + start, look.first_day + end


def _overlap(look: Look, total: int, generation: NDArray[np.int8], day: int) -> Floats:
    """Return the share of a day that lies in each account's part of the group's days."""
    start, end = _life(look, total, generation)
    return np.asarray(np.clip(np.minimum(end, day + 1) - np.maximum(start, day), 0, 1))


def bursty(rng: Rng, count_A: Ints, cv_A: NDArray[np.float32]) -> Floats:
    """Draw sorted moments in (0, 1) of each account in turn: gaps are Gamma with its burstiness."""
    shape = np.repeat(1 / cv_A.astype(np.float64) ** 2, count_A + 1)
    # Gaps of very bursty clients underflow; the sums below keep about ten digits.
    gaps = rng.standard_gamma(shape) + 1e-7
    ends = np.cumsum(count_A + 1)
    total = np.cumsum(gaps)
    before = np.concatenate([[0.0], total[ends[:-1] - 1]]) if len(ends) else np.zeros(0)
    whole = np.repeat(total[ends - 1] - before, count_A + 1)
    moments = (total - np.repeat(before, count_A + 1)) / whole
    last = np.zeros(len(gaps), dtype=np.bool_)
    last[ends - 1] = True
    return np.asarray(moments[~last])


def clock(moment: Floats, day: str, flat: NDArray[np.bool_], offset_h: Floats) -> Floats:
    """Return seconds of a UTC day for moments of a local one, by how much is asked in each hour."""
    edges = np.concatenate([[0.0], np.cumsum(hour_shares(day))])
    local = np.where(flat, moment * DAY_S, np.interp(moment, edges, np.arange(25) * 3_600.0))
    return (local - offset_h * 3_600) % DAY_S


def _rounds(rng: Rng, relation: Relation, group: Group, who: People, acting: Ints) -> Floats:
    """Return moments that follow the group's common ones, with the drawn delay."""
    home, flat = _OFFSET_H[who.place[0]], np.repeat(who.flat[0], relation.ticks)
    common = clock(np.sort(rng.random(relation.ticks)), COVERS[group.look.cover].day, flat, home)
    chosen = common[rng.integers(0, relation.ticks, size=len(acting))]
    return (chosen + rng.exponential(relation.jitter_s, size=len(acting))) % DAY_S


def _turns(second: Floats, number: int, accounts: int, key: int) -> Ints:
    """Return who acts at each second: accounts by turns of half an hour, in an order of the day."""
    # Where accounts are many, several act in each turn.
    lanes = max(1, accounts // 24)
    turn = (second // 1_800).astype(np.int64)
    lane = keyed(key, np.arange(number)) % np.uint64(lanes)
    place = keyed(~key & (2**64 - 1), turn * lanes + lane.astype(np.int64))
    return (place % np.uint64(accounts)).astype(np.int64)


def related(
    rng: Rng, group: Group, key: int, who: People, first: int, count_A: Ints, day: int,
    family_A: NDArray[np.int32], shared: NDArray[np.int32], dealt: int,
) -> Rows:  # fmt: skip
    """Draw the requests that a group is for.

    `key` is the group's own, `first` the number of its first account, `family_A` the accounts' own
    template families, `shared` those of the group, `dealt` how much of a list was dealt out on
    earlier days.
    """
    relation, look = group.relation, group.look
    acting = np.repeat(np.arange(len(who)), count_A)
    total = len(acting)
    moment = bursty(rng, count_A, who.cv)
    if relation.generations > 1:
        moment = _within(look, relation.generations, who.generation[acting], day, moment)
    if relation.ticks and total:
        second = _rounds(rng, relation, group, who, acting)
    else:
        offset = _OFFSET_H[who.place[acting]]
        second = clock(moment, COVERS[look.cover].day, who.flat[acting], offset)
    if relation.turns and total:
        acting = _turns(second, total, len(who), key + day + 1)
    family = family_A[acting]
    if len(shared):
        family = shared[rng.integers(0, len(shared), size=total)]
    elif relation.by_row and total:
        family = family_A[rng.integers(0, len(family_A), size=total)]
    language = who.language[acting]
    if relation.by_row:
        choices = np.array([LANGUAGES.index(name) for name in look.languages], dtype=np.int8)
        language = choices[rng.integers(0, len(choices), size=total)]
    item, sweep = _items(rng, relation, key, acting, dealt)
    rows = Rows(
        second=second,
        account=(first + acting).astype(np.int32),
        family=family.astype(np.int32),
        language=language.astype(np.int8),
        item=item,
        sweep=sweep,
        status=_refusals(rng, look.fails, total),
        adopts=rng.random(total) < look.adoption,
        related=np.ones(total, dtype=np.bool_),
    )
    rows = retried(rng, rows, (first, len(who)) if relation.handoff else None)
    return _revoked(rows, look, relation, who, first, day)


def _within(
    look: Look, total: int, generation: NDArray[np.int8], day: int, moment: Floats
) -> Floats:
    begins, ends = _life(look, total, generation)
    start, end = np.maximum(begins, day) - day, np.minimum(ends, day + 1) - day
    return np.asarray(np.clip(start + moment * (end - start), 0, 1 - 1e-9))


def _items(
    rng: Rng, relation: Relation, key: int, acting: Ints, dealt: int
) -> tuple[Keys, NDArray[np.int32]]:
    none = np.full(len(acting), -1, dtype=np.int32)
    if relation.items == "sharded":
        place = dealt + rng.permutation(len(acting))
        return keyed(key, place), place.astype(np.int32)
    if relation.items == "same":
        return keyed(key, rng.integers(0, relation.pool, size=len(acting))), none
    # Lists of strangers meet by chance: all are drawn from one of ten times their length.
    own = (acting + 1) * 2**32 + rng.integers(0, relation.pool, size=len(acting))
    return keyed(key, digit(keyed(key, own), 0, 10 * relation.pool)), none


def _refusals(rng: Rng, share: float, total: int) -> NDArray[np.int16]:
    """Draw bursts of refusals: each begins at a request with chance `share`."""
    status = np.full(total, OK, dtype=np.int16)
    if share and total:
        begins = rng.random(total) < share
        length = rng.geometric(1 / _BURST, size=total)
        last = np.maximum.accumulate(np.where(begins, np.arange(total), -1))
        status[(last >= 0) & (np.arange(total) - last < length[last])] = REFUSED
    return status


def retried(rng: Rng, rows: Rows, pool: tuple[int, int] | None = None) -> Rows:
    """Let requests that follow a refusal be the same request again, seconds later.

    By the same account; or by another one of the `pool`: the number of its first, and how many.
    """
    if not (rows.status == REFUSED).any():
        return rows
    keys = (rows.second, rows.account) if pool is None else (rows.second,)
    rows = taken(rows, np.lexsort(keys))
    after = np.zeros(len(rows), dtype=np.bool_)
    after[1:] = rows.status[:-1] == REFUSED
    if pool is None:
        after[1:] &= rows.account[1:] == rows.account[:-1]
        after &= rng.random(len(rows)) < _RETRIED
    root = np.maximum.accumulate(np.where(after, -1, np.arange(len(rows))))
    wait = np.where(after, rng.exponential(4.0, size=len(rows)) + 0.3, 0.0)
    passed = np.cumsum(wait)
    second = np.where(after, rows.second[root] + passed - passed[root], rows.second)
    account = rows.account
    if pool is not None and pool[1] > 1:
        steps = np.cumsum(np.where(after, rng.integers(1, pool[1], size=len(rows)), 0))
        account = pool[0] + (account[root] - pool[0] + steps - steps[root]) % pool[1]
    same = {name: getattr(rows, name)[root] for name in ("family", "language", "item", "sweep")}
    values = {f.name: getattr(rows, f.name) for f in fields(Rows)}
    moved = {"second": np.minimum(second, DAY_S - 1e-3), "account": account.astype(np.int32)}
    return Rows(**(values | same | moved))


def _revoked(rows: Rows, look: Look, relation: Relation, who: People, first: int, day: int) -> Rows:
    """Let the last call of an account whose time has ended be refused for good."""
    if relation.generations == 1 or not len(rows):
        return rows
    _, end = _life(look, relation.generations, who.generation)
    ends_today = (end > day) & (end <= day + 1)
    order = np.lexsort((rows.second, rows.account))
    account = rows.account[order]
    last = order[np.append(account[1:] != account[:-1], True)]
    rows.status[last[ends_today[rows.account[last] - first]]] = REVOKED
    return rows


def unrelated(
    rng: Rng, who: People, first: int, count_A: Ints, family_A: NDArray[np.int32],
    spread: NDArray[np.int32], adoption: float,
) -> Rows:  # fmt: skip
    """Draw ordinary requests of any accounts, each from its own template.

    With `spread`, the ordinary templates of many others, a request may be of anybody behind a
    proxy.
    """
    acting = np.repeat(np.arange(len(who)), count_A)
    total = len(acting)
    offset = _OFFSET_H[who.place[acting]]
    family = family_A[acting]
    if len(spread):
        family = spread[rng.integers(0, len(spread), size=total)]
    key = mixed(who.account[acting])
    second = clock(bursty(rng, count_A, who.cv), USUAL.day, who.flat[acting], offset)
    # One account in twelve asks at the full hour, as timers do: strangers then act together.
    hourly = key % np.uint64(12) == 0
    second = np.where(hourly, second // 3_600 * 3_600 + rng.exponential(20.0, size=total), second)
    # Some questions everybody asks: where strangers also share a template, whole prompts agree.
    common = keyed(0, rng.geometric(0.05, size=total))
    again = rng.geometric(0.02, size=total).astype(np.uint64)
    return Rows(
        second=np.minimum(second, DAY_S - 1e-3),
        account=(first + acting).astype(np.int32),
        family=family.astype(np.int32),
        language=who.language[acting],
        item=np.where(rng.random(total) < _COMMON, common, mixed(key + again)),
        sweep=np.full(total, -1, dtype=np.int32),
        status=np.full(total, OK, dtype=np.int16),
        adopts=rng.random(total) < adoption,
        related=np.zeros(total, dtype=np.bool_),
    )


def part(rows: Rows, first: int, count: int) -> Rows:
    """Return `count` rows from number `first` on."""
    return Rows(**{f.name: getattr(rows, f.name)[first : first + count] for f in fields(Rows)})
