"""Make keys for marks, with the record of what they mark with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from potstill.errors import PotstillError
from potstill.runs.mark_options import StatedOptions, agreed, check_scheme, refuse_stray
from potstill.runs.marks import tokens_of
from potstill.watermark.keys import EpochKey, MasterKey, new_master, read_key, write_key
from potstill.watermark.record import (
    MarkRecord,
    read_record,
    record_path,
    refuse_other_key,
    write_record,
)
from potstill.watermark.schemes import WIDEST_WINDOW
from potstill.watermark.vllm import (
    NAMES,
    UNRELEASED,
    new_config,
    schemes_of,
    write_config,
)


@dataclass(frozen=True)
class KeyWanted:
    """What a new key is for; only its path has to be known."""

    path: Path
    scheme: str | None = None
    master: Path | None = None
    epoch: str | None = None
    window: int | None = None
    gamma: float | None = None
    delta: float | None = None
    tokenizer: str | None = None


@dataclass(frozen=True)
class KeyMade:
    """A key that was written, and the record beside it where something is known of its marks."""

    path: Path
    key_id: str
    epoch: str | None
    scheme: str | None
    record: Path | None
    warning: str | None = None


def make_key(wanted: KeyWanted) -> KeyMade:
    """Write a key, and what it marks with. Raises PotstillError where the file is there already.

    An epoch's key marks with what its master does, as the record beside the master's file says.
    """
    if wanted.scheme is not None:
        check_scheme(wanted.scheme)
    if (wanted.master is None) is not (wanted.epoch is None):
        raise PotstillError(
            "--from and --epoch belong together: an epoch's key is taken of a master key; state "
            "both"
        )
    if wanted.scheme in NAMES:
        return _of_vllm(wanted)
    key: MasterKey | EpochKey = new_master()
    known, warning = MarkRecord(), None
    if wanted.master is not None:
        file = read_key(wanted.master)
        key, warning = file.epoch(wanted.epoch), file.warning
        known = read_record(wanted.master) or known
        refuse_other_key(known, wanted.master, file.key.key_id)
    record = _record(wanted, key.key_id, known)
    write_key(wanted.path, key)
    return KeyMade(
        wanted.path,
        key.key_id,
        wanted.epoch,
        None if record is None else record.scheme,
        _written(wanted.path, record),
        warning,
    )


def _of_vllm(wanted: KeyWanted) -> KeyMade:
    scheme = str(wanted.scheme)
    refuse_stray(scheme, _options(wanted))
    config = new_config(scheme)
    key_id = schemes_of(config)[0].key_id
    record = _record(wanted, None, MarkRecord())
    write_config(wanted.path, config)
    return KeyMade(
        path=wanted.path,
        key_id=key_id,
        epoch=None,
        scheme=scheme,
        record=_written(wanted.path, record),
        warning=UNRELEASED if scheme == "vllm-sbw" else None,
    )


def _options(wanted: KeyWanted) -> StatedOptions:
    return StatedOptions(wanted.epoch, wanted.window, wanted.gamma, wanted.delta)


def _check(wanted: KeyWanted, scheme: str | None) -> None:
    """Raise PotstillError for parameters that a scheme has no use for, or that no scheme allows."""
    if wanted.window is not None and not 1 <= wanted.window <= WIDEST_WINDOW:
        raise PotstillError(f"--window is 1 to {WIDEST_WINDOW} tokens; choose one of these")
    if wanted.gamma is not None and not 0 < wanted.gamma < 1:
        raise PotstillError("--gamma lies between 0 and 1; choose 0.5 or less")
    if wanted.delta is not None and not wanted.delta > 0:
        raise PotstillError("--delta is a number above 0; choose for example 2")
    refuse_stray(scheme, _options(wanted))


def _record(wanted: KeyWanted, key_id: str | None, known: MarkRecord) -> MarkRecord | None:
    """Return what is known of a key's marks, stated or `known` of its master; None for nothing.

    Raises PotstillError where the two disagree, and for what no scheme allows.
    """
    scheme = agreed(_own(wanted.scheme), known.scheme, "scheme")
    if wanted.scheme not in NAMES:
        _check(wanted, scheme)
    tokens = None if wanted.tokenizer is None else tokens_of(wanted.tokenizer)
    digest = None if tokens is None else tokens.digest
    vocabulary = None if tokens is None else tokens.vocabulary
    found = MarkRecord(
        key_id=key_id,
        scheme=_own(scheme),
        window=agreed(wanted.window, known.window, "window"),
        gamma=agreed(wanted.gamma, known.gamma, "gamma"),
        delta=agreed(wanted.delta, known.delta, "delta"),
        tokenizer=agreed(digest, known.tokenizer, "tokenizer"),
        vocabulary=agreed(vocabulary, known.vocabulary, "tokenizer"),
    )
    return None if found == MarkRecord(key_id=key_id) else found


def _own(scheme: str | None) -> Literal["green", "gumbel"] | None:
    """Return a scheme of potstill's own; a key file of vLLM's states its scheme itself."""
    match scheme:
        case "green" | "gumbel":
            return scheme
    return None


def _written(path: Path, record: MarkRecord | None) -> Path | None:
    if record is None:
        return None
    write_record(path, record)
    return record_path(path)
