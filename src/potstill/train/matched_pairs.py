"""Which states of a student are matched to which of its teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.errors import PotstillError
from potstill.recipe import TrainConfig

_FIELD = "train.hidden_matching.layers"


@dataclass(frozen=True)
class MatchedPair:
    """A block of the student and one of its teacher's; None for the states behind the last norm."""

    student: int | None
    teacher: int | None

    def __str__(self) -> str:
        return "last" if self.student is None else f"{self.student}-{self.teacher}"


LAST = MatchedPair(None, None)


def matched_pairs(
    config: TrainConfig, student: int, teacher: int, dropped: Sequence[int] | None
) -> tuple[MatchedPair, ...]:
    """Return what is matched, of a student and a teacher with so many blocks.

    `dropped` are the teacher's blocks that the student was made without; None where it was not cut
    from it. Raises PotstillError where the recipe names a block that is not there or is not
    trained.
    """
    matching = config.hidden_matching
    assert matching is not None
    if matching.layers == "last":
        return (LAST,)
    if matching.layers == "blocks":
        depths = depths_of(student, teacher, dropped)
        # What the frozen blocks give stays as it is; of the last block, what its norm makes of it.
        trained = range(config.frozen_blocks, student - 1)
        return (*(MatchedPair(block, depths[block]) for block in trained), LAST)
    pairs = tuple(LAST if item == "last" else MatchedPair(*item) for item in matching.layers)
    for pair in pairs:
        _check(pair, student, teacher, config.frozen_blocks)
    return pairs


def depths_of(student: int, teacher: int, dropped: Sequence[int] | None) -> list[int]:
    """Return for each block of a student the block of its teacher's that ends at the same depth.

    A cut student's next block is given what it was given in the teacher, where the blocks before a
    gap stand for those that are gone: healing fits them so. Otherwise the student's blocks are
    spread evenly over the teacher's (as TinyBERT's are, Jiao et al. 2020, arXiv 1909.10351).
    """
    if dropped is None:
        return [-(-(block + 1) * teacher // student) - 1 for block in range(student)]
    kept = [block for block in range(teacher) if block not in set(dropped)]
    if len(kept) != student:
        raise ValueError(f"a student of {student} blocks was not cut by dropping {list(dropped)}")
    return [following - 1 for following in kept[1:]] + [teacher - 1]


def _check(pair: MatchedPair, student: int, teacher: int, frozen: int) -> None:
    for number, count, whose in (
        (pair.student, student, "student"),
        (pair.teacher, teacher, "teacher"),
    ):
        if number is not None and not 0 <= number < count:
            raise PotstillError(
                f"{_FIELD} names block {number} of the {whose}, which has blocks 0 to {count - 1}; "
                "name some of these"
            )
    if pair.student is not None and pair.student < frozen:
        raise PotstillError(
            f"{_FIELD} names block {pair.student} of the student, which train.frozen_blocks "
            f"{frozen} holds as it is; name blocks from {frozen} on, or freeze fewer"
        )
