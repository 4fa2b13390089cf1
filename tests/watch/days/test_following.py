"""Candidates keep who is in them, what was reached stays, and the level is spent once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from potstill.stats.evalues import betting_log_e, lifted_log_e
from potstill.watch.days.daylog import ChosenGroup, DayLine, GroupTested
from potstill.watch.days.following import (
    BLOCK_DAYS,
    REST_DAYS,
    Following,
    candidate_id_of,
    written,
)
from potstill.watch.evidence import Chooser, Part
from potstill.watch.judging import two_families_log_e

PARTIES = tuple(f"a:{n}" for n in range(8))


def group_of(
    name: str,
    *,
    by: Chooser = "templates",
    once: Mapping[Part, float] | None = None,
    parties: Sequence[str] = PARTIES,
) -> ChosenGroup:
    return ChosenGroup(
        candidate_id=name,
        by=by,
        parties=tuple(parties),
        once=dict(once or {}),
        bets={},
        follows=("hand-off", "clock", "sharding"),
    )


def line_of(
    day: int,
    *,
    chosen: Sequence[ChosenGroup] = (),
    tested: Mapping[str, Mapping[Part, float]] | None = None,
    again: Sequence[str] = (),
) -> DayLine:
    return DayLine(
        day=f"2026-03-{day:02}",
        chain=str(day),
        chosen=tuple(chosen),
        again=tuple(again),
        tested=tuple(
            GroupTested(candidate_id=name, bets=dict(bets)) for name, bets in (tested or {}).items()
        ),
        alike=(),
        off={},
    )


def test_what_counts_once_stays_as_it_is_and_the_rest_is_lifted() -> None:
    lines = [
        line_of(1, chosen=[group_of("x", once={"means": 12.0})]),
        line_of(2, tested={"x": {"hand-off": 5.0}}),
        line_of(3, tested={"x": {"hand-off": -9.0}}),
    ]
    (one,) = Following.of(lines).candidates.values()
    best = float(betting_log_e([5.0, -9.0]).max())
    assert best == betting_log_e([5.0])[-1]
    nothing = math.log(0.5)
    assert one.parts == {
        "means": 12.0,
        "hand-off": lifted_log_e(best),
        "clock": pytest.approx(nothing),
        "sharding": pytest.approx(nothing),
    }
    assert one.log_e == two_families_log_e("templates", one.parts)


def test_pairs_that_were_not_tested_yet_count_from_the_first_day_on() -> None:
    # Else e would fall when a part comes in, or depend on which parts had something to say.
    lines = [line_of(1, chosen=[group_of("x", once={"means": 30.0})])]
    (one,) = Following.of(lines).candidates.values()
    assert set(one.parts) == {"means", "hand-off", "clock", "sharding"}
    # Means alone beside templates, hand-offs alone, and slot coverage with the clock.
    assert one.log_e == pytest.approx(30.0 - math.log(3), abs=1e-4)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["hand-off", "clock", "sharding"]), st.floats(-20, 20), max_size=3
        ),
        max_size=8,
    )
)
def test_nothing_ever_falls_and_who_stood_stands(days: list[dict[Part, float]]) -> None:
    following, before, stood = Following(), -math.inf, False
    following.add(line_of(1, chosen=[group_of("x", once={"means": 40.0})]))
    for day, bets in enumerate(days, 2):
        following.add(line_of(day, tested={"x": bets}))
        following.name(0.05)
        one = following.candidates["x"]
        assert one.log_e >= before - 1e-12
        assert not stood or one.named_on is not None
        before, stood = one.log_e, one.named_on is not None


def test_shares_of_the_level_sum_up_to_one_at_most() -> None:
    following = Following()
    for day in range(1, 29):
        groups = [
            group_of(f"{by}{day}-{n}", by=by, parties=[f"a:{by}{day}-{n}-{p}" for p in range(4)])
            for by in ("templates", "means", "places")
            for n in range(day % 4)
        ]
        following.add(line_of(day, chosen=groups))
        spent = sum(10**one.log10_share for one in following.candidates.values())
        assert spent <= 1
    assert spent > 0.7
    # A day without anybody new spends nothing, and those of one day and choosing share alike.
    first = [one for one in following.candidates.values() if one.day == "2026-03-02"]
    of = {one.group.by: one.log10_share for one in first}
    assert len(first) == 6 and len(set(of.values())) == 1


def test_a_candidate_is_tested_by_what_was_known_before() -> None:
    following = Following()
    following.add(line_of(1, chosen=[group_of("x")]))
    for day in range(2, 20):
        following.add(line_of(day, again=["x"] if day == 4 else []))
    one = following.candidates["x"]
    assert one.seen == [0, 3] and one.tested_on(0) == (False, False)
    alone = [place for place in range(1, 20) if one.tested_on(place)[0]]
    # Live until so many days after the last day on which a group was like it.
    assert alone == list(range(1, 3 + REST_DAYS + 1))
    ends = [place for place in range(1, 20) if one.tested_on(place)[1]]
    assert ends == [p for p in range(BLOCK_DAYS, 20, BLOCK_DAYS) if p - BLOCK_DAYS < 3 + REST_DAYS]


def test_a_group_is_the_candidate_that_it_shares_half_with() -> None:
    following = Following()
    following.add(line_of(1, chosen=[group_of("x"), group_of("m", by="means")]))
    assert following.like("templates", PARTIES[:4]) == "x"
    assert following.like("templates", [*PARTIES, *(f"b:{n}" for n in range(9))]) is None
    assert following.like("means", PARTIES) == "m" and following.like("places", PARTIES) is None


def test_ids_are_of_who_is_in_and_when() -> None:
    one = candidate_id_of("templates", "2026-03-01", PARTIES)
    assert one == candidate_id_of("templates", "2026-03-01", PARTIES)
    others = {
        candidate_id_of("means", "2026-03-01", PARTIES),
        candidate_id_of("templates", "2026-03-02", PARTIES),
        candidate_id_of("templates", "2026-03-01", PARTIES[1:]),
    }
    assert len(others) == 3 and one not in others


@given(st.floats(-1e6, 1e6))
def test_an_e_value_is_never_written_larger(log_e: float) -> None:
    assert written(log_e) <= max(log_e, -700.0) and written(log_e) > max(log_e, -700.0) - 2e-6
    assert written(-math.inf) == -700.0


def test_those_are_named_in_whom_what_holds_shows() -> None:
    following = Following()
    following.add(line_of(1, chosen=[group_of("x", once={"means": 40.0})]))
    line = line_of(2, tested={"x": {"hand-off": 40.0}})
    shows = {"hand-off": (0, 2, 3, 5)}
    told = line.tested[0].model_copy(update={"carriers": shows})
    following.add(line.model_copy(update={"tested": (told,)}))
    one = following.candidates["x"]
    # Of means nobody is told here: all carry it.
    assert one.standing().widened == PARTIES
    one.carriers["means"] = {0, 1}
    assert one.standing().widened == tuple(PARTIES[n] for n in (0, 1, 2, 3, 5))
