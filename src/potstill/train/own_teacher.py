"""Who tells what a student should have written: what its own steps need of a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from potstill.exchanges.targets import TargetValues
from potstill.losses.targets import Targets
from potstill.models.loaded import LoadedModel
from potstill.models.score import PromptAndResponse
from potstill.work.stage_records import OwnTextRead

Values = Sequence[TargetValues]


class OwnTeacher(Protocol):
    """Reads what the student wrote just now, a group of answers at once or none of it."""

    @property
    def told(self) -> int | None:
        """How many likeliest tokens it tells a position; None for its whole distribution."""
        ...

    def check(self, student: LoadedModel, longest: PromptAndResponse) -> None:
        """Raise PotstillError where the student cannot learn from it on its own text.

        `longest` is a text as long as any that the student may write, and ends as they do.
        """
        ...

    def read(self, texts: Sequence[PromptAndResponse], group: int) -> Values:
        """Return what it makes of each response, a row for each token of it.

        `texts` are (prompt ids, response ids) in the student's tokens. Asked again for a group it
        returns the same. Raises PotstillError where it cannot.
        """
        ...

    def targets(self, values: Values) -> Targets:
        """Return what the loss takes of some texts, their rows one after the other."""
        ...

    def likeliest(self, values: Values, every: int) -> tuple[Tensor, Tensor]:
        """Return (ids_NK, logp_NK) of likeliest tokens at every so-manieth row of all."""
        ...

    def forget_before(self, group: int) -> None:
        """Drop what is kept of earlier groups: nobody will ask for it again."""
        ...

    def record(self) -> OwnTextRead | None:
        """Return what a server charged for reading; None where nobody did."""
        ...
