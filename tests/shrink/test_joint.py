"""The joint search reaches its target by what costs least."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.progress import Silent
from potstill.shrink.cut import Cut
from potstill.shrink.importance import Ranking
from potstill.shrink.joint import Axes, Loss, search_cut
from potstill.shrink.sizes import Sizes
from potstill.shrink.trials import foretelling

SIZES = Sizes(
    rest=1000,
    block=(500,) * 10,
    channel=1,
    channels=1000,
    kv_head=300,
    kv_heads=4,
    possible_kv_heads=(1, 2),
    token=5,
    tokens=2000,
)
AXES = Axes(
    sizes=SIZES,
    blocks=(5, 4, 3, 2, 1, 6, 7, 8),
    ranking=Ranking((tuple(range(1000)),) * 10, (tuple(range(4)),) * 10),
    tokens=lambda count: tuple(range(count)),
    least_tokens=300,
)


def lost(weights: tuple[float, float, float, float]) -> Loss:
    """Return a loss that grows by the square of what goes of each axis."""

    def loss(cut: Cut) -> float:
        channels = 1000 if cut.channels is None else len(cut.channels[0])
        heads = 4 if cut.kv_heads is None else len(cut.kv_heads[0])
        tokens = 2000 if cut.kept_tokens is None else len(cut.kept_tokens)
        gone = (len(cut.blocks) / 10, 1 - channels / 1000, 1 - heads / 4, 1 - tokens / 2000)
        return sum(w * g * g for w, g in zip(weights, gone, strict=True))

    return loss


def search(target: int, loss: Loss, axes: Axes = AXES, start: Cut = Cut()) -> Cut:
    cut, trials = search_cut(
        start, target, axes, step=1500, candidates=3, loss=loss, progress=Silent()
    )
    assert SIZES.of(cut) <= target
    taken = [t for t in trials if t["taken"]]
    assert [t["parameters"] for t in taken] == sorted(
        (t["parameters"] for t in taken), reverse=True
    )
    return cut


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.floats(0.01, 10)] * 4),
    st.integers(9000, SIZES.whole - 1),
)
def test_the_target_is_met_and_little_is_given_away(
    weights: tuple[float, float, float, float], target: int
) -> None:
    cut = search(target, lost(weights))
    # Where channels or tokens were cut, they are given back up to the target.
    if cut.kept_tokens is not None:
        assert target - SIZES.of(cut) < SIZES.token
    elif cut.channels is not None:
        left = 10 - len(cut.blocks)
        assert target - SIZES.of(cut) < AXES.grain * SIZES.channel * left


@pytest.mark.parametrize("cheap", range(4))
def test_the_axis_that_costs_nothing_goes_first(cheap: int) -> None:
    weights = tuple(0.0 if axis == cheap else 5.0 for axis in range(4))
    cut = search(SIZES.whole - 3000, lost(weights))  # type: ignore[arg-type]
    gone = (bool(cut.blocks), cut.channels, cut.kv_heads, cut.kept_tokens)
    assert [bool(g) for g in gone] == [axis == cheap for axis in range(4)]


def test_the_greedy_price_is_close_to_the_best_allotment() -> None:
    weights = (3.0, 1.0, 2.0, 0.5)
    target = SIZES.whole * 6 // 10
    found = lost(weights)(search(target, lost(weights)))
    best = min(
        lost(weights)(cut)
        for blocks in range(9)
        for heads in (1, 2, 4)
        for channels in range(32, 1001, 32)
        for tokens in range(300, 2001, 20)
        if SIZES.of(
            cut := Cut(
                tuple(range(1, blocks + 1)),
                tuple(range(tokens)),
                (tuple(range(channels)),),
                (tuple(range(heads)),),
            )
        )
        <= target
    )
    assert found < 1.25 * best


def test_what_is_cut_already_counts() -> None:
    start = Cut(blocks=(9,), kept_tokens=tuple(range(1000)))
    axes = replace(AXES, tokens=None, blocks=())
    cut = search(SIZES.whole - 12000, lost((1, 1, 1, 1)), axes, start)
    assert cut.blocks == (9,)
    assert cut.kept_tokens == start.kept_tokens
    assert cut.channels is not None or cut.kv_heads is not None
    unchanged = search(SIZES.of(start), lost((1, 1, 1, 1)), axes, start)
    assert unchanged == start


def test_a_target_out_of_reach_is_refused() -> None:
    axes = Axes(sizes=SIZES, ranking=Ranking(None, AXES.ranking.kv_heads))
    with pytest.raises(PotstillError, match=r"leaves at least 29,000 \(0\.76\)"):
        search(15000, lost((1, 1, 1, 1)), axes)


def test_blocks_are_scanned_again_only_when_one_has_gone() -> None:
    asked: list[Cut] = []

    def loss(cut: Cut) -> float:
        asked.append(cut)
        return lost((9.0, 0.1, 9.0, 9.0))(cut) + 0.001 * sum(cut.blocks)

    search(SIZES.whole - 6000, loss)
    deeper = [c for c in asked if c.blocks]
    first_round = [c for c in deeper if c.channels is None]
    assert [c.blocks for c in first_round] == [(5,), (4,), (3,)]
    later = [c.blocks for c in deeper if c.channels is not None]
    assert set(later) == {(3,), (4,)}


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([512, 576, 800, 1000, 1536]),
    st.floats(0.3, 0.98),
    st.integers(100, 4000),
)
def test_widths_that_are_searched_for_fit_q8_0(channels: int, share: float, step: int) -> None:
    sizes = replace(SIZES, channels=channels, channel=12)
    ranking = Ranking((tuple(range(channels)),) * 10, None)
    axes = Axes(sizes=sizes, ranking=ranking, tokens=AXES.tokens, least_tokens=300)
    target = int(share * sizes.whole)

    def loss(cut: Cut) -> float:
        return float(sizes.whole - sizes.of(cut))

    try:
        cut, trials = search_cut(
            Cut(), target, axes, step=step, candidates=1, loss=loss, progress=Silent()
        )
    except PotstillError:
        return
    widths = [t.get("ffn_channels") for t in trials] + [cut.widths.get("ffn_channels")]
    assert all(width is None or width % 32 == 0 for width in widths)


class Said(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(
    ("trials", "seconds", "said"),
    [
        (32, 1.5, "a trial takes 1.5 s, so the search about 45 s more"),
        (3, 0.25, "a trial takes 0.25 s, so the search about 1 s more"),
        (122, 3.0, "a trial takes 3 s, so the search about 6 minutes more"),
        (2_402, 9.0, "a trial takes 9 s, so the search about 6.0 hours more"),
        (2, 9.0, None),
    ],
)
def test_a_search_says_first_how_long_it_takes(
    trials: int, seconds: float, said: str | None
) -> None:
    """The clock is the test's: the first trial takes longer, and does not count."""
    progress, times = Said(), iter([0.0, 100.0, 100.0 + seconds, 0.0])
    loss = foretelling(lambda cut: float(cut), trials, progress, clock=lambda: next(times))
    assert progress.notes == [f"shrink: the search makes about {trials:,} trials"]
    assert [loss(n) for n in range(3)] == [0.0, 1.0, 2.0]
    assert progress.notes[1:] == ([] if said is None else [f"shrink: {said}"])


@pytest.mark.parametrize(("share", "step"), [(0.7, 0.05), (0.5, 0.1), (0.3, 0.2)])
def test_the_number_of_trials_is_foretold(share: float, step: float) -> None:
    progress = Said()
    _, trials = search_cut(
        Cut(),
        int(share * SIZES.whole),
        AXES,
        step=int(step * SIZES.whole),
        candidates=4,
        loss=lost((1.0, 1.0, 1.0, 1.0)),
        progress=progress,
    )
    foretold = int(re.findall(r"about ([\d,]+) trials", progress.notes[0])[0].replace(",", ""))
    assert len(trials) <= 1.5 * foretold
    assert foretold <= 4 * len(trials)
