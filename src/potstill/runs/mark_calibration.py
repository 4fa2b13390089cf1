"""Try a detection on text without a mark: an owner's vocabulary, an owner's own text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.errors import PotstillError
from potstill.logs.written import read_written
from potstill.progress import Progress
from potstill.runs.mark_options import StatedOptions, check_scheme, refuse_stray
from potstill.runs.marks import encoded_texts, tokens_of
from potstill.watermark.calibration import Calibration, calibrate
from potstill.watermark.keys import EpochKey
from potstill.watermark.null_texts import NullText, OwnText, kinds_of
from potstill.watermark.schemes import GreenList, Gumbel, Scheme
from potstill.watermark.vllm import NAMES, VllmConfig, schemes_of

# Windows that potstill's own schemes are tried with where none is stated.
_WINDOWS = (1, 2, 4)
# The share of green tokens where none is stated; text without a mark has none of what delta does.
_GAMMA, _DELTA = 0.5, 2.0
LEAST_TRIALS = 100
# Every trial takes another: this one decides at most which windows share a seed of SBW's.
_ANY_KEY = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class CalibrationWanted:
    """What is tried: which schemes, on which vocabulary, with an owner's texts if there are any."""

    tokenizer: str
    paths: tuple[str, ...] = ()
    scheme: str | None = None
    window: int | None = None
    gamma: float | None = None
    trials: int = 2_000
    seed: int = 0


def calibrate_marks(wanted: CalibrationWanted, progress: Progress) -> Calibration:
    """Return how p-values are spread on text without a mark, under fresh keys.

    Raises PotstillError for texts that are too short, and for what no scheme allows.
    """
    if wanted.trials < LEAST_TRIALS:
        raise PotstillError(f"--trials is {LEAST_TRIALS} or more; a few tell nothing")
    schemes = _schemes(wanted)
    tokens = tokens_of(wanted.tokenizer)
    kinds: list[NullText] = list(kinds_of(tokens.vocabulary))
    if wanted.paths:
        written = read_written(wanted.paths)
        if written.unreadable:
            raise PotstillError(written.unreadable[0])
        kinds.append(OwnText(encoded_texts(written, tokens)))
    with progress.step("Trying p-values on text without a mark", len(schemes) * len(kinds)) as step:
        return calibrate(schemes, kinds, trials=wanted.trials, seed=wanted.seed, step=step)


def _schemes(wanted: CalibrationWanted) -> Sequence[Scheme]:
    name = wanted.scheme
    if name is not None:
        check_scheme(name)
        refuse_stray(name, StatedOptions(window=wanted.window, gamma=wanted.gamma))
        if name in NAMES:
            return schemes_of(VllmConfig(algorithm=NAMES[name], key=_ANY_KEY))
    key = EpochKey("calibration", bytes(32))
    windows = _WINDOWS if wanted.window is None else (wanted.window,)
    schemes: list[Scheme] = []
    if name != "gumbel":
        gamma = _GAMMA if wanted.gamma is None else wanted.gamma
        schemes += [GreenList(key, window, gamma, _DELTA) for window in windows]
    if name != "green":
        schemes += [Gumbel(key, window) for window in windows]
    return schemes
