"""What each optimiser step learns from: planned at the start, or drawn as training goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from potstill.errors import PotstillError
from potstill.models.loaded import LoadedModel
from potstill.recipe import TrainConfig
from potstill.train.examples import TrainingExample, plan_digest
from potstill.work.step_plan import Order, plan_steps

AsComputed = Callable[[], LoadedModel]
"""Returns the student as training computes it now."""


class StepSource(Protocol):
    """Gives the examples of each optimiser step."""

    @property
    def planned(self) -> int:
        """How many steps there are."""
        ...

    @property
    def longest(self) -> int:
        """How many tokens the longest example of any step may have."""
        ...

    @property
    def digest(self) -> str:
        """What a checkpoint has to agree with."""
        ...

    @property
    def waits(self) -> bool:
        """Whether a step's examples depend on the update before it, and are asked for after it."""
        ...

    def follow(self, student: AsComputed, processes: int) -> None:
        """Take over how the student is got at as it is when a step is asked for.

        `processes` train it together. Raises PotstillError where the steps are not for so many.
        """
        ...

    def step(self, number: int) -> Sequence[TrainingExample]:
        """Return the examples of a step, counted from 0; the same ones when asked again."""
        ...

    def known(self) -> Sequence[TrainingExample]:
        """Return all that is read, as often as it is; nothing where that shows on the way."""
        ...

    def stored_steps(self) -> Iterator[Sequence[TrainingExample]]:
        """Yield steps on stored answers in their planned order, whichever of them are taken."""
        ...

    def figures(self, number: int) -> Mapping[str, float]:
        """Return what is logged of a step beside its loss."""
        ...

    def kept(self) -> str | None:
        """Return what a checkpoint keeps for the steps to come, None for nothing."""
        ...

    def resume(self, kept: str | None) -> None:
        """Go on from what a checkpoint kept."""
        ...


class Planned:
    """The steps that an order makes of a list of examples.

    Raises PotstillError where there are no examples.
    """

    waits = False

    def __init__(
        self, examples: Sequence[TrainingExample], config: TrainConfig, order: Order
    ) -> None:
        if not examples:
            raise PotstillError("there is no exchange to train on; collect responses first")
        lengths = [example.length for example in examples]
        self.examples = examples
        self._steps = plan_steps(
            lengths, batch_tokens=config.batch_tokens, epochs=config.epochs, order=order
        )
        self.planned, self.longest = len(self._steps), max(lengths)
        self.digest = plan_digest(examples, self._steps)

    def follow(self, student: AsComputed, processes: int) -> None:
        """Do nothing: all steps are known."""

    def step(self, number: int) -> Sequence[TrainingExample]:
        return [self.examples[i] for i in self._steps[number]]

    def known(self) -> Sequence[TrainingExample]:
        return [self.examples[i] for step in self._steps for i in step]

    def stored_steps(self) -> Iterator[Sequence[TrainingExample]]:
        return map(self.step, range(self.planned))

    def figures(self, number: int) -> Mapping[str, float]:
        return {}

    def kept(self) -> str | None:
        return None

    def resume(self, kept: str | None) -> None:
        """Do nothing: all steps are known."""
