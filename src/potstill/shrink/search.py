"""Which blocks to drop: those whose loss after healing is least, adjacent or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from potstill.models.loaded import LoadedModel
from potstill.progress import Progress
from potstill.shrink.influence import block_influence
from potstill.shrink.streams import Batch
from potstill.shrink.trials import foretelling

# Returns the loss (KL to the teacher) of the teacher without the given blocks, after healing.
HealedLoss = Callable[[Sequence[int]], float]


@dataclass(frozen=True)
class Trial:
    """One set of dropped blocks that was tried, and its loss after healing."""

    blocks: tuple[int, ...]
    kl: float


def search_blocks(
    teacher: LoadedModel,
    batches: Sequence[Batch],
    count: int,
    *,
    candidates: int,
    beam: int,
    healed_loss: HealedLoss,
    progress: Progress,
) -> tuple[tuple[int, ...], list[Trial]]:
    """Return the blocks to drop, and every trial in the order it was made.

    At each step the `candidates` blocks of least influence are each tried together with those
    dropped so far, healed, and measured; the `beam` best sets are gone on from (1 is greedy).
    The first and the last block are never proposed: dropping either is known to break a model,
    and healing cannot reach before the first.
    """
    influence = block_influence(teacher, batches)
    inner = sorted(range(1, len(influence) - 1), key=lambda b: influence[b])
    best: list[tuple[int, ...]] = [()]
    trials: list[Trial] = []
    # Two sets may lead to the same one, which is tried once: this many trials at most.
    total = candidates + (count - 1) * beam * candidates
    tried = foretelling(healed_loss, total, progress)
    with progress.step("choose blocks", total=total, unit="trials") as step:
        for _ in range(count):
            found: dict[tuple[int, ...], Trial] = {}
            for dropped in best:
                for block in [b for b in inner if b not in dropped][:candidates]:
                    blocks = tuple(sorted((*dropped, block)))
                    if blocks not in found:
                        found[blocks] = Trial(blocks, tried(blocks))
                    step.advance(1, kl=round(found[blocks].kl, 3))
            trials += found.values()
            best = [t.blocks for t in sorted(found.values(), key=lambda t: t.kl)[:beam]]
    return best[0], trials
