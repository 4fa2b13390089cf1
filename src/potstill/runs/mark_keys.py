"""Make keys for marks, with the record of what they mark with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from potstill.errors import PotstillError
from potstill.runs.marks import OWN, close_names, tokens_of
from potstill.watermark.keys import EpochKey, MasterKey, new_master, read_key, write_key
from potstill.watermark.record import MarkRecord, record_path, write_record
from potstill.watermark.schemes import WIDEST_WINDOW
from potstill.watermark.vllm import (
    NAMES,
    UNRELEASED,
    new_config,
    refuse_unconfirmed,
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
    """Write a key, and what it marks with. Raises PotstillError where the file is there already."""
    if wanted.scheme is not None:
        refuse_unconfirmed(wanted.scheme)
        if wanted.scheme not in (*OWN, *NAMES):
            raise PotstillError(f"no scheme is named {wanted.scheme}; {close_names(wanted.scheme)}")
    if (wanted.master is None) is not (wanted.epoch is None):
        raise PotstillError(
            "--from and --epoch belong together: an epoch's key is taken of a master key; state "
            "both"
        )
    if wanted.scheme in NAMES:
        return _of_vllm(wanted)
    _check(wanted)
    key: MasterKey | EpochKey = new_master()
    warning = None
    if wanted.master is not None:
        file = read_key(wanted.master)
        key, warning = file.epoch(wanted.epoch), file.warning
    record = _record(wanted, key.key_id)
    write_key(wanted.path, key)
    return KeyMade(
        wanted.path,
        key.key_id,
        wanted.epoch,
        wanted.scheme,
        _written(wanted.path, record),
        warning,
    )


def _of_vllm(wanted: KeyWanted) -> KeyMade:
    scheme = str(wanted.scheme)
    stray = [o for o in ("epoch", "window", "gamma", "delta") if getattr(wanted, o) is not None]
    if stray:
        raise PotstillError(
            f"--{stray[0]} is not for {scheme}; leave it out, and state it in the key's file as "
            "vLLM's documentation says"
        )
    config = new_config(scheme)
    key_id = schemes_of(config)[0].key_id
    record = _record(wanted, None)
    write_config(wanted.path, config)
    return KeyMade(
        path=wanted.path,
        key_id=key_id,
        epoch=None,
        scheme=scheme,
        record=_written(wanted.path, record),
        warning=UNRELEASED if scheme == "vllm-sbw" else None,
    )


def _check(wanted: KeyWanted) -> None:
    """Raise PotstillError for parameters that a scheme has no use for, or that no scheme allows."""
    if wanted.window is not None and not 1 <= wanted.window <= WIDEST_WINDOW:
        raise PotstillError(f"--window is 1 to {WIDEST_WINDOW} tokens; choose one of these")
    if wanted.gamma is not None and not 0 < wanted.gamma < 1:
        raise PotstillError("--gamma lies between 0 and 1; choose 0.5 or less")
    if wanted.delta is not None and not wanted.delta > 0:
        raise PotstillError("--delta is a number above 0; choose for example 2")
    if wanted.scheme != "green" and (wanted.gamma is not None or wanted.delta is not None):
        raise PotstillError("--gamma and --delta are for --scheme green; leave them out")


def _record(wanted: KeyWanted, key_id: str | None) -> MarkRecord | None:
    """Return what is known of a key's marks; None where nothing is."""
    own = _own(wanted.scheme)
    if own is None and wanted.window is None and wanted.tokenizer is None:
        return None
    tokens = None if wanted.tokenizer is None else tokens_of(wanted.tokenizer)
    return MarkRecord(
        key_id=key_id,
        scheme=own,
        window=wanted.window,
        gamma=wanted.gamma,
        delta=wanted.delta,
        tokenizer=None if tokens is None else tokens.digest,
        vocabulary=None if tokens is None else tokens.vocabulary,
    )


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
