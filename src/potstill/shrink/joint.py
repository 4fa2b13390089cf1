"""Reach a number of parameters by cutting whatever costs least: blocks, channels, heads, tokens.

A greedy search. In each round every axis proposes to give up a little more; each proposal is made,
healed and measured; the one that loses least for the parameters it saves is taken. Blocks are
tried one by one, and again whenever a block has gone: what a block is worth depends on its
neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from potstill.errors import PotstillError
from potstill.progress import Progress
from potstill.shrink.cut import Cut
from potstill.shrink.importance import Ranking
from potstill.shrink.sizes import Sizes
from potstill.shrink.trials import foretelling, record

Loss = Callable[[Cut], float]

# Blocks that are tried again while another axis is being cut.
_AGAIN = 2


@dataclass(frozen=True)
class Axes:
    """What the search may cut.

    `blocks` in the order in which they are tried (() where no block may go), `ranking` of channels
    and heads (None where they stay), `tokens` gives the ids to keep for a number of them (None
    where all stay) and `least_tokens` is the smallest such number.
    """

    sizes: Sizes
    blocks: tuple[int, ...] = ()
    ranking: Ranking = Ranking()
    tokens: Callable[[int], tuple[int, ...]] | None = None
    least_tokens: int = 0

    @property
    def grain(self) -> int:
        """Numbers of channels are multiples of this: q8_0 of a GGUF takes 32 of a row at a time.

        Narrow parts go by fours: 32 are much of them, and an export says what stays in 16 bits.
        """
        return 32 if self.sizes.channels >= 512 else 4


def search_cut(
    start: Cut,
    target: int,
    axes: Axes,
    *,
    step: int,
    candidates: int,
    loss: Loss,
    progress: Progress,
) -> tuple[Cut, list[dict[str, Any]]]:
    """Return a cut of at most `target` parameters, and every trial in the order it was made.

    `start` is cut already; a round saves about `step` parameters. Raises PotstillError where
    the axes cannot reach the target.
    """
    sizes = axes.sizes
    check_target(start, target, axes)
    cut, lost = start, 0.0
    loss = foretelling(loss, _about_trials(start, target, axes, step, candidates), progress)
    if start != Cut():
        lost = loss(start)
    scanned: dict[tuple[int, ...], list[int]] = {}
    trials: list[dict[str, Any]] = []
    with progress.step("choose the cut", total=max(0, sizes.of(cut) - target)) as shown:
        while (need := sizes.of(cut) - target) > 0:
            blocks = scanned.get(cut.blocks) or [b for b in axes.blocks if b not in cut.blocks]
            proposals = _proposals(cut, axes, min(step, need), blocks[:candidates])
            losses = {proposal: loss(proposal) for proposal in proposals}

            def price(proposal: Cut, need: int = need, now: Cut = cut, lost: float = lost) -> float:
                saved = sizes.of(now) - sizes.of(proposal)
                return (losses[proposal] - lost) / min(saved, need)  # noqa: B023

            best = min(proposals, key=price)
            trials += [
                record(p, kl, parameters=sizes.of(p), taken=p == best) for p, kl in losses.items()
            ]
            scanned.setdefault(cut.blocks, _best_blocks(cut, losses))
            shown.advance(sizes.of(cut) - sizes.of(best), kl=round(losses[best], 3))
            cut, lost = best, losses[best]
    return _filled(cut, start, target, axes), trials


def _about_trials(start: Cut, target: int, axes: Axes, step: int, candidates: int) -> int:
    """Return how many trials a search makes about: every axis and all blocks, in each round."""
    sizes = axes.sizes
    a_block = (sizes.whole - sizes.rest - sizes.token * sizes.tokens) // len(sizes.block)
    # A round that drops a block saves what that has, where it has less than a step.
    saved = max(1, min(step, a_block) if axes.blocks else step)
    rounds = -(-max(0, sizes.of(start) - target) // saved)
    widths = [axes.ranking.channels, axes.ranking.kv_heads, axes.tokens]
    return rounds * (min(candidates, len(axes.blocks)) + sum(axis is not None for axis in widths))


def _proposals(cut: Cut, axes: Axes, amount: int, blocks: Sequence[int]) -> list[Cut]:
    """Return the cuts that go a little further than `cut`, by about `amount` parameters."""
    found = [replace(cut, blocks=tuple(sorted((*cut.blocks, block)))) for block in blocks]
    sizes, ranking, widths = axes.sizes, axes.ranking, axes.sizes.widths(cut)
    if ranking.channels is not None:
        left = len(sizes.block) - len(cut.blocks)
        now = widths["ffn_channels"]
        count = now - -(-amount // (sizes.channel * left))
        count = max(axes.grain, count // axes.grain * axes.grain)
        if count < now:
            found.append(replace(cut, channels=ranking.kept_channels(count)))
    if ranking.kv_heads is not None:
        fewer = [n for n in sizes.possible_kv_heads if n < widths["kv_heads"]]
        if fewer:
            found.append(replace(cut, kv_heads=ranking.kept_kv_heads(max(fewer))))
    if axes.tokens is not None:
        tokens = widths["vocabulary"]
        count = max(axes.least_tokens, tokens - -(-amount // sizes.token))
        if count < tokens:
            found.append(replace(cut, kept_tokens=axes.tokens(count)))
    return found


def _best_blocks(cut: Cut, losses: dict[Cut, float]) -> list[int]:
    """Return the blocks that were cheapest to drop next, the ones to try again."""
    deeper = [p for p in losses if p.blocks != cut.blocks]
    deeper.sort(key=lambda p: losses[p])
    return [next(b for b in p.blocks if b not in cut.blocks) for p in deeper[:_AGAIN]]


def _filled(cut: Cut, start: Cut, target: int, axes: Axes) -> Cut:
    """Return the cut with channels, then tokens, given back as far as the target allows."""
    sizes = axes.sizes
    if cut.channels is not None and axes.ranking.channels is not None:
        left = len(sizes.block) - len(cut.blocks)
        spare = (target - sizes.of(cut)) // (sizes.channel * left)
        count = len(cut.channels[0]) + spare // axes.grain * axes.grain
        more = None if count >= sizes.channels else axes.ranking.kept_channels(count)
        cut = replace(cut, channels=more)
    if cut.kept_tokens is not None and axes.tokens is not None:
        count = len(cut.kept_tokens) + (target - sizes.of(cut)) // sizes.token
        cut = replace(cut, kept_tokens=None if count >= sizes.tokens else axes.tokens(count))
    return cut


def check_target(start: Cut, target: int, axes: Axes) -> None:
    """Raise PotstillError where everything that may go is too little."""
    sizes, everywhere = axes.sizes, len(axes.sizes.block)
    least = replace(
        start,
        blocks=tuple(sorted({*start.blocks, *axes.blocks})),
        channels=(tuple(range(axes.grain)),) * everywhere
        if axes.ranking.channels is not None
        else start.channels,
        kv_heads=((0,) * min(sizes.possible_kv_heads),) * everywhere
        if axes.ranking.kv_heads is not None and sizes.possible_kv_heads
        else start.kv_heads,
        kept_tokens=tuple(range(axes.least_tokens))
        if axes.tokens is not None
        else start.kept_tokens,
    )
    if sizes.of(least) > target:
        raise PotstillError(
            f"shrink.parameters asks for {target:,} of {sizes.whole:,} parameters, but what may "
            f"be cut leaves at least {sizes.of(least):,} "
            f"({sizes.of(least) / sizes.whole:.2f}); ask for more, or add to shrink.axes"
        )
