"""The student that is kept: the best on validation prompts of those that were measured.

The untrained one is among them, so that training can fail and still make nothing worse. The best
one's weights lie beside the checkpoints, as far as they are trained: a third of a checkpoint's room
on the disk, and none in memory.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from potstill.durable import replaced_directory
from potstill.errors import PotstillError
from potstill.recipe import OnPolicyConfig
from potstill.train.checkpoint import UNREADABLE, load_trained, trained_parameters

# What students are compared by, less being better: the first of these that is measured.
MEASURES = ("kl", "nll")
# On the student's own text: KL(student || teacher), and the mean of that and `kl`.
OWN_KL, BOTH = "own_kl", "kl_both"
_FOLDER, _RECORD, _WEIGHTS = "best", "best.json", "model.safetensors"


def measures_of(config: OnPolicyConfig | None) -> tuple[str, ...]:
    """Return what students are compared by: the first of these that is measured."""
    if config is None or config.keep_by == "teacher":
        return MEASURES
    return (OWN_KL, *MEASURES) if config.keep_by == "own" else (BOTH, OWN_KL, *MEASURES)


@dataclass(frozen=True)
class KeptStudent:
    """The best student so far: after how many steps, by which measure, and how good.

    `before` is the measure before the first step. `plan` names the data order.
    """

    step: int
    by: str
    value: float
    before: float
    plan: str


class Best:
    """Keeps the best student that it is shown, on the disk, so that a kill loses nothing."""

    def __init__(
        self, folder: Path, network: Any, plan: str, measures: Sequence[str] = MEASURES
    ) -> None:
        self._path, self._network, self._plan = folder / _FOLDER, network, plan
        self._measures = measures
        self.kept = self._stored()
        # The step whose weights the network holds at the end; they are on no disk.
        self._held: int | None = None

    def offer(self, step: int, figures: Mapping[str, float], *, last: bool, write: bool) -> None:
        """Keep the network as it is now where it is better than what was kept.

        Of equals the earlier one stays. After the `last` step the network itself holds the
        weights, and nothing is written; nor where another process writes.
        """
        by = next((name for name in self._measures if name in figures), None)
        if by is None:
            return
        value, known = float(figures[by]), self.kept
        if known is not None and known.by == by and not _rank(value) < _rank(known.value):
            return
        before = value if known is None or known.by != by else known.before
        self.kept = KeptStudent(step, by, value, before, self._plan)
        if last:
            self._held = step
        elif write:
            self._write(self.kept)

    def forget(self) -> None:
        """Keep nothing of what was shown before."""
        if self._path.is_dir():
            shutil.rmtree(self._path)
        self.kept = self._held = None

    def restore(self) -> None:
        """Put the kept student's weights into the network."""
        kept = self.kept
        if kept is None or kept.step == self._held:
            return
        try:
            load_trained(self._network, self._path / _WEIGHTS)
        except UNREADABLE as error:
            raise self._unreadable(error) from error

    def _write(self, kept: KeptStudent) -> None:
        with replaced_directory(self._path) as partial:
            save_file(dict(trained_parameters(self._network)), partial / _WEIGHTS)
            (partial / _RECORD).write_text(json.dumps(asdict(kept)), encoding="utf-8")

    def _stored(self) -> KeptStudent | None:
        """Return what an earlier call kept; None where there is nothing of this data order."""
        if not self._path.is_dir():
            return None
        try:
            kept = KeptStudent(**json.loads((self._path / _RECORD).read_text(encoding="utf-8")))
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        return kept if kept.plan == self._plan else None

    def _unreadable(self, error: BaseException) -> PotstillError:
        return PotstillError(
            f"the best student so far, in {self._path}, is damaged or cut "
            f"off; delete the folder {self._path.parent} to train again"
        )


def _rank(value: float) -> float:
    """Return a measure to compare by: no number is worse than any."""
    return math.inf if math.isnan(value) else value
