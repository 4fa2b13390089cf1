"""A student's hidden states matched to its teacher's, through projections that are learnt with it.

FitNets (Romero et al. 2015, arXiv 1412.6550) and TinyBERT (Jiao et al. 2020, arXiv 1909.10351). A
projection stands on the student's side: one of the teacher's states would learn to make them easy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.losses.hidden import hidden_distance, least_squares
from potstill.models.load import blocks_of, head_of
from potstill.models.loaded import LoadedModel
from potstill.recipe import HiddenMatchingConfig, TrainConfig
from potstill.train.examples import TrainingExample
from potstill.train.matched_pairs import LAST, MatchedPair, matched_pairs
from potstill.train.teacher_blocks import TeacherBlocks
from potstill.work.stage_records import StatesMatched

# Rows that projections begin from: so many times the student's width, or all there are.
_ROWS = 8
_RIDGE = 1e-3

States = Mapping[MatchedPair, Tensor]
"""States hidden_ND of one side, by the pair that they belong to."""


@dataclass(frozen=True)
class Widths:
    """How wide the states of student and teacher are."""

    student: int
    teacher: int


class HiddenMatching:
    """The distance of a student's states from its teacher's, and the projections in between.

    `widths` are those of each pair's states, in the order in which pairs are logged and saved.
    `reader` gives what the teacher's blocks make of a text; what is behind the last norm comes
    with the targets. Raises PotstillError where states without a projection differ in width.
    """

    def __init__(
        self,
        config: HiddenMatchingConfig,
        widths: Mapping[MatchedPair, Widths],
        reader: TeacherBlocks | None = None,
        *,
        projected: bool,
        device: torch.device = torch.device("cpu"),
    ) -> None:
        self.config, self._widths, self._reader = config, dict(widths), reader
        self._inner = [pair for pair in widths if pair != LAST]
        if reader is None and self._inner:
            raise ValueError("what blocks give is not stored: a teacher has to read the text")
        self.projections: dict[MatchedPair, nn.Parameter] = {}
        for pair, wide in widths.items():
            if projected:
                eye_ED = torch.eye(wide.teacher, wide.student, device=device)
                self.projections[pair] = nn.Parameter(eye_ED)
            elif wide.student != wide.teacher:
                raise PotstillError(
                    f"the student's states are {wide.student} wide and the teacher's "
                    f"{wide.teacher}: train.hidden_matching.projection none cannot compare them; "
                    "set it to learned"
                )

    @property
    def pairs(self) -> tuple[MatchedPair, ...]:
        """What is matched."""
        return tuple(self._widths)

    @property
    def said(self) -> str:
        """What is matched, in a sentence."""
        mapped = "through projections" if self.projections else "as they are"
        count = len(self._inner)
        last = ["the states behind the last norm"] if LAST in self._widths else []
        inner = [f"what {count} of its blocks give"] if count else []
        which = " and ".join([*last, *inner])
        return f"of the student, {which} are matched, {mapped}"

    def record(self) -> StatesMatched:
        """Return what a finished training records of it, but for how near the states came."""
        return StatesMatched(
            pairs=tuple((p.student, p.teacher) for p in self._inner if p.student is not None),
            last=LAST in self._widths,
            projection_weights=sum(p.numel() for p in self.projections.values()),
        )

    @property
    def blocks(self) -> list[int]:
        """The student's blocks whose states are wanted."""
        return [pair.student for pair in self._inner if pair.student is not None]

    @property
    def learnt(self) -> Mapping[str, nn.Parameter]:
        """The projections by name: no part of the student."""
        return {f"projection.{pair}": found for pair, found in self.projections.items()}

    def read(self, examples: Sequence[TrainingExample]) -> dict[int, Tensor]:
        """Return by block what the teacher makes of these examples; nothing where all is stored."""
        if self._reader is None or not self._inner:
            return {}
        numbers = sorted({pair.teacher for pair in self._inner if pair.teacher is not None})
        return self._reader.block_states(examples, numbers)

    def states(self, last_ND: Tensor, by_block: Mapping[int, Tensor], *, teachers: bool) -> States:
        """Return one side's states by pair, from those behind its last norm and its blocks'."""
        found = {}
        for pair in self.pairs:
            block = pair.teacher if teachers else pair.student
            found[pair] = last_ND if block is None else by_block[block]
        return found

    def loss(self, mine: States, theirs: States, normaliser: float) -> Tensor:
        """Return the mean over pairs of the distances summed over rows, divided by `normaliser`.

        That is the number of response tokens in the whole optimiser step, so that the loss does not
        depend on how the step is cut. It is a scalar in fp32, with gradients to the student's
        states and to the projections.
        """
        distance = self.config.distance
        sums = [
            hidden_distance(
                distance, mine[pair], theirs[pair].to(mine[pair].device), self.projections.get(pair)
            ).sum()
            for pair in self.pairs
        ]
        return torch.stack(sums).sum() / (len(sums) * normaliser)

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[States, States]]) -> None:
        """Begin the projections from what brings the student's states nearest to its teacher's.

        Goes through (student's states, teacher's states) of micro-batches until there are rows
        enough for a stable answer. A random beginning would have the student's states follow a map
        that means nothing yet.
        """
        if not self.projections:
            return
        sums = {pair: _Sums(wide) for pair, wide in self._widths.items()}
        for mine, theirs in batches:
            for pair, added in sums.items():
                added.add(mine[pair], theirs[pair])
            if all(sums[pair].rows >= _ROWS * self._widths[pair].student for pair in sums):
                break
        for pair, projection in self.projections.items():
            found = sums[pair]
            if found.rows:
                projection.copy_(least_squares(found.gram_DD, found.cross_DE, _RIDGE))


class _Sums:
    """Sums over rows that a least-squares fit is made of: products where the states are, in fp32,
    added up in float64."""

    def __init__(self, widths: Widths) -> None:
        self.gram_DD = torch.zeros(widths.student, widths.student, dtype=torch.float64)
        self.cross_DE = torch.zeros(widths.student, widths.teacher, dtype=torch.float64)
        self.rows = 0

    def add(self, mine_ND: Tensor, theirs_NE: Tensor) -> None:
        mine_ND = mine_ND.float()
        self.gram_DD += (mine_ND.T @ mine_ND).cpu().double()
        self.cross_DE += (mine_ND.T @ theirs_NE.to(mine_ND)).cpu().double()
        self.rows += len(mine_ND)


def needs_teacher(config: TrainConfig) -> bool:
    """Tell whether the teacher has to read every text, for states that nobody stores."""
    return config.hidden_matching is not None and config.hidden_matching.reads


def matching_of(
    student: LoadedModel,
    config: TrainConfig,
    last_width: int,
    dropped: Sequence[int] | None,
    reader: TeacherBlocks | None = None,
) -> HiddenMatching | None:
    """Return how a student's states are matched to its teacher's; None where the recipe has none.

    `last_width` is that of the teacher's states behind its last norm. `dropped` are the teacher's
    blocks that the student was made without; None where it was not cut from it, and so has axes of
    its own. Raises PotstillError where the recipe does not fit the two.
    """
    matching = config.hidden_matching
    if matching is None:
        return None
    mine, theirs = (0, 0)
    if needs_teacher(config):
        if reader is None:
            raise ValueError("what blocks give is not stored: a teacher has to read the text")
        mine, theirs = map(_block_count, (student, reader.model))
    widths = {}
    for pair in matched_pairs(config, mine, theirs, dropped):
        if pair == LAST:
            widths[pair] = Widths(head_of(student).weight_VD.shape[1], last_width)
        else:
            assert reader is not None
            widths[pair] = Widths(_stream_width(student), _stream_width(reader.model))
    learned = matching.projection == "learned"
    return HiddenMatching(
        matching,
        widths,
        reader,
        projected=learned or (matching.projection == "auto" and dropped is None),
        device=student.device,
    )


def _block_count(model: LoadedModel) -> int:
    try:
        return len(blocks_of(model.network))
    except PotstillError as error:
        raise PotstillError(
            f"potstill does not know where {type(model.network).__name__} keeps its blocks; set "
            "train.hidden_matching.layers to last"
        ) from error


def _stream_width(model: LoadedModel) -> int:
    return int(model.network.config.get_text_config().hidden_size)
