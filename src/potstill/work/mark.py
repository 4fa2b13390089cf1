"""The mark that a recipe wants in its training answers, with its key read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from potstill.errors import PotstillError
from potstill.recipe import WatermarkConfig
from potstill.watermark.keys import EpochKey, read_key
from potstill.watermark.record import MarkRecord, read_record, refuse_other_key
from potstill.watermark.schemes import GreenList, Gumbel
from potstill.work.records import Watermark


@dataclass(frozen=True)
class TrainingMark:
    """How training answers are marked; `warning` says in a sentence that others can read the key.

    The scheme holds the key: it is stored nowhere, only its digests are.
    """

    scheme: GreenList | Gumbel
    warning: str | None = None

    def record(self) -> Watermark:
        """Return what is stored of the mark: everything but the key."""
        return Watermark(
            key_id=self.scheme.key_id,
            mark_id=self.scheme.mark_id,
            epoch=self.scheme.key.epoch,
            scheme=self.scheme.name,
            parameters=self.scheme.parameters(),
        )


def training_mark(config: WatermarkConfig | None, known: Watermark | None) -> TrainingMark | None:
    """Return the mark that a recipe names; None where it names none.

    `known` is the mark of answers that are stored already. Raises PotstillError where the key
    cannot be read, where it is another one than theirs, and where the record beside the key's file
    states another scheme: nobody who trusts that record would find the mark.
    """
    if config is None:
        return None
    path = Path(config.key)
    try:
        file = read_key(path)
        key = file.epoch(config.epoch)
        record = read_record(path) or MarkRecord()
        refuse_other_key(record, path, file.key.key_id)
    except PotstillError as error:
        raise PotstillError(f"collect.watermark: {error}") from error
    scheme = _scheme(config, key)
    _check_record(config, path, record)
    if known is not None and known.mark_id != scheme.mark_id:
        raise PotstillError(
            f"the key file {path} holds another key than the one that marks this run's answers "
            f"(its digest is {scheme.key_id}, theirs {known.key_id}); give that key's file and "
            "epoch, or start over with --fresh"
        )
    return TrainingMark(scheme, file.warning)


def _scheme(config: WatermarkConfig, key: EpochKey) -> GreenList | Gumbel:
    if config.scheme == "gumbel":
        return Gumbel(key, config.window)
    assert config.gamma is not None and config.delta is not None
    return GreenList(key, config.window, config.gamma, config.delta)


def _check_record(config: WatermarkConfig, path: Path, record: MarkRecord) -> None:
    for name in ("scheme", "window", "gamma", "delta"):
        stated, wanted = getattr(record, name), getattr(config, name)
        if stated is not None and stated != wanted:
            raise PotstillError(
                f"collect.watermark.{name} is {wanted}, and the record beside the key file {path} "
                f"says {stated}; set it to that, or make a key of its own for this mark"
            )
